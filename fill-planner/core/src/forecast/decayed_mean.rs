//! The baseline: a mean in which each day counts less than the one after it, corrected for the weekday.
//!
//! A region's weekdays differ together (everybody watches more on Saturday), so their factors are learnt from the
//! region's totals. An object may also have a habit of its own (children's films on Sunday): what it drew on past days
//! of the planned weekday over the week around each. That is a ratio, so that an object that fades is not expected
//! at last week's height, and few observations pull it towards 1.

use super::{Forecast, Predictor};
use crate::history::{self, History};
use cdn_types::time::Date;

/// Weekday-aware decayed mean.
#[derive(Debug, Clone, Copy)]
pub struct DecayedMean {
    /// Days after which a day counts half. 2: title lists change by 40 % a week, and a single day is noisy; in the
    /// simulator 2 serves more than 3 or 5.
    pub half_life_days: f64,
    /// Observations that a weekday's own figures are weighed against: with this many they count half.
    pub weekday_prior: f64,
}

impl Default for DecayedMean {
    fn default() -> Self {
        Self {
            half_life_days: 2.0,
            weekday_prior: 3.0,
        }
    }
}

impl Predictor for DecayedMean {
    fn name(&self) -> &str {
        "weekday-aware decayed mean"
    }

    fn predict(&self, history: &History) -> Forecast {
        let mut forecast = Forecast::default();
        for region in history.regions() {
            let of_region = self.of_region(history.planned(), history.days(), &history.totals(region));
            for (object, series) in history.objects(region) {
                forecast.set(region, *object, of_region.expect(series));
            }
        }
        forecast
    }
}

impl DecayedMean {
    /// What holds for a whole region: `days` are the known ones, newest first, with the region's bytes of each.
    pub fn of_region<'a>(&self, planned: Date, days: &'a [Date], totals: &[u64]) -> OfRegion<'a> {
        let weight = |day: &Date| (-f64::from(history::age(planned, *day) - 1) / self.half_life_days).exp2();
        OfRegion {
            mean: *self,
            planned,
            days,
            weights: days.iter().map(weight).collect(),
            week: Week::learn(totals, days, self.weekday_prior),
        }
    }
}

/// Expects the planned day's bytes of one region's objects.
#[derive(Debug, Clone)]
pub struct OfRegion<'a> {
    mean: DecayedMean,
    planned: Date,
    days: &'a [Date],
    weights: Vec<f64>,
    week: Week,
}

impl OfRegion<'_> {
    /// One object's expectation, from its bytes a day, newest first.
    pub fn expect(&self, series: &[u64]) -> f64 {
        let planned = weekday(self.planned);
        let plain: Vec<f64> = series
            .iter()
            .zip(self.days)
            .map(|(bytes, day)| *bytes as f64 / self.week.factor(weekday(*day)))
            .collect();
        let weight: f64 = self.weights[..plain.len()].iter().sum();
        if weight <= 0.0 {
            return 0.0;
        }
        let level = plain.iter().zip(&self.weights).map(|(p, w)| p * w).sum::<f64>() / weight;
        // Its own days of the planned weekday against the week around each.
        let prior = self.mean.weekday_prior * level;
        let (mut own, mut around) = (prior, prior);
        for day in (0..plain.len()).filter(|d| weekday(self.days[*d]) == planned) {
            own += plain[day];
            around += week_around(&plain, day);
        }
        let habit = if around > 0.0 { own / around } else { 1.0 };
        level * habit * self.week.factor(planned)
    }
}

/// Mean of the seven days around a day, as far as they are known.
fn week_around(series: &[f64], day: usize) -> f64 {
    let days = &series[day.saturating_sub(3)..(day + 4).min(series.len())];
    days.iter().sum::<f64>() / days.len() as f64
}

/// How much each weekday draws over the mean day, per region.
#[derive(Debug, Clone)]
struct Week([f64; 7]);

impl Week {
    fn learn(totals: &[u64], days: &[Date], prior: f64) -> Self {
        let mean = totals.iter().map(|t| *t as f64).sum::<f64>() / totals.len().max(1) as f64;
        let (mut sums, mut counts) = ([0.0; 7], [0.0; 7]);
        for (total, day) in totals.iter().zip(days) {
            sums[weekday(*day)] += *total as f64;
            counts[weekday(*day)] += 1.0;
        }
        let mut factors = [1.0; 7];
        if mean > 0.0 && totals.len() >= 7 {
            for (factor, (sum, count)) in factors.iter_mut().zip(sums.iter().zip(counts)) {
                *factor = (sum / mean + prior) / (count + prior);
            }
        }
        Self(factors)
    }
    fn factor(&self, of_week: usize) -> f64 {
        self.0[of_week].max(f64::MIN_POSITIVE)
    }
}

/// 0 = Monday.
fn weekday(date: Date) -> usize {
    usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{Bytes, Hour, ObjectDigest, RegionId, api::v1::DemandRow};

    fn region() -> RegionId {
        RegionId::new("r").unwrap()
    }
    /// Two objects a day, over `days` days before `planned`: bytes by the day's date.
    fn history(planned: &str, days: i64, bytes: impl Fn(Date) -> [u64; 2]) -> History {
        let planned: Date = planned.parse().unwrap();
        let mut rows = vec![];
        for hour in (1..=days * 24).map(|h| Hour(Hour::start_of(planned).0 - h)) {
            for (name, b) in [b"a", b"b"].into_iter().zip(bytes(hour.date())) {
                rows.push(DemandRow {
                    hour,
                    region: region(),
                    object: ObjectDigest::of(name),
                    requests: 1,
                    bytes: Bytes(b),
                });
            }
        }
        History::before(planned, &rows)
    }
    fn expect(h: &History) -> [f64; 2] {
        let f = DecayedMean::default().predict(h);
        [b"a", b"b"].map(|n| f.get(&region(), &ObjectDigest::of(n)))
    }

    #[test]
    fn a_steady_object_is_expected_as_it_was() {
        for days in [1, 2, 7, 14, 40] {
            let [a, b] = expect(&history("2026-11-23", days, |_| [10, 1000]));
            assert!(
                (a - 240.0).abs() < 1e-6 && (b - 24_000.0).abs() < 1e-6,
                "{days}: {a} {b}"
            );
        }
    }

    #[test]
    fn recent_days_count_more_and_saturdays_follow_saturdays() {
        let planned = "2026-11-28"; // a Saturday
        let rising = history(planned, 14, |d| {
            if d >= "2026-11-26".parse().unwrap() {
                [9, 1]
            } else {
                [1, 1]
            }
        });
        let [a, b] = expect(&rising);
        assert!(a > 2.0 * b, "{a} {b}");
        // Both double on Saturdays; `b` is drawn on Saturdays only.
        let weekly = history(planned, 28, |d| {
            let saturday = weekday(d) == 5;
            [if saturday { 20 } else { 10 }, if saturday { 50 } else { 0 }]
        });
        let [a, b] = expect(&weekly);
        assert!(a > 300.0, "a Saturday draws more than the mean day: {a}");
        let sunday = expect(&history("2026-11-29", 28, |d| {
            let saturday = weekday(d) == 5;
            [if saturday { 20 } else { 10 }, if saturday { 50 } else { 0 }]
        }));
        assert!(b > 2.0 * sunday[1], "{b} on Saturday, {} on Sunday", sunday[1]);
    }
}
