//! How many sessions poll in a second, and how much longer their TTLs get when that is more than the service is meant for.
//!
//! A service that answers 429 or late loses its sessions for good (players end steering), so that load is shed by asking
//! everybody to come less often: twice the rate, twice the TTL, up to the largest that players are given.

use crate::steering_list::MAX_TTL;
use std::sync::atomic::{AtomicU64, Ordering};

/// Polls a second from which on TTLs get longer, unless configured.
pub const DEFAULT_POLLS: u32 = 20_000;

/// Counts polls by second. A poll that is counted into the second beside its own changes nothing that matters.
#[derive(Debug, Default)]
pub struct PollRate {
    second: AtomicU64,
    counted: AtomicU64,
    last: AtomicU64,
}

impl PollRate {
    /// Counts a poll at `now` (seconds on a clock that does not go back), and returns how many there were in the second before.
    pub fn count(&self, now: f64) -> u64 {
        let second = now as u64;
        let before = self.second.fetch_max(second, Ordering::Relaxed);
        if before < second {
            let counted = self.counted.swap(0, Ordering::Relaxed);
            let last = if before + 1 == second { counted } else { 0 };
            self.last.store(last, Ordering::Relaxed);
        }
        self.counted.fetch_add(1, Ordering::Relaxed);
        self.last.load(Ordering::Relaxed)
    }
}

/// A TTL in seconds at a rate of polls, when the service is meant for `meant` of them.
pub fn stretched(ttl: u32, rate: u64, meant: u32) -> u32 {
    let longer = u64::from(ttl) * rate / u64::from(meant.max(1));
    (longer.min(u64::from(MAX_TTL)) as u32).max(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_s_polls_are_known_in_the_next_one_alone() {
        let rate = PollRate::default();
        for n in 0..50 {
            assert_eq!(rate.count(f64::from(n) / 50.0), 0);
        }
        assert_eq!(rate.count(1.0), 50);
        assert_eq!(rate.count(1.5), 50);
        assert_eq!(rate.count(2.0), 2);
        assert_eq!(rate.count(9.0), 0, "nobody came in the second before");
    }

    #[test]
    fn twice_the_rate_is_twice_the_ttl_up_to_a_limit() {
        for (ttl, rate, wanted) in [
            (20, 0, 20),
            (20, 1000, 20),
            (20, 2000, 40),
            (5, 3000, 15),
            (20, 1_000_000, MAX_TTL),
            (300, 5000, MAX_TTL),
        ] {
            assert_eq!(stretched(ttl, rate, 1000), wanted, "{ttl} at {rate}");
        }
    }
}
