//! Progress of the responses of a connection that carries several at once (HTTP/2, HTTP/3): whether its client takes
//! them fast enough, and how long it has asked for nothing.

use crate::{http::wire::LEAST_BYTES, limits::Limits};
use std::{cell::Cell, time::Instant};

/// The pulse of a connection.
#[derive(Debug)]
pub struct Pulse {
    running: Cell<usize>,
    /// When the client last had taken enough, or the first of the running responses began.
    last: Cell<Instant>,
    /// Bytes handed on for it since then.
    bytes: Cell<u64>,
}

/// What the limits say of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well; look again then.
    Well(Instant),
    /// Responses run and the client takes too little.
    Stalled,
    /// No response runs, and none did for the idle time.
    Idle,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            running: Cell::new(0),
            last: Cell::new(Instant::now()),
            bytes: Cell::new(0),
        }
    }
}

impl Pulse {
    /// Starts the time anew.
    pub fn beat(&self) {
        self.last.set(Instant::now());
        self.bytes.set(0);
    }

    /// What trickles is no beat: one busy stream, or small requests, would keep the stalled ones for ever.
    pub fn gave(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        if self.bytes.get() >= LEAST_BYTES {
            self.beat();
        }
    }

    /// A response begins.
    pub fn begin(&self) {
        if self.running.replace(self.running.get() + 1) == 0 {
            self.beat();
        }
    }

    /// A response has ended.
    pub fn end(&self) {
        self.running.set(self.running.get() - 1);
        if self.running.get() == 0 {
            self.beat();
        }
    }

    /// Whether a limit is over. The next look is never later than a slow reader's limit: a response may begin before the idle
    /// time is over.
    pub fn look(&self, limits: &Limits, now: Instant) -> Verdict {
        let running = self.running.get() > 0;
        let limit = if running {
            limits.slow_read
        } else {
            limits.idle_time
        };
        let due = self.last.get() + limit;
        match (now >= due, running) {
            (false, _) => Verdict::Well(due.min(now + limits.slow_read)),
            (true, true) => Verdict::Stalled,
            (true, false) => Verdict::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn regression_a_response_that_begins_in_the_idle_time_is_looked_after() {
        let limits = Limits {
            idle_time: Duration::from_secs(75),
            slow_read: Duration::from_secs(1),
            ..Limits::default()
        };
        let pulse = Pulse::default();
        let now = Instant::now();
        let Verdict::Well(look) = pulse.look(&limits, now) else {
            panic!("it is well")
        };
        assert!(look <= now + limits.slow_read);
        pulse.begin();
        let later = Instant::now() + limits.slow_read;
        assert_eq!(pulse.look(&limits, later), Verdict::Stalled);
        pulse.end();
        assert_eq!(pulse.look(&limits, later + limits.idle_time), Verdict::Idle);
    }
}
