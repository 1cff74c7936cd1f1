//! The real program: `plan` on files, `run` against a control plane that answers as agreed, fails, refuses or hangs.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "support/control.rs"]
mod control;
#[path = "../core/tests/support/world.rs"]
mod world;

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

#[test]
fn plan_writes_a_plan_and_reports_and_the_same_bytes_again() {
    let mut world = World::new(SHAPE);
    let files = Files::new(&world);
    let first = files.plan(&["--out", "one"]);
    assert!(first.status.success(), "{}", stderr(&first));
    assert_eq!(stdout(&first), "one/plan-1.json\n");
    let plan: Plan = serde_json::from_str(&read(&files.path("one/plan-1.json"))).unwrap();
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(plan.appliances.len(), 4);
    let report: PlanReport = serde_json::from_str(&read(&files.path("one/report-1.json"))).unwrap();
    // Rows stand at one hour a day only, so the oldest day is known by a single hour and is not counted.
    assert_eq!((report.number, report.history.days), (plan.number, 13));
    assert!(
        report
            .sites
            .iter()
            .all(|s| s.hit_share.is_some_and(|h| h > 0.999))
    );
    let text = read(&files.path("one/report-1.md"));
    assert!(
        text.starts_with("# Plan 1 for 2026-11-23\n") && text.contains("| added | title-0000 |"),
        "{text}"
    );
    // Other order of rows, same number: the same bytes, so writing again is no conflict.
    world.shuffle(5);
    let shuffled = Files::new(&world);
    assert!(shuffled.plan(&["--out", "two"]).status.success());
    assert_eq!(
        read(&files.path("one/plan-1.json")),
        read(&shuffled.path("two/plan-1.json"))
    );
    assert!(files.plan(&["--out", "one", "--number", "1"]).status.success());
    // The next number follows by itself; another plan under a taken number is refused.
    assert_eq!(
        stdout(&files.plan(&["--out", "one", "--previous", "one/plan-1.json"])),
        "one/plan-2.json\n"
    );
    let taken = files.plan(&["--out", "one", "--number", "1", "--seed", "9"]);
    assert_eq!(taken.status.code(), Some(8), "{}", stderr(&taken));
    let stale = files.plan(&["--out", "one", "--number", "1", "--previous", "one/plan-1.json"]);
    assert_eq!(stale.status.code(), Some(8), "{}", stderr(&stale));
}

#[test]
fn dry_run_prints_the_changes_and_writes_nothing() {
    let mut world = World::new(SHAPE);
    let plan = world.plan().plan;
    world.execute(&plan);
    let gone = world.catalogue.objects[0].title.clone();
    world.catalogue.objects.retain(|o| o.title != gone);
    world.fleet.appliances[0].holds.clear();
    let files = Files::new(&world);
    let before = std::fs::read_dir(files.dir.path()).unwrap().count();
    let dry = files.plan(&["--dry-run"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    let text = stdout(&dry);
    assert!(text.contains("oca-0-0 (site site0)"), "{text}");
    for sign in ["\n  + title-", "\n  = title-", "\n  - (not in the catalogue)"] {
        assert!(text.contains(sign), "{sign}: {text}");
    }
    assert_eq!(std::fs::read_dir(files.dir.path()).unwrap().count(), before);
}

#[test]
fn a_policy_is_obeyed_and_its_mistakes_are_named() {
    let world = World::new(SHAPE);
    let files = Files::new(&world);
    let title = world.catalogue.objects[0].title.as_str();
    let policy = files.path("policy.json");
    let policy = policy.to_str().unwrap();
    std::fs::write(
        policy,
        format!(r#"{{"blackouts": [{{"title": "{title}", "site": "site0"}}], "links": [{{"name": "wan", "cap": 0, "over": "origin"}}]}}"#),
    )
    .unwrap();
    let dry = stdout(&files.plan(&["--dry-run", "--policy", policy]));
    assert!(
        dry.contains(&format!(
            "site site0: without {title}: the policy bars it here on this day"
        )),
        "{dry}"
    );
    assert!(
        dry.contains("a shared link's bytes went to what is worth more"),
        "{dry}"
    );
    let wrong = |text: &str| {
        std::fs::write(policy, text).unwrap();
        let out = files.plan(&["--dry-run", "--policy", policy]);
        assert_eq!(out.status.code(), Some(3));
        stderr(&out)
    };
    let unknown = wrong(r#"{"pins": [{"title": "none"}]}"#);
    assert!(
        unknown.contains("policy: pin of none: the catalogue has no such title"),
        "{unknown}"
    );
    let slip = wrong(r#"{"pin": []}"#);
    assert!(
        slip.contains("policy.json: line 1, column 6: unknown field `pin`"),
        "{slip}"
    );
}

#[test]
fn wrong_inputs_are_one_line_with_their_place() {
    let files = Files::new(&World::new(SHAPE));
    let expect = |file: &str, text: &str, code: i32, part: &str| {
        let before = read(&files.path(file));
        std::fs::write(files.path(file), text).unwrap();
        let out = files.plan(&["--out", "out"]);
        assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
        let line = stderr(&out);
        assert!(
            line.starts_with("error: ") && line.lines().count() == 1 && line.contains(part),
            "{line}"
        );
        std::fs::write(files.path(file), before).unwrap();
    };
    let header = "hour,region,object,requests,bytes";
    expect(
        "a.csv",
        &format!("{header}\n2026-11-22T14Z,nl,abc,1,1\n"),
        3,
        "a.csv: line 2, column `object`: `abc`",
    );
    expect(
        "b.csv",
        "hour,region\n",
        3,
        "b.csv: line 1: column `object` is missing",
    );
    expect(
        "catalogue.json",
        "{}",
        3,
        "catalogue.json: line 1, column 2: missing field `objects`",
    );
    expect(
        "catalogue.json",
        "{\"objects\": []}",
        3,
        "catalogue: no object; publish a title first",
    );
    let catalogue = read(&files.path("catalogue.json"));
    let negative = catalogue.replacen("\"size\":", "\"size\":-", 1);
    expect("catalogue.json", &negative, 3, "is negative");
    let mut twice: serde_json::Value = serde_json::from_str(&catalogue).unwrap();
    let mut again = twice["objects"][0].clone();
    let path = again["path"].as_str().unwrap().to_owned();
    twice["objects"].as_array_mut().unwrap().push(again.clone());
    expect("catalogue.json", &twice.to_string(), 3, &path);
    again["size"] = 1.into();
    again["path"] = "/t/other/0/x.mp4".into();
    *twice["objects"].as_array_mut().unwrap().last_mut().unwrap() = again;
    expect("catalogue.json", &twice.to_string(), 3, "two sizes");
    expect(
        "a.csv",
        &format!("{header}\n2026-11-22T14Z,nl,{},1,-1\n", "0".repeat(64)),
        3,
        "line 2, column `bytes`: `-1` is not a whole number of 0 or more",
    );
    let fleet = read(&files.path("fleet.json"));
    expect(
        "fleet.json",
        &fleet.replace("\"site\":\"site0\"", "\"site\":\"nowhere\""),
        3,
        "in site nowhere",
    );
    expect(
        "fleet.json",
        &fleet.replace("\"time_zone\":\"UTC\"", "\"time_zone\":\"Mars\""),
        3,
        "`Mars` is not a time zone",
    );
    assert_eq!(
        planner()
            .args(["plan", "--date", "tomorrow"])
            .output()
            .unwrap()
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn odd_inputs_have_a_defined_outcome() {
    let files = Files::new(&World::new(SHAPE));
    let change = |file: &str, from: &str, to: &str| {
        let before = read(&files.path(file));
        assert!(before.contains(from), "{from} in {file}");
        std::fs::write(files.path(file), before.replace(from, to)).unwrap();
        before
    };
    let plan = |out: &str| -> (String, PlanReport) {
        let done = files.plan(&["--out", out]);
        assert!(done.status.success(), "{}", stderr(&done));
        let report = serde_json::from_str(&read(&files.path(out).join("report-1.json"))).unwrap();
        (stderr(&done), report)
    };
    let caps = |report: &PlanReport| report.sites[0].appliances[0].fill_cap.0;
    // A region without a site: its demand counts for the others, and is told of.
    let before = read(&files.path("a.csv"));
    let stray = format!("{before}2026-11-22T14Z,atlantis,{},1,1000\n", "0".repeat(64));
    std::fs::write(files.path("a.csv"), stray).unwrap();
    let (warned, plain) = plan("stray");
    assert!(
        warned.contains("region atlantis has demand but no site"),
        "{warned}"
    );
    std::fs::write(files.path("a.csv"), before).unwrap();
    // A window of no length is a whole day; where the clock changes in it it is as long as it is.
    let window = "\"start\":\"00:00\",\"end\":\"00:00\",\"time_zone\":\"UTC\"";
    let fleet = change("fleet.json", window, &window.replace("00:00", "07:00"));
    assert_eq!(caps(&plan("day").1), caps(&plain));
    std::fs::write(files.path("fleet.json"), &fleet).unwrap();
    // Storage below the smallest title: nothing is placed there, and every title says why.
    let mut small: serde_json::Value = serde_json::from_str(&fleet).unwrap();
    for appliance in small["appliances"].as_array_mut().unwrap() {
        appliance["capacity"]["storage"] = 10.into();
    }
    std::fs::write(files.path("fleet.json"), small.to_string()).unwrap();
    let (_, report) = plan("small");
    for site in &report.sites {
        assert!(site.appliances.iter().all(|a| a.added.0 == 0));
        assert!(!site.left_out.is_empty());
        assert!(
            site.left_out
                .iter()
                .all(|l| l.reason.because().contains("larger than any appliance's storage"))
        );
    }
}

/// A control plane with the world's data; `publish` answers POST /v1/plans.
fn serve(world: &World, mut publish: impl FnMut(&Asked) -> (u16, String) + Send + 'static) -> FakeControl {
    let catalogue = serde_json::to_string(&world.catalogue).unwrap();
    let fleet = serde_json::to_string(&world.fleet).unwrap();
    let demand = world.demand.clone();
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

#[test]
fn run_publishes_and_activates() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&world, |_| (201, "{}".into()));
    let out = run(
        &control.url(),
        dir.path(),
        &["--activate", "--out", &dir.path().join("o").display().to_string()],
    );
    assert!(out.status.success(), "{}", stderr(&out));
    let line: serde_json::Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(
        (line["plan"].as_u64(), line["activated"].as_bool()),
        (Some(1), Some(true))
    );
    assert!(line["fill_bytes"].as_u64() > Some(0));
    let asked = control.asked();
    assert!(asked.iter().all(|a| a.token.as_deref() == Some("secret")));
    let published = asked.iter().find(|a| a.call == "POST /v1/plans").unwrap();
    let plan: Plan = serde_json::from_str(&published.body).unwrap();
    assert_eq!(plan.appliances, world.plan().plan.appliances);
    assert_eq!(asked.last().unwrap().call, "POST /v1/plans/1/activate");
    // Eight weeks of demand, a week at a time, and nothing of the planned day or of the hour that runs.
    let to = cdn_types::Hour::of(Timestamp::now()).min("2026-11-23T00Z".parse().unwrap());
    let asked_demand: Vec<_> = asked
        .iter()
        .filter(|a| a.call.starts_with("GET /v1/demand"))
        .collect();
    let weeks: Vec<_> = (0..8)
        .map(|w| {
            let hour = |back: i64| cdn_types::Hour(to.0 - 168 * back);
            format!("GET /v1/demand?from={}&to={}", hour(8 - w), hour(7 - w))
        })
        .collect();
    assert_eq!(
        asked_demand.iter().map(|a| &a.call).collect::<Vec<_>>(),
        weeks.iter().collect::<Vec<_>>()
    );
    assert!(dir.path().join("o/plan-1.json").exists());
}

/// A control plane that has lost its demand.
fn serve_no_demand(world: &World) -> FakeControl {
    let mut data = serve_data(world);
    FakeControl::start(Box::new(move |asked| match asked.call.as_str() {
        "POST /v1/plans" => (201, "{}".into()),
        _ => data(asked),
    }))
}

#[test]
fn a_night_without_demand_is_planned_from_the_last_good_forecast() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (state, metrics) = (path("state"), path("planner.prom"));
    let options = ["--state", &state, "--textfile", &metrics];
    let metric = |name: &str| -> f64 {
        let text = read(Path::new(&metrics));
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("nightfill_planner_{name} ")));
        value
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .parse()
            .unwrap()
    };
    let hits = |out: &Output| -> f64 {
        assert!(out.status.success(), "{}", stderr(out));
        metric("expected_hit_bytes")
    };
    let well = serve(&world, |_| (201, "{}".into()));
    let fresh = hits(&run(&well.url(), dir.path(), &options));
    assert!(fresh > 0.0);
    assert_eq!((metric("exit_code"), metric("kept_forecast")), (0.0, 0.0));

    // Without the state nothing is expected; with it, what was expected the night before.
    let lost = serve_no_demand(&world);
    let blind = run(&lost.url(), dir.path(), &options[2..]);
    assert_eq!((hits(&blind), metric("kept_forecast")), (0.0, 0.0));
    // The history that runs share is as good as the control plane's; without it there is the last good forecast.
    let out = run(&lost.url(), dir.path(), &options);
    assert_eq!((hits(&out), metric("kept_forecast")), (fresh, 0.0));
    std::fs::remove_dir_all(dir.path().join("state/history")).unwrap();
    let out = run(&lost.url(), dir.path(), &options);
    assert_eq!((hits(&out), metric("kept_forecast")), (fresh, 1.0));
    assert!(
        stderr(&out).contains("the forecast is weekday-aware decayed mean, kept from 2026-11-23"),
        "{}",
        stderr(&out)
    );

    // A run that fails says so, and when one last succeeded.
    let succeeded = metric("last_success_timestamp_seconds");
    let refusing = serve(&world, |_| (403, "{}".into()));
    assert_eq!(run(&refusing.url(), dir.path(), &options).status.code(), Some(5));
    assert_eq!(metric("exit_code"), 5.0);
    assert_eq!(metric("last_success_timestamp_seconds"), succeeded);
}

#[test]
fn a_night_asks_for_the_newest_days_alone_and_plans_the_same() {
    let world = World::new(SHAPE);
    let (dir, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let state = dir.path().join("state").display().to_string();
    let plan_of = |control: &FakeControl| -> Plan {
        let asked = control.asked();
        let put = asked.iter().rev().find(|a| a.call == "POST /v1/plans").unwrap();
        serde_json::from_str(&put.body).unwrap()
    };
    let asked_hours = |control: &FakeControl| -> Vec<i64> {
        let asked = control.asked();
        let calls = asked.iter().filter(|a| a.call.starts_with("GET /v1/demand"));
        let from = |call: &str| -> cdn_types::Hour {
            let after = call.split("from=").nth(1).unwrap();
            after.split('&').next().unwrap().parse().unwrap()
        };
        calls.map(|a| from(&a.call).0).collect()
    };
    let new = || serve(&world, |_| (201, "{}".into()));
    let without = new();
    assert!(run(&without.url(), plain.path(), &[]).status.success());
    let last = world.demand.iter().map(|r| r.hour.0).max().unwrap();
    for night in 0..2 {
        let control = new();
        let out = run(&control.url(), dir.path(), &["--state", &state]);
        assert!(out.status.success(), "{}", stderr(&out));
        assert_eq!(plan_of(&control), plan_of(&without), "night {night}");
        let oldest = asked_hours(&control)[0];
        assert_eq!(
            last - oldest > 30 * 24,
            night == 0,
            "asked from {oldest} on in night {night}"
        );
        assert!(oldest <= last - 48, "what may come late is asked for again");
    }
}

#[test]
fn an_urgent_title_is_published_and_activated_out_of_turn() {
    let mut world = World::new(Shape {
        storage_percent: 40,
        ..SHAPE
    });
    let active = world.plan().plan;
    world.execute(&active);
    let mut data = serve_data(&world);
    let (document, summary) = (
        serde_json::to_string(&active).unwrap(),
        serde_json::json!([{"number": 1, "date": active.date, "active": true, "appliances": 4, "items": 9, "bytes": 9,
            "published": "2026-11-22T20:00:00Z"}])
        .to_string(),
    );
    let control = FakeControl::start(Box::new(move |asked| match asked.call.as_str() {
        "GET /v1/plans" => (200, summary.clone()),
        "GET /v1/plans/1" => (200, document.clone()),
        "POST /v1/plans" | "PUT /v1/plans/2/report" | "POST /v1/plans/2/activate" => (200, "{}".into()),
        _ => data(asked),
    }));
    let held: std::collections::BTreeSet<_> = active.appliances[0].items.iter().map(|i| &i.title).collect();
    let title = world
        .catalogue
        .objects
        .iter()
        .map(|o| &o.title)
        .find(|t| !held.contains(t))
        .unwrap();
    let urgent = |more: &[&str]| {
        let mut command = planner();
        command.args([
            "urgent",
            "--control",
            &control.url(),
            "--token",
            "secret",
            "--title",
        ]);
        command.arg(title.as_str()).args(more).output().unwrap()
    };
    let dry = urgent(&["--dry-run", "--expected", "1 TB"]);
    assert!(dry.status.success(), "{}", stderr(&dry));
    assert!(control.asked().iter().all(|a| a.call.starts_with("GET ")));
    let out = urgent(&["--expected", "1 TB"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(stdout(&out), stdout(&dry));
    assert!(
        stdout(&out).contains(&format!("added {title}: urgent")),
        "{}",
        stdout(&out)
    );
    let asked = control.asked();
    let posted = asked.iter().find(|a| a.call == "POST /v1/plans").unwrap();
    let plan: Plan = serde_json::from_str(&posted.body).unwrap();
    assert!(plan.number.0 == 2 && plan.appliances.iter().any(|p| p.items[0].title == *title));
    assert_eq!(asked.last().unwrap().call, "POST /v1/plans/2/activate");
    let wrong = urgent(&["--region", "mars"]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(
        stderr(&wrong).contains("no site is in region mars"),
        "{}",
        stderr(&wrong)
    );
}

#[test]
fn a_review_sets_the_plan_against_its_day() {
    let world = World::new(Shape {
        storage_percent: 15,
        ..SHAPE
    });
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&world, |_| (201, "{}".into()));
    let out = run(&control.url(), dir.path(), &["--activate"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let last_put = |kind: &str| -> serde_json::Value {
        let asked = control.asked();
        let put = asked
            .iter()
            .rev()
            .find(|a| a.call == format!("PUT /v1/plans/1/{kind}"));
        serde_json::from_str(&put.unwrap().body).unwrap()
    };
    let promise = &last_put("report")["promise"];
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let (low, high) = (number(&promise["low"]), number(&promise["high"]));
    assert!(
        0.0 < low && low <= number(&promise["hit_share"]) && high <= 1.0,
        "{promise}"
    );
    assert_eq!(promise["days"], 7);

    // The day comes as the one before it, and then one that nobody could expect.
    let day = |objects: &dyn Fn(&DemandRow) -> cdn_types::ObjectDigest| -> Vec<DemandRow> {
        let last = world.demand.iter().map(|r| r.hour.0).max().unwrap() / 24 * 24;
        let newest = world.demand.iter().filter(|r| r.hour.0 >= last);
        let next = |r: &DemandRow| DemandRow {
            hour: cdn_types::Hour(r.hour.0 + 24),
            object: objects(r),
            ..r.clone()
        };
        newest.map(next).collect()
    };
    let review = |rows: Vec<DemandRow>| {
        let file = dir.path().join("day.csv");
        std::fs::write(&file, csv(&rows)).unwrap();
        let out = planner()
            .args([
                "review",
                "--control",
                &control.url(),
                "--token",
                "secret",
                "--demand",
            ])
            .arg(&file)
            .args(["--plan", "1"])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        (stdout(&out), last_put("review"))
    };
    let (said, same) = review(day(&|r| r.object));
    assert_eq!(same["kept"], true, "{said} {same}");
    assert!(said.contains("; as promised: "), "{said}");
    assert!(number(&same["hit"]) <= number(&same["demand"]));
    let (said, strange) = review(day(&|_| cdn_types::ObjectDigest::of(b"never seen")));
    assert_eq!((&strange["hit"], &strange["kept"]), (&0.into(), &false.into()));
    assert!(
        said.contains(" 0.0 % of the bytes") && said.contains("NOT as promised"),
        "{said}"
    );
    assert_eq!(strange["misses"][0]["title"], serde_json::Value::Null);
}

#[test]
fn run_dry_publishes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&World::new(SHAPE), |_| (500, String::new()));
    let out = run(&control.url(), dir.path(), &["--dry-run"]);
    assert!(
        out.status.success() && stdout(&out).contains("  + title-"),
        "{}",
        stderr(&out)
    );
    assert!(control.asked().iter().all(|a| a.call.starts_with("GET ")));
}

#[test]
fn run_takes_the_token_of_the_file_and_says_at_once_that_none_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&World::new(SHAPE), |_| (201, "{}".into()));
    let file = dir.path().join("planner.token");
    let run = |more: &[&str]| {
        let mut command = planner();
        command.args(["run", "--date", "2026-11-23", "--lock"]);
        command.arg(dir.path().join("lock")).args(more);
        command.env("NIGHTFILL_CONTROL", control.url());
        command
    };
    let from_file = ["--token-file", file.to_str().unwrap()];
    for (out, word) in [
        (run(&[]).output(), "--token-file FILE, or --dry-run"),
        (run(&from_file).output(), "planner.token: No such file"),
        (run(&["--token", " "]).output(), "is empty"),
    ] {
        let out = out.unwrap();
        assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
        for word in [word, "nightfill token planner"] {
            assert!(stderr(&out).contains(word), "{}", stderr(&out));
        }
    }
    assert!(control.asked().is_empty());
    assert!(run(&["--dry-run"]).output().unwrap().status.success());

    std::fs::write(&file, "secret\n").unwrap();
    let out = run(&from_file)
        .env("NIGHTFILL_TOKEN", "another")
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    let published = control.asked().into_iter().find(|a| a.call == "POST /v1/plans");
    assert_eq!(published.unwrap().token.as_deref(), Some("secret"));
}

#[test]
fn run_asks_again_after_a_failure_and_a_lost_answer_is_no_conflict() {
    let dir = tempfile::tempdir().unwrap();
    let mut times = 0;
    // The first publication is taken in but answered with a failure; the second is then a conflict.
    let control = serve(&World::new(SHAPE), move |_| {
        times += 1;
        if times == 1 {
            (502, String::new())
        } else {
            (409, "{}".into())
        }
    });
    let out = run(&control.url(), dir.path(), &["--activate"]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(stderr(&out).contains("again in"), "{}", stderr(&out));
    let posts = control
        .asked()
        .iter()
        .filter(|a| a.call == "POST /v1/plans")
        .count();
    assert_eq!(posts, 2);
}

#[test]
fn run_has_an_exit_code_for_each_cause() {
    let dir = tempfile::tempdir().unwrap();
    let problem = |status: u16, detail: &str| {
        (
            status,
            format!("{{\"type\":\"t\",\"title\":\"t\",\"status\":{status},\"detail\":\"{detail}\"}}"),
        )
    };
    let refused = serve(&World::new(SHAPE), move |_| {
        problem(403, "the token is not a planner's")
    });
    let out = run(&refused.url(), dir.path(), &[]);
    assert_eq!(out.status.code(), Some(5));
    assert!(
        stderr(&out).contains("403") && stderr(&out).contains("not a planner's"),
        "{}",
        stderr(&out)
    );

    // Another plan took the number meanwhile: what GET /v1/plans/1 gives is not what was sent.
    let stale = FakeControl::start({
        let world = World::new(SHAPE);
        let mut data = serve_data(&world);
        Box::new(move |asked| match asked.call.as_str() {
            "POST /v1/plans" => problem(409, "number 1 is not above 4"),
            _ => data(asked),
        })
    });
    let out = run(&stale.url(), dir.path(), &[]);
    assert_eq!(out.status.code(), Some(8), "{}", stderr(&out));
    assert!(stderr(&out).contains("number 1 is not above 4"));

    // Nobody listens there, and the deadline is shorter than the retries.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let out = run(&format!("http://{nobody}"), dir.path(), &["--deadline", "1"]);
    assert_eq!(out.status.code(), Some(6), "{}", stderr(&out));

    let lock = std::fs::File::create(dir.path().join("lock")).unwrap();
    lock.lock().unwrap();
    let out = run("http://127.0.0.1:9", dir.path(), &[]);
    assert_eq!(out.status.code(), Some(7), "{}", stderr(&out));
    drop(lock);

    assert_eq!(run("127.0.0.1:9", dir.path(), &[]).status.code(), Some(2));
    assert_eq!(
        run("http://127.0.0.1:9", dir.path(), &["--date", "someday"])
            .status
            .code(),
        Some(2)
    );
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
