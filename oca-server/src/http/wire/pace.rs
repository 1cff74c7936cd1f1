//! Whether a client takes its response fast enough to go on holding a connection.

use super::SendError;
use crate::sys;
use std::time::Duration;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// Least bytes that a client must take of a response in each slow-read time ([`crate::limits::Limits::slow_read`]): a
/// seventh of the rate of slow audio in the default time, and more than a client sends who drips to hold a connection.
pub const LEAST_BYTES: u64 = 64 << 10;
/// Looks at a slow client within one slow-read time.
const LOOKS: u32 = 4;

/// Watches whether a client takes its response at the least rate: [`LEAST_BYTES`] in each slow-read time. What counts
/// is what it acknowledged: a socket that became writable says only that a few bytes moved.
pub struct Pace {
    /// The slow-read time.
    pub slow: Duration,
    since: Instant,
    /// When to look at the client again.
    pub next_look: Instant,
    /// Bytes given to the kernel or the sealer.
    pub given: u64,
    /// Bytes that the client had taken at `since`.
    taken: u64,
}

impl Pace {
    /// From the beginning of a response.
    pub fn new(slow: Duration) -> Self {
        let now = Instant::now();
        Self {
            slow,
            since: now,
            next_look: now + slow / LOOKS,
            given: 0,
            taken: 0,
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
