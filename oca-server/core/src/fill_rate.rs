//! The fill's rate cap: a token bucket that several fetches draw from.
//!
//! A fetch takes what it has read and is told how long to pause before it reads on. The bucket may go into debt, so
//! that pieces of any size are charged in full: over any span the bytes taken are at most rate × span + burst + one
//! piece.

use cdn_types::BitsPerSecond;
use std::time::Duration;

/// How much of the rate may be caught up after a pause.
const BURST: Duration = Duration::from_millis(250);
/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

/// A token bucket in bits × nanoseconds, so that no rate loses fractions.
#[derive(Debug, Clone)]
pub struct FillRate {
    rate: BitsPerSecond,
    /// Bits times 10^9 that may be taken now; below zero = debt.
    level: i128,
    at: Duration,
}

impl FillRate {
    /// A bucket with a full burst at `now`. A rate of 0 is taken as 1 bit/s: a plan that forbids filling closes the
    /// window instead.
    pub fn new(rate: BitsPerSecond, now: Duration) -> Self {
        let rate = BitsPerSecond(rate.0.max(1));
        Self {
            rate,
            level: burst(rate),
            at: now,
        }
    }

    /// Takes `bytes` that were read by `now`; answers how long nothing more may be read.
    pub fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let passed = now.saturating_sub(self.at).as_nanos();
        self.at = self.at.max(now);
        let gained = passed
            .saturating_mul(u128::from(self.rate.0))
            .min(i128::MAX as u128 / 2) as i128;
        self.level = self.level.saturating_add(gained).min(burst(self.rate));
        self.level -= i128::from(bytes) * 8 * NANOS as i128;
        let debt = u128::try_from(-self.level).unwrap_or(0);
        Duration::from_nanos(u64::try_from(debt.div_ceil(u128::from(self.rate.0))).unwrap_or(u64::MAX))
    }

    /// Changes the rate; the debt stays.
    pub fn set_rate(&mut self, rate: BitsPerSecond) {
        self.rate = BitsPerSecond(rate.0.max(1));
        self.level = self.level.min(burst(self.rate));
    }
}

fn burst(rate: BitsPerSecond) -> i128 {
    (u128::from(rate.0) * BURST.as_nanos()) as i128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_hour_at_the_cap_moves_what_the_cap_says() {
        let rate = BitsPerSecond(80_000_000);
        let mut bucket = FillRate::new(rate, Duration::ZERO);
        let (mut now, mut bytes) = (Duration::ZERO, 0u64);
        while now < Duration::from_secs(3600) {
            bytes += 65_536;
            now += bucket.take(now, 65_536);
        }
        let wanted = rate.bytes_in(3600).0;
        assert!(bytes.abs_diff(wanted) < wanted / 1000, "{bytes} against {wanted}");
    }

    proptest! {
        #[test]
        fn never_above_the_cap_and_never_far_below(
            rate in 1_000u64..10_000_000_000,
            pieces in prop::collection::vec((1u64..2_000_000, 0u64..50), 1..200),
        ) {
            let mut bucket = FillRate::new(BitsPerSecond(rate), Duration::ZERO);
            let (mut now, mut sent, mut idle) = (Duration::ZERO, 0u128, Duration::ZERO);
            for (piece, pause_ms) in pieces {
                let pause = Duration::from_millis(pause_ms);
                idle += pause;
                now += pause;
                // What was taken before now must have fitted into the time up to now.
                let allowed = u128::from(rate) * (now.as_nanos() + BURST.as_nanos()) / NANOS / 8;
                prop_assert!(sent <= allowed + 1, "{sent} > {allowed}");
                sent += u128::from(piece);
                now += bucket.take(now, piece);
            }
            // Apart from pauses of the reader itself, no time is wasted.
            let needed = Duration::from_nanos((sent * 8 * NANOS / u128::from(rate)) as u64);
            prop_assert!(now <= needed + idle + Duration::from_millis(1), "{now:?} > {needed:?} + {idle:?}");
        }
    }

    #[test]
    fn a_pause_is_caught_up_by_one_burst_only() {
        let mut bucket = FillRate::new(BitsPerSecond(8_000), Duration::ZERO);
        assert_eq!(bucket.take(Duration::from_secs(1000), 250), Duration::ZERO);
        assert_eq!(
            bucket.take(Duration::from_secs(1000), 1000),
            Duration::from_secs(1)
        );
    }
}
