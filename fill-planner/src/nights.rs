//! The evaluation of nights: which methods are replayed under which limits, and what is reported of them.
//!
//! One *history* is a service's past, real or simulated. Several histories (seeds of a simulation) are summarised together.

pub mod files;
pub mod html;
pub mod report;
mod svg;

use crate::nightly::{Nightly, Training};
use crate::output::OutputError;
use fill_core::{
    DecayedMean, InputError, Rules, SeasonalNaive,
    evaluate::{
        naive::{ByPredictor, Expected, Forecaster, Naive, NaiveForecaster, add_launches},
        panel::Panel,
        replay::{self, Cell, Days, Keeper, Method},
        summary::CellRuns,
        survival::{Survival, survival},
    },
};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What is replayed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Limits.
    pub cells: Vec<Cell>,
    /// Nights that are judged: the last ones of a history.
    pub nights: usize,
    /// Nights before them that are replayed and not judged.
    pub settle: usize,
    /// Whether the reactive caches are replayed too.
    pub reactive: bool,
    /// Whether the planner is replayed with its simple predictors too.
    pub predictors: bool,
    /// Whether a forecast is replayed that only a simulator can make: it knows every title's rate, and only chance is hidden from it. What
    /// it reaches, no forecast of the past can pass but by luck.
    pub rates: bool,
}

impl Setup {
    /// The days of a panel.
    pub fn days(&self, panel: &Panel) -> Option<Days> {
        let all = self.nights + self.settle;
        let first = panel.served.days().checked_sub(all)?;
        // A forecast needs some past, and the newest known day is the one before.
        (first >= MIN_PAST).then_some(Days {
            first,
            settle: self.settle,
            judged: self.nights,
        })
    }
}

/// Writes nights.json and nights.html.
pub fn write(dir: &std::path::Path, report: &report::Report) -> Result<(), OutputError> {
    let write = |name: &str, text: &str| {
        let file = dir.join(name);
        std::fs::write(&file, text).map_err(|source| OutputError::Write { file, source })
    };
    std::fs::create_dir_all(dir).map_err(|source| OutputError::Write {
        file: dir.to_owned(),
        source,
    })?;
    let json = serde_json::to_string_pretty(report).map_err(|e| OutputError::Write {
        file: dir.join("nights.json"),
        source: e.into(),
    })?;
    write("nights.json", &json)?;
    write("nights.html", &html::page(report))
}

/// Days of past that the first planned night needs.
pub const MIN_PAST: usize = 14;

/// A history's outcome.
#[derive(Debug)]
pub struct Outcome {
    /// Runs by cell.
    pub cells: Vec<CellRuns>,
    /// Seconds of each forecaster for all nights, training included.
    pub forecast_seconds: Vec<(String, f64)>,
    /// Seconds of one plan of the whole fleet, mean.
    pub plan_seconds: f64,
    /// Expected and drawn bytes by forecaster, in groups of rising expectation.
    pub calibration: Vec<(String, Vec<[f64; 2]>)>,
    /// Share of filled bytes a night by method, in the first cell.
    pub churn: Vec<(String, Vec<f64>)>,
    /// Loss of one appliance, in the first cell.
    pub survival: Option<Survival>,
}

/// Every method, in the order of reports. Its forecast is an index into `forecasts`' list.
pub fn methods(setup: &Setup) -> Vec<Method> {
    let method = |name: &str, calendar, baseline, keeper, forecast| Method {
        name: name.to_owned(),
        calendar,
        baseline,
        keeper,
        forecast,
        rules: Rules::default(),
    };
    let mut out = vec![
        method(
            "planner, boosted",
            true,
            false,
            Keeper::PlannerRoomBefore,
            BOOSTED + 1,
        ),
        method(
            "planner, boosted",
            false,
            false,
            Keeper::PlannerRoomBefore,
            BOOSTED,
        ),
        method(
            "planner, boosted, room a night ahead",
            true,
            false,
            Keeper::Planner,
            BOOSTED + 1,
        ),
        method("boosted, plain swap", true, false, Keeper::Swap, BOOSTED + 1),
        method("boosted, plain swap", false, false, Keeper::Swap, BOOSTED),
    ];
    if setup.predictors {
        out.extend([
            method(
                "planner, decayed mean",
                true,
                false,
                Keeper::PlannerRoomBefore,
                PREDICTORS + 3,
            ),
            method(
                "planner, seasonal naive",
                false,
                false,
                Keeper::PlannerRoomBefore,
                PREDICTORS,
            ),
        ]);
    }
    for (i, naive) in Naive::ALL.iter().enumerate() {
        for calendar in [false, true] {
            out.push(method(
                naive.name(),
                calendar,
                true,
                Keeper::Swap,
                NAIVE + 2 * i + usize::from(calendar),
            ));
        }
    }
    if setup.reactive {
        for cache in fill_core::evaluate::cache::all(0) {
            out.push(method(cache.name(), false, true, Keeper::Reactive, 0));
        }
    }
    if setup.rates {
        let last = PREDICTORS + if setup.predictors { 4 } else { 0 };
        out.push(method(RATES, true, false, Keeper::Swap, last));
    }
    out
}

/// The forecast that knows all but chance.
const RATES: &str = "all but chance known, plain swap";
/// Where the boosted forecasts are in the list of forecasts: without the calendar, then with it.
const BOOSTED: usize = 0;
/// Where the baselines begin, each without and with the calendar.
const NAIVE: usize = 2;
/// Where the planner's own predictors begin: seasonal naive, then decayed mean, each without and with the calendar.
const PREDICTORS: usize = NAIVE + 2 * Naive::ALL.len();

/// Replays a history.
pub fn evaluate(panel: &Panel, history: u64, setup: &Setup) -> Result<Option<Outcome>, InputError> {
    let Some(days) = setup.days(panel) else {
        return Ok(None);
    };
    let (mut forecasts, forecast_seconds) = forecasts(panel, days, setup.predictors);
    let mut methods = methods(setup);
    match &panel.rates {
        Some(rates) if setup.rates => {
            let of_day = |day: usize| {
                (0..panel.regions.len())
                    .map(|r| rates.of(day, r).to_vec())
                    .collect()
            };
            forecasts.push(days.all().map(of_day).collect());
        }
        _ => methods.retain(|m| m.name != RATES), // it is the last one
    }
    let mut cells = Vec::new();
    let mut plan_seconds = 0.0;
    for cell in &setup.cells {
        let started = Instant::now();
        let mut runs = replay::planned(panel, *cell, days, &methods, &forecasts)?;
        plan_seconds += started.elapsed().as_secs_f64();
        if setup.reactive {
            // No cap holds for them, so one cap's outcome is every cap's.
            let same = cells.iter().find(|c: &&CellRuns| c.cell.storage == cell.storage);
            let known = same.map(|c| {
                c.runs
                    .iter()
                    .filter(|r| methods[r.method].keeper == Keeper::Reactive)
            });
            match known {
                Some(known) => runs.extend(known.cloned().collect::<Vec<_>>()),
                None => runs.extend(replay::reactive(panel, *cell, days, &methods)),
            }
        }
        cells.push(CellRuns {
            cell: *cell,
            history,
            runs,
        });
    }
    let planned_methods = methods.iter().filter(|m| m.keeper != Keeper::Reactive).count();
    let replays = (setup.cells.len() * planned_methods * days.all().len()).max(1);
    let loss = |cell: &Cell| survival(panel, *cell, days, &forecasts[BOOSTED + 1], APPLIANCES);
    Ok(Some(Outcome {
        survival: setup.cells.first().map(loss).transpose()?,
        calibration: calibration(panel, days, &forecasts),
        churn: churn(panel, &methods, &cells),
        cells,
        forecast_seconds,
        plan_seconds: plan_seconds / replays as f64,
    }))
}

/// Every forecast of every planned day.
fn forecasts(panel: &Panel, days: Days, predictors: bool) -> (Vec<Vec<Expected>>, Vec<(String, f64)>) {
    let mut plain: Vec<Box<dyn Forecaster>> = Vec::new();
    plain.extend(Naive::ALL.map(|n| Box::new(NaiveForecaster::new(n)) as Box<dyn Forecaster>));
    if predictors {
        plain.push(Box::new(ByPredictor(SeasonalNaive)));
        plain.push(Box::new(ByPredictor(DecayedMean::default())));
    }
    let (mut out, mut seconds) = (Vec::new(), Vec::new());
    for calendar in [false, true] {
        let started = Instant::now();
        let mut nightly = Nightly::new(calendar, Training::default());
        out.push(days.all().map(|d| nightly.forecast(panel.past(d))).collect());
        let name = if calendar { "boosted + calendar" } else { "boosted" };
        seconds.push((name.to_owned(), started.elapsed().as_secs_f64()));
    }
    for forecaster in &mut plain {
        let started = Instant::now();
        let without: Vec<Expected> = days.all().map(|d| forecaster.forecast(panel.past(d))).collect();
        seconds.push((forecaster.name().to_owned(), started.elapsed().as_secs_f64()));
        let mut with = without.clone();
        for (day, expected) in days.all().zip(&mut with) {
            add_launches(panel.past(day), expected);
        }
        out.extend([without, with]);
    }
    (out, seconds)
}

/// Appliances of a site in which one is lost.
const APPLIANCES: usize = 4;

/// Groups of a calibration.
const GROUPS: usize = 12;

/// Expected against drawn bytes in groups of rising expectation, each with the same expected bytes.
fn calibration(panel: &Panel, days: Days, forecasts: &[Vec<Expected>]) -> Vec<(String, Vec<[f64; 2]>)> {
    let chosen = [
        ("decayed mean + calendar", NAIVE + 5),
        ("boosted", BOOSTED),
        ("boosted + calendar", BOOSTED + 1),
    ];
    chosen
        .iter()
        .map(|(name, index)| {
            let mut pairs: Vec<[f64; 2]> = Vec::new();
            for (day, expected) in days.all().zip(&forecasts[*index]).skip(days.settle) {
                for (region, expected) in expected.iter().enumerate() {
                    let drawn = panel.served.of(day, region);
                    let both = expected.iter().zip(drawn).filter(|(e, _)| **e > 0.0);
                    pairs.extend(both.map(|(e, d)| [f64::from(*e), f64::from(*d)]));
                }
            }
            pairs.sort_by(|a, b| a[0].total_cmp(&b[0]));
            let all: f64 = pairs.iter().map(|p| p[0]).sum();
            let mut groups = vec![[0.0; 3]; GROUPS];
            let mut passed = 0.0;
            for [expected, drawn] in pairs {
                let group = ((passed / all * GROUPS as f64) as usize).min(GROUPS - 1);
                passed += expected;
                groups[group][0] += expected;
                groups[group][1] += drawn;
                groups[group][2] += 1.0;
            }
            let means = groups
                .iter()
                .filter(|g| g[2] > 0.0)
                .map(|g| [g[0] / g[2], g[1] / g[2]]);
            ((*name).to_owned(), means.collect())
        })
        .collect()
}

/// Filled bytes over storage by night, all regions together.
fn churn(panel: &Panel, methods: &[Method], cells: &[CellRuns]) -> Vec<(String, Vec<f64>)> {
    let Some(cell) = cells.first() else {
        return Vec::new();
    };
    let storage = cell.cell.storage * panel.catalogue_bytes() * panel.regions.len() as f64;
    let chosen = |m: &Method| m.calendar && m.keeper != Keeper::Reactive;
    cell.runs
        .iter()
        .filter(|r| chosen(&methods[r.method]))
        .map(|run| {
            let mut nights: std::collections::BTreeMap<usize, f64> = std::collections::BTreeMap::new();
            for score in &run.scores {
                *nights.entry(score.day).or_default() += score.filled / storage;
            }
            let label = fill_core::evaluate::summary::label(&methods[run.method]);
            (label, nights.into_values().collect())
        })
        .collect()
}
