//! Scores a ranking by what it serves within a budget of bytes, against one that knows the demand.
//!
//! A ranking is filled greedily: what does not fit is skipped. Intervals come from resampling blocks that
//! stand or fall together (a series' seasons, a country's weeks): titles of one series are no independent evidence.

/// What a ranking may place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Item {
    /// Size, in any unit.
    pub bytes: f64,
    /// What is drawn of it.
    pub demand: f64,
    /// What it stands or falls with.
    pub block: usize,
}

/// Demand served when items are placed in their order within `budget` bytes; `times[block]` is how often each block counts.
pub fn served(ranked: &[Item], budget: f64, times: &[u32]) -> f64 {
    let (mut used, mut served) = (0.0, 0.0);
    for item in ranked {
        let n = times.get(item.block).copied().map_or(0.0, f64::from);
        if n > 0.0 && used + n * item.bytes <= budget {
            used += n * item.bytes;
            served += n * item.demand;
        }
    }
    served
}

/// The items that know their demand, densest first.
pub fn oracle(catalogue: &[Item]) -> Vec<Item> {
    let mut ranked = catalogue.to_vec();
    ranked.sort_by(|a, b| (b.demand / b.bytes).total_cmp(&(a.demand / a.bytes)));
    ranked
}

/// A share with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The share.
    pub value: f64,
    /// 2.5 % of resamples are below.
    pub low: f64,
    /// 2.5 % of resamples are above.
    pub high: f64,
}

/// Estimates `score` with its interval: `score` is given how often each of `blocks` counts.
pub fn bootstrap(blocks: usize, resamples: usize, seed: u64, score: impl Fn(&[u32]) -> f64) -> Interval {
    let value = score(&vec![1; blocks]);
    let mut random = SplitMix(seed);
    let mut scores: Vec<f64> = (0..resamples)
        .map(|_| {
            let mut times = vec![0; blocks];
            for _ in 0..blocks {
                times[random.below(blocks)] += 1;
            }
            score(&times)
        })
        .collect();
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (share * scores.len() as f64) as usize;
        scores
            .get(place.min(scores.len().saturating_sub(1)))
            .copied()
            .unwrap_or(value)
    };
    Interval {
        value,
        low: at(0.025),
        high: at(0.975),
    }
}

/// A small seeded generator; the same seed gives the same resamples on every machine.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Evenly among 0..n.
    fn below(&mut self, n: usize) -> usize {
        let wide = u128::from(self.next()) * n as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: f64, demand: f64, block: usize) -> Item {
        Item { bytes, demand, block }
    }

    #[test]
    fn what_does_not_fit_is_skipped() {
        let ranked = [item(3.0, 30.0, 0), item(9.0, 80.0, 1), item(1.0, 5.0, 2)];
        assert_eq!(served(&ranked, 4.0, &[1, 1, 1]), 35.0);
        assert_eq!(
            served(&ranked, 6.0, &[2, 1, 0]),
            60.0,
            "a block that counts twice takes twice the bytes"
        );
    }

    #[test]
    fn the_oracle_is_densest_first() {
        let best = oracle(&[item(10.0, 10.0, 0), item(1.0, 5.0, 1)]);
        assert_eq!(best[0].block, 1);
    }

    #[test]
    fn intervals_hold_the_value_and_repeat() {
        let mean = |times: &[u32]| {
            times
                .iter()
                .enumerate()
                .map(|(at, n)| at as f64 * f64::from(*n))
                .sum::<f64>()
                / times.len() as f64
        };
        let a = bootstrap(100, 200, 7, mean);
        assert!(a.low < a.value && a.value < a.high && (a.value - 49.5).abs() < 1e-9);
        assert!(a.high - a.low > 4.0 && a.high - a.low < 20.0, "{a:?}");
        assert_eq!(a, bootstrap(100, 200, 7, mean));
        assert_ne!(a, bootstrap(100, 200, 8, mean));
    }
}
