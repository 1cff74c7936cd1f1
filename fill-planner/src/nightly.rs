//! The boosted nightly forecast: trees that correct the plain expectation of [`fill_core::features`], trained on the past as it
//! was known then, anew every two weeks.
//!
//! The trees learn the log of what came over what was plainly expected. A mean of logs is not the log of a mean: a launch that
//! may draw a tenth or ten times its expectation is worth more than its middle. So what came over what the trees
//! expect is averaged by how young and how large titles are, and multiplied in.

use fill_core::{
    evaluate::{
        naive::{Expected, Forecaster},
        panel::Past,
    },
    features::{FEATURES, Memory, Told},
    rendezvous::mix,
};
use forust_ml::{GradientBooster, Matrix, objective::ObjectiveType};
use std::collections::VecDeque;

/// How it is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Training {
    /// Days of examples.
    pub days: usize,
    /// Days after which it is trained anew.
    pub every: usize,
    /// Trees.
    pub trees: usize,
    /// What a tree counts.
    pub learning_rate: f32,
    /// Leaves of a tree.
    pub leaves: usize,
    /// Of titles older than two weeks, one in so many is an example each day.
    pub thin: u64,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            days: 35,
            every: 14,
            trees: 60,
            learning_rate: 0.12,
            leaves: 16,
            thin: 14,
        }
    }
}

/// Titles of a region that are looked at: the densest by the plain expectation. Storage holds fewer.
const LOOKED_AT: f64 = 0.45;
/// Days in which every title is an example.
const YOUNG_DAYS: f64 = 14.0;
/// Examples without which nothing is learnt.
const LEAST_EXAMPLES: usize = 2_000;
/// Bounds of the logs that are learnt: one title's luck is not to bend a tree.
const MOST_LOG: f64 = 3.0;
/// Ages that separate the groups whose means are corrected, in days since first drawn.
const GROUPS: [f64; 4] = [0.5, 1.5, 3.5, 14.5];
/// Bounds of a group's correction.
const CORRECTION: (f64, f64) = (0.6, 2.5);
/// Index of the age feature.
const AGE: usize = 11;

/// One title on one night, and what it drew the day after.
struct Example {
    day: usize,
    region: usize,
    title: u32,
    told: Told,
    total: f64,
}

/// The forecast.
pub struct Nightly {
    name: String,
    calendar: bool,
    training: Training,
    memory: Memory,
    examples: VecDeque<Example>,
    model: Option<Model>,
    trained: usize,
}

struct Model {
    trees: GradientBooster,
    corrections: [f64; GROUPS.len() + 1],
}

impl Nightly {
    /// An untrained forecast, with or without the launch calendar.
    pub fn new(calendar: bool, training: Training) -> Self {
        Self {
            name: "boosted".into(),
            calendar,
            training,
            memory: Memory::default(),
            examples: VecDeque::new(),
            model: None,
            trained: 0,
        }
    }

    /// Titles that are worth a look, with their plain expectation.
    fn looked_at(&self, past: Past<'_>, region: usize) -> (Vec<f64>, Vec<u32>) {
        let bases = self.memory.bases(past, region, self.calendar);
        let mut order: Vec<u32> = (0..bases.len() as u32)
            .filter(|t| bases[*t as usize] > 0.0)
            .collect();
        let density = |t: u32| bases[t as usize] / past.titles()[t as usize].size as f64;
        order.sort_unstable_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
        order.truncate((LOOKED_AT * order.len() as f64) as usize);
        (bases, order)
    }

    /// Days from `from` on are gone through as the nights that they were.
    fn live(&mut self, past: Past<'_>) {
        let first = past.day().saturating_sub(self.training.days + 1);
        let from = self
            .examples
            .back()
            .map_or(first, |e| e.day + 1)
            .max(first)
            .max(15);
        for day in from..=past.day() {
            let then = past.earlier(day);
            self.memory.advance(then);
            for region in 0..past.regions().len() {
                let (bases, looked_at) = self.looked_at(then, region);
                for title in looked_at {
                    let base = bases[title as usize];
                    let told_now = || {
                        self.memory
                            .tell(then, region, title as usize, base, self.calendar)
                    };
                    let chosen = mix((day as u64) << 40 ^ (region as u64) << 32 ^ u64::from(title));
                    let young = self.memory.age(region, title as usize, then) < YOUNG_DAYS;
                    if young || chosen.is_multiple_of(self.training.thin) {
                        self.examples.push_back(Example {
                            day,
                            region,
                            title,
                            told: told_now(),
                            total: self.memory.total(region),
                        });
                    }
                }
            }
        }
        while self.examples.front().is_some_and(|e| e.day < first) {
            self.examples.pop_front();
        }
    }

    /// Trains on what is over.
    fn train(&mut self, past: Past<'_>) {
        let mut rows: Vec<(&Told, f64, f64)> = Vec::new();
        for example in &self.examples {
            let Some(outcome) = past.outcome(example.day, example.region) else {
                continue;
            };
            let all: f64 = outcome.iter().map(|b| f64::from(*b)).sum();
            let came = f64::from(outcome[example.title as usize]) / all.max(1.0);
            rows.push((&example.told, came, least(past, example.total)));
        }
        if rows.len() < LEAST_EXAMPLES {
            return;
        }
        let data = columns(rows.iter().map(|r| r.0));
        let target: Vec<f64> = rows
            .iter()
            .map(|(told, came, least)| {
                ((came + least) / (told.base + least))
                    .ln()
                    .clamp(-MOST_LOG, MOST_LOG)
            })
            .collect();
        let mut trees = GradientBooster::default()
            .set_objective_type(ObjectiveType::SquaredLoss)
            .set_iterations(self.training.trees)
            .set_learning_rate(self.training.learning_rate)
            .set_max_depth(6)
            .set_max_leaves(self.training.leaves)
            .set_min_leaf_weight(30.0)
            .set_nbins(128)
            .set_parallel(false)
            .set_seed(1);
        let matrix = Matrix::new(&data, rows.len(), FEATURES);
        // An untrained model stays what it was; the plain expectation is used until one is there.
        if trees.fit_unweighted(&matrix, &target, None).is_err() {
            return;
        }
        let logs = trees.predict(&matrix, false);
        let mut sums = [[0.0; 2]; GROUPS.len() + 1];
        for ((told, came, least), log) in rows.iter().zip(logs) {
            let group = &mut sums[group(told)];
            group[0] += came + least;
            group[1] += (told.base + least) * log.exp();
        }
        let corrections = sums.map(|[came, expected]| {
            if expected > 0.0 {
                (came / expected).clamp(CORRECTION.0, CORRECTION.1)
            } else {
                1.0
            }
        });
        self.model = Some(Model { trees, corrections });
        self.trained = past.day();
    }
}

/// Half a session, as a share: less is not told from nothing.
fn least(past: Past<'_>, total: f64) -> f64 {
    0.5 * past.session() / total.max(1.0)
}

fn group(told: &Told) -> usize {
    GROUPS.iter().filter(|bound| told.features[AGE] > **bound).count()
}

/// Features by column, as the library wants them.
fn columns<'a>(rows: impl ExactSizeIterator<Item = &'a Told>) -> Vec<f64> {
    let count = rows.len();
    let mut data = vec![0.0; count * FEATURES];
    for (r, told) in rows.enumerate() {
        for (f, value) in told.features.iter().enumerate() {
            data[f * count + r] = *value;
        }
    }
    data
}

impl Forecaster for Nightly {
    fn name(&self) -> &str {
        &self.name
    }

    fn forecast(&mut self, past: Past<'_>) -> Expected {
        self.live(past);
        self.memory.advance(past);
        if self.model.is_none() || past.day() >= self.trained + self.training.every {
            self.train(past);
        }
        (0..past.regions().len())
            .map(|region| {
                let total = self.memory.total(region);
                let (bases, looked_at) = self.looked_at(past, region);
                let mut shares = bases;
                if let Some(model) = &self.model {
                    let told: Vec<Told> = looked_at
                        .iter()
                        .map(|t| {
                            self.memory
                                .tell(past, region, *t as usize, shares[*t as usize], self.calendar)
                        })
                        .collect();
                    let data = columns(told.iter());
                    let logs = model
                        .trees
                        .predict(&Matrix::new(&data, told.len(), FEATURES), false);
                    let least = least(past, total);
                    for ((t, told), log) in looked_at.iter().zip(&told).zip(logs) {
                        let share = (told.base + least) * log.exp() * model.corrections[group(told)];
                        shares[*t as usize] = (share - least).max(0.0);
                    }
                }
                shares.iter().map(|s| (s * total) as f32).collect()
            })
            .collect()
    }
}
