//! The learnt forecast: `train`, `predict`, `explain`, and plans made from it.

use super::{
    service::{self, REGIONS, Service},
    *,
};
use cdn_types::{Bytes, Hour, TitleId};
use fill_core::{Forecast, History, Predictor, service::Service as Known};
use fill_planner::{forecast::predictor, model::ModelFile, nightly::walk::Storage, train::grow};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

const DATE: &str = "2026-11-23";
/// What `train`, `predict` and `explain` look at.
const PAST: [&str; 8] = [
    "--demand",
    "demand.csv",
    "--catalog",
    "catalogue.json",
    "--launches",
    "launches.csv",
    "--titles",
    "titles.csv",
];

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(service: &Service) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "catalogue.json",
            serde_json::to_string(&service.catalogue).unwrap(),
        );
        write("fleet.json", serde_json::to_string(&service.fleet).unwrap());
        write("demand.csv", csv(&service.demand));
        write("launches.csv", service.launches.clone());
        write("titles.csv", service.titles.clone());
        Self(dir)
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
    fn run(&self, command: &[&str], more: &[&str]) -> Output {
        let mut planner = planner();
        planner.current_dir(self.0.path()).args(command).args(more);
        planner.output().unwrap()
    }
    fn succeed(&self, command: &[&str], more: &[&str]) -> String {
        let out = self.run(command, more);
        assert!(out.status.success(), "{}", stderr(&out));
        stdout(&out)
    }
    /// A document with one field changed.
    fn change(&self, name: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let mut value = serde_json::from_str(&read(&self.path(name))).unwrap();
        change(&mut value);
        std::fs::write(self.path(name), value.to_string()).unwrap();
    }
}

/// Expected bytes and their quantiles, by region and object.
fn predicted(text: &str) -> BTreeMap<(String, String), [f64; 4]> {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("object,region,expected,q10,q50,q90"));
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        let numbers = std::array::from_fn(|n| fields[2 + n].parse().unwrap());
        ((fields[1].to_owned(), fields[0].to_owned()), numbers)
    };
    lines.map(row).collect()
}

#[test]
fn a_model_is_trained_judged_kept_and_explains_itself() {
    let service = Service::new(DATE);
    let folder = Folder::new(&service);
    let table = folder.succeed(&["train"], &[&PAST[..], &["--out", "model.json"]].concat());
    assert!(
        table.starts_with("share of the bytes of 2026-11-09 to 2026-11-22 that stores of 10 %"),
        "{table}"
    );
    let model: serde_json::Value = serde_json::from_str(&read(&folder.path("model.json"))).unwrap();
    assert_eq!(
        (&model["kind"], &model["trained"]["to"]),
        (&"nights".into(), &"2026-11-22".into())
    );
    assert_eq!(model["earlier"]["to"], "2026-11-08", "knows none of the nights");
    let score = |name: &str| model["scores"][name].as_f64().unwrap();
    // Each day has a launch that only the calendar knows.
    assert!(
        score("boosted") > score("decayed mean") + 0.05 && score("decayed mean") > 0.3,
        "{}",
        model["scores"]
    );
    assert_eq!(model["nights"].as_array().unwrap().len(), 14);
    folder.succeed(&["train"], &[&PAST[..], &["--out", "again.json"]].concat());
    assert_eq!(read(&folder.path("model.json")), read(&folder.path("again.json")));

    let forecast = [&PAST[..], &["--date", DATE, "--model", "model.json"]].concat();
    let of_day = predicted(&folder.succeed(&["predict"], &forecast));
    let title = |title: &TitleId, region: &str| {
        let of = |name| of_day[&(region.to_owned(), service::file(title, name).to_string())];
        [of("v1080"), of("v360")]
    };
    for region in REGIONS {
        // The launch of the day was never drawn; its files are drawn as files like them are.
        let [large, small] = title(&service::launch(0), region);
        assert!(
            (large[0] / (large[0] + small[0]) - 0.75).abs() < 0.02,
            "{large:?} {small:?}"
        );
        // Yesterday's launch fades, which a mean of days cannot know.
        let [yesterday, _] = title(&service::launch(1), region);
        let came: u64 = service
            .demand
            .iter()
            .filter(|r| r.object == service::file(&service::launch(1), "v1080"))
            .filter(|r| r.region.as_str() == region)
            .map(|r| r.bytes.0)
            .sum();
        let fades = yesterday[0] / came as f64;
        assert!((0.4..0.75).contains(&fades), "{fades}");
        assert!(large[1] < large[2] && large[2] < large[3], "{large:?}");
    }
    let why = folder.succeed(
        &["explain", service::launch(1).as_str(), "--region", "north"],
        &forecast,
    );
    for part in [
        "title launch-01, region north, 2026-11-23: ",
        "in eight days of ten between",
        "\n  plain expectation ",
        "\n  titles of its age ",
    ] {
        assert!(why.contains(part), "{part} in\n{why}");
    }
    // The factors make of the plain expectation what is expected; both are printed with two digits.
    let factor = |line: &str| -> Option<f64> { line.get(43..54)?.trim().strip_prefix("x ")?.parse().ok() };
    let factors: f64 = why.lines().filter_map(factor).product();
    let bytes = |name: &str| -> f64 {
        let line = why.lines().find(|l| l.trim_start().starts_with(name)).unwrap();
        let amount: Bytes = line[43..].trim().split("  ").next().unwrap().parse().unwrap();
        amount.0 as f64
    };
    let off = bytes("plain expectation") * factors / bytes("all of the title");
    assert!(
        factors < 0.8 && (0.9..1.1).contains(&off),
        "{factors} {off}\n{why}"
    );
    let object = service::file(&service::launch(0), "v360").to_string();
    let why = folder.succeed(&["explain", &object, "--region", "south"], &forecast);
    assert!(
        why.contains("of title launch-00") && why.contains("this file's part"),
        "{why}"
    );

    for (asked, text) in [
        (
            ["explain", "nobody", "--region", "north"],
            "no title of the catalogue",
        ),
        (
            ["explain", "launch-01", "--region", "mars"],
            "there is demand in: north, south",
        ),
    ] {
        let out = folder.run(&asked, &forecast);
        assert_eq!(out.status.code(), Some(2));
        assert!(stderr(&out).contains(text), "{}", stderr(&out));
    }
}

#[test]
fn a_plan_follows_the_model_that_it_is_given() {
    let folder = Folder::new(&Service::new(DATE));
    folder.succeed(&["train"], &[&PAST[..], &["--out", "model.json"]].concat());
    let fleet = ["--fleet", "fleet.json", "--date", DATE];
    let plan = [&["plan"][..], &PAST, &fleet].concat();
    folder.succeed(&plan, &["--out", "boosted", "--model", "model.json"]);
    folder.succeed(&plan, &["--out", "plain"]);
    let report = |dir: &str| -> PlanReport {
        serde_json::from_str(&read(&folder.path(dir).join("report-1.json"))).unwrap()
    };
    let holds_launch = |dir: &str| {
        let plan: Plan = serde_json::from_str(&read(&folder.path(dir).join("plan-1.json"))).unwrap();
        let has = |p: &cdn_types::plan::AppliancePlan| p.items.iter().any(|i| i.title == service::launch(0));
        plan.appliances.iter().all(has)
    };
    assert_eq!(
        report("boosted").method,
        "boosted with the launch calendar, trained to 2026-11-22"
    );
    assert!(holds_launch("boosted") && !holds_launch("plain"));
    // The plan's digest covers the calendar.
    let launches = read(&folder.path("launches.csv"));
    std::fs::write(
        folder.path("launches.csv"),
        launches.replacen("launch-00,north", "launch-43,north", 1),
    )
    .unwrap();
    folder.succeed(&plan, &["--out", "other", "--model", "model.json"]);
    assert_ne!(report("other").inputs, report("boosted").inputs);

    let refused = |more: &[&str], code: i32, text: &str| {
        let out = folder.run(&plan, &[&["--out", "none"], more].concat());
        assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
        assert!(stderr(&out).contains(text), "{}", stderr(&out));
    };
    refused(&["--method", "boosted"], 2, "give --model FILE");
    refused(&["--method", "auto"], 2, "run --state DIR");
    refused(
        &["--method", "decayed-mean", "--model", "model.json"],
        2,
        "--model is for --method boosted",
    );
    std::fs::write(
        folder.path("launches.csv"),
        "title,region,instant,expected\na,north,never,1\n",
    )
    .unwrap();
    refused(
        &["--model", "model.json"],
        3,
        "launches.csv: line 2, column `instant`: `never`",
    );
    std::fs::write(folder.path("launches.csv"), launches).unwrap();
    folder.change("model.json", |m| {
        m["model"]["trees"]["features"][0] = "luck".into();
    });
    refused(
        &["--model", "model.json"],
        3,
        "other features than this release knows",
    );
    folder.change("model.json", |m| {
        m["kind"] = "halves".into();
    });
    refused(
        &["--model", "model.json"],
        3,
        "a model of `halves`, not of `nights`",
    );
}

#[test]
fn a_launch_that_the_calendar_pins_is_held_on_its_days_whatever_is_expected() {
    let folder = Folder::new(&Service::new(DATE));
    // The second one came yesterday and is expected to draw little; the third is not packed, the fourth has no site.
    let calendar = |until: &str| {
        format!(
            "title,region,instant,expected,pin\n\
             launch-00,north,2026-11-23T00Z,0,{until}\n\
             launch-40,south,2026-10-14T00Z,0,{until}\n\
             unpacked,north,2026-11-23T00Z,0,{until}\n\
             launch-01,east,2026-11-22T00Z,0,{until}\n\
             launch-01,south,2026-11-22T00Z,0,\n"
        )
    };
    let holds = |until: &str, date: &str| -> (BTreeSet<(String, String)>, Vec<String>) {
        std::fs::write(folder.path("launches.csv"), calendar(until)).unwrap();
        let dir = format!("{until}-for-{date}");
        let more = ["--fleet", "fleet.json", "--date", date, "--out", &dir];
        folder.succeed(&["plan"], &[&PAST[..], &more].concat());
        let plan: Plan = serde_json::from_str(&read(&folder.path(&dir).join("plan-1.json"))).unwrap();
        let report: PlanReport =
            serde_json::from_str(&read(&folder.path(&dir).join("report-1.json"))).unwrap();
        let launches = plan.appliances.iter().flat_map(|part| {
            let titles = part.items.iter().map(|item| item.title.to_string());
            titles.map(|title| (part.appliance.to_string(), title))
        });
        let launches = launches.filter(|(_, t)| ["launch-00", "launch-40"].contains(&t.as_str()));
        (launches.collect(), report.warnings)
    };
    let both = [("oca-north", "launch-00"), ("oca-south", "launch-40")];
    let both: BTreeSet<_> = both.map(|(a, t)| (a.to_owned(), t.to_owned())).into();
    let (held, warnings) = holds("2026-11-23", DATE);
    assert_eq!(held, both);
    for warned in [
        "unpacked in north, and the catalogue",
        "launch-01 in east, and the fleet",
    ] {
        assert!(warnings.iter().any(|w| w.contains(warned)), "{warnings:?}");
    }
    // Neither before its day nor after the last one.
    let (held, warnings) = holds("2026-12-31", "2026-11-22");
    assert_eq!(held.len(), 1, "{held:?}");
    assert!(!warnings.iter().any(|w| w.contains("unpacked")), "{warnings:?}");
    assert_eq!(holds("2026-11-23", "2026-11-24"), (BTreeSet::new(), vec![]));

    std::fs::write(folder.path("launches.csv"), calendar("soon")).unwrap();
    let out = folder.run(
        &["plan"],
        &[
            &PAST[..],
            &["--fleet", "fleet.json", "--date", DATE, "--out", "none"],
        ]
        .concat(),
    );
    assert_eq!(out.status.code(), Some(3));
    assert!(
        stderr(&out).contains("line 2, column `pin`: `soon`"),
        "{}",
        stderr(&out)
    );
}

#[test]
fn run_chooses_the_forecast_that_did_better_and_says_so() {
    let service = Service::new(DATE);
    let folder = Folder::new(&service);
    let control = serve_documents(
        serde_json::to_string(&service.catalogue).unwrap(),
        serde_json::to_string(&service.fleet).unwrap(),
        service.demand.clone(),
        |_| (201, "{}".into()),
    );
    let path = |name: &str| folder.path(name).display().to_string();
    let night = |more: &[&str]| -> (PlanReport, String) {
        let files = [path("state"), path("planner.prom"), path("launches.csv")];
        let options = [
            "--state",
            &files[0],
            "--textfile",
            &files[1],
            "--launches",
            &files[2],
        ];
        let out = run(&control.url(), folder.0.path(), &[&options, more].concat());
        assert!(out.status.success(), "{}", stderr(&out));
        let asked = control.asked();
        let put = asked.iter().rev().find(|a| a.call == "PUT /v1/plans/1/report");
        (serde_json::from_str(&put.unwrap().body).unwrap(), stderr(&out))
    };
    let metric = |name: &str| -> Option<f64> {
        let text = read(&folder.path("planner.prom"));
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("nightfill_planner_{name} ")))?;
        Some(value.parse().unwrap())
    };
    let (report, said) = night(&[]);
    assert_eq!(
        report.method,
        "boosted with the launch calendar, trained to 2026-11-22"
    );
    assert!(
        said.contains("a forecast was trained on demand until 2026-11-22"),
        "{said}"
    );
    assert!(
        said.contains("of the last 14 nights' bytes") && report.warnings.is_empty(),
        "{said} {:?}",
        report.warnings
    );
    assert_eq!(
        (metric("forecast_boosted"), metric("model_age_days")),
        (Some(1.0), Some(0.0))
    );
    assert!(metric("boosted_score") > metric("baseline_score"));
    assert!(report.promise.is_some());

    // The kept model serves for two weeks; asked for by name it is used whatever its scores.
    let model = read(&folder.path("state/model.json"));
    night(&[]);
    assert_eq!(read(&folder.path("state/model.json")), model);
    let fail = |m: &mut serde_json::Value| {
        for night in m["nights"].as_array_mut().unwrap() {
            night["served"]["boosted"] = 0.into();
        }
    };
    folder.change("state/model.json", fail);
    let (report, said) = night(&[]);
    assert_eq!(report.method, "weekday-aware decayed mean");
    let warning = "0.0 % would have been served by the boosted forecast";
    assert!(
        report.warnings.iter().any(|w| w.contains(warning)) && said.contains(warning),
        "{said}"
    );
    assert_eq!(
        (metric("forecast_boosted"), metric("boosted_score")),
        (Some(0.0), Some(0.0))
    );
    let (report, _) = night(&["--method", "boosted"]);
    assert!(report.method.starts_with("boosted"));

    // An old one is trained anew, and so is one that cannot be read, or has seen what is to be forecast.
    for to in ["2026-11-07", "2026-11-23"] {
        folder.change("state/model.json", |m| {
            m["trained"]["to"] = to.into();
        });
        let (report, _) = night(&[]);
        assert_eq!(read(&folder.path("state/model.json")), model, "{to}");
        assert!(report.method.starts_with("boosted"));
    }
    folder.change("state/model.json", |m| m["format"] = 1.into());
    let format_1 = read(&folder.path("state/model.json"));
    for (unreadable, said_of_it) in [
        (
            &format_1[..],
            "the model has format 1, this release reads format 2",
        ),
        ("{", "no model file"),
    ] {
        std::fs::write(folder.path("state/model.json"), unreadable).unwrap();
        let (_, said) = night(&[]);
        assert!(
            said.contains(said_of_it) && said.contains("this run trains it"),
            "{said}"
        );
        assert_eq!(read(&folder.path("state/model.json")), model);
    }
}

#[test]
fn a_history_that_is_too_short_is_planned_by_the_baseline_which_is_said() {
    let world = World::new(SHAPE);
    let dir = tempfile::tempdir().unwrap();
    let control = serve(&world, |_| (201, "{}".into()));
    let state = dir.path().join("state").display().to_string();
    let out = run(&control.url(), dir.path(), &["--state", &state]);
    assert!(out.status.success(), "{}", stderr(&out));
    let line: serde_json::Value = serde_json::from_str(&stdout(&out)).unwrap();
    let warning = line["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("13 whole days of demand are too few")
            && warning.ends_with("the forecast is the weekday-aware decayed mean"),
        "{warning}"
    );
    let out = run(
        &control.url(),
        dir.path(),
        &["--state", &state, "--method", "boosted"],
    );
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    let out = run(&control.url(), dir.path(), &["--method", "auto"]);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
}

/// A model of the rows before the day, and what it expects of the day.
fn learn(service: &Service, known: &Arc<Known>, rows: &[DemandRow]) -> (Vec<u8>, Forecast) {
    let history = History::before(service.date, rows);
    let panel = known.panel(&history).unwrap();
    let storage = Storage(vec![0.1; panel.regions.len()]);
    let model: ModelFile<_> = grow(&panel, true, &storage, 1).unwrap();
    let text = model.json();
    (text, predictor(model, known.clone()).predict(&history))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    /// Whatever is drawn on the planned day and later, model and forecast are the same bytes.
    #[test]
    fn nothing_of_the_planned_day_or_later_reaches_model_or_forecast(
        rows in prop::collection::vec((0i64..24 * 30, 0usize..400, 0usize..2, 0u64..1 << 45), 1..200),
        place in 0usize..1000,
    ) {
        let service = Service::new(DATE);
        let known = Arc::new(Known::new(&service.catalogue, &[], &[]));
        let before = learn(&service, &known, &service.demand);
        let mut all = service.demand.clone();
        let start = Hour::start_of(service.date).0;
        for (after, object, region, bytes) in rows {
            let objects = &service.catalogue.objects;
            all.insert(place % all.len(), DemandRow {
                hour: Hour(start + after),
                region: cdn_types::RegionId::new(REGIONS[region]).unwrap(),
                object: objects[object % objects.len()].digest,
                requests: 1,
                bytes: Bytes(bytes),
            });
        }
        let after = learn(&service, &known, &all);
        prop_assert!(before.0 == after.0, "the model is another one");
        prop_assert_eq!(before.1, after.1);
    }
}
