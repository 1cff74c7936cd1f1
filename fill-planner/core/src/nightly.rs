//! The learnt nightly forecast: trees that correct the plain expectation of [`crate::features`]. What they learn from and what they
//! expect is here; growing them needs a library, and is the program's.
//!
//! The trees learn the log of what came over what was plainly expected. A mean of logs is not the log of a mean: a launch that
//! may draw a tenth or ten times its expectation is worth more than its middle, and so is what draws a few sessions a day beside
//! what draws hundreds. So what came over what the trees expect is averaged by how young titles are and how much is drawn of
//! them, and multiplied in.

mod doubt;

pub use doubt::{Doubt, LEVELS};

use crate::{
    evaluate::{naive::Expected, panel::Past},
    features::{AGE, Memory, NAMES, Told},
    rendezvous::mix,
    table::{RowError, Table},
    trees::{Ensemble, TreeError},
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Titles of a region that are looked at: the densest by the plain expectation. Storage holds fewer.
const LOOKED_AT: f64 = 0.45;
/// Days in which every title is an example.
const YOUNG_DAYS: f64 = 14.0;
/// First day of which examples are taken: before it no mean says anything.
pub const FIRST_EXAMPLE: usize = 15;
/// Bounds of the logs that are learnt: one title's luck is not to bend a tree.
const MOST_LOG: f64 = 3.0;
/// Ages that separate the groups whose means are corrected, in days since first drawn.
const AGES: [f64; 4] = [0.5, 1.5, 3.5, 14.5];
/// Groups of ages.
pub const GROUPS: usize = AGES.len() + 1;
/// Expected sessions that separate the sizes whose means are corrected: chance bends the log of a few more than that of many.
const SIZES: [f64; 6] = [3.0, 8.0, 20.0, 50.0, 120.0, 300.0];
/// Sizes.
pub const SIZE_GROUPS: usize = SIZES.len() + 1;
/// Examples of a size without which its group of ages speaks for it.
const LEAST_OF_SIZE: usize = 300;
/// Bounds of a correction.
const CORRECTION: (f64, f64) = (0.6, 2.5);

/// Which nights and titles are learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Days of examples.
    pub days: usize,
    /// Of titles older than two weeks, one in so many is an example each day.
    pub thin: u64,
}

/// One title on one night, and what it drew the day after.
#[derive(Debug, Clone)]
struct Example {
    day: usize,
    region: usize,
    title: u32,
    told: Told,
    total: f64,
}

/// What grew of examples, and what they say of its errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NightlyModel {
    /// Whether it was told of the launch calendar.
    pub calendar: bool,
    /// Days from the newest known day to the planned one, as it learnt them.
    pub lead: usize,
    /// What came over what the trees expect, by group of ages and by size.
    pub corrections: [[f64; SIZE_GROUPS]; GROUPS],
    /// How far what came lies from what is expected.
    pub doubt: Doubt,
    /// Ratio to the plain expectation.
    pub trees: Ensemble,
}

impl NightlyModel {
    /// Checks a model that was read from a file.
    ///
    /// # Errors
    /// When its trees contradict themselves or were told of other features than this release tells.
    pub fn check(&self) -> Result<(), TreeError> {
        self.trees.check()?;
        if !self.trees.features.iter().eq(NAMES.iter()) {
            return Err(TreeError::other(
                "it was told of other features than this release knows",
            ));
        }
        Ok(())
    }

    /// Expected share of the region's day; `least` is the share that is not told from nothing.
    pub fn share(&self, told: &Told, least: f64) -> f64 {
        let ratio = self.trees.score(&told.features) * self.correction(told);
        ((told.base + least) * ratio - least).max(0.0)
    }

    /// What titles of its age and size are multiplied by.
    pub fn correction(&self, told: &Told) -> f64 {
        let [age, size] = groups(told);
        self.corrections[age][size]
    }
}

/// What a region's title is expected to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Bytes.
    pub bytes: f64,
    /// Bytes not exceeded with the probabilities [`LEVELS`].
    pub quantiles: [f64; LEVELS.len()],
}

/// The past, night by night, as it was known then.
#[derive(Debug, Clone)]
pub struct Nights {
    calendar: bool,
    sampling: Sampling,
    memory: Memory,
    examples: VecDeque<Example>,
}

impl Nights {
    /// Nothing is known yet.
    pub fn new(calendar: bool, sampling: Sampling) -> Self {
        Self {
            calendar,
            sampling,
            memory: Memory::default(),
            examples: VecDeque::new(),
        }
    }

    /// Takes in what is known, without learning from it.
    pub fn remember(&mut self, past: Past<'_>) {
        self.memory.advance(past);
    }

    /// Goes through the days that were not gone through yet, as the nights that they were.
    pub fn live(&mut self, past: Past<'_>) {
        let first = past.day().saturating_sub(self.sampling.days + 1);
        let newest = self.examples.back();
        let from = newest.map_or(first, |e| e.day + 1).max(first).max(FIRST_EXAMPLE);
        for day in from..=past.day() {
            let then = past.earlier(day);
            self.memory.advance(then);
            for region in 0..past.regions().len() {
                let (bases, looked_at) = self.looked_at(then, region);
                for title in looked_at {
                    let chosen = mix((day as u64) << 40 ^ (region as u64) << 32 ^ u64::from(title));
                    let young = self.memory.age(region, title as usize, then) < YOUNG_DAYS;
                    if young || chosen.is_multiple_of(self.sampling.thin.max(1)) {
                        self.examples.push_back(Example {
                            day,
                            region,
                            title,
                            told: self.tell(then, region, title, &bases),
                            total: self.memory.total(region),
                        });
                    }
                }
            }
        }
        while self.examples.front().is_some_and(|e| e.day < first) {
            self.examples.pop_front();
        }
        self.memory.advance(past);
    }

    /// Examples whose days are over, with what came of them as a ratio to the plain expectation.
    ///
    /// # Errors
    /// Never with the features of this release.
    pub fn table(&self, past: Past<'_>) -> Result<Table, RowError> {
        let mut table = Table::default();
        for (told, came, least) in self.outcomes(past) {
            let ratio = (came + least) / (told.base + least);
            let cells: [(&'static str, f64); NAMES.len()] =
                std::array::from_fn(|f| (NAMES[f], told.features[f]));
            table.push(&cells, ratio.clamp((-MOST_LOG).exp(), MOST_LOG.exp()), 1.0)?;
        }
        Ok(table)
    }

    /// A model of trees that grew of [`table`](Self::table). How far it errs is not known yet.
    pub fn model(&self, past: Past<'_>, trees: Ensemble) -> NightlyModel {
        let outcomes = self.outcomes(past).map(|(told, came, least)| Outcome {
            groups: groups(told),
            came: came + least,
            expected: (told.base + least) * trees.score(&told.features),
        });
        NightlyModel {
            calendar: self.calendar,
            lead: past.lead(),
            corrections: corrections(outcomes),
            doubt: Doubt::default(),
            trees,
        }
    }

    /// Expected bytes; the plain expectation where there is no model.
    pub fn expect(&self, past: Past<'_>, model: Option<&NightlyModel>) -> Expected {
        let of_region = |region: usize| {
            let total = self.memory.total(region);
            let (mut shares, looked_at) = self.looked_at(past, region);
            if let Some(model) = model {
                let least = least(past, total);
                for t in looked_at {
                    let told = self.tell(past, region, t, &shares);
                    shares[t as usize] = model.share(&told, least);
                }
            }
            shares.iter().map(|s| (s * total) as f32).collect()
        };
        (0..past.regions().len()).map(of_region).collect()
    }

    /// How far the planned day may be from what is expected of it, by region and title. `expected` is what
    /// [`expect`](Self::expect) says.
    pub fn outlook(
        &self,
        past: Past<'_>,
        model: &NightlyModel,
        region: usize,
        t: usize,
        expected: f32,
    ) -> Outlook {
        let bytes = f64::from(expected);
        let age = self.memory.age(region, t, past);
        let sessions = bytes / past.session();
        Outlook {
            bytes,
            quantiles: model.doubt.of(age_group(age), sessions).map(|q| {
                if sessions > 0.0 {
                    ((sessions + HALF) * q - HALF).max(0.0) * past.session()
                } else {
                    0.0
                }
            }),
        }
    }

    /// What came of a night beside what was expected of it, for [`Doubt::learn`]: group of ages, expected and drawn sessions.
    pub fn errors<'a>(
        &self,
        past: Past<'_>,
        expected: &Expected,
        came: impl Fn(usize) -> &'a [f32],
    ) -> Vec<(usize, f64, f64)> {
        let mut out = Vec::new();
        for (region, expected) in expected.iter().enumerate() {
            let pairs = expected.iter().zip(came(region)).enumerate();
            for (t, (expected, came)) in pairs.filter(|(_, (expected, _))| **expected > 0.0) {
                let sessions = |bytes: f32| f64::from(bytes) / past.session();
                let group = age_group(self.memory.age(region, t, past));
                out.push((group, sessions(*expected), sessions(*came)));
            }
        }
        out
    }

    /// A title's plain expectation and features, its region's expected bytes, and the share that is not told from nothing.
    pub fn told(&self, past: Past<'_>, region: usize, title: u32) -> (Told, f64, f64) {
        let bases = self.memory.bases(past, region, self.calendar);
        let total = self.memory.total(region);
        let told = self.tell(past, region, title, &bases);
        (told, total, least(past, total))
    }

    /// Whether the model is asked about a title, rather than the plain expectation taken for it.
    pub fn is_looked_at(&self, past: Past<'_>, region: usize, title: u32) -> bool {
        self.looked_at(past, region).1.contains(&title)
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

    fn tell(&self, past: Past<'_>, region: usize, title: u32, bases: &[f64]) -> Told {
        let base = bases[title as usize];
        self.memory
            .tell(past, region, title as usize, base, self.calendar)
    }

    fn outcomes<'a>(&'a self, past: Past<'a>) -> impl Iterator<Item = (&'a Told, f64, f64)> + 'a {
        let mut all: Option<(usize, usize, f64)> = None;
        self.examples.iter().filter_map(move |example| {
            let outcome = past.outcome(example.day, example.region)?;
            let total = match all {
                Some((day, region, total)) if (day, region) == (example.day, example.region) => total,
                _ => outcome.iter().map(|b| f64::from(*b)).sum::<f64>().max(1.0),
            };
            all = Some((example.day, example.region, total));
            let came = f64::from(outcome[example.title as usize]) / total;
            Some((&example.told, came, least(past, example.total)))
        })
    }
}

/// Sessions that are not told from none.
const HALF: f64 = 0.5;

/// Half a session, as a share: less is not told from nothing.
fn least(past: Past<'_>, total: f64) -> f64 {
    HALF * past.session() / total.max(1.0)
}

/// What came of an example beside what the trees expected, in shares.
struct Outcome {
    groups: [usize; 2],
    came: f64,
    expected: f64,
}

/// What came over what was expected. Sizes of few examples take what their ages say.
fn corrections(outcomes: impl Iterator<Item = Outcome>) -> [[f64; SIZE_GROUPS]; GROUPS] {
    let mut sums = [[(0, 0.0, 0.0); SIZE_GROUPS]; GROUPS];
    for Outcome {
        groups: [age, size],
        came,
        expected,
    } in outcomes
    {
        let sum = &mut sums[age][size];
        *sum = (sum.0 + 1, sum.1 + came, sum.2 + expected);
    }
    let ratio = |came: f64, expected: f64| {
        if expected > 0.0 {
            (came / expected).clamp(CORRECTION.0, CORRECTION.1)
        } else {
            1.0
        }
    };
    sums.map(|sizes| {
        let all = ratio(sizes.iter().map(|s| s.1).sum(), sizes.iter().map(|s| s.2).sum());
        sizes.map(|(examples, came, expected)| {
            if examples < LEAST_OF_SIZE {
                all
            } else {
                ratio(came, expected)
            }
        })
    })
}

/// Groups of ages and of sizes that a title belongs to.
fn groups(told: &Told) -> [usize; 2] {
    let size = SIZES.iter().filter(|bound| told.sessions > **bound).count();
    [age_group(told.features[AGE]), size]
}

fn age_group(age: f64) -> usize {
    AGES.iter().filter(|bound| age > **bound).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_chance_bends_is_made_good_by_age_and_size() {
        // Old titles of a few sessions draw 1.25 times what the trees expect, those of many what they expect; launches vary by age alone.
        let old = |size: usize, times: f64| {
            (0..LEAST_OF_SIZE).map(move |_| Outcome {
                groups: [GROUPS - 1, size],
                came: times * 0.01,
                expected: 0.01,
            })
        };
        let launches = [(0, 3.0), (5, 1.0)].map(|(size, came)| Outcome {
            groups: [0, size],
            came,
            expected: 2.0,
        });
        let of = corrections(old(1, 1.25).chain(old(5, 1.0)).chain(launches));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(of[GROUPS - 1][1], 1.25) && near(of[GROUPS - 1][5], 1.0));
        assert!(
            near(of[GROUPS - 1][3], 1.125),
            "a size without examples takes its age's"
        );
        assert!(
            of[0].iter().all(|c| near(*c, 1.0)),
            "two launches say nothing of sizes: {:?}",
            of[0]
        );
        assert_eq!(of[1], [1.0; SIZE_GROUPS]);
    }
}
