//! Demand history on disk: Parquet, one file a day of universal time and region, so that a night adds yesterday's and reads the rest from
//! where it lies. Everything is asked of it by SQL ([`sql`]); a query for a day to plan never opens a file of that day or later.
//!
//! ```text
//! DIR/day=2026-11-22/region=north/demand.parquet     object (32 bytes), hour (hours since 1970), requests, bytes
//! ```
//!
//! A day that is added again replaces what there was of it, region by region: to add twice changes nothing.

pub mod command;
pub mod engine;
mod partition;
pub mod sql;

use engine::Engine;

use cdn_types::{RegionId, api::v1::DemandRow, time::Date};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// Why history cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A file or folder cannot be used.
    #[error("{}: {source}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no Parquet, or cannot be made.
    #[error("{}: {source}; remove it and add its day again", .file.display())]
    Parquet {
        /// Which.
        file: PathBuf,
        /// Why.
        source: Box<parquet::errors::ParquetError>,
    },
    /// A query failed: a file that is no Parquet, or of other columns.
    #[error("{}: {source}; the history is one folder a day and region, as `fill-planner history add` makes them", .dir.display())]
    Query {
        /// The history.
        dir: PathBuf,
        /// Why.
        source: Box<datafusion::error::DataFusionError>,
    },
    /// The engine cannot be used.
    #[error("{0}")]
    Engine(String),
    /// What a query answers is not what was asked for.
    #[error("{}: {what}; remove the file that holds it and add its day again", .dir.display())]
    Content {
        /// The history.
        dir: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The history in a folder.
#[derive(Debug, Clone)]
pub struct HistoryStore {
    dir: PathBuf,
    engine: Engine,
}

impl HistoryStore {
    /// In this folder, which is made when something is added.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            engine: Engine::Local,
        }
    }
    /// The same history, asked by another engine.
    pub fn on(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds whole days: what there was of their regions on those days is replaced. Answers the days.
    ///
    /// # Errors
    /// When a file cannot be written; what was written before it stays.
    pub fn add(&self, rows: &[DemandRow]) -> Result<BTreeSet<Date>, HistoryError> {
        let mut parts: BTreeMap<(Date, &RegionId), Vec<&DemandRow>> = BTreeMap::new();
        for row in rows {
            parts.entry((row.hour.date(), &row.region)).or_default().push(row);
        }
        for ((day, region), rows) in &parts {
            let folder = self
                .dir
                .join(format!("day={day}"))
                .join(format!("region={region}"));
            fs::create_dir_all(&folder).map_err(at(&folder))?;
            partition::write(&folder, rows)?;
        }
        Ok(parts.into_keys().map(|(day, _)| day).collect())
    }

    /// Days of which something is there, in order.
    ///
    /// # Errors
    /// When the folder cannot be read; one that is not there holds nothing.
    pub fn days(&self) -> Result<BTreeSet<Date>, HistoryError> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(at(&self.dir)(error)),
        };
        let mut days = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(at(&self.dir))?.file_name();
            let day = name
                .to_str()
                .and_then(|n| n.strip_prefix("day=")?.parse::<Date>().ok());
            days.extend(day);
        }
        Ok(days)
    }
}

fn at(file: &Path) -> impl FnOnce(io::Error) -> HistoryError {
    let file = file.to_owned();
    move |source| HistoryError::File { file, source }
}

#[cfg(test)]
mod tests;
