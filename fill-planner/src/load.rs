//! Reads the planner's inputs from files: documents as the control plane gives them (JSON), and tables (CSV, Parquet) by
//! [`crate::rows`]. Every error names the file and the place in it, and what would be right. The formats are described in
//! docs/formats/planner.md.

mod catalogue;
mod demand;
mod fleet;

pub use catalogue::catalogue;
pub use demand::{demand, demand_from};
pub use fleet::fleet;

use crate::rows::RowsError;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A table is wrong.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// A document of another release.
    #[error("{}: it has format {found}, this release reads format {known}; remove it, it is made anew", .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// A JSON document is not what it should be.
    #[error("{}: line {line}, column {column}: {problem}; expected {what}", .file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Character, from 1.
        column: usize,
        /// What is wrong.
        problem: String,
        /// What it should be.
        what: &'static str,
    },
}

/// Reads a JSON document.
pub fn json<T: DeserializeOwned>(file: &Path, what: &'static str) -> Result<T, LoadError> {
    let text = std::fs::read(file).map_err(|source| LoadError::Read {
        file: file.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|e| {
        let whole = e.to_string();
        let place = format!(" at line {} column {}", e.line(), e.column());
        LoadError::Json {
            file: file.to_owned(),
            line: e.line(),
            column: e.column(),
            problem: whole.strip_suffix(&place).unwrap_or(&whole).to_owned(),
            what,
        }
    })
}

/// Whether a file is a JSON document by its name; all else is a table.
fn is_json(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_mistakes_are_named_with_line_and_column() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.json");
        std::fs::write(&file, "{\"objects\": [\n  {\"digest\": \"x\"}]}").unwrap();
        let error = json::<cdn_types::api::v1::Catalogue>(&file, "a catalogue")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("c.json: line 2, column 17: `x` is not a BLAKE3 digest"),
            "{error}"
        );
        assert!(error.ends_with("expected a catalogue"), "{error}");
        let error =
            json::<cdn_types::api::v1::Catalogue>(&dir.path().join("none"), "a catalogue").unwrap_err();
        assert!(error.to_string().contains("none: cannot be read"));
    }
}
