//! Weekly lists by country: which K titles a country is to hold for the next week, decided after the week before.
//!
//! Weeks are numbered from 0. A ranking is scored by the weight of the next week's list that it holds, over what the best K
//! would hold; the mean over countries and weeks. Intervals resample countries.

use crate::{
    adapters,
    error::PlannerError,
    evaluate::scores::{Scores, ScoresRow},
    model::{self, FORMAT, ModelFile, Recipe, Window},
    rows,
};
use fill_core::{
    budget::{self, Interval},
    lists::{Board, Launch, Row, candidates},
    table::Table,
    trees::{Ensemble, Scale},
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Titles a country.
const BUDGETS: [usize; 4] = [10, 20, 40, 80];
/// First week that is learnt to forecast: earlier ones have too little before them.
const FIRST: usize = 8;
const RESAMPLES: usize = 1000;

/// How the model of lists is grown; docs/decisions/forecast.md says why so.
fn recipe() -> Recipe {
    Recipe {
        scales: vec![Scale::SquareRoot(0.01)],
        seeds: 2,
        trees: 150,
        learning_rate: 0.08,
        depth: 7,
        leaves: 64,
        leaf_weight: 40.0,
        rows: 0.6,
        features: 0.5,
        folds: 0,
    }
}

/// Ranks of a country's items for the week after one: best first.
type Ranking<'a> = Box<dyn Fn(usize, usize) -> Vec<usize> + 'a>;

/// Evaluates on the weeks after `train_to` up to `until`, with weeks up to `train_to` to learn from.
pub fn lists(
    data: &Path,
    train_to: usize,
    until: usize,
    seed: u64,
) -> Result<(Scores, ModelFile), PlannerError> {
    let entries = adapters::country_lists(&rows::packed_or_plain(data, "top10-by-country.csv"))?;
    let hours = adapters::weekly_hours(&rows::packed_or_plain(data, "top10-global.csv"))?;
    let reports = adapters::half_reports(&rows::packed_or_plain(data, "engagement-by-half-year.csv"))?;
    let plain = Board::new(&entries, &hours, &BTreeMap::new());
    let announced = Board::new(&entries, &hours, &Launch::all(&reports));
    if train_to < FIRST || until <= train_to || until >= plain.weeks.len() {
        return Err(PlannerError::Usage(format!(
            "weeks are numbered 0 to {}; training ends at {FIRST} or later, and judging ends after it, within the weeks",
            plain.weeks.len() - 1
        )));
    }
    let weeks = train_to + 1..=until;
    let without = Trial::run(&plain, train_to, until, seed)?;
    let with = Trial::run(&announced, train_to, until, seed)?;
    let judge = |board, ranking: Ranking<'_>| Judge::new(board, weeks.clone(), &ranking, seed);
    let methods: Vec<(&'static str, Judge)> = vec![
        ("last week", judge(&plain, by(&plain, last_week))),
        ("decayed mean", judge(&plain, by(&plain, decayed))),
        ("all time", judge(&plain, by(&plain, all_time))),
        ("the world's list", judge(&plain, by(&plain, world))),
        ("boosted, no calendar", judge(&plain, without.ranking())),
        ("boosted + calendar", judge(&announced, with.ranking())),
        (
            "its candidates without calendar, by truth",
            judge(&plain, without.truth()),
        ),
        (
            "its candidates with calendar, by truth",
            judge(&announced, with.truth()),
        ),
    ];
    let week = |at: usize| format!("week {at} ({})", plain.weeks[at]);
    let scores = Scores {
        evaluation: "weekly lists by country",
        trained: [week(FIRST), week(train_to)],
        tested: [week(train_to + 1), week(until)],
        seed,
        budget: "titles a country",
        budgets: BUDGETS.map(|b| b as f64).to_vec(),
        oracle: methods.first().map_or_else(Vec::new, |m| m.1.oracle()),
        methods: methods
            .iter()
            .map(|(method, judge)| ScoresRow {
                method,
                ratio: judge.ratios(),
            })
            .collect(),
        figures: BTreeMap::new(),
    };
    let file = ModelFile {
        format: FORMAT,
        kind: "lists".to_owned(),
        trained: Window {
            from: plain.weeks[FIRST].to_string(),
            to: plain.weeks[train_to].to_string(),
        },
        seed,
        scores: named_scores(&scores),
        nights: vec![],
        earlier: None,
        model: with.model,
    };
    Ok((scores, file))
}

fn named_scores(scores: &Scores) -> BTreeMap<String, f64> {
    let row = scores.methods.iter().find(|r| r.method == "boosted + calendar");
    let ratios = row.into_iter().flat_map(|r| &r.ratio).zip(BUDGETS);
    ratios
        .map(|(ratio, k)| (format!("ratio to the oracle at {k} titles"), ratio.value))
        .collect()
}

/// A model, and its scores of each judged week's candidates.
struct Trial {
    model: Ensemble,
    /// Scored items by week before and country.
    scored: HashMap<(usize, usize), Vec<(f64, usize)>>,
    truth: HashMap<(usize, usize), Vec<(f64, usize)>>,
}

impl Trial {
    fn run(board: &Board, train_to: usize, until: usize, seed: u64) -> Result<Self, PlannerError> {
        let mut table = Table::default();
        for week in FIRST - 1..train_to {
            let (rows, _) = candidates(board, week, true)?;
            table.append(&rows)?;
        }
        let model = model::train(&table, &[], &recipe(), seed)?;
        let mut trial = Self {
            model,
            scored: HashMap::new(),
            truth: HashMap::new(),
        };
        for week in train_to..until {
            let (table, rows) = candidates(board, week, false)?;
            for (at, Row { country, item }) in rows.into_iter().enumerate() {
                let key = (week, country);
                trial
                    .scored
                    .entry(key)
                    .or_default()
                    .push((trial.model.score(table.row(at)), item));
                trial.truth.entry(key).or_default().push((table.target[at], item));
            }
        }
        Ok(trial)
    }
    fn ranking(&self) -> Ranking<'_> {
        Box::new(|week, country| ranked(self.scored.get(&(week, country)).cloned().unwrap_or_default()))
    }
    /// The same candidates, by what came.
    fn truth(&self) -> Ranking<'_> {
        Box::new(|week, country| ranked(self.truth.get(&(week, country)).cloned().unwrap_or_default()))
    }
}

/// Best first; ties by number, so that they do not depend on the machine.
fn ranked(mut scored: Vec<(f64, usize)>) -> Vec<usize> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    scored.into_iter().map(|s| s.1).collect()
}

/// A method that adds up lists.
fn by<'a>(board: &'a Board, weigh: fn(&Board, usize, usize, &mut BTreeMap<usize, f64>)) -> Ranking<'a> {
    Box::new(move |week, country| {
        let mut weights = BTreeMap::new();
        weigh(board, week, country, &mut weights);
        ranked(weights.into_iter().map(|(item, weight)| (weight, item)).collect())
    })
}

fn add(board: &Board, week: usize, country: usize, times: f64, weights: &mut BTreeMap<usize, f64>) {
    for (item, weight) in board.list(week, country) {
        *weights.entry(*item).or_default() += times * weight;
    }
}

fn last_week(board: &Board, week: usize, country: usize, weights: &mut BTreeMap<usize, f64>) {
    add(board, week, country, 1.0, weights);
}

/// A week counts half of the one after it.
fn decayed(board: &Board, week: usize, country: usize, weights: &mut BTreeMap<usize, f64>) {
    for ago in 0..8.min(week + 1) {
        add(
            board,
            week - ago,
            country,
            0.5f64.powi(i32::try_from(ago).unwrap_or(0)),
            weights,
        );
    }
}

fn all_time(board: &Board, week: usize, country: usize, weights: &mut BTreeMap<usize, f64>) {
    (0..=week).for_each(|at| add(board, at, country, 1.0, weights));
}

fn world(board: &Board, week: usize, _: usize, weights: &mut BTreeMap<usize, f64>) {
    (0..board.countries.len()).for_each(|country| add(board, week, country, 1.0, weights));
}

/// A method's shares: by country, budget and week, what it held and what the best would hold.
struct Judge {
    /// By budget, by country: sums over weeks of held, best, and the number of weeks.
    held: Vec<Vec<[f64; 3]>>,
    seed: u64,
}

impl Judge {
    fn new(board: &Board, weeks: std::ops::RangeInclusive<usize>, ranking: &Ranking<'_>, seed: u64) -> Self {
        let mut held = vec![vec![[0.0; 3]; board.countries.len()]; BUDGETS.len()];
        for week in weeks {
            for country in 0..board.countries.len() {
                let mut truth = board.list(week, country).to_vec();
                let all: f64 = truth.iter().map(|t| t.1).sum();
                if all <= 0.0 {
                    continue;
                }
                truth.sort_by(|a, b| b.1.total_cmp(&a.1));
                let order = ranking(week - 1, country);
                for (held, budget) in held.iter_mut().zip(BUDGETS) {
                    let chosen = &order[..budget.min(order.len())];
                    let got: f64 = truth.iter().filter(|t| chosen.contains(&t.0)).map(|t| t.1).sum();
                    let best: f64 = truth.iter().take(budget).map(|t| t.1).sum();
                    let cell = &mut held[country];
                    *cell = [cell[0] + got / all, cell[1] + best / all, cell[2] + 1.0];
                }
            }
        }
        Self { held, seed }
    }
    fn each(&self, score: impl Fn([f64; 3]) -> f64) -> Vec<Interval> {
        let interval = |countries: &Vec<[f64; 3]>| {
            budget::bootstrap(countries.len(), RESAMPLES, self.seed, |times| {
                let mut sums = [0.0; 3];
                for (cell, n) in countries.iter().zip(times) {
                    for (sum, part) in sums.iter_mut().zip(cell) {
                        *sum += part * f64::from(*n);
                    }
                }
                score(sums)
            })
        };
        self.held.iter().map(interval).collect()
    }
    /// What was held of what the best would hold.
    fn ratios(&self) -> Vec<Interval> {
        self.each(|[held, best, _]| held / best)
    }
    /// What the best would hold of all.
    fn oracle(&self) -> Vec<Interval> {
        self.each(|[_, best, weeks]| best / weeks)
    }
}
