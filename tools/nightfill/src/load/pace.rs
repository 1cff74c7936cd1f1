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
        let Some(rate) = self.bytes_a_second else { return };
        let now = Instant::now();
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        let due = self.due.get().max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.due.set(due);
        if due > now {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_takes_its_time() {
        let began = Instant::now();
        let pace = Pace::new(Some(100_000));
        assert_eq!(pace.bite(), 5000);
        for _ in 0..20 {
            pace.read(5000).await;
        }
        assert_eq!(began.elapsed().as_millis(), 1000);
        assert_eq!(Pace::new(None).bite(), 1 << 20);
    }
}
