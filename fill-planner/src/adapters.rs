//! Reads demand that others publish: half-year reports of a whole catalogue, weekly top-ten lists by country, weekly lists with
//! hours, an online cinema's watches, short videos' plays by day, traces of caches. Files are CSV, also packed with gzip (name ending in `.gz`). Columns that are not needed are ignored, since such files
//! grow columns; a needed column that is missing, and a field that is wrong, is an error that names file, line and column.

mod half_reports;
mod kion;
mod kuairec;
mod oracle_general;
mod service;
mod weekly_lists;

pub use half_reports::half_reports;
pub use kion::kion;
pub use kuairec::kuairec;
pub use oracle_general::{TraceError, oracle_general};
pub use service::Service;
pub use weekly_lists::{country_lists, weekly_hours};

/// Why published demand cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A table is wrong.
    #[error(transparent)]
    Rows(#[from] crate::rows::RowsError),
    /// Half-years that are no sequence.
    #[error("{}: {source}", .file.display())]
    Gap {
        /// The file.
        file: std::path::PathBuf,
        /// Which are missing.
        source: fill_core::halves::GapError,
    },
}
