//! The real program: its history feeds the planner, its nights are the same every time.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use cdn_types::{
    Bytes, Hour, ObjectDigest, TitleId,
    api::v1::{Catalogue, CatalogueObject, DemandRow},
};
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Output},
};

fn catalogue() -> Catalogue {
    let object = |title: &str, file: &str, media_type: &str, rendition: Option<&str>, size| CatalogueObject {
        digest: ObjectDigest::of(format!("{title}/{file}").as_bytes()),
        size: Bytes(size),
        title: TitleId::new(title).unwrap(),
        path: format!("/t/{title}/v1/{file}"),
        media_type: media_type.into(),
        rendition: rendition.map(Into::into),
    };
    let title = |t: usize| {
        let name = format!("title-{t}");
        [
            object(&name, "v720.mp4", "video/mp4", Some("v720"), 4_000_000),
            object(&name, "v360.mp4", "video/mp4", Some("v360"), 1_000_000),
            object(&name, "a128.mp4", "audio/mp4", Some("a128"), 500_000),
            object(&name, "index.m3u8", "application/vnd.apple.mpegurl", None, 2_000),
        ]
    };
    Catalogue {
        objects: (0..6).flat_map(title).collect(),
    }
}

fn history(dir: &Path, out: &str, more: &[&str]) -> Output {
    std::fs::write(
        dir.join("catalogue.json"),
        serde_json::to_string(&catalogue()).unwrap(),
    )
    .unwrap();
    Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
        .current_dir(dir)
        .args([
            "history",
            "--catalog",
            "catalogue.json",
            "--regions",
            "south,north,south",
            "--until",
            "2026-11-23",
        ])
        .args(["--out", out])
        .args(more)
        .output()
        .unwrap()
}

fn sum<K: Ord>(rows: &[DemandRow], key: impl Fn(&DemandRow) -> K) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        *sums.entry(key(row)).or_default() += row.bytes.0;
    }
    sums
}

#[test]
fn history_is_labelled_plausible_and_the_same_for_a_seed() {
    let dir = tempfile::tempdir().unwrap();
    let out = history(dir.path(), "h.csv", &["--days", "14", "--sessions", "2000"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).starts_with("SIMULATED: "));
    let text = std::fs::read_to_string(dir.path().join("h.csv")).unwrap();
    assert!(text.starts_with("# SIMULATED demand"));
    let rows = fill_planner::load::demand(&dir.path().join("h.csv")).unwrap();
    assert!(
        history(dir.path(), "same.json", &["--days", "14", "--sessions", "2000"])
            .status
            .success()
    );
    let json = std::fs::read(dir.path().join("same.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Vec<DemandRow>>(&json).unwrap(), rows);
    assert!(
        history(dir.path(), "other.csv", &["--seed", "2"])
            .status
            .success()
    );
    assert_ne!(
        std::fs::read_to_string(dir.path().join("other.csv")).unwrap(),
        text
    );

    let hours: Vec<Hour> = rows.iter().map(|r| r.hour).collect();
    let end = Hour::start_of("2026-11-23".parse().unwrap());
    assert!(hours.is_sorted() && hours[0].0 == end.0 - 14 * 24 && hours.last().unwrap().0 == end.0 - 1);
    let of_day = sum(&rows, |r| r.hour.of_day());
    let peak = *of_day.values().max().unwrap() as f64 * 24.0 / of_day.values().sum::<u64>() as f64;
    assert!((1.8..2.1).contains(&peak), "{peak}");
    // Each region has its favourites; both renditions are drawn, the larger one more.
    let titles = catalogue();
    let title = |r: &DemandRow| {
        titles
            .objects
            .iter()
            .find(|o| o.digest == r.object)
            .unwrap()
            .title
            .clone()
    };
    let of_title = sum(&rows, |r| (r.region.clone(), title(r)));
    let north: Vec<u64> = of_title
        .iter()
        .filter(|(k, _)| k.0.as_str() == "north")
        .map(|(_, b)| *b)
        .collect();
    assert!(
        north.len() == 6 && *north.iter().max().unwrap() > 2 * north.iter().min().unwrap(),
        "{north:?}"
    );
    let of_object = sum(&rows, |r| r.object);
    let of = |file: &str| of_object[&ObjectDigest::of(format!("title-0/{file}").as_bytes())];
    assert!(of("v720.mp4") > of("v360.mp4") && of("v360.mp4") > of("index.m3u8"));
}

#[test]
fn wrong_arguments_are_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let out = history(dir.path(), "h.txt", &[]);
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(
        !out.status.success() && text == "error: --out h.txt must end in .csv or .json\n",
        "{text}"
    );
    let bad = ["nights", "--churn", "2"];
    let out = Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
        .args(bad)
        .output()
        .unwrap();
    assert!(
        String::from_utf8(out.stderr)
            .unwrap()
            .contains("--churn 2 must be 0 to 1")
    );
}

#[test]
fn nights_print_a_labelled_table_and_json() {
    let nights = |more: &[&str]| {
        let small = [
            "nights",
            "--titles",
            "30",
            "--appliances",
            "3",
            "--nights",
            "2",
            "--sessions",
            "300",
        ];
        let out = Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
            .args(small)
            .args(more)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let table = nights(&[]);
    assert!(table.starts_with("SIMULATED: 30 titles, 3 appliances"), "{table}");
    assert_eq!(table, nights(&[]));
    let json: serde_json::Value = serde_json::from_str(&nights(&["--json"])).unwrap();
    assert_eq!(
        (
            json["simulated"].as_bool(),
            json["nights"].as_array().map(Vec::len)
        ),
        (Some(true), Some(2))
    );
}

#[test]
fn planning_is_timed_as_the_catalogue_grows_and_one_more_appliance_moves_its_share() {
    let scale = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_fleet-sim"))
            .args(["scale", "--appliances", "16", "--regions", "2"])
            .args(more)
            .output()
            .unwrap()
    };
    let out = scale(&["--objects", "800,4000"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .skip(2)
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let column = |c: usize| {
        lines
            .iter()
            .map(|l| l[c].trim_end_matches(" %"))
            .collect::<Vec<_>>()
    };
    let number = |c: usize| column(c).iter().map(|v| v.parse().unwrap()).collect::<Vec<f64>>();
    assert_eq!(column(0), ["800", "4000"], "{text}");
    assert!(
        number(6)[1] > 4.0 * number(6)[0] && number(6)[0] > 400.0,
        "{text}"
    );
    assert!(number(7).iter().all(|gap| *gap < 3.0), "{text}");
    assert!(
        number(8).iter().all(|moved| (0.5..=1.2).contains(moved)),
        "{text}"
    );

    for (wrong, named) in [
        (["--grouping", "shelf"], "title, ladder or file"),
        (
            ["--per-site", "17"],
            "--appliances 16 must be at least --per-site 17",
        ),
        (["--objects", "7"], "--objects"),
        (["--origin-cap", "0"], "--origin-cap must be above 0"),
    ] {
        let out = scale(&wrong);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(named), "{wrong:?}: {said}");
        assert!(out.stdout.is_empty(), "{wrong:?}: a table without a line");
    }
}
