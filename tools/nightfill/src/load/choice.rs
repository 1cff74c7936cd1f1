//! What is asked for next: which path by its popularity, which part of it. Randomness comes from a small generator with a
//! seed, so that two runs of one command ask for the same things in the same order.

use std::{ops::Range, path::PathBuf};

/// One path of the server, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Path and query as asked for.
    pub path: String,
    /// Size in bytes, once known.
    pub size: Option<u64>,
    /// The same file in the local tree, where answers are verified.
    pub file: Option<PathBuf>,
}

/// One request to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// Index into the targets.
    pub target: usize,
    /// Bytes wanted; all if absent.
    pub range: Option<Range<u64>>,
    /// Whether only the head is wanted.
    pub head: bool,
}

/// A pseudo-random sequence (SplitMix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// The sequence of `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if that is 0.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number from 0 to 1, without 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How likely each of several paths is: the n-th with weight n^-s.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Popularity(Vec<f64>);

impl Popularity {
    /// Of `count` paths with exponent `s`; 0 makes all equally likely.
    pub(super) fn new(count: usize, s: f64) -> Self {
        let mut sum = 0.0;
        let mut upto: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += (rank as f64).powf(-s);
                sum
            })
            .collect();
        for share in &mut upto {
            *share /= sum;
        }
        Self(upto)
    }

    /// The index of one of them.
    pub(super) fn pick(&self, dice: &mut Dice) -> usize {
        let at = dice.unit();
        self.0
            .partition_point(|&upto| upto <= at)
            .min(self.0.len().saturating_sub(1))
    }
}

/// A random part of `size` bytes: `length` long and aligned to it, so that parts neither overlap nor leave gaps.
pub(super) fn part(size: u64, length: u64, dice: &mut Dice) -> Range<u64> {
    let start = dice.below(size / length) * length;
    start..(start + length).min(size)
}

/// Every part of every object once, in an order that looks random: for reads that no cache can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sweep {
    /// Number of parts up to and with each object.
    upto: Vec<u64>,
    length: u64,
    stride: u64,
}

impl Sweep {
    /// Over objects of such `sizes`, in parts of `length`.
    pub(super) fn new(sizes: &[u64], length: u64) -> Self {
        let mut count = 0;
        let upto = sizes
            .iter()
            .map(|size| {
                count += size.div_ceil(length);
                count
            })
            .collect();
        // About the golden ratio of all, so that neighbours are far apart; coprime, so that none is left out.
        let mut stride = (count as f64 * 0.618) as u64 | 1;
        while gcd(stride, count) > 1 {
            stride += 2;
        }
        Self { upto, length, stride }
    }

    /// How many parts there are.
    pub(super) fn count(&self) -> u64 {
        self.upto.last().copied().unwrap_or(0)
    }

    /// The `n`-th: which object, and where in it, given its size.
    pub(super) fn part(&self, n: u64, sizes: impl Fn(usize) -> u64) -> (usize, Range<u64>) {
        let at = (u128::from(n) * u128::from(self.stride) % u128::from(self.count())) as u64;
        let object = self.upto.partition_point(|&upto| upto <= at);
        let before = object.checked_sub(1).map_or(0, |o| self.upto[o]);
        let start = (at - before) * self.length;
        (object, start..(start + self.length).min(sizes(object)))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_inside() {
        let mut dice = Dice::new(7);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let part = part(1050, 100, &mut dice);
            assert!(part.start.is_multiple_of(100) && part.end - part.start == 100 && part.end <= 1000);
            seen.insert(part.start);
        }
        assert_eq!(seen.len(), 10, "every part is asked for");
        assert_eq!(
            part(50, 100, &mut dice),
            0..50,
            "a small object is asked for whole"
        );
    }

    #[test]
    fn a_sweep_leaves_nothing_out_and_repeats_nothing() {
        let sizes = [1000, 0, 250, 99];
        let sweep = Sweep::new(&sizes, 100);
        assert_eq!(sweep.count(), 14);
        let mut seen: Vec<_> = (0..14)
            .map(|n| sweep.part(n, |o| sizes[o]))
            .map(|(object, range)| (object, range.start, range.end))
            .collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 14);
        assert_eq!(seen.iter().map(|(_, start, end)| end - start).sum::<u64>(), 1349);
    }

    #[test]
    fn popularity_follows_the_exponent() {
        let mut dice = Dice::new(1);
        let popularity = Popularity::new(100, 1.0);
        let mut hits = [0_u32; 100];
        for _ in 0..100_000 {
            hits[popularity.pick(&mut dice)] += 1;
        }
        let ratio = f64::from(hits[0]) / f64::from(hits[9]);
        assert!((8.0..12.5).contains(&ratio), "first against tenth: {ratio}");
        let even = Popularity::new(4, 0.0);
        assert!((0..1000).all(|_| even.pick(&mut dice) < 4));
    }
}
