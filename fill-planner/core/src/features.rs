//! What a learnt nightly forecast is told of a title in a region, and the plain expectation that it corrects.
//!
//! Everything is in shares of the region's day, so that weekdays and growth, which move all titles together, are
//! out of the way. The plain expectation ("base") is a mean of past shares in which a day counts half as much as two days
//! later; of a title that the region is about to see for the first time it is the launch calendar's weight, times what such
//! weights drew on past first days. The model learns the log of what came over the base: how titles fade, what
//! weekdays, neighbours and new seasons do to them, and how the calendar errs.

mod said;

pub use said::said;

use crate::evaluate::{
    naive::launch_factor,
    panel::{Kind, Past},
};
use std::collections::BTreeMap;

/// Features of one title in one region.
pub const FEATURES: usize = 25;
/// Index of the days since a title was first drawn in the region.
pub const AGE: usize = 11;
/// Their names, in order.
pub const NAMES: [&str; FEATURES] = [
    "plain expectation per byte",
    "1 day ago",
    "2 days ago",
    "3 days ago",
    "7 days ago",
    "14 days ago",
    "mean of a week",
    "mean of three weeks",
    "all regions",
    "neighbours",
    "all regions, 1 day ago",
    "days since it was first drawn here",
    "days since it was first drawn anywhere",
    "weekday",
    "kind",
    "own production",
    "made for all regions",
    "made here",
    "runtime",
    "season",
    "calendar's weight",
    "days since a part of its series came",
    "days until a part of its series comes",
    "launch of the part before",
    "sessions 1 day ago",
];
/// Half-lives of the means, in days.
const HALF_LIVES: [f32; 3] = [2.0, 7.0, 21.0];
/// Days before a release from which on the calendar's next part of a series is looked at.
const AHEAD_DAYS: i64 = 7;
/// Days that count for a launch's strength.
const LAUNCH_WEEK: i64 = 7;
/// Age of what was never drawn.
const NEVER: i64 = -1;

/// Means over the past, moved on day by day.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    day: usize,
    lead: usize,
    regions: Vec<RegionMemory>,
    siblings: BTreeMap<u32, Vec<u32>>,
}

#[derive(Debug, Clone)]
struct RegionMemory {
    /// By half-life, then title: weighted sum of shares.
    sums: [Vec<f32>; 3],
    /// The same of the weights, which begin when a title is first drawn.
    weights: [Vec<f32>; 3],
    /// Known day on which a title was first drawn.
    first: Vec<i64>,
    /// Sum of shares in the first week.
    launch: Vec<f32>,
    /// Bytes of the newest known days, newest first.
    totals: Vec<f32>,
    /// Share per unit of expected weight on a first day.
    launch_factor: f64,
}

/// One title's plain expectation and features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Expected share of the region's day.
    pub base: f64,
    /// The same in sessions of its newest known day.
    pub sessions: f64,
    /// Features in the order of [`NAMES`].
    pub features: [f64; FEATURES],
}

impl Memory {
    /// Takes in what has become known until the planned day.
    pub fn advance(&mut self, past: Past<'_>) {
        if self.regions.is_empty() {
            let titles = past.titles().len();
            let empty = || vec![0f32; titles];
            let region = |_| RegionMemory {
                sums: std::array::from_fn(|_| empty()),
                weights: std::array::from_fn(|_| empty()),
                first: vec![NEVER; titles],
                launch: empty(),
                totals: Vec::new(),
                launch_factor: 0.0,
            };
            self.regions = (0..past.regions().len()).map(region).collect();
            for (t, title) in past.titles().iter().enumerate() {
                self.siblings.entry(title.franchise).or_default().push(t as u32);
            }
        }
        for day in self.day..past.days() {
            for (region, memory) in self.regions.iter_mut().enumerate() {
                memory.take(
                    day as i64,
                    past.known(past.day() - day, region).unwrap_or_default(),
                );
            }
        }
        self.day = self.day.max(past.days());
        self.lead = past.lead();
        for (region, memory) in self.regions.iter_mut().enumerate() {
            let total = f64::from(memory.totals.iter().sum::<f32>()) / memory.totals.len().max(1) as f64;
            memory.launch_factor = if total > 0.0 {
                launch_factor(past, region) / total
            } else {
                0.0
            };
        }
    }

    /// Days since a title was first drawn in a region; 0 if it never was.
    pub fn age(&self, region: usize, t: usize, past: Past<'_>) -> f64 {
        match self.regions[region].first[t] {
            NEVER => 0.0,
            first => (past.day() as i64 - first) as f64,
        }
    }

    /// Expected bytes of a region's day: the same weekday of the last two weeks.
    pub fn total(&self, region: usize) -> f64 {
        let totals = &self.regions[region].totals;
        let weeks: Vec<f64> = [1, 2]
            .iter()
            .filter_map(|n| totals.get(weeks_back(*n, self.lead) - 1))
            .map(|b| f64::from(*b))
            .collect();
        match (weeks.len(), totals.first()) {
            (0, newest) => newest.map_or(0.0, |b| f64::from(*b)),
            (n, _) => weeks.iter().sum::<f64>() / n as f64,
        }
    }

    /// Plain expectations of a region, by title; 0 for what was never drawn and is not announced for the planned day.
    pub fn bases(&self, past: Past<'_>, region: usize, calendar: bool) -> Vec<f64> {
        let memory = &self.regions[region];
        let day = past.day() as i64;
        // What was launched since the newest known day was not seen yet.
        let unknown = day + 1 - past.lead() as i64;
        let of = |(t, title): (usize, &crate::evaluate::panel::TitleFacts)| {
            if memory.first[t] != NEVER {
                memory.mean(0, t)
            } else if calendar && title.shown[region].is_some_and(|s| (unknown..=day).contains(&s)) {
                title.expected * memory.launch_factor
            } else {
                0.0
            }
        };
        past.titles().iter().enumerate().map(of).collect()
    }

    /// Everything that the model is told of a title.
    pub fn tell(&self, past: Past<'_>, region: usize, t: usize, base: f64, calendar: bool) -> Told {
        let (here, title, day) = (&self.regions[region], &past.titles()[t], past.day() as i64);
        let total = f64::from(here.totals.first().copied().unwrap_or(1.0)).max(1.0);
        let least = 0.5 * past.session() / total;
        let over_base = |share: f64| ((share + least) / (base + least)).ln();
        let lag = |back: usize| {
            let of_day = here
                .totals
                .get(back - 1)
                .map(|b| f64::from(*b))
                .filter(|b| *b > 0.0);
            match (of_day, past.known(back, region)) {
                (Some(all), Some(bytes)) => over_base(f64::from(bytes[t]) / all),
                _ => f64::NAN,
            }
        };
        let mean = |of: &mut dyn Iterator<Item = f64>| {
            let (mut sum, mut n) = (0.0, 0.0);
            of.for_each(|x| {
                sum += x;
                n += 1.0;
            });
            if n > 0.0 { sum / n } else { 0.0 }
        };
        let elsewhere = mean(&mut self.regions.iter().map(|r| r.mean(0, t)));
        let neighbours = mean(
            &mut past
                .neighbours(region)
                .iter()
                .map(|n| self.regions[*n].mean(0, t)),
        );
        let newest = mean(&mut self.regions.iter().enumerate().map(|(r, m)| {
            let bytes = past.known(1, r).map_or(0.0, |b| f64::from(b[t]));
            bytes / f64::from(m.totals.first().copied().unwrap_or(1.0)).max(1.0)
        }));
        let age = |first: i64| if first == NEVER { 0.0 } else { (day - first) as f64 };
        let anywhere = self
            .regions
            .iter()
            .map(|r| r.first[t])
            .filter(|f| *f != NEVER)
            .min();
        let series = self.series(past, region, t, calendar);
        let judged = if calendar {
            title.expected * here.launch_factor
        } else {
            0.0
        };
        let known = |on: bool, value: f64| if on { value } else { f64::NAN };
        Told {
            base,
            sessions: base * total / past.session(),
            features: [
                (base * total / title.size as f64 + 1e-4).ln(),
                lag(1),
                lag(2),
                lag(3),
                lag(weeks_back(1, past.lead())),
                lag(weeks_back(2, past.lead())),
                over_base(here.mean(1, t)),
                over_base(here.mean(2, t)),
                over_base(elsewhere),
                over_base(neighbours),
                over_base(newest),
                age(here.first[t]).min(400.0),
                anywhere.map_or(0.0, age).min(400.0),
                past.weekday(0) as f64,
                match title.kind {
                    Kind::Film => 0.0,
                    Kind::Season => 1.0,
                    Kind::Episode => 2.0,
                },
                f64::from(u8::from(title.original)),
                f64::from(u8::from(title.global)),
                known(
                    title.home.is_some(),
                    f64::from(u8::from(title.home == Some(region))),
                ),
                f64::from(title.runtime),
                f64::from(title.season),
                known(judged > 0.0, over_base(judged)),
                series.since,
                series.until,
                known(series.launch > 0.0, over_base(series.launch)),
                (past.known(1, region).map_or(0.0, |b| f64::from(b[t])) / past.session()).ln_1p(),
            ],
        }
    }

    fn series(&self, past: Past<'_>, region: usize, t: usize, calendar: bool) -> Series {
        let (day, memory) = (past.day() as i64, &self.regions[region]);
        let mut out = Series {
            since: f64::NAN,
            until: f64::NAN,
            launch: 0.0,
        };
        let mut newest = NEVER;
        for s in self
            .siblings
            .get(&past.titles()[t].franchise)
            .into_iter()
            .flatten()
        {
            let s = *s as usize;
            if s == t {
                continue;
            }
            let first = memory.first[s];
            if first != NEVER {
                out.since = out.since.min((day - first) as f64);
                if first > newest {
                    newest = first;
                    let days = (day - first).clamp(1, LAUNCH_WEEK) as f64;
                    out.launch = f64::from(memory.launch[s]) / days;
                }
            } else if calendar {
                // Only what the calendar names: of other titles the first day is known from their demand, once it has come.
                let named = past.titles()[s].expected > 0.0;
                let shown = past.titles()[s].shown[region]
                    .filter(|_| named)
                    .map(|shown| shown - day);
                if let Some(until) = shown.filter(|u| (0..=AHEAD_DAYS).contains(u)) {
                    out.until = out.until.min(until as f64);
                }
            }
        }
        out
    }
}

/// The known day with the planned day's weekday, so many weeks before it; 1 = the newest known day.
fn weeks_back(weeks: usize, lead: usize) -> usize {
    (7 * weeks + 1).saturating_sub(lead).max(1)
}

/// What other parts of a title's series do.
struct Series {
    since: f64,
    until: f64,
    launch: f64,
}

impl RegionMemory {
    fn take(&mut self, day: i64, bytes: &[f32]) {
        let total: f32 = bytes.iter().sum();
        self.totals.insert(0, total);
        self.totals.truncate(14);
        for (t, bytes) in bytes.iter().enumerate() {
            if *bytes > 0.0 && self.first[t] == NEVER {
                self.first[t] = day;
            }
            if self.first[t] == NEVER {
                continue;
            }
            let share = if total > 0.0 { bytes / total } else { 0.0 };
            if day - self.first[t] < LAUNCH_WEEK {
                self.launch[t] += share;
            }
            for (half_life, (sums, weights)) in
                HALF_LIVES.iter().zip(self.sums.iter_mut().zip(&mut self.weights))
            {
                let kept = (-1.0 / half_life).exp2();
                sums[t] = sums[t] * kept + share;
                weights[t] = weights[t] * kept + 1.0;
            }
        }
    }

    fn mean(&self, half_life: usize, t: usize) -> f64 {
        let weight = self.weights[half_life][t];
        if weight > 0.0 {
            f64::from(self.sums[half_life][t] / weight)
        } else {
            0.0
        }
    }
}
