//! The baselines' forecasts, and what a launch calendar adds to any of them.

use super::panel::Past;
use crate::{forecast::Predictor, history::History};

/// Expected bytes by region and title.
pub type Expected = Vec<Vec<f32>>;

/// Forecasts a service day from what is known.
pub trait Forecaster {
    /// Name in reports.
    fn name(&self) -> &str;
    /// Expected bytes by region and title.
    fn forecast(&mut self, past: Past<'_>) -> Expected;
}

/// Forecasts that need no model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naive {
    /// The newest known day.
    LastDay,
    /// The same weekday last week, or the newest day of what is younger.
    LastWeek,
    /// A mean in which a day counts half as much as two days later.
    Decayed,
    /// All that was ever drawn, per day.
    AllTime,
    /// The newest day of all regions together, scaled to each.
    Global,
}

impl Naive {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::LastDay,
        Self::LastWeek,
        Self::Decayed,
        Self::AllTime,
        Self::Global,
    ];
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastDay => "last day's top",
            Self::LastWeek => "same day last week",
            Self::Decayed => "decayed mean",
            Self::AllTime => "all-time top",
            Self::Global => "global list",
        }
    }
}

/// A [`Naive`] that remembers its sums from night to night.
#[derive(Debug, Clone)]
pub struct NaiveForecaster {
    naive: Naive,
    sums: Expected,
    seen: usize,
}

impl NaiveForecaster {
    /// Begins with no memory.
    pub fn new(naive: Naive) -> Self {
        Self {
            naive,
            sums: Vec::new(),
            seen: 0,
        }
    }

    /// Adds the known days that were not added yet.
    fn remember(&mut self, past: Past<'_>, kept: f32) {
        if self.sums.is_empty() {
            self.sums = vec![vec![0.0; past.titles().len()]; past.regions().len()];
        }
        for day in self.seen..past.days() {
            for (region, sums) in self.sums.iter_mut().enumerate() {
                let bytes = past.known(past.day() - day, region).unwrap_or_default();
                for (sum, bytes) in sums.iter_mut().zip(bytes) {
                    *sum = *sum * kept + (1.0 - kept).max(if kept >= 1.0 { 1.0 } else { 0.0 }) * bytes;
                }
            }
        }
        self.seen = past.days();
    }
}

impl Forecaster for NaiveForecaster {
    fn name(&self) -> &str {
        self.naive.name()
    }

    fn forecast(&mut self, past: Past<'_>) -> Expected {
        let regions = 0..past.regions().len();
        let newest = |region: usize| past.known(1, region).unwrap_or_default();
        match self.naive {
            Naive::LastDay => regions.map(|r| newest(r).to_vec()).collect(),
            Naive::LastWeek => regions
                .map(|r| {
                    let week = past.known(7, r).unwrap_or_default();
                    let of = |(t, now): (usize, &f32)| match week.get(t) {
                        Some(then) if *then > 0.0 => *then,
                        _ => *now,
                    };
                    newest(r).iter().enumerate().map(of).collect()
                })
                .collect(),
            Naive::Decayed => {
                self.remember(past, 0.5f32.sqrt());
                self.sums.clone()
            }
            Naive::AllTime => {
                self.remember(past, 1.0);
                let days = self.seen.max(1) as f32;
                self.sums
                    .iter()
                    .map(|s| s.iter().map(|b| b / days).collect())
                    .collect()
            }
            Naive::Global => {
                let mut all = vec![0.0f32; past.titles().len()];
                for region in regions.clone() {
                    for (sum, bytes) in all.iter_mut().zip(newest(region)) {
                        *sum += bytes;
                    }
                }
                let whole: f32 = all.iter().sum();
                regions
                    .map(|r| {
                        let share = newest(r).iter().sum::<f32>() / whole.max(f32::MIN_POSITIVE);
                        all.iter().map(|b| b * share).collect()
                    })
                    .collect()
            }
        }
    }
}

/// Days that a [`Predictor`] is given: four weeks, as many weeks as its weekday habits need.
const PREDICTOR_DAYS: usize = 28;

/// One of the planner's own predictors.
pub struct ByPredictor<P>(pub P);

impl<P: Predictor> Forecaster for ByPredictor<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn forecast(&mut self, past: Past<'_>) -> Expected {
        let count = past.days().min(PREDICTOR_DAYS);
        let days: Vec<_> = (1..=count).map(|back| past.known_date(back)).collect();
        let series = |region: usize| {
            let known: Vec<&[f32]> = (1..=count).filter_map(|back| past.known(back, region)).collect();
            let of = |t: usize| known.iter().map(|day| day[t] as u64).collect();
            past.objects()
                .iter()
                .enumerate()
                .map(|(t, o)| (*o, of(t)))
                .collect::<Vec<_>>()
        };
        let regions = past
            .regions()
            .iter()
            .enumerate()
            .map(|(r, region)| (region.clone(), series(r)));
        let forecast = self.0.predict(&History::of_days(past.date(), &days, regions));
        past.regions()
            .iter()
            .map(|region| {
                past.objects()
                    .iter()
                    .map(|o| forecast.get(region, o) as f32)
                    .collect()
            })
            .collect()
    }
}

/// Days of past launches that tell what the calendar's weights mean in bytes.
const LAUNCH_DAYS: usize = 28;

/// Adds the launch calendar to a forecast: a title that a region shows from the planned day on is expected to draw its
/// expected weight, times what such weights drew on the first days of the last four weeks.
pub fn add_launches(past: Past<'_>, expected: &mut Expected) {
    for (region, expected) in expected.iter_mut().enumerate() {
        let factor = launch_factor(past, region);
        for (title, bytes) in past.titles().iter().zip(expected) {
            if title.shown[region] == Some(past.day() as i64) {
                *bytes = bytes.max((title.expected * factor) as f32);
            }
        }
    }
}

/// Bytes of a premiere day per unit of expected weight in a region: sums over the launches of the last four weeks.
pub fn launch_factor(past: Past<'_>, region: usize) -> f64 {
    let day = past.day() as i64;
    let first = day - LAUNCH_DAYS as i64;
    let (mut bytes, mut weight) = (0.0, 0.0);
    for (t, title) in past.titles().iter().enumerate() {
        let Some(shown) = title.shown[region].filter(|s| (first..day).contains(s) && title.expected > 0.0)
        else {
            continue;
        };
        let outcome = usize::try_from(shown).ok().and_then(|s| past.outcome(s, region));
        if let Some(outcome) = outcome {
            bytes += f64::from(outcome[t]);
            weight += title.expected;
        }
    }
    if weight > 0.0 { bytes / weight } else { 0.0 }
}
