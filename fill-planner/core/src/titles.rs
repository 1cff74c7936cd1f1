//! What a title's name says: which series and season it is, what it is called at home, in which language.
//!
//! Lists and reports name titles, they do not number them. "Elite: Season 5 // Élite: Temporada 5" is the fifth season of
//! "elite", at home Spanish. A new season is forecast from the ones before it, and that takes the name apart.

mod language;
mod name;

pub use language::Language;
pub use name::{TitleName, plain};
