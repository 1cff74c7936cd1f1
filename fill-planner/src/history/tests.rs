//! The history against the rows that it is made of, and what no later day may change.

use super::*;
use arrow::{
    array::{AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::Float64Type,
};
use cdn_types::{Bytes, Hour, ObjectDigest};
use fill_core::History;

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn row(hour: i64, region: &str, object: u8, bytes: u64) -> DemandRow {
    DemandRow {
        hour: Hour(hour),
        region: RegionId::new(region).unwrap(),
        object: ObjectDigest::of(&[object]),
        requests: bytes / 10,
        bytes: Bytes(bytes),
    }
}

/// Rows of `days` days before the planned one, with gaps, several rows an hour and an evening that is still missing.
fn rows(planned: Date, days: i64) -> Vec<DemandRow> {
    let cut = Hour::start_of(planned).0;
    let mut out = Vec::new();
    for hour in cut - 24 * days..cut - 2 {
        for (r, region) in ["east", "north", "west"].into_iter().enumerate() {
            for object in 0..6u8 {
                let mixed = hour * 31 + i64::from(object) * 17 + r as i64 * 7;
                if mixed % 5 < 2 && !(object + r as u8).is_multiple_of(4) {
                    out.push(row(hour, region, object, (mixed % 97) as u64));
                    out.push(row(hour, region, object, 3));
                }
            }
        }
    }
    out
}

fn ask<T>(future: impl Future<Output = Result<T, HistoryError>>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future).unwrap()
}

fn features(store: &HistoryStore, planned: Date) -> RecordBatch {
    let batches = ask(store.features(planned));
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn sql_makes_the_same_history_as_the_rows_do() {
    let planned = day("2026-11-23");
    for days in [1, 3, 20, 70] {
        let dir = tempfile::tempdir().unwrap();
        let store = HistoryStore::new(&dir.path().join("history"));
        let rows = rows(planned, days);
        // Day by day, as nights come, and one of them twice.
        for day in store.add(&rows[..rows.len() / 2]).unwrap() {
            let again: Vec<_> = rows.iter().filter(|r| r.hour.date() == day).cloned().collect();
            store.add(&again).unwrap();
        }
        store.add(&rows[rows.len() / 2..]).unwrap();
        let split: Vec<_> = rows
            .iter()
            .filter(|r| r.hour.date() == rows[rows.len() / 2].hour.date())
            .cloned()
            .collect();
        store.add(&split).unwrap();
        assert_eq!(store.days().unwrap().len(), days as usize);
        assert_eq!(
            ask(store.before(planned)),
            History::before(planned, &rows),
            "{days} days"
        );
    }
    let nothing = HistoryStore::new(&tempfile::tempdir().unwrap().path().join("none"));
    assert_eq!(ask(nothing.before(planned)), History::before(planned, []));
}

#[test]
fn what_comes_later_changes_no_byte_of_what_is_asked_before() {
    let planned = day("2026-11-23");
    let dir = tempfile::tempdir().unwrap();
    let store = HistoryStore::new(dir.path());
    store.add(&rows(planned, 30)).unwrap();
    let (history, known) = (ask(store.before(planned)), features(&store, planned));
    // The planned day and later ones, one of which cannot even be read.
    store.add(&rows(day("2026-12-03"), 10)).unwrap();
    let broken = dir.path().join("day=2026-11-24/region=north/demand.parquet");
    fs::write(&broken, "no parquet").unwrap();
    assert_eq!(ask(store.before(planned)), history);
    assert_eq!(History::before(planned, &ask(store.rows(planned))), history);
    assert_eq!(features(&store, planned), known);
}

#[test]
fn features_are_what_a_reader_counts_by_hand() {
    let planned = day("2026-11-23");
    let cut = Hour::start_of(planned).0;
    let dir = tempfile::tempdir().unwrap();
    let store = HistoryStore::new(dir.path());
    let at = |age: i64| cut - 24 * age + 5;
    store
        .add(&[
            row(at(1), "a", 1, 100),
            row(at(2), "a", 1, 50),
            row(at(7), "a", 1, 70),
            row(at(14), "a", 1, 14),
            row(at(1), "b", 1, 40),
            row(at(3), "b", 2, 30),
            row(at(29), "b", 2, 1_000_000), // beyond four weeks
        ])
        .unwrap();
    let table = features(&store, planned);
    assert_eq!(table.num_rows(), 4, "two regions, two objects");
    let regions = arrow::compute::cast(
        &table.column_by_name("region").unwrap().clone(),
        &arrow::datatypes::DataType::Utf8,
    )
    .unwrap();
    let find = |region: &str, object: u8| {
        let objects = table.column_by_name("object").unwrap().as_fixed_size_binary();
        let digest = ObjectDigest::of(&[object]);
        (0..4)
            .find(|i| {
                regions.as_string::<i32>().value(*i) == region && objects.value(*i) == digest.as_bytes()
            })
            .unwrap()
    };
    let value = |row: usize, column: &str| {
        table
            .column_by_name(column)
            .unwrap()
            .as_primitive::<Float64Type>()
            .value(row)
    };
    let seen = find("a", 1);
    for (column, wanted) in [
        ("lag_1", 100.0),
        ("lag_2", 50.0),
        ("lag_3", 0.0),
        ("lag_7", 70.0),
        ("lag_14", 14.0),
        ("mean_3", 50.0),
        ("mean_7", 220.0 / 7.0),
        ("mean_28", 234.0 / 28.0),
        ("same_weekday", 21.0),
        ("requests_7", 22.0 / 7.0),
        ("first_seen", 14.0),
        ("last_seen", 1.0),
        ("global_lag_1", 140.0),
        ("global_mean_7", 260.0 / 7.0),
        ("global_regions", 2.0),
        ("neighbours_mean_7", 40.0 / 7.0),
        ("region_lag_1", 100.0),
        ("region_mean_7", 220.0 / 7.0),
    ] {
        assert!(
            (value(seen, column) - wanted).abs() < 1e-9,
            "{column}: {}",
            value(seen, column)
        );
    }
    // Never drawn in a: what is known of it comes from b.
    let unseen = find("a", 2);
    assert_eq!(
        value(unseen, "lag_1") + value(unseen, "mean_28") + value(unseen, "first_seen"),
        0.0
    );
    assert!((value(unseen, "neighbours_mean_7") - 30.0 / 7.0).abs() < 1e-9);
    assert_eq!(value(unseen, "global_regions"), 1.0);
}

#[test]
fn a_file_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = HistoryStore::new(dir.path());
    store.add(&rows(day("2026-11-23"), 2)).unwrap();
    let broken = dir.path().join("day=2026-11-22/region=north/demand.parquet");
    fs::write(&broken, "no parquet at all").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = runtime.block_on(store.before(day("2026-11-23"))).unwrap_err();
    assert!(
        error.to_string().contains("Parquet")
            && error.to_string().contains(&dir.path().display().to_string()),
        "{error}"
    );
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let error = HistoryStore::new(&file)
        .add(&rows(day("2026-11-23"), 1))
        .unwrap_err();
    assert!(error.to_string().contains("a-file"), "{error}");
}
