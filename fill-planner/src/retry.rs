//! How long to wait before asking again: doubling from half a second to ten, with a jitter that keeps several
//! planners from asking in step.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(500);
/// Longest wait: a control plane that restarts is back within seconds.
const LONGEST: Duration = Duration::from_secs(10);
/// Asked again at most this often: with these waits half a minute, longer than any restart.
pub const MAX_RETRIES: u32 = 6;

/// Wait before retry number `retry` (from 0). `random` shortens it by up to a quarter.
pub fn wait(retry: u32, random: u64) -> Duration {
    let plain = FIRST.saturating_mul(1 << retry.min(16)).min(LONGEST);
    plain - plain.mul_f64((random % 1024) as f64 / 4096.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        assert_eq!(wait(0, 0), FIRST);
        assert_eq!(wait(2, 0), FIRST * 4);
        assert_eq!(wait(60, 0), LONGEST);
        assert!(wait(0, 1023) > FIRST.mul_f64(0.74) && wait(0, 1023) < FIRST);
    }
}
