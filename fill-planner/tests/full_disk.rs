//! The real program where nothing more can be written: what was there stays whole, the error names the file, the exit code says
//! "output". The shell's limit on file sizes stands in for a full disk: every write fails, as it does there.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../core/tests/support/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use world::{Shape, World};

const SHAPE: Shape = Shape {
    seed: 8,
    titles: 4,
    sites: 1,
    per_site: 2,
    storage_percent: 150,
    fill_percent: 1_000_000,
    days: 5,
};

fn planner(dir: &Path, full: bool, args: &[&str]) -> Output {
    let limit = if full { "trap '' XFSZ; ulimit -f 0; " } else { "" };
    Command::new("sh")
        .current_dir(dir)
        .args([
            "-c",
            &format!("{limit}exec \"$0\" \"$@\""),
            env!("CARGO_BIN_EXE_fill-planner"),
        ])
        .args(args)
        .output()
        .unwrap()
}

/// Every file below a folder, with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    found
}

#[test]
fn a_full_disk_loses_nothing_and_is_named() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("catalogue.json"),
        serde_json::to_string(&world.catalogue).unwrap(),
    )
    .unwrap();
    std::fs::write(at("fleet.json"), serde_json::to_string(&world.fleet).unwrap()).unwrap();
    let mut csv = "hour,region,object,requests,bytes\n".to_owned();
    for r in &world.demand {
        writeln!(
            csv,
            "{},{},{},{},{}",
            r.hour, r.region, r.object, r.requests, r.bytes.0
        )
        .unwrap();
    }
    std::fs::write(at("demand.csv"), &csv).unwrap();
    let add = ["history", "add", "--store", "history", "--demand", "demand.csv"];
    let plan = |out: &'static str, number: &'static str| {
        [
            "plan",
            "--history",
            "history",
            "--catalog",
            "catalogue.json",
            "--fleet",
            "fleet.json",
            "--date",
            "2026-11-23",
            "--out",
            out,
            "--number",
            number,
        ]
    };
    for args in [&add[..], &plan("plans", "1")] {
        let done = planner(dir.path(), false, args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let before = (files(&at("history")), files(&at("plans")));
    assert!(
        !before.0.is_empty() && before.1.len() == 3,
        "{:?}",
        before.1.keys()
    );
    for (args, file) in [
        (&add[..], "demand.parquet.part"),
        (&plan("plans", "2"), "report-2.json"),
    ] {
        let failed = planner(dir.path(), true, args);
        let said = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(9), "{said}");
        assert!(said.contains(file) && said.contains("File too large"), "{said}");
        assert_eq!((files(&at("history")), files(&at("plans"))), before, "{file}");
    }
    // With room again the same commands go on.
    for args in [&add[..], &plan("plans", "2")] {
        let done = planner(dir.path(), false, args);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(files(&at("history")), before.0);
    assert!(at("plans/plan-2.json").exists());
}
