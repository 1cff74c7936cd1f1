//! Demand by weekly lists: each country's ten first films and seasons, of which the next week's are to be held.
//!
//! [`Board`] keeps the lists; ranks count by the share of hours that the ranks of the world's lists have. A country's next week is
//! forecast from its own last weeks, from countries that watch alike, from the world's hours and from the series' past.
//! With a calendar a title that comes out within the week can be placed before any list names it.

mod board;
mod features;

pub use board::{Board, Entry, Item, Launch, RANKS, WEIGHTS};
pub use features::{Row, candidates};
