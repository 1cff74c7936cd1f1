//! How far truth falls from predictions: quantiles and mean of what came, by the level that was predicted.
//!
//! Learnt from rows that the model had not seen. Predictions are sorted into bins of like numbers of rows; each keeps the mean
//! and some quantiles of its truths. Between the bins' centres values are interpolated, above the last one they grow
//! with the prediction. A higher prediction never has a lower quantile.

use serde::{Deserialize, Serialize};

/// Levels that are kept.
pub const LEVELS: [f64; 7] = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95];
/// Rows that a bin has at least, so that its outermost quantiles rest on some rows.
const LEAST_ROWS: usize = 60;
/// Bins at most.
const MOST_BINS: usize = 24;

/// One bin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Bin {
    predicted: f64,
    mean: f64,
    quantiles: [f64; LEVELS.len()],
}

/// Truth by predicted level. The default takes predictions for truth.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    bins: Vec<Bin>,
}

impl Spread {
    /// Learns from pairs of prediction and truth.
    pub fn learn(mut pairs: Vec<(f64, f64)>) -> Self {
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let bins = (pairs.len() / LEAST_ROWS).clamp(1, MOST_BINS);
        let mut learnt: Vec<Bin> = Vec::with_capacity(bins);
        for at in 0..bins {
            let rows = &pairs[at * pairs.len() / bins..(at + 1) * pairs.len() / bins];
            if rows.is_empty() {
                continue;
            }
            let mut bin = Bin::of(rows);
            if let Some(below) = learnt.last() {
                bin.mean = bin.mean.max(below.mean);
                for (own, low) in bin.quantiles.iter_mut().zip(below.quantiles) {
                    *own = own.max(low);
                }
            }
            learnt.push(bin);
        }
        Self { bins: learnt }
    }
    /// Mean truth of a prediction.
    pub fn mean(&self, predicted: f64) -> f64 {
        self.between(predicted, |bin| bin.mean)
    }
    /// Truth that is not exceeded with probability `level`; levels between the kept ones are interpolated, beyond them
    /// the outermost is given.
    pub fn quantile(&self, predicted: f64, level: f64) -> f64 {
        let upper = LEVELS.partition_point(|l| *l < level).min(LEVELS.len() - 1);
        let lower = upper.saturating_sub(1);
        let share = if level >= LEVELS[upper] || upper == lower {
            1.0
        } else {
            ((level - LEVELS[lower]) / (LEVELS[upper] - LEVELS[lower])).max(0.0)
        };
        let share = if level <= LEVELS[0] { 0.0 } else { share };
        let lower = if level <= LEVELS[0] { 0 } else { lower };
        self.between(predicted, |bin| {
            bin.quantiles[lower] * (1.0 - share) + bin.quantiles[upper] * share
        })
    }

    /// A bin's value at a prediction.
    fn between(&self, predicted: f64, value: impl Fn(&Bin) -> f64) -> f64 {
        let above = self.bins.partition_point(|b| b.predicted < predicted);
        match (
            above.checked_sub(1).map(|at| &self.bins[at]),
            self.bins.get(above),
        ) {
            (None, None) => predicted,
            (None, Some(first)) => value(first),
            (Some(last), None) if last.predicted > 0.0 => value(last) * predicted / last.predicted,
            (Some(last), None) => value(last),
            (Some(below), Some(above)) => {
                let share = (predicted - below.predicted) / (above.predicted - below.predicted);
                value(below) * (1.0 - share) + value(above) * share
            }
        }
    }
}

impl Bin {
    /// Of rows sorted by prediction, at least one.
    fn of(rows: &[(f64, f64)]) -> Self {
        let mut truths: Vec<f64> = rows.iter().map(|r| r.1).collect();
        truths.sort_by(f64::total_cmp);
        let quantile = |level: f64| truths[((level * truths.len() as f64) as usize).min(truths.len() - 1)];
        Self {
            predicted: rows[rows.len() / 2].0,
            mean: truths.iter().sum::<f64>() / truths.len() as f64,
            quantiles: LEVELS.map(quantile),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_about_a_prediction_is_given_back() {
        // Truth is evenly spread between 0 and twice the prediction.
        let pairs = (0..6000).map(|i| {
            let predicted = f64::from(i % 100) + 1.0;
            (predicted, 2.0 * predicted * f64::from(i / 100) / 59.0)
        });
        let spread = Spread::learn(pairs.collect());
        for predicted in [10.0, 50.0, 90.0, 200.0] {
            assert!(
                (spread.mean(predicted) / predicted - 1.0).abs() < 0.06,
                "{predicted}"
            );
            let q = |level| spread.quantile(predicted, level) / predicted;
            assert!((q(0.9) - 1.8).abs() < 0.15 && (q(0.1) - 0.2).abs() < 0.1 && (q(0.6) - 1.2).abs() < 0.15);
            assert!(q(0.01) <= q(0.05) && q(0.05) < q(0.5) && q(0.5) < q(0.95) && q(0.95) <= q(0.99));
        }
    }

    #[test]
    fn more_predicted_is_never_less_and_nothing_learnt_is_no_opinion() {
        let noisy = (0..600).map(|i| (f64::from(i), f64::from(i * 7919 % 601)));
        let spread = Spread::learn(noisy.collect());
        let mut last = 0.0;
        for i in 0..700 {
            let q = spread.quantile(f64::from(i), 0.9);
            assert!(q >= last - 1e-9, "{i}");
            last = q;
        }
        assert_eq!(Spread::learn(vec![]).mean(5.0), 5.0);
        assert_eq!(Spread::default().quantile(5.0, 0.9), 5.0);
    }
}
