//! What is known of titles beside catalogue and demand: their facts, and the launch calendar. Formats: docs/formats/planner.md.

use crate::{cli::ServiceArgs, load::LoadError};
use cdn_types::{Hour, RegionId, TitleId, api::v1::Catalogue, time::Date};
use fill_core::{
    evaluate::panel::Kind,
    service::{Facts, Launch, Service},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::path::Path;

/// One row of the titles' facts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TitleRow {
    title: TitleId,
    kind: RowKind,
    franchise: u32,
    season: u16,
    episode: u16,
    runtime_min: u16,
    original: bool,
    global: bool,
    home: Option<RegionId>,
    #[serde(rename = "release")]
    _release: Option<Date>,
    #[serde(rename = "bytes")]
    _bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RowKind {
    Film,
    Season,
    Episode,
}

/// One row of the launch calendar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaunchRow {
    title: TitleId,
    region: RegionId,
    instant: Hour,
    expected: f64,
}

impl ServiceArgs {
    /// Facts of titles; none without a file.
    ///
    /// # Errors
    /// When the file cannot be read, or by row.
    pub fn titles(&self) -> Result<Vec<Facts>, LoadError> {
        let facts = |row: TitleRow| Facts {
            title: row.title,
            kind: match row.kind {
                RowKind::Film => Kind::Film,
                RowKind::Season => Kind::Season,
                RowKind::Episode => Kind::Episode,
            },
            franchise: row.franchise,
            season: row.season,
            episode: row.episode,
            runtime: row.runtime_min,
            original: row.original,
            global: row.global,
            home: row.home,
        };
        let rows = self.titles.as_deref().map(rows).transpose()?.unwrap_or_default();
        Ok(rows.into_iter().map(facts).collect())
    }

    /// The launch calendar; empty without a file.
    ///
    /// # Errors
    /// When the file cannot be read, or by row.
    pub fn launches(&self) -> Result<Vec<Launch>, LoadError> {
        let launch = |row: LaunchRow| Launch {
            title: row.title,
            region: row.region,
            instant: row.instant,
            expected: row.expected,
        };
        let rows = self
            .launches
            .as_deref()
            .map(rows)
            .transpose()?
            .unwrap_or_default();
        Ok(rows.into_iter().map(launch).collect())
    }

    /// The service with all that is known of it.
    ///
    /// # Errors
    /// As for [`titles`](Self::titles).
    pub fn service(&self, catalogue: &Catalogue) -> Result<Service, LoadError> {
        Ok(Service::new(catalogue, &self.titles()?, &self.launches()?))
    }
}

/// Rows of a CSV file with a header; lines that begin with `#` are comments.
fn rows<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, LoadError> {
    let open = std::fs::File::open(file).map_err(|source| LoadError::Read {
        file: file.to_owned(),
        source,
    })?;
    let mut csv = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(open);
    let wrong = |e: csv::Error| LoadError::Row {
        file: file.to_owned(),
        line: e.position().map_or(1, csv::Position::line),
        problem: match e.kind() {
            csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
            _ => e.to_string(),
        },
    };
    csv.deserialize().map(|row| row.map_err(wrong)).collect()
}
