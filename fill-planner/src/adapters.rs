//! Reads demand that others publish: half-year reports of a whole catalogue, weekly top-ten lists by country, weekly lists with
//! hours. Files are CSV, also packed with gzip (name ending in `.gz`). Columns that are not needed are ignored, since such files
//! grow columns; a needed column that is missing, and a field that is wrong, is an error that names file, line and column.

mod half_reports;
mod rows;
mod weekly_lists;

pub use half_reports::half_reports;
pub use rows::{AdapterError, packed_or_plain};
pub use weekly_lists::{country_lists, weekly_hours};
