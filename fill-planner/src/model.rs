//! Grows forecasting models, and keeps them in files.
//!
//! Growing needs the boosting library and stands here; predicting and explaining need none and stand in `fill_core::trees`.
//! [`train`] takes any [`Table`](fill_core::table::Table): half-years, weekly lists and nights differ in their features only.

mod file;
mod train;

pub use file::{Earlier, FORMAT, Kept, ModelError, ModelFile, NightScore, Window};
pub use train::{Recipe, TrainError, train};
