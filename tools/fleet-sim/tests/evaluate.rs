//! Replays of small synthetic services: they are labelled, bounded by the oracle, blind to the future, and the same for a seed.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use fill_core::evaluate::{
    naive::{Forecaster, Naive, NaiveForecaster, add_launches},
    panel::Panel,
    replay::Cell,
};
use fill_planner::{
    nightly::{Nightly, Training},
    nights::{Setup, html, report},
};
use fleet_sim::{
    evaluate::evaluate,
    panel::panel,
    world::{World, WorldSetup, export},
};

fn world(seed: u64) -> WorldSetup {
    WorldSetup {
        seed,
        regions: 2,
        weeks: 7,
        sessions: 20_000.0,
        scale: 0.08,
        first: "2026-06-01".parse().unwrap(),
    }
}

fn setup() -> Setup {
    Setup {
        cells: vec![Cell {
            storage: 0.15,
            fill: 0.3e12,
        }],
        nights: 7,
        settle: 1,
        reactive: true,
        predictors: true,
        rates: true,
    }
}

#[test]
fn a_report_is_labelled_and_no_method_passes_the_oracle() {
    let report = evaluate(&[world(1), world(2)], &setup(), 2).unwrap();
    let table = &report.tables[0];
    for row in &table.rows {
        assert!((0.0..=1.0).contains(&row.byte_hit.value), "{row:?}");
        assert!(
            row.of_o1
                .is_none_or(|r| r.value <= 1.0 + 1e-9 && r.low <= r.value && r.value <= r.high)
        );
        assert!(row.net[0] >= row.net[3] && (row.net[0] - row.byte_hit.value).abs() < 1e-9);
        assert!(row.fill <= 0.3e12 + 1.0, "the cap holds: {row:?}");
    }
    let of = |name: &str| {
        table
            .rows
            .iter()
            .find(|r| r.method == name)
            .unwrap_or_else(|| panic!("{name}"))
    };
    let planner = of("planner, boosted + calendar");
    // What the calendar is for: titles in their first day. Baselines without it cannot have them.
    assert_eq!(of("last day's top").cold[0], 0.0);
    assert!(planner.cold[0] > 0.5, "{planner:?}");
    assert!(planner.byte_hit.value > of("all-time top").byte_hit.value);
    let known = of("all but chance known, plain swap + calendar");
    assert!(
        known.byte_hit.value >= of("boosted, plain swap + calendar").byte_hit.value - 0.005,
        "{known:?}"
    );
    let survival = report.survival.unwrap();
    assert!(
        survival.planner >= survival.single - 0.05 && survival.planner <= 1.0,
        "{survival:?}"
    );

    let page = html::page(&report);
    assert!(page.contains("SIMULATED") && page.contains("<svg") && !page.contains("NaN"));
    for outside in ["http://", "https://", "<script", "url("] {
        assert!(!page.contains(outside), "the page needs {outside}");
    }
    assert!(report::text(&report).starts_with("SIMULATED: "));
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("\"simulated\":true"));
    // The same seeds are the same figures, whatever ran at the same time.
    let again = evaluate(&[world(1), world(2)], &setup(), 1).unwrap();
    assert_eq!(again.tables, report.tables);
}

/// A panel whose demand after the decision for `day` is another one.
fn another_future(panel: &Panel, day: usize) -> Panel {
    let mut other = panel.clone();
    for (d, region) in (0..other.served.days()).flat_map(|d| [(d, 0), (d, 1)]) {
        if d + 1 >= day {
            // The service day before the decision is known until its evening only, and that is in `known`.
            other.served.of_mut(d, region).reverse();
        }
        if d >= day {
            other
                .known
                .of_mut(d, region)
                .iter_mut()
                .for_each(|b| *b = 3.0 * *b + 7e9);
        }
    }
    other
}

#[test]
fn nothing_after_the_decision_reaches_a_forecast() {
    let panel = panel(&World::new(world(3))).unwrap();
    let day = 45;
    let other = another_future(&panel, day);
    assert_ne!(panel.served, other.served);
    for calendar in [false, true] {
        let forecast = |panel: &Panel| {
            let mut boosted = Nightly::new(calendar, Training::default());
            let mut plain = Naive::ALL.map(NaiveForecaster::new);
            let mut all: Vec<_> = plain.iter_mut().map(|p| p.forecast(panel.past(day))).collect();
            all.iter_mut().for_each(|e| add_launches(panel.past(day), e));
            all.push(boosted.forecast(panel.past(day)));
            all
        };
        assert_eq!(forecast(&panel), forecast(&other));
    }
    // The newest known day does reach it.
    let mut changed = panel.clone();
    changed.known.of_mut(day - 1, 0).reverse();
    let last = |panel: &Panel| NaiveForecaster::new(Naive::LastDay).forecast(panel.past(day));
    assert_ne!(last(&panel), last(&changed));
}

#[test]
fn an_exported_service_can_be_replayed_from_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let small = WorldSetup {
        weeks: 6,
        scale: 0.05,
        ..world(4)
    };
    let world = World::new(small);
    export::export(
        &world,
        &export::Export {
            days: 25,
            storage: 0.15,
            fill: 6.5e12,
        },
        dir.path(),
    )
    .unwrap();
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    for name in ["titles.csv", "launches.csv", "demand.csv"] {
        assert!(read(name).starts_with("# SIMULATED"), "{name}");
    }
    let file = |name: &str| dir.path().join(name).display().to_string();
    let args = clap::Parser::parse_from([
        "fill-planner",
        "evaluate",
        "nights",
        "--demand",
        &file("demand.csv"),
        "--catalog",
        &file("catalogue.json"),
        "--titles",
        &file("titles.csv"),
        "--launches",
        &file("launches.csv"),
        "--nights",
        "7",
        "--storage",
        "15",
        "--fill",
        "20",
        "--out",
        &file("report"),
    ]);
    let args: fill_planner::cli::Cli = args;
    let fill_planner::cli::Command::Evaluate(fill_planner::cli::Evaluation::Nights(args)) = args.command
    else {
        panic!("another command");
    };
    let from_files = fill_planner::nights::files::panel(&args).unwrap();
    // Hours are rounded to whole bytes; the days are those of the world, the last of 25.
    let made = panel(&world).unwrap();
    let (days, all) = (from_files.served.days(), made.served.days());
    assert_eq!(days, 25);
    let sum = |p: &Panel, day| p.served.of(day, 0).iter().map(|b| f64::from(*b)).sum::<f64>();
    for back in 1..=days {
        let (a, b) = (sum(&from_files, days - back), sum(&made, all - back));
        assert!((a / b - 1.0).abs() < 1e-3, "{back}: {a} {b}");
    }
    fill_planner::nights::files::run(&args).unwrap();
    assert!(read("report/nights.html").contains("SIMULATED"));
}
