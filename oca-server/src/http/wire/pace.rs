//! Whether a client takes its response fast enough to go on holding a connection.

use super::SendError;
use crate::sys;
use std::{cell::Cell, rc::Rc, time::Duration};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// Least bytes that a client must take of a response in each slow-read time ([`crate::limits::Limits::slow_read`]): a
/// seventh of the rate of slow audio in the default time, and more than a client sends who drips to hold a connection.
pub const LEAST_BYTES: u64 = 64 << 10;
/// Bytes of a turn, usually and while somebody else is in a hurry.
const TURN: u64 = 2 << 20;
const SHORT_TURN: u64 = 256 << 10;
/// Looks at a slow client within one slow-read time.
const LOOKS: u32 = 4;

/// Watches whether a client takes its response at the least rate: [`LEAST_BYTES`] in each slow-read time. What counts
/// is what it acknowledged: a socket that became writable says only that a few bytes moved.
pub struct Pace {
    slow: Duration,
    /// Running responses of the worker that their players need at once, and whether this is one.
    urgent: (Rc<Cell<usize>>, bool),
    since: Instant,
    /// When to look at the client again.
    pub next_look: Instant,
    /// Bytes given to the kernel or the sealer.
    pub given: u64,
    /// Bytes that the client had taken at `since`.
    taken: u64,
}

impl Pace {
    /// Of a connection; `urgent` counts the responses of its worker that their players need at once.
    pub fn new(slow: Duration, urgent: Rc<Cell<usize>>) -> Self {
        let now = Instant::now();
        Self {
            slow,
            urgent: (urgent, false),
            since: now,
            next_look: now + slow / LOOKS,
            given: 0,
            taken: 0,
        }
    }

    /// From the beginning of a response.
    pub fn begin(&mut self, urgent: bool) {
        let now = Instant::now();
        self.urgent.1 = urgent;
        (self.since, self.next_look) = (now, now + self.slow / LOOKS);
        (self.given, self.taken) = (0, 0);
    }

    /// Bytes after which a connection that could go on lets the others have their turn: soon, while another is needed
    /// at once.
    pub fn turn(&self) -> u64 {
        match &self.urgent {
            (running, false) if running.get() > 0 => SHORT_TURN,
            _ => TURN,
        }
    }

    /// Looks at the client if it is time for it.
    pub fn look(&mut self, tcp: &TcpStream) -> Result<(), SendError> {
        let now = Instant::now();
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + self.slow / LOOKS;
        let queued = sys::unacknowledged(tcp).map_err(SendError::Client)?;
        let taken = self.given.saturating_sub(queued);
        // With an empty queue the client waits for us.
        if queued == 0 || taken >= self.taken + LEAST_BYTES {
            (self.since, self.taken) = (now, taken);
        } else if now - self.since >= self.slow {
            return Err(SendError::SlowReader);
        }
        Ok(())
    }
}

/// Waits until the socket takes bytes, or the client proves too slow.
pub async fn writable(stream: &TcpStream, pace: &mut Pace) -> Result<(), SendError> {
    loop {
        let ready = timeout_at(pace.next_look, stream.writable()).await;
        pace.look(stream)?;
        if let Ok(result) = ready {
            return result.map_err(SendError::Client);
        }
    }
}
