//! The whole catalogue by half-years: what to hold for the next half-year at a budget of bytes, decided on its first day.
//!
//! A title's bytes are its runtime, its demand the hours viewed; what is held is chosen by predicted hours a runtime hour. Titles
//! that are chosen and do not appear in the period's report cost their bytes and serve nothing. Titles whose runtime the period's
//! report does not tell have no bytes and count nowhere.

use crate::{
    adapters,
    error::PlannerError,
    evaluate::scores::{Scores, ScoresRow},
    model::{self, FORMAT, ModelFile, Recipe, Window},
    rows,
};
use fill_core::{
    budget::{self, Item},
    halves::{Candidate, Half, Outlook, Report, Reports, WeeklyHours},
    table::Table,
    trees::{Ensemble, Scale},
};
use std::{collections::BTreeMap, path::Path};

/// Shares of the catalogue's bytes.
const BUDGETS: [f64; 5] = [0.02, 0.05, 0.1, 0.2, 0.4];
const RESAMPLES: usize = 200;

/// How the model of half-years is grown; docs/decisions/forecast.md says why so.
fn recipe() -> Recipe {
    Recipe {
        scales: vec![Scale::Log(5e4), Scale::CubeRoot(1e5), Scale::SquareRoot(1e5)],
        seeds: 5,
        trees: 300,
        learning_rate: 0.05,
        depth: 6,
        leaves: 63,
        leaf_weight: 60.0,
        rows: 0.8,
        features: 0.5,
        folds: 3,
    }
}

/// A table of candidates, and what each stands or falls with.
struct Learnt {
    table: Table,
    blocks: Vec<usize>,
}

/// Evaluates on the half-year `test`, by default the last of the file, with all earlier ones to learn from.
pub fn halves(data: &Path, test: Option<Half>, seed: u64) -> Result<(Scores, ModelFile), PlannerError> {
    let reports = adapters::half_reports(&rows::packed_or_plain(data, "engagement-by-half-year.csv"))?;
    let lists = adapters::weekly_hours(&rows::packed_or_plain(data, "top10-global.csv"))?;
    let own = match test {
        None => reports.all().last(),
        Some(half) => reports.all().iter().find(|r| r.half == half),
    };
    let own = own
        .ok_or_else(|| PlannerError::Usage("the reports do not have the half-year to judge by".to_owned()))?;
    let past = reports.before(own.half);
    let (Some(first), Some(last)) = (past.first(), past.last()) else {
        return Err(PlannerError::Usage(format!(
            "no report is older than {}: nothing to learn from",
            own.half
        )));
    };
    let judge = Judge::new(own, &reports, seed);
    let with = Trial::run(&past, own, &lists, true, seed)?;
    let without = Trial::run(&past, own, &lists, false, seed)?;
    let scores = Scores {
        evaluation: "whole catalogue by half-years",
        trained: [first.half.to_string(), last.half.to_string()],
        tested: [own.half.to_string(), own.half.to_string()],
        seed,
        budget: "share of the catalogue's bytes",
        budgets: BUDGETS.to_vec(),
        oracle: judge.oracle_shares(),
        methods: vec![
            judge.row("last half-year, densest first", &without, |t, row, _| {
                t.density(row, 1)
            }),
            judge.row("mean of two half-years", &without, |t, row, _| {
                t.density(row, 1) + t.density(row, 2)
            }),
            judge.row("boosted, no calendar", &without, |t, row, _| {
                t.model.score(t.test.row(row))
            }),
            judge.row("boosted + calendar", &with, |t, row, _| {
                t.model.score(t.test.row(row))
            }),
            judge.row("all that is known, by truth", &without, |t, row, _| {
                t.test.target[row]
            }),
            judge.row("all that is known or announced, by truth", &with, |t, row, _| {
                t.test.target[row]
            }),
        ],
        figures: with.calibration(),
    };
    let file = ModelFile {
        format: FORMAT,
        kind: "halves".to_owned(),
        trained: Window {
            from: first.half.to_string(),
            to: last.half.to_string(),
        },
        seed,
        scores: named_scores(&scores, own.half),
        nights: vec![],
        earlier: None,
        model: with.model,
    };
    Ok((scores, file))
}

fn named_scores(scores: &Scores, half: Half) -> BTreeMap<String, f64> {
    let row = scores.methods.iter().find(|r| r.method == "boosted + calendar");
    let ratios = row.into_iter().flat_map(|r| &r.ratio).zip(BUDGETS);
    ratios
        .map(|(ratio, budget)| {
            (
                format!("{half}: ratio to the oracle at {budget} of the bytes"),
                ratio.value,
            )
        })
        .collect()
}

/// A model that has learnt from the past, and the candidates of the period to be judged.
struct Trial<'a> {
    model: Ensemble,
    test: Table,
    candidates: Vec<Candidate<'a>>,
}

impl<'a> Trial<'a> {
    fn run(
        past: &'a [Report],
        own: &'a Report,
        lists: &'a [WeeklyHours],
        calendar: bool,
        seed: u64,
    ) -> Result<Self, PlannerError> {
        let learnt = learn(past, lists, calendar)?;
        let model = model::train(&learnt.table, &learnt.blocks, &recipe(), seed)?;
        let (test, candidates) = outlook(past, own, lists, calendar).table(Some(own))?;
        Ok(Self {
            model,
            test,
            candidates,
        })
    }
    /// What a row's title drew so many periods ago.
    fn density(&self, row: usize, ago: usize) -> f64 {
        let name = if ago == 1 { "density_1" } else { "density_2" };
        let at = self.test.names().iter().position(|n| *n == name);
        let cell = at
            .and_then(|at| self.test.row(row).get(at))
            .copied()
            .unwrap_or(0.0);
        if cell.is_nan() {
            0.0
        } else {
            fill_core::halves::density(cell)
        }
    }
    /// Whether amounts and intervals hold on what was not seen.
    fn calibration(&self) -> BTreeMap<String, f64> {
        let rows = 0..self.test.len();
        let truth: f64 = rows
            .clone()
            .map(|r| self.test.target[r] * self.test.weight[r])
            .sum();
        let expected: f64 = rows
            .clone()
            .map(|r| self.model.expected(self.test.row(r)) * self.test.weight[r])
            .sum();
        let mut figures = BTreeMap::from([(
            "hours expected of all candidates, over what came".to_owned(),
            expected / truth,
        )]);
        // Among what a plan looks at: the half that is expected to draw most.
        let mut ranked: Vec<(f64, usize)> = rows.map(|r| (self.model.score(self.test.row(r)), r)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate(ranked.len().div_ceil(2));
        for level in [0.1, 0.5, 0.9] {
            let below = ranked
                .iter()
                .filter(|(_, r)| self.test.target[*r] <= self.model.quantile(self.test.row(*r), level))
                .count();
            let share = below as f64 / ranked.len().max(1) as f64;
            figures.insert(
                format!("share of the upper half's titles below the {level} quantile"),
                share,
            );
        }
        figures
    }
}

fn outlook<'a>(past: &'a [Report], own: &'a Report, lists: &'a [WeeklyHours], calendar: bool) -> Outlook<'a> {
    let outlook = Outlook::new(past, lists, own.half).with_sizes(own);
    if calendar {
        outlook.with_calendar(own)
    } else {
        outlook
    }
}

/// Each past period as it stood on its first day, with what came of it.
fn learn(past: &[Report], lists: &[WeeklyHours], calendar: bool) -> Result<Learnt, PlannerError> {
    let mut learnt = Learnt {
        table: Table::default(),
        blocks: vec![],
    };
    let mut series: BTreeMap<String, usize> = BTreeMap::new();
    for own in past {
        let (table, candidates) = outlook(past, own, lists, calendar).table(Some(own))?;
        learnt.table.append(&table)?;
        for candidate in candidates {
            let next = series.len();
            learnt
                .blocks
                .push(*series.entry(candidate.title.name.series.clone()).or_insert(next));
        }
    }
    Ok(learnt)
}

/// The period's own demand, by which rankings are judged.
struct Judge<'a> {
    own: &'a Report,
    blocks: BTreeMap<String, usize>,
    catalogue: Vec<Item>,
    oracle: Vec<Item>,
    seed: u64,
}

impl<'a> Judge<'a> {
    fn new(own: &'a Report, reports: &Reports, seed: u64) -> Self {
        let mut blocks: BTreeMap<String, usize> = BTreeMap::new();
        for title in reports.all().iter().flat_map(|r| r.titles.values()) {
            let next = blocks.len();
            blocks.entry(title.name.series.clone()).or_insert(next);
        }
        let mut judge = Self {
            own,
            blocks,
            catalogue: vec![],
            oracle: vec![],
            seed,
        };
        judge.catalogue = own
            .titles
            .values()
            .filter_map(|t| {
                Some(Item {
                    bytes: t.runtime?,
                    demand: t.hours,
                    block: judge.block(&t.name.series),
                })
            })
            .collect();
        judge.oracle = budget::oracle(&judge.catalogue);
        judge
    }
    fn block(&self, series: &str) -> usize {
        self.blocks.get(series).copied().unwrap_or(0)
    }
    fn sums(&self, times: &[u32]) -> (f64, f64) {
        let counted = |i: &Item| times.get(i.block).copied().map_or(0.0, f64::from);
        let sum = |of: fn(&Item) -> f64| self.catalogue.iter().map(|i| of(i) * counted(i)).sum::<f64>();
        (sum(|i| i.bytes), sum(|i| i.demand))
    }
    /// What the oracle serves of all demand.
    fn oracle_shares(&self) -> Vec<budget::Interval> {
        let share = |budget: f64| {
            budget::bootstrap(self.blocks.len(), RESAMPLES, self.seed, |times| {
                let (bytes, demand) = self.sums(times);
                budget::served(&self.oracle, budget * bytes, times) / demand
            })
        };
        BUDGETS.map(share).to_vec()
    }
    /// A method that ranks a trial's rows.
    fn row(
        &self,
        method: &'static str,
        trial: &Trial<'_>,
        rank: impl Fn(&Trial<'_>, usize, &Candidate<'_>) -> f64,
    ) -> ScoresRow {
        let mut ranked: Vec<(f64, Item)> = trial
            .candidates
            .iter()
            .enumerate()
            .map(|(row, candidate)| (rank(trial, row, candidate), self.item(candidate)))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let ranked: Vec<Item> = ranked.into_iter().map(|r| r.1).collect();
        let ratio = |budget: f64| {
            budget::bootstrap(self.blocks.len(), RESAMPLES, self.seed, |times| {
                let bytes = budget * self.sums(times).0;
                budget::served(&ranked, bytes, times) / budget::served(&self.oracle, bytes, times)
            })
        };
        ScoresRow {
            method,
            ratio: BUDGETS.map(ratio).to_vec(),
        }
    }
    fn item(&self, candidate: &Candidate<'_>) -> Item {
        let own = self.own.titles.get(candidate.key);
        let size = own.and_then(|t| t.runtime);
        Item {
            bytes: size.unwrap_or(candidate.runtime),
            demand: size.and(own).map_or(0.0, |t| t.hours),
            block: self.block(&candidate.title.name.series),
        }
    }
}
