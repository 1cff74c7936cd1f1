//! When to try again and when to report next: with a spread, so that a fleet that lost its control plane together
//! does not come back to it together.

use std::time::Duration;

/// First pause after a failure; it doubles with every failure in a row.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(60);

/// The pause after `failures` failures in a row, spread over ± a quarter by `roll`, a random number.
pub fn pause(failures: u32, roll: u8) -> Duration {
    let doubled = FIRST * 2u32.pow(failures.saturating_sub(1).min(10));
    spread(doubled.min(LONGEST), roll, 4)
}

/// The time until the next report, spread over ± a tenth.
pub fn report_in(seconds: u64, roll: u8) -> Duration {
    spread(Duration::from_secs(seconds.clamp(1, 3600)), roll, 10)
}

/// `time` ± `time / part`, evenly by `roll`.
fn spread(time: Duration, roll: u8, part: u32) -> Duration {
    let width = time / part;
    time - width + width * 2 * u32::from(roll) / 255
}

/// A random number for a spread.
pub fn roll() -> u8 {
    let mut byte = [0];
    match getrandom::fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => 128, // the middle: no spread is better than no pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_spread_by_a_quarter() {
        let seconds = |failures, roll| pause(failures, roll).as_secs_f64();
        for (failures, middle) in [(1, 1.0), (2, 2.0), (6, 32.0), (7, 60.0), (4_000_000, 60.0)] {
            assert!((seconds(failures, 0) - middle * 0.75).abs() < 0.01, "{failures}");
            assert!(
                (seconds(failures, 255) - middle * 1.25).abs() < 0.01,
                "{failures}"
            );
        }
    }

    #[test]
    fn reports_come_at_the_pace_that_is_asked_for_within_reason() {
        assert_eq!(report_in(10, 0), Duration::from_secs(9));
        assert_eq!(report_in(10, 255), Duration::from_secs(11));
        assert_eq!(report_in(0, 0), Duration::from_millis(900));
        assert!(report_in(u64::MAX, 255) <= Duration::from_secs(3960));
    }
}
