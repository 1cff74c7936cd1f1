//! The real program on tables: CSV and Parquet mean what JSON means, and data sets of others become nights that can be replayed.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../core/tests/support/world.rs"]
mod world;

use arrow::array::{
    ArrayRef, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampSecondArray, UInt64Array,
};
use cdn_types::api::v1::DemandRow;
use parquet::arrow::ArrowWriter;
use std::{
    fmt::Write,
    fs::File,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};
use world::{Shape, World};

const SHAPE: Shape = Shape {
    seed: 5,
    titles: 6,
    sites: 2,
    per_site: 2,
    storage_percent: 150,
    fill_percent: 1_000_000,
    days: 10,
};

fn planner(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fill-planner"))
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap()
}

fn done(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn write_demand(file: &Path, rows: &[DemandRow]) {
    let hours = rows.iter().map(|r| r.hour.0 * 3600);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "region",
            Arc::new(StringArray::from_iter_values(
                rows.iter().map(|r| r.region.as_str()),
            )),
        ),
        ("hour", Arc::new(TimestampSecondArray::from_iter_values(hours))),
        (
            "object",
            Arc::new(FixedSizeBinaryArray::try_from_iter(rows.iter().map(|r| *r.object.as_bytes())).unwrap()),
        ),
        (
            "requests",
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.requests))),
        ),
        (
            "bytes",
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| r.bytes.0))),
        ),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(file).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn write_catalogue(file: &Path, world: &World) {
    let mut text = "title,object,size,path,media_type,rendition\n".to_owned();
    for o in world.catalogue.objects.iter().rev() {
        let rendition = o.rendition.as_deref().unwrap_or_default();
        writeln!(
            text,
            "{},{},{},{},{},{rendition}",
            o.title, o.digest, o.size.0, o.path, o.media_type
        )
        .unwrap();
    }
    std::fs::write(file, text).unwrap();
}

#[test]
fn tables_plan_what_documents_plan() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("catalogue.json"),
        serde_json::to_string(&world.catalogue).unwrap(),
    )
    .unwrap();
    std::fs::write(at("fleet.json"), serde_json::to_string(&world.fleet).unwrap()).unwrap();
    write_catalogue(&at("catalogue.csv"), &world);
    write_demand(&at("demand.parquet"), &world.demand);
    let mut csv = "hour,region,object,requests,bytes\n".to_owned();
    for r in &world.demand {
        writeln!(
            csv,
            "{},{},{},{},{}",
            r.hour, r.region, r.object, r.requests, r.bytes.0
        )
        .unwrap();
    }
    std::fs::write(at("demand.csv"), csv).unwrap();
    let date = "2026-11-23".to_owned();
    let plan = |demand: &str, catalogue: &str, out: &str| {
        let args = [
            "plan",
            "--demand",
            demand,
            "--catalog",
            catalogue,
            "--fleet",
            "fleet.json",
            "--date",
            &date,
            "--out",
            out,
        ];
        done(&planner(dir.path(), &args));
        std::fs::read_to_string(at(out).join("plan-1.json")).unwrap()
    };
    let documents = plan("demand.csv", "catalogue.json", "a");
    assert!(documents.contains("\"items\""));
    assert_eq!(plan("demand.parquet", "catalogue.csv", "b"), documents);
}

#[test]
fn a_fleet_from_a_table_is_planned_as_if_empty() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    write_catalogue(&dir.path().join("catalogue.csv"), &world);
    write_demand(&dir.path().join("demand.parquet"), &world.demand);
    let region = world.demand[0].region.as_str();
    let fleet = format!(
        "appliance,base_url,region,site,storage,egress,fill_rate,window_start,window_end,time_zone\n\
         origin,http://origin.example,,,,,,,,\n\
         oca-1,http://oca-1.example,{region},ams,1 TB,10 Gbps,1 Gbps,02:00,14:00,UTC\n"
    );
    std::fs::write(dir.path().join("fleet.csv"), fleet).unwrap();
    let date = "2026-11-23".to_owned();
    let args = [
        "plan",
        "--demand",
        "demand.parquet",
        "--catalog",
        "catalogue.csv",
        "--fleet",
        "fleet.csv",
        "--date",
        &date,
        "--dry-run",
    ];
    let shown = done(&planner(dir.path(), &args));
    assert!(
        shown.contains("oca-1 (site ams)") && shown.contains("0 B kept"),
        "{shown}"
    );
}

/// Forty days of sixty short videos; some are uploaded on the way, and each fades.
fn kuairec() -> String {
    let mut text =
        "video_id,date,author_id,video_type,upload_dt,video_duration,show_cnt,play_cnt,play_duration\n"
            .to_owned();
    let first: jiff::civil::Date = "2020-07-05".parse().unwrap();
    for video in 0..60_i32 {
        let upload = first.saturating_add(jiff::Span::new().days(i64::from(video % 30) - 8));
        for day in 0..40 {
            let date = first.saturating_add(jiff::Span::new().days(day));
            let age = (date - upload).get_days();
            if age >= 0 {
                let plays = 4000 / (1 + age) / (1 + video % 7) + 1;
                let line = format!(
                    "{video},{},1,NORMAL,{upload},30000.0,9,{plays},{}",
                    date.strftime("%Y%m%d"),
                    plays * 20_000
                );
                writeln!(text, "{line}").unwrap();
            }
        }
    }
    text
}

#[test]
fn an_imported_data_set_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("item_daily_features.csv"), kuairec()).unwrap();
    let said = done(&planner(
        dir.path(),
        &["import", "kuairec", "item_daily_features.csv", "--out", "set"],
    ));
    assert!(said.starts_with("60 objects, "), "{said}");
    assert!(said.contains(", 2020-07-05 to 2020-08-13: set"), "{said}");
    let args = [
        "evaluate",
        "nights",
        "--demand",
        "set/demand.csv",
        "--catalog",
        "set/catalogue.json",
        "--titles",
        "set/titles.csv",
        "--launches",
        "set/launches.csv",
        "--storage",
        "20",
        "--fill",
        "1",
        "--nights",
        "7",
        "--out",
        "report",
    ];
    let table = done(&planner(dir.path(), &args));
    assert!(table.contains("planner, boosted"), "{table}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.path().join("report/nights.json")).unwrap()).unwrap();
    let rows = report["tables"][0]["rows"].as_array().unwrap();
    let planner = rows
        .iter()
        .find(|r| r["keeper"] != "swap" && r["method"].as_str().unwrap().contains("boosted + calendar"))
        .unwrap_or_else(|| panic!("{report}"));
    let of_oracle = planner["of_o1"]["value"].as_f64().unwrap();
    assert!(of_oracle > 0.8 && of_oracle <= 1.0, "{of_oracle}");
}

#[test]
fn a_trace_is_read_from_standard_input_and_a_packed_one_refused() {
    use std::{io::Write as _, process::Stdio};
    let dir = tempfile::tempdir().unwrap();
    let feed = |bytes: &[u8]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fill-planner"))
            .current_dir(dir.path())
            .args([
                "import",
                "oracle-general",
                "-",
                "--start",
                "2025-03-01T00Z",
                "--region",
                "east",
                "--out",
                "trace",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bytes).unwrap();
        child.wait_with_output().unwrap()
    };
    let mut trace = Vec::new();
    for (clock, object, size) in [(0_u32, 7_u64, 10_u32), (3600, 7, 10), (3601, 8, 4)] {
        trace.extend(clock.to_le_bytes());
        trace.extend(object.to_le_bytes());
        trace.extend(size.to_le_bytes());
        trace.extend((-1_i64).to_le_bytes());
    }
    assert!(done(&feed(&trace)).starts_with("2 objects, 3 rows of demand, 2025-03-01 to 2025-03-01"));
    let demand = std::fs::read_to_string(dir.path().join("trace/demand.csv")).unwrap();
    assert!(demand.contains("2025-03-01T01Z,east,"), "{demand}");
    let packed = feed(&[0x28, 0xb5, 0x2f, 0xfd, 0]);
    let said = String::from_utf8(packed.stderr).unwrap();
    assert_eq!(packed.status.code(), Some(3));
    assert!(
        said.contains("standard input: packed with zstd; give it unpacked"),
        "{said}"
    );
}
