//! Intervals of ratios: paired blocks of days and regions are drawn with replacement, and the ratio of sums is taken anew.
//! A block is a week of one region (of one history): neighbouring days share launches and taste, so single days would be
//! taken for more independent than they are.

use crate::rendezvous::mix;

/// Draws.
const DRAWS: u64 = 400;

/// A figure with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// 2.5 % of draws lie below.
    pub low: f64,
    /// 2.5 % of draws lie above.
    pub high: f64,
}

/// Estimates a function of sums over blocks; `blocks` are each block's sums.
pub fn estimate<const N: usize>(
    blocks: &[[f64; N]],
    seed: u64,
    figure: impl Fn(&[f64; N]) -> f64,
) -> Estimate {
    let sum = |of: &mut dyn Iterator<Item = usize>| {
        let mut sums = [0.0; N];
        for block in of {
            for (sum, part) in sums.iter_mut().zip(&blocks[block]) {
                *sum += part;
            }
        }
        sums
    };
    let n = blocks.len();
    let value = figure(&sum(&mut (0..n)));
    if n < 2 {
        return Estimate {
            value,
            low: value,
            high: value,
        };
    }
    let mut draws: Vec<f64> = (0..DRAWS)
        .map(|draw| {
            let pick = |i: usize| (mix(seed ^ draw << 32 ^ i as u64) % n as u64) as usize;
            figure(&sum(&mut (0..n).map(pick)))
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    let at = |share: f64| draws[((share * (draws.len() - 1) as f64).round()) as usize];
    Estimate {
        value,
        low: at(0.025),
        high: at(0.975),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_cover_the_truth_about_as_often_as_they_say() {
        let mut covered = 0;
        for trial in 0..200u64 {
            // A mean of uniform numbers around 1: its standard error is 0.289 / sqrt(50).
            let even = |i: u64| (mix(trial << 20 ^ i) >> 11) as f64 / (1u64 << 53) as f64;
            let blocks: Vec<[f64; 2]> = (0..50).map(|i| [0.5 + even(i), 1.0]).collect();
            let e = estimate(&blocks, trial, |s| s[0] / s[1]);
            assert!(e.low <= e.value && e.value <= e.high);
            assert!((0.1..0.25).contains(&(e.high - e.low)), "{e:?}");
            covered += usize::from(e.low <= 1.0 && 1.0 <= e.high);
        }
        assert!((180..=198).contains(&covered), "{covered} of 200");
    }

    #[test]
    fn one_block_is_no_interval_and_the_same_seed_the_same() {
        let e = estimate(&[[3.0, 4.0]], 1, |s| s[0] / s[1]);
        assert_eq!((e.value, e.low, e.high), (0.75, 0.75, 0.75));
        let blocks = [[1.0, 2.0], [2.0, 2.0], [5.0, 6.0]];
        assert_eq!(estimate(&blocks, 7, |s| s[0]), estimate(&blocks, 7, |s| s[0]));
    }
}
