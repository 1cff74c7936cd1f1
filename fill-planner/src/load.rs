//! Reads the inputs of `plan` from files. Every error names the file and the place in it, and what would be right.
//! The formats are described in docs/formats/planner.md.

use cdn_types::{Bytes, Hour, ObjectDigest, RegionId, api::v1::DemandRow};
use csv::{Position, StringRecord};
use serde::de::DeserializeOwned;
use std::{
    fmt::Display,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Columns of a demand file, in any order.
pub const DEMAND_COLUMNS: [&str; 5] = ["hour", "region", "object", "requests", "bytes"];

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
    /// The header lacks a column, or has one too many.
    #[error("{}: line 1: {problem}; the header must have the columns {}", .file.display(), DEMAND_COLUMNS.join(","))]
    Header {
        /// The file.
        file: PathBuf,
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
        /// Name of the column.
        column: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A row is no row.
    #[error("{}: line {line}: {problem}", .file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
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

/// Reads a demand file.
pub fn demand(file: &Path) -> Result<Vec<DemandRow>, LoadError> {
    let open = File::open(file).map_err(|source| LoadError::Read {
        file: file.to_owned(),
        source,
    })?;
    demand_from(BufReader::new(open), file)
}

/// Reads demand in CSV; `file` is its name in errors. Lines that begin with `#` are comments.
pub fn demand_from(reader: impl Read, file: &Path) -> Result<Vec<DemandRow>, LoadError> {
    let mut csv = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(reader);
    let header = csv.headers().map_err(|e| row_error(file, &e))?.clone();
    let columns = columns(&header, file)?;
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    while csv.read_record(&mut record).map_err(|e| row_error(file, &e))? {
        rows.push(demand_row(&record, columns, file)?);
    }
    Ok(rows)
}

/// Where each of [`DEMAND_COLUMNS`] stands in the header.
fn columns(header: &StringRecord, file: &Path) -> Result<[usize; 5], LoadError> {
    let wrong = |problem: String| LoadError::Header {
        file: file.to_owned(),
        problem,
    };
    if let Some(strange) = header.iter().find(|h| !DEMAND_COLUMNS.contains(h)) {
        return Err(wrong(format!("column `{strange}` is not known")));
    }
    let mut places = [0; 5];
    for (place, name) in places.iter_mut().zip(DEMAND_COLUMNS) {
        let mut found = header.iter().enumerate().filter(|(_, h)| *h == name);
        *place = found
            .next()
            .ok_or_else(|| wrong(format!("column `{name}` is missing")))?
            .0;
        if found.next().is_some() {
            return Err(wrong(format!("column `{name}` stands twice")));
        }
    }
    Ok(places)
}

fn demand_row(record: &StringRecord, columns: [usize; 5], file: &Path) -> Result<DemandRow, LoadError> {
    let line = record.position().map_or(0, Position::line);
    let field = |i: usize| record.get(columns[i]).unwrap_or_default();
    fn parse<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
        text.parse().map_err(|e: T::Err| e.to_string())
    }
    let wrong = |i: usize, problem| LoadError::Field {
        file: file.to_owned(),
        line,
        column: DEMAND_COLUMNS[i],
        problem,
    };
    let count = |i: usize| {
        let text = field(i);
        text.parse::<u64>()
            .map_err(|_| wrong(i, format!("`{text}` is not a whole number of 0 or more")))
    };
    Ok(DemandRow {
        hour: parse::<Hour>(field(0)).map_err(|e| wrong(0, e))?,
        region: parse::<RegionId>(field(1)).map_err(|e| wrong(1, e))?,
        object: parse::<ObjectDigest>(field(2)).map_err(|e| wrong(2, e))?,
        requests: count(3)?,
        bytes: Bytes(count(4)?),
    })
}

fn row_error(file: &Path, error: &csv::Error) -> LoadError {
    let line = error.position().map_or(1, Position::line);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("{len} fields where the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    LoadError::Row {
        file: file.to_owned(),
        line,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    fn read(text: &str) -> Result<Vec<DemandRow>, String> {
        demand_from(text.as_bytes(), Path::new("d.csv")).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_columns_in_any_order_and_skips_comments() {
        let text = format!(
            "# simulated\nbytes,hour,region,object,requests\n 9 ,2026-11-22T14Z,nl,{OBJECT},2\n# more\n0,2026-11-22T15Z,nl,{OBJECT},0\n"
        );
        let rows = read(&text).unwrap();
        assert_eq!((rows.len(), rows[0].bytes, rows[0].requests), (2, Bytes(9), 2));
        assert_eq!(read("hour,region,object,requests,bytes\n"), Ok(vec![]));
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let header = "hour,region,object,requests,bytes";
        let row = |fields: &str| format!("{header}\n2026-11-22T14Z,nl,{OBJECT},1,1\n{fields}\n");
        let table = [
            (String::new(), "line 1: column `hour` is missing"),
            (
                "hour,region,object,requests\n".into(),
                "line 1: column `bytes` is missing",
            ),
            (format!("{header},views\n"), "column `views` is not known"),
            (format!("{header},hour\n"), "column `hour` stands twice"),
            (
                row(&format!("2026-11-22,nl,{OBJECT},1,1")),
                "line 3, column `hour`: `2026-11-22` is not an hour",
            ),
            (
                row(&format!("2026-11-22T24Z,nl,{OBJECT},1,1")),
                "line 3, column `hour`",
            ),
            (
                row(&format!("2026-11-22T14Z,n l,{OBJECT},1,1")),
                "line 3, column `region`: `n l` is not a region id",
            ),
            (
                row("2026-11-22T14Z,nl,abc,1,1"),
                "line 3, column `object`: `abc` is not a BLAKE3 digest",
            ),
            (
                row(&format!("2026-11-22T14Z,nl,{OBJECT},x,1")),
                "line 3, column `requests`: `x` is not a whole number",
            ),
            (
                row(&format!("2026-11-22T14Z,nl,{OBJECT},1,-5")),
                "line 3, column `bytes`: `-5` is not a whole number of 0 or more",
            ),
            (
                row(&format!("2026-11-22T14Z,nl,{OBJECT},1")),
                "line 3: 4 fields where the header has 5",
            ),
        ];
        for (text, expected) in table {
            let error = read(&text).unwrap_err();
            assert!(
                error.starts_with("d.csv: ") && error.contains(expected),
                "{error}\nwanted: {expected}"
            );
        }
    }

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
