//! Slow readers: a connection takes no more than so many bytes a second, in small bites, so that the server sees what it
//! sees of a viewer on a thin line: a socket buffer that is full most of the time.

use std::{cell::Cell, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How often a slow reader comes back for more.
const BITES_A_SECOND: u64 = 20;
/// Largest and smallest bite.
const BITE: std::ops::RangeInclusive<u64> = 1024..=(1 << 20);
/// Unused time that a reader may catch up on.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The pace of one connection.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_a_second: Option<u64>,
    due: Cell<Instant>,
}

impl Pace {
    /// At most `bytes_a_second`; as fast as it goes if absent.
    pub(super) fn new(bytes_a_second: Option<u64>) -> Self {
        Self {
            bytes_a_second,
            due: Cell::new(Instant::now()),
        }
    }

    /// Most bytes to read at once.
    pub(super) fn bite(&self) -> usize {
        let wanted = self.bytes_a_second.map_or(u64::MAX, |rate| rate / BITES_A_SECOND);
        wanted.clamp(*BITE.start(), *BITE.end()) as usize
    }

    /// Waits until `bytes`, just read, were due.
    pub(super) async fn read(&self, bytes: usize) {
        let now = Instant::now();
        if let Some(due) = self.due(bytes, now).filter(|due| *due > now) {
            sleep_until(due).await;
        }
    }

    /// When `bytes`, read by `now`, were due.
    fn due(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.bytes_a_second?;
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let due = self.due.get().max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.due.set(due);
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_takes_its_time() {
        let pace = Pace::new(Some(100_000));
        assert_eq!(pace.bite(), 5000);
        let began = pace.due.get();
        let mut now = began;
        for _ in 0..20 {
            now = pace.due(5000, now).unwrap();
        }
        assert_eq!((now - began).as_millis(), 1000);
        let late = now + Duration::from_secs(10);
        let due = pace.due(5000, late).unwrap();
        assert_eq!(late - due, CATCH_UP - Duration::from_millis(50));

        let fast = Pace::new(None);
        assert_eq!(fast.bite(), 1 << 20);
        assert_eq!(fast.due(5000, now), None);
    }

    #[tokio::test]
    async fn a_read_waits_until_it_was_due() {
        let pace = Pace::new(Some(100_000));
        let due = pace.due.get() + Duration::from_millis(50);
        pace.read(5000).await;
        assert!(Instant::now() >= due);
    }
}
