//! Cheap random numbers for jitter: one atomic addition a number, seeded by the system once. Not for secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// A SplitMix64 sequence that threads share.
pub struct Random(AtomicU64);

impl Random {
    /// Starts the sequence at a seed.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
    /// The next number.
    pub fn next(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut x = self.0.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}
