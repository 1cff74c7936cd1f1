//! How far what came lies from what was expected, learnt from nights that the model had not seen.
//!
//! A launch errs by more than a title that is known for weeks, and what draws a session or two is mostly luck. So the ratios of what
//! came to what was expected are kept by group of ages and by how much was expected; where too few nights tell, those of the group
//! do, whatever was expected, and then those of all titles.

use super::GROUPS;
use serde::{Deserialize, Serialize};

/// Probabilities of the quantiles that are kept.
pub const LEVELS: [f64; 3] = [0.1, 0.5, 0.9];
/// Expected sessions that separate small from large.
const SIZES: [f64; 4] = [1.0, 4.0, 16.0, 64.0];
/// Ratios without which a quantile says nothing.
const LEAST: usize = 30;
/// Sessions that are added to both sides: less is not told from nothing.
const HALF: f64 = 0.5;

type Quantiles = [f64; LEVELS.len()];

/// Quantiles of the ratio of what came to what was expected. The default takes expectations for truth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// By group of ages and by size; none where too few nights tell.
    by_size: [[Option<Quantiles>; SIZES.len() + 1]; GROUPS],
    /// By group of ages.
    by_age: [Option<Quantiles>; GROUPS],
    /// Of all titles.
    all: Quantiles,
}

impl Default for Doubt {
    fn default() -> Self {
        Self {
            by_size: Default::default(),
            by_age: Default::default(),
            all: [1.0; LEVELS.len()],
        }
    }
}

impl Doubt {
    /// Learns from group of ages, expected and drawn sessions.
    pub fn learn(errors: impl Iterator<Item = (usize, f64, f64)>) -> Self {
        let mut ratios: [[Vec<f64>; SIZES.len() + 1]; GROUPS] = Default::default();
        for (group, expected, came) in errors {
            ratios[group.min(GROUPS - 1)][size(expected)].push((came + HALF) / (expected + HALF));
        }
        let of_age = ratios.each_ref().map(|sizes| sizes.concat());
        Self {
            all: quantiles(of_age.concat()).unwrap_or([1.0; LEVELS.len()]),
            by_age: of_age.map(quantiles),
            by_size: ratios.map(|sizes| sizes.map(quantiles)),
        }
    }

    /// Quantiles of the ratio for an expectation.
    pub fn of(&self, group: usize, sessions: f64) -> Quantiles {
        let group = group.min(GROUPS - 1);
        self.by_size[group][size(sessions)]
            .or(self.by_age[group])
            .unwrap_or(self.all)
    }
}

fn size(sessions: f64) -> usize {
    SIZES.iter().filter(|bound| sessions > **bound).count()
}

fn quantiles(mut ratios: Vec<f64>) -> Option<Quantiles> {
    ratios.sort_unstable_by(f64::total_cmp);
    (ratios.len() >= LEAST).then(|| LEVELS.map(|l| ratios[(l * ratios.len() as f64) as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_young_err_by_more_and_what_is_not_told_is_pooled() {
        // A group's ratios lie evenly between 0 and twice its width around 1.
        let errors = (0..1000).flat_map(|i| {
            let even = f64::from(i) / 500.0 - 1.0;
            [
                (0, 40.0, 40.0 * (1.0 + 0.8 * even)),
                (4, 40.0, 40.0 * (1.0 + 0.2 * even)),
            ]
        });
        let doubt = Doubt::learn(errors);
        let [low, middle, high] = doubt.of(0, 40.0);
        assert!(
            (low - 0.36).abs() < 0.02 && (middle - 1.0).abs() < 0.02 && (high - 1.64).abs() < 0.02,
            "{low} {middle} {high}"
        );
        let old = doubt.of(4, 40.0);
        assert!(old[0] > low && old[2] < high);
        // Of the group between nothing is known, so both together speak; of small young titles, what is known of young ones.
        let pooled = doubt.of(2, 40.0);
        assert!(pooled[2] < high && pooled[2] > old[2]);
        assert_eq!(doubt.of(0, 0.1), doubt.of(0, 40.0));
        assert_eq!(Doubt::learn(std::iter::empty()), Doubt::default());
        assert_eq!(Doubt::default().of(0, 5.0), [1.0; 3]);
    }
}
