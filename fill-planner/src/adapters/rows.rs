//! Rows of a CSV file by the names of their columns.

use csv::{Position, StringRecord};
use flate2::read::MultiGzDecoder;
use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

/// Why a published file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// It cannot be opened.
    #[error("{}: cannot be read: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The header lacks a column.
    #[error("{}: line 1: column `{column}` is missing; {what} have the columns {expected}", .file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// The missing column.
        column: &'static str,
        /// What the file should be.
        what: &'static str,
        /// Columns that are needed.
        expected: String,
    },
    /// A row cannot be read: packed badly, not UTF-8, another number of fields.
    #[error("{}: line {line}: {problem}", .file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A field is wrong.
    #[error("{}: line {line}, column `{column}`: {problem}", .file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Its column.
        column: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// No row at all.
    #[error("{}: there is no row below the header; expected {what}", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What the file should be.
        what: &'static str,
    },
    /// Half-years that are no sequence.
    #[error("{}: {source}", .file.display())]
    Gap {
        /// The file.
        file: PathBuf,
        /// Which are missing.
        source: fill_core::halves::GapError,
    },
}

/// One row: its fields in the order of the columns that were asked for.
pub struct Row<'a, const N: usize> {
    file: &'a Path,
    columns: [&'static str; N],
    places: [usize; N],
    record: &'a StringRecord,
}

impl<const N: usize> Row<'_, N> {
    /// A field.
    pub fn text(&self, column: usize) -> &str {
        self.record.get(self.places[column]).unwrap_or_default()
    }
    /// A field as what it should be; `what` says that.
    pub fn parse<T: std::str::FromStr>(&self, column: usize, what: &str) -> Result<T, AdapterError> {
        let text = self.text(column);
        text.parse()
            .map_err(|_| self.wrong(column, format!("`{text}` is not {what}")))
    }
    /// A field that may be empty.
    pub fn optional<T: std::str::FromStr>(
        &self,
        column: usize,
        what: &str,
    ) -> Result<Option<T>, AdapterError> {
        if self.text(column).is_empty() {
            Ok(None)
        } else {
            self.parse(column, what).map(Some)
        }
    }
    /// A number of 0 or more.
    pub fn amount(&self, column: usize) -> Result<f64, AdapterError> {
        let amount: f64 = self.parse(column, "a number")?;
        if amount.is_finite() && amount >= 0.0 {
            return Ok(amount);
        }
        Err(self.wrong(
            column,
            format!("`{}` is not a number of 0 or more", self.text(column)),
        ))
    }
    /// The error of a field.
    pub fn wrong(&self, column: usize, problem: String) -> AdapterError {
        AdapterError::Field {
            file: self.file.to_owned(),
            line: self.record.position().map_or(0, Position::line),
            column: self.columns[column],
            problem,
        }
    }
}

/// The file `name` of a folder: packed with gzip if that is there, else plain.
pub fn packed_or_plain(dir: &Path, name: &str) -> PathBuf {
    let packed = dir.join(format!("{name}.gz"));
    if packed.exists() { packed } else { dir.join(name) }
}

/// Hands each row of a file to `each`. `what` names the rows in errors.
pub fn read<const N: usize>(
    file: &Path,
    what: &'static str,
    columns: [&'static str; N],
    each: impl FnMut(&Row<'_, N>) -> Result<(), AdapterError>,
) -> Result<(), AdapterError> {
    let open = File::open(file).map_err(|source| AdapterError::Read {
        file: file.to_owned(),
        source,
    })?;
    if file.extension().is_some_and(|e| e == "gz") {
        read_from(
            MultiGzDecoder::new(BufReader::new(open)),
            file,
            what,
            columns,
            each,
        )
    } else {
        read_from(BufReader::new(open), file, what, columns, each)
    }
}

/// [`read`] from a reader; `file` is its name in errors.
pub fn read_from<const N: usize>(
    reader: impl Read,
    file: &Path,
    what: &'static str,
    columns: [&'static str; N],
    mut each: impl FnMut(&Row<'_, N>) -> Result<(), AdapterError>,
) -> Result<(), AdapterError> {
    let mut csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(reader);
    let row_error = |e: &csv::Error| AdapterError::Row {
        file: file.to_owned(),
        line: e.position().map_or(1, Position::line),
        problem: e.to_string(),
    };
    let header = csv.headers().map_err(|e| row_error(&e))?.clone();
    let mut places = [0; N];
    for (place, column) in places.iter_mut().zip(columns) {
        *place = header
            .iter()
            .position(|h| h == column)
            .ok_or_else(|| AdapterError::Header {
                file: file.to_owned(),
                column,
                what,
                expected: columns.join(","),
            })?;
    }
    let mut record = StringRecord::new();
    let mut empty = true;
    while csv.read_record(&mut record).map_err(|e| row_error(&e))? {
        empty = false;
        each(&Row {
            file,
            columns,
            places,
            record: &record,
        })?;
    }
    if empty {
        return Err(AdapterError::Empty {
            file: file.to_owned(),
            what,
        });
    }
    Ok(())
}
