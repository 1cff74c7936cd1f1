//! Rows of a table by the names of its columns, from CSV, CSV packed with gzip, or Parquet. What a table must look like is a
//! [`Layout`]; every error names the file, the place in it, and what would be right. It opens the file it is given and nothing else.
//!
//! All cells are read as text, also those of Parquet, so that a column means the same in every kind of file.

use arrow::{
    array::RecordBatch,
    datatypes::DataType,
    util::display::{ArrayFormatter, FormatOptions},
};
use csv::{Position, StringRecord};
use flate2::read::MultiGzDecoder;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use std::{
    fmt::Display,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// It cannot be opened.
    #[error("{}: cannot be read: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no Parquet.
    #[error("{}: no Parquet file: {problem}", .file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// A column is missing, not known, or there twice.
    #[error("{}: {place}{problem}; {what} have the columns {expected}", .file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// `line 1: ` where there are lines.
        place: &'static str,
        /// What is wrong.
        problem: String,
        /// What the rows are.
        what: &'static str,
        /// Columns that they have.
        expected: String,
    },
    /// A row cannot be read: packed badly, not UTF-8, another number of fields.
    #[error("{}: {place}: {problem}", .file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// Where, such as `line 3`.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// A field is wrong.
    #[error("{}: {place}, column `{column}`: {problem}", .file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Where, such as `line 3`.
        place: String,
        /// Its column.
        column: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// No row at all.
    #[error("{}: there is no row; expected {what}", .file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// What the rows are.
        what: &'static str,
    },
}

/// What a table must look like.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    what: &'static str,
    columns: &'static [&'static str],
    needed: usize,
    own: bool,
}

impl Layout {
    /// A format of this project: the first `needed` columns must be there, the others may; any more is an error. In CSV, lines
    /// that begin with `#` are comments. There may be no row at all.
    pub const fn own(what: &'static str, columns: &'static [&'static str], needed: usize) -> Self {
        Self {
            what,
            columns,
            needed,
            own: true,
        }
    }
    /// A format of others: these columns must be there, others are ignored. There must be a row.
    pub const fn published(what: &'static str, columns: &'static [&'static str]) -> Self {
        Self {
            what,
            columns,
            needed: columns.len(),
            own: false,
        }
    }

    /// Where each column stands; `None` for one that may be absent and is.
    fn places(
        &self,
        header: &[&str],
        file: &Path,
        place: &'static str,
    ) -> Result<Vec<Option<usize>>, RowsError> {
        let wrong = |problem: String| RowsError::Header {
            file: file.to_owned(),
            place,
            problem,
            what: self.what,
            expected: self.expected(),
        };
        if let Some(strange) = header
            .iter()
            .find(|h| self.own && !self.columns.iter().any(|c| c == *h))
        {
            return Err(wrong(format!("column `{strange}` is not known")));
        }
        let find = |(i, column): (usize, &&str)| {
            let mut found = header.iter().enumerate().filter(|(_, h)| *h == column);
            match (found.next(), found.next()) {
                (Some((at, _)), None) => Ok(Some(at)),
                (None, _) if i >= self.needed => Ok(None),
                (None, _) => Err(wrong(format!("column `{column}` is missing"))),
                (Some(_), Some(_)) => Err(wrong(format!("column `{column}` stands twice"))),
            }
        };
        self.columns.iter().enumerate().map(find).collect()
    }

    fn expected(&self) -> String {
        let (needed, optional) = self.columns.split_at(self.needed);
        match optional {
            [] => needed.join(","),
            some => format!("{}, and may have {}", needed.join(","), some.join(",")),
        }
    }
}

/// One row: its fields in the order of the layout's columns.
pub struct Row<'a> {
    file: &'a Path,
    layout: &'a Layout,
    places: &'a [Option<usize>],
    record: &'a StringRecord,
    place: (&'static str, u64),
}

impl Row<'_> {
    /// Whether the file has this column at all.
    pub fn has(&self, column: usize) -> bool {
        self.places[column].is_some()
    }
    /// A field; empty where it is absent.
    pub fn text(&self, column: usize) -> &str {
        self.places[column]
            .and_then(|at| self.record.get(at))
            .unwrap_or_default()
    }
    /// A field as what it should be; `what` says that.
    pub fn parse<T: FromStr>(&self, column: usize, what: &str) -> Result<T, RowsError> {
        let text = self.text(column);
        text.parse()
            .map_err(|_| self.wrong(column, format!("`{text}` is not {what}")))
    }
    /// A field whose type says itself what is wrong.
    pub fn typed<T: FromStr<Err: Display>>(&self, column: usize) -> Result<T, RowsError> {
        self.text(column)
            .parse()
            .map_err(|e: T::Err| self.wrong(column, e.to_string()))
    }
    /// A field that may be empty.
    pub fn optional<T: FromStr>(&self, column: usize, what: &str) -> Result<Option<T>, RowsError> {
        if self.text(column).is_empty() {
            Ok(None)
        } else {
            self.parse(column, what).map(Some)
        }
    }
    /// A whole number of 0 or more.
    pub fn count(&self, column: usize) -> Result<u64, RowsError> {
        self.parse(column, "a whole number of 0 or more")
    }
    /// A number of 0 or more.
    pub fn amount(&self, column: usize) -> Result<f64, RowsError> {
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
    pub fn wrong(&self, column: usize, problem: String) -> RowsError {
        RowsError::Field {
            file: self.file.to_owned(),
            place: format!("{} {}", self.place.0, self.place.1),
            column: self.layout.columns[column],
            problem,
        }
    }
}

/// The file `name` of a folder: packed with gzip if that is there, else plain.
pub fn packed_or_plain(dir: &Path, name: &str) -> PathBuf {
    let packed = dir.join(format!("{name}.gz"));
    if packed.exists() { packed } else { dir.join(name) }
}

/// Hands each row of a file to `each`. `.parquet` is read as Parquet, `.gz` as CSV packed with gzip, all else as CSV.
pub fn read(
    file: &Path,
    layout: &Layout,
    each: impl FnMut(&Row<'_>) -> Result<(), RowsError>,
) -> Result<(), RowsError> {
    let open = File::open(file).map_err(|source| RowsError::Read {
        file: file.to_owned(),
        source,
    })?;
    match file.extension().and_then(|e| e.to_str()) {
        Some("parquet") => parquet(open, file, layout, each),
        Some("gz") => csv(MultiGzDecoder::new(BufReader::new(open)), file, layout, each),
        _ => csv(BufReader::new(open), file, layout, each),
    }
}

/// [`read`] for CSV from a reader; `file` is its name in errors.
pub fn csv(
    reader: impl Read,
    file: &Path,
    layout: &Layout,
    mut each: impl FnMut(&Row<'_>) -> Result<(), RowsError>,
) -> Result<(), RowsError> {
    let mut csv = csv::ReaderBuilder::new()
        .comment(layout.own.then_some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(reader);
    let header = csv.headers().map_err(|e| row_error(file, &e))?.clone();
    let places = layout.places(&header.iter().collect::<Vec<_>>(), file, "line 1: ")?;
    let mut record = StringRecord::new();
    let mut empty = true;
    while csv.read_record(&mut record).map_err(|e| row_error(file, &e))? {
        empty = false;
        each(&Row {
            file,
            layout,
            places: &places,
            record: &record,
            place: ("line", record.position().map_or(0, Position::line)),
        })?;
    }
    filled(empty, file, layout)
}

fn row_error(file: &Path, error: &csv::Error) -> RowsError {
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!("{len} fields where the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    RowsError::Row {
        file: file.to_owned(),
        place: format!("line {}", error.position().map_or(1, Position::line)),
        problem,
    }
}

fn filled(empty: bool, file: &Path, layout: &Layout) -> Result<(), RowsError> {
    if empty && !layout.own {
        return Err(RowsError::Empty {
            file: file.to_owned(),
            what: layout.what,
        });
    }
    Ok(())
}

fn parquet(
    open: File,
    file: &Path,
    layout: &Layout,
    mut each: impl FnMut(&Row<'_>) -> Result<(), RowsError>,
) -> Result<(), RowsError> {
    let broken = |problem: &dyn Display| RowsError::Parquet {
        file: file.to_owned(),
        problem: problem.to_string(),
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(open).map_err(|e| broken(&e))?;
    let schema = builder.schema().clone();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut used: Vec<usize> = layout.places(&names, file, "")?.into_iter().flatten().collect();
    used.sort_unstable();
    let mask = ProjectionMask::roots(builder.parquet_schema(), used.iter().copied());
    let reader = builder.with_projection(mask).build().map_err(|e| broken(&e))?;
    // Batches have the used columns alone, in the file's order.
    let names: Vec<&str> = used.iter().map(|at| names[*at]).collect();
    let places = layout.places(&names, file, "")?;
    let mut number = 0;
    for batch in reader {
        let batch = batch.map_err(|e| broken(&e))?;
        let columns = Cells::new(&batch).map_err(|e| broken(&e))?;
        for at in 0..batch.num_rows() {
            number += 1;
            let record = columns.record(at).map_err(|problem| RowsError::Row {
                file: file.to_owned(),
                place: format!("row {number}"),
                problem,
            })?;
            each(&Row {
                file,
                layout,
                places: &places,
                record: &record,
                place: ("row", number),
            })?;
        }
    }
    filled(number == 0, file, layout)
}

/// Cells of a batch as text.
struct Cells<'a>(Vec<(ArrayFormatter<'a>, bool)>);

impl<'a> Cells<'a> {
    fn new(batch: &'a RecordBatch) -> Result<Self, arrow::error::ArrowError> {
        const OPTIONS: FormatOptions = FormatOptions::new();
        let column = |array: &'a arrow::array::ArrayRef| {
            let instant = matches!(array.data_type(), DataType::Timestamp(..));
            Ok((ArrayFormatter::try_new(array, &OPTIONS)?, instant))
        };
        batch
            .columns()
            .iter()
            .map(column)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn record(&self, row: usize) -> Result<StringRecord, String> {
        let mut record = StringRecord::new();
        for (cells, instant) in &self.0 {
            let text = cells.value(row).try_to_string().map_err(|e| e.to_string())?;
            record.push_field(if *instant { hour(&text) } else { text }.as_str());
        }
        Ok(record)
    }
}

/// A whole hour as this project writes it, `2026-11-22T14Z`; any other instant as it is, for its error to name.
fn hour(text: &str) -> String {
    let bare = text
        .strip_suffix('Z')
        .or_else(|| text.strip_suffix("+00:00"))
        .unwrap_or(text);
    match bare.strip_suffix(":00:00") {
        Some(hour) => format!("{hour}Z"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
