//! What viewers watch. Each title has a score in each region: half of it the same everywhere, half the region's own.
//! Scores drift from week to week (a part is replaced by chance); titles are drawn in proportion to 1 / rank^0.9 of their
//! score, a Zipf-like curve, and between two weeks from both: what rises or falls does so over days. A title that appears
//! for the first time is drawn several times as much in its first days.

use crate::dice::Dice;

/// Exponent of the popularity curve.
const ZIPF: f64 = 0.9;
/// A premiere is drawn this many times more on top of its rank's share, falling by 1/e in [`PREMIERE_DAYS`].
const PREMIERE: f64 = 4.0;
/// Days in which a premiere's extra demand falls to 1/e.
const PREMIERE_DAYS: f64 = 5.0;

/// Every title's share of its region's demand, for every day of a span.
#[derive(Debug, Clone)]
pub struct Taste {
    /// By region, week and title.
    scores: Vec<Vec<Vec<f64>>>,
    /// By title: day of the span on which it appears; negative if before the span.
    appears: Vec<i64>,
}

/// What a [`Taste`] is made of.
#[derive(Debug, Clone, Copy)]
pub struct TasteSetup {
    /// Seed.
    pub seed: u64,
    /// Titles.
    pub titles: usize,
    /// Regions.
    pub regions: usize,
    /// Days of the span.
    pub days: i64,
    /// Part of a score that is replaced in a week, 0 to 1.
    pub churn: f64,
    /// Share of titles that appear within the span, 0 to 1.
    pub launches: f64,
}

impl Taste {
    /// Taste over a span of days.
    pub fn new(setup: &TasteSetup) -> Self {
        let weeks = (setup.days / 7 + 2) as usize;
        let drift = |name: &str| drift(setup, name, weeks);
        let everywhere = drift("everywhere");
        let mix = |region: Vec<Vec<f64>>| {
            let weeks = region.iter().zip(&everywhere);
            weeks
                .map(|(own, all)| own.iter().zip(all).map(|(o, a)| o + a).collect())
                .collect()
        };
        let mut dice = Dice::new(setup.seed, "launches");
        let appears = (0..setup.titles)
            .map(|_| {
                let day = (dice.even() * setup.days as f64) as i64;
                if dice.even() < setup.launches { day } else { -1_000 }
            })
            .collect();
        Self {
            scores: (0..setup.regions)
                .map(|r| mix(drift(&format!("region {r}"))))
                .collect(),
            appears,
        }
    }

    /// Each title's share of a region's demand on a day of the span; they add up to 1 unless no title is there.
    pub fn shares(&self, region: usize, day: i64) -> Vec<f64> {
        let week = usize::try_from(day / 7)
            .unwrap_or(0)
            .min(self.scores[region].len() - 2);
        let part = (day - 7 * week as i64) as f64 / 7.0;
        let mut shares = vec![0.0; self.appears.len()];
        for (week, weight) in [(week, 1.0 - part), (week + 1, part)] {
            let scores = &self.scores[region][week];
            let mut order: Vec<usize> = (0..scores.len()).filter(|t| self.appears[*t] <= day).collect();
            order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
            for (rank, title) in order.into_iter().enumerate() {
                let age = (day - self.appears[title]) as f64;
                let premiere = 1.0 + PREMIERE * (-age / PREMIERE_DAYS).exp();
                shares[title] += weight * premiere / (1.0 + rank as f64).powf(ZIPF);
            }
        }
        let sum: f64 = shares.iter().sum();
        if sum > 0.0 {
            shares.iter_mut().for_each(|s| *s /= sum);
        }
        shares
    }
}

/// Scores by week and title that keep mean 0 and variance 1 while a part is replaced each week.
fn drift(setup: &TasteSetup, name: &str, weeks: usize) -> Vec<Vec<f64>> {
    let mut dice = Dice::new(setup.seed, name);
    let mut week: Vec<f64> = (0..setup.titles).map(|_| dice.normal()).collect();
    let mut all = Vec::with_capacity(weeks);
    for _ in 0..weeks {
        all.push(week.clone());
        for score in &mut week {
            let kept = 1.0 - setup.churn;
            *score = kept * *score + (1.0 - kept * kept).sqrt() * dice.normal();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: TasteSetup = TasteSetup {
        seed: 1,
        titles: 200,
        regions: 2,
        days: 28,
        churn: 0.25,
        launches: 0.2,
    };

    fn top(shares: &[f64]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by(|a, b| shares[*b].total_cmp(&shares[*a]));
        order.truncate(20);
        order
    }
    fn common(a: &[usize], b: &[usize]) -> usize {
        a.iter().filter(|t| b.contains(t)).count()
    }

    #[test]
    fn taste_differs_by_region_and_changes_by_the_week() {
        let taste = Taste::new(&SETUP);
        for day in [0, 13, 27] {
            assert!((taste.shares(0, day).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        let [a, b] = [0, 1].map(|r| top(&taste.shares(r, 0)));
        assert!((1..17).contains(&common(&a, &b)), "{}", common(&a, &b));
        let later = top(&taste.shares(0, 14));
        assert!((2..19).contains(&common(&a, &later)), "{}", common(&a, &later));
        let few = taste.shares(0, 0).iter().filter(|s| **s > 0.0).count();
        let all = taste.shares(0, 27).iter().filter(|s| **s > 0.0).count();
        assert!(few < all && all == 200, "{few} {all}");
    }

    #[test]
    fn without_churn_and_launches_nothing_changes() {
        let taste = Taste::new(&TasteSetup {
            churn: 0.0,
            launches: 0.0,
            ..SETUP
        });
        for (first, last) in taste.shares(1, 0).iter().zip(taste.shares(1, 27)) {
            assert!((first - last).abs() < 1e-12, "{first} {last}");
        }
    }
}
