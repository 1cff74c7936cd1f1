//! One file of the history: the rows of one day and region.

use super::{HistoryError, at};
use arrow::{
    array::{ArrayRef, FixedSizeBinaryArray, Int64Array, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use cdn_types::{ObjectDigest, api::v1::DemandRow};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use std::{collections::BTreeMap, fs, io::Write, path::Path, sync::Arc};

/// Largest count: SQL adds and compares in signed numbers.
const MOST: u64 = i64::MAX as u64;
/// Bytes of a digest.
const DIGEST: i32 = 32;

/// Columns of a file.
pub(super) fn schema() -> SchemaRef {
    let field = |name: &str, kind| Field::new(name, kind, false);
    Arc::new(Schema::new(vec![
        field("object", DataType::FixedSizeBinary(DIGEST)),
        field("hour", DataType::Int64),
        field("requests", DataType::UInt64),
        field("bytes", DataType::UInt64),
    ]))
}

/// Writes the file of a folder, whole or not at all. Rows of one hour and object are added up and sorted, so that the same rows
/// give the same bytes.
pub(super) fn write(folder: &Path, rows: &[&DemandRow]) -> Result<(), HistoryError> {
    let mut sums: BTreeMap<(ObjectDigest, i64), (u64, u64)> = BTreeMap::new();
    for row in rows {
        let (requests, bytes) = sums.entry((row.object, row.hour.0)).or_default();
        *requests = requests.saturating_add(row.requests).min(MOST);
        *bytes = bytes.saturating_add(row.bytes.0).min(MOST);
    }
    let part = folder.join("demand.parquet.part");
    let wrong = |source: parquet::errors::ParquetError| HistoryError::Parquet {
        file: part.clone(),
        source: Box::new(source),
    };
    let digests = sums.keys().map(|(object, _)| *object.as_bytes());
    let objects = FixedSizeBinaryArray::try_from_iter(digests).map_err(|e| wrong(e.into()))?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(objects),
        Arc::new(Int64Array::from_iter_values(sums.keys().map(|(_, hour)| *hour))),
        Arc::new(UInt64Array::from_iter_values(sums.values().map(|(r, _)| *r))),
        Arc::new(UInt64Array::from_iter_values(sums.values().map(|(_, b)| *b))),
    ];
    let batch = RecordBatch::try_new(schema(), columns).map_err(|e| wrong(e.into()))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties)).map_err(wrong)?;
    writer.write(&batch).map_err(wrong)?;
    let text = writer.into_inner().map_err(wrong)?;
    let written = fs::File::create(&part).and_then(|mut file| {
        file.write_all(&text)?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&part); // on a full disk its room is wanted; what failed is said below
        return Err(at(&part)(error));
    }
    let whole = folder.join("demand.parquet");
    fs::rename(&part, &whole).map_err(at(&whole))
}
