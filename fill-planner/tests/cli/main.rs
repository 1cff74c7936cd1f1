//! The real program, a file a command: on files, and against a control plane that answers as agreed, fails, refuses or hangs.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "../support/control.rs"]
mod control;
#[path = "../support/service.rs"]
mod service;
#[path = "../../core/tests/support/world.rs"]
mod world;

mod forecast;
mod plan;
mod review;
mod run;
mod urgent;

use cdn_types::{api::v1::DemandRow, plan::Plan, time::Timestamp};
use control::{Asked, FakeControl};
use fill_core::PlanReport;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use world::{Shape, World};

const SHAPE: Shape = Shape {
    seed: 3,
    titles: 6,
    sites: 2,
    per_site: 2,
    storage_percent: 300,
    fill_percent: 1_000_000,
    days: 14,
};

fn csv(rows: &[DemandRow]) -> String {
    let mut text = "hour,region,object,requests,bytes\n".to_owned();
    for r in rows {
        writeln!(
            text,
            "{},{},{},{},{}",
            r.hour, r.region, r.object, r.requests, r.bytes.0
        )
        .unwrap();
    }
    text
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(world: &World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let json = |name: &str, text: Result<String, serde_json::Error>| {
            std::fs::write(dir.path().join(name), text.unwrap()).unwrap();
        };
        json("catalogue.json", serde_json::to_string(&world.catalogue));
        json("fleet.json", serde_json::to_string(&world.fleet));
        let (a, b) = world.demand.split_at(world.demand.len() / 2);
        std::fs::write(dir.path().join("a.csv"), csv(a)).unwrap();
        std::fs::write(dir.path().join("b.csv"), csv(b)).unwrap();
        Self { dir }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn plan(&self, more: &[&str]) -> Output {
        let mut command = planner();
        command.current_dir(self.dir.path()).arg("plan");
        command.args([
            "--demand",
            "a.csv",
            "b.csv",
            "--catalog",
            "catalogue.json",
            "--fleet",
            "fleet.json",
        ]);
        command.args(["--date", "2026-11-23"]).args(more);
        command.output().unwrap()
    }
}

fn planner() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fill-planner"));
    command
        .env_remove("NIGHTFILL_TOKEN")
        .env_remove("NIGHTFILL_CONTROL")
        .env_remove("RUST_LOG");
    command
}
fn stdout(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).unwrap()
}
fn stderr(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).unwrap()
}
fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// A control plane with the world's data; `publish` answers POST /v1/plans.
fn serve(world: &World, publish: impl FnMut(&Asked) -> (u16, String) + Send + 'static) -> FakeControl {
    let catalogue = serde_json::to_string(&world.catalogue).unwrap();
    let fleet = serde_json::to_string(&world.fleet).unwrap();
    serve_documents(catalogue, fleet, world.demand.clone(), publish)
}

/// The same of any documents.
fn serve_documents(
    catalogue: String,
    fleet: String,
    demand: Vec<DemandRow>,
    mut publish: impl FnMut(&Asked) -> (u16, String) + Send + 'static,
) -> FakeControl {
    let mut published: Option<String> = None;
    let mut notes = std::collections::BTreeMap::new();
    FakeControl::start(Box::new(move |asked| {
        let path = asked.call.split('?').next().unwrap_or_default();
        match path {
            "GET /v1/catalogue" => (200, catalogue.clone()),
            "GET /v1/fleet" => (200, fleet.clone()),
            "GET /v1/demand" => (200, rows_of(&demand, &asked.call)),
            "GET /v1/plans" => (200, "[]".into()),
            "GET /v1/plans/1" => published.clone().map_or((404, "{}".into()), |p| (200, p)),
            "POST /v1/plans" => {
                let answer = publish(asked);
                published.get_or_insert_with(|| asked.body.clone());
                answer
            }
            "POST /v1/plans/1/activate" => (200, "{}".into()),
            "PUT /v1/plans/1/report" | "PUT /v1/plans/1/review" => {
                notes.insert(path.replace("PUT", "GET"), asked.body.clone());
                (200, "{}".into())
            }
            path if notes.contains_key(path) => (200, notes[path].clone()),
            other => (
                404,
                format!("{{\"type\":\"\",\"title\":\"\",\"status\":404,\"detail\":\"no {other}\"}}"),
            ),
        }
    }))
}

/// The rows that `GET /v1/demand?from=H&to=H` asks for.
fn rows_of(demand: &[DemandRow], call: &str) -> String {
    let hour = |name: &str| -> cdn_types::Hour {
        let after = call.split(name).nth(1).unwrap();
        after.split('&').next().unwrap().parse().unwrap()
    };
    let (from, to) = (hour("from="), hour("to="));
    let rows: Vec<_> = demand.iter().filter(|r| from <= r.hour && r.hour < to).collect();
    serde_json::to_string(&rows).unwrap()
}

fn run(control: &str, dir: &Path, more: &[&str]) -> Output {
    let mut command = planner();
    command.args([
        "run",
        "--control",
        control,
        "--token",
        "secret",
        "--date",
        "2026-11-23",
    ]);
    command.arg("--lock").arg(dir.join("lock")).args(more);
    command.output().unwrap()
}

/// The world's data alone; any other call is not found.
fn serve_data(world: &World) -> impl FnMut(&Asked) -> (u16, String) + Send + 'static {
    let catalogue = serde_json::to_string(&world.catalogue).unwrap();
    let fleet = serde_json::to_string(&world.fleet).unwrap();
    move |asked| match asked.call.split('?').next().unwrap_or_default() {
        "GET /v1/catalogue" => (200, catalogue.clone()),
        "GET /v1/fleet" => (200, fleet.clone()),
        "GET /v1/demand" | "GET /v1/plans" => (200, "[]".into()),
        _ => (404, "{}".into()),
    }
}
