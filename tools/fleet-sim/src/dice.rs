//! Seeded chance: SplitMix64, small, fast and the same on every machine. Each use draws from a stream of its own, so
//! that one more draw here changes nothing there.

use fill_core::rendezvous::{key, mix};

/// One stream of chance.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// Above this mean, a Poisson count is drawn from the normal distribution that it nears.
const NORMAL_FROM: f64 = 30.0;

impl Dice {
    /// The stream called `name` of a seed.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(key(seed, "dice", name))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Evenly between 0 and 1, neither included.
    pub fn even(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Evenly below `end` (which is not 0).
    pub fn below(&mut self, end: usize) -> usize {
        ((self.even() * end as f64) as usize).min(end.saturating_sub(1))
    }

    /// Normally distributed with mean 0 and variance 1 (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.even().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.even()).cos()
    }

    /// A count of independent events, `mean` of them in the mean.
    pub fn count(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean >= NORMAL_FROM {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        // Knuth: how many even draws until their product is below e^-mean.
        let (limit, mut product, mut count) = ((-mean).exp(), self.even(), 0);
        while product > limit {
            product *= self.even();
            count += 1;
        }
        count
    }

    /// Shuffles a list.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            let j = self.below(i + 1);
            list.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_their_mean_and_variance() {
        let mut dice = Dice::new(1, "test");
        for mean in [0.05, 3.0, 100.0] {
            let counts: Vec<f64> = (0..20_000).map(|_| dice.count(mean) as f64).collect();
            let seen = counts.iter().sum::<f64>() / 20_000.0;
            let variance = counts.iter().map(|c| (c - seen).powi(2)).sum::<f64>() / 20_000.0;
            assert!((seen / mean - 1.0).abs() < 0.08, "{mean}: {seen}");
            assert!((variance / mean - 1.0).abs() < 0.1, "{mean}: {variance}");
        }
        assert_eq!(dice.count(0.0), 0);
        assert_ne!(Dice::new(1, "a").bits(), Dice::new(2, "a").bits());
    }
}
