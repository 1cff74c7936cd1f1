//! The same table from CSV, packed CSV and Parquet, and what is wrong with others.

use super::*;
use arrow::{
    array::{
        ArrayRef, Date32Array, FixedSizeBinaryArray, Int64Array, StringArray, TimestampSecondArray,
        UInt64Array,
    },
    record_batch::RecordBatch,
};
use parquet::arrow::ArrowWriter;
use std::{io::Write, sync::Arc};

const LAYOUT: Layout = Layout::own("counts", &["hour", "object", "count", "note"], 3);

/// Each row's texts, joined.
fn texts(file: &Path) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    read(file, &LAYOUT, |row| {
        row.count(2)?;
        out.push((0..4).map(|c| row.text(c)).collect::<Vec<_>>().join("|"));
        Ok(())
    })
    .map_err(|e| e.to_string())?;
    Ok(out)
}

fn parquet_file(dir: &Path, columns: Vec<(&str, ArrayRef)>) -> PathBuf {
    let file = dir.join("t.parquet");
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(&file).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn instants() -> ArrayRef {
    Arc::new(TimestampSecondArray::from(vec![1_795_356_000, 1_795_359_600]).with_timezone("UTC"))
}

fn digests() -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::try_from_iter([[0xab; 4], [1; 4]].into_iter()).unwrap())
}

#[test]
fn a_table_is_the_same_from_every_kind_of_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = "# a comment\ncount,hour, object\n7,2026-11-22T14Z,abababab\n0,2026-11-22T15Z,01010101\n";
    let plain = dir.path().join("t.csv");
    std::fs::write(&plain, text).unwrap();
    let packed = dir.path().join("t.csv.gz");
    let mut gz = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap();
    let counts: ArrayRef = Arc::new(UInt64Array::from(vec![7, 0]));
    let parquet = parquet_file(
        dir.path(),
        vec![("object", digests()), ("count", counts), ("hour", instants())],
    );
    let expected = vec!["2026-11-22T14Z|abababab|7|", "2026-11-22T15Z|01010101|0|"];
    for file in [plain, packed, parquet] {
        assert_eq!(texts(&file).unwrap(), expected, "{}", file.display());
    }
}

#[test]
fn parquet_mistakes_are_named_with_row_and_column() {
    let dir = tempfile::tempdir().unwrap();
    let negative: ArrayRef = Arc::new(Int64Array::from(vec![7, -1]));
    let file = parquet_file(
        dir.path(),
        vec![("hour", instants()), ("object", digests()), ("count", negative)],
    );
    let error = texts(&file).unwrap_err();
    assert!(
        error.ends_with("t.parquet: row 2, column `count`: `-1` is not a whole number of 0 or more"),
        "{error}"
    );
    let file = parquet_file(dir.path(), vec![("hour", instants()), ("object", digests())]);
    let error = texts(&file).unwrap_err();
    assert!(
        error.ends_with("t.parquet: column `count` is missing; counts have the columns hour,object,count, and may have note"),
        "{error}"
    );
    let strange: ArrayRef = Arc::new(StringArray::from(vec!["x", "y"]));
    let file = parquet_file(dir.path(), vec![("hour", instants()), ("views", strange)]);
    assert!(texts(&file).unwrap_err().contains("column `views` is not known"));
    std::fs::write(&file, "hour,object,count\n").unwrap();
    assert!(texts(&file).unwrap_err().contains("no Parquet file"));
    let error = texts(&dir.path().join("none.csv")).unwrap_err();
    assert!(error.contains("none.csv: cannot be read"), "{error}");
}

#[test]
fn empty_cells_dates_and_odd_instants_keep_their_text() {
    let dir = tempfile::tempdir().unwrap();
    let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(20_779), None]));
    let odd: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1_795_356_060, 1_795_356_000]));
    let counts: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2]));
    let file = parquet_file(
        dir.path(),
        vec![
            ("hour", odd),
            ("object", digests()),
            ("count", counts),
            ("note", days),
        ],
    );
    assert_eq!(
        texts(&file).unwrap(),
        [
            "2026-11-22T14:01:00|abababab|1|2026-11-22",
            "2026-11-22T14Z|01010101|2|"
        ]
    );
}

#[test]
fn a_table_of_others_may_have_more_columns_but_needs_a_row() {
    const OTHERS: Layout = Layout::published("visits", &["day"]);
    let count = |text: &str| {
        let mut rows = 0;
        csv(text.as_bytes(), Path::new("v.csv"), &OTHERS, |_| {
            rows += 1;
            Ok(())
        })
        .map(|()| rows)
        .map_err(|e| e.to_string())
    };
    assert_eq!(count("day,more\n1,2\n# no comment,3\n"), Ok(2));
    assert_eq!(
        count("day\n").unwrap_err(),
        "v.csv: there is no row; expected visits"
    );
}
