//! Limits of the send path: what one connection, one request and one worker may use. Every wait has an end and every
//! buffer a size, so that no client can hold more than its share. The defaults fit players; `--profile` narrows the
//! amounts.

use cdn_types::Bytes;
use oca_core::budget::Budgets;
use std::time::Duration;

/// What a viewer's connection may use before it is refused, answered 429 or cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most connections at once over all workers; further ones are answered 429 with `Retry-After`.
    pub connections: usize,
    /// Most bytes of one request head (request line and fields); more is answered 431.
    pub header_bytes: usize,
    /// Longest time from a request's first byte (or the accept) to its last header byte.
    pub header_time: Duration,
    /// Longest wait for the next request on a connection.
    pub idle_time: Duration,
    /// Time in which a client must take 64 KiB of a response (or the rest) in order not to be cut; in HTTP/2 it counts
    /// over the streams of a connection.
    pub slow_read: Duration,
    /// Longest TLS handshake.
    pub handshake_time: Duration,
    /// Most byte ranges in one request; with more the `Range` field is ignored (RFC 9110 §14.2).
    pub ranges: usize,
    /// Most request-body bytes that are read and thrown away; a longer body is answered 413.
    pub discarded_body: u64,
    /// Most files that one worker holds open between requests.
    pub open_files: usize,
    /// Memory for connections at their limit, kernel buffers included.
    pub connection_memory: Bytes,
    /// QUIC handshakes of one worker at once above which a client must first prove its address (Retry).
    pub unproven_handshakes: usize,
    /// Most bytes of one worker that hold what came from a drive and was not yet sent.
    pub cold_memory: usize,
    /// What a shed client is told to wait (`Retry-After`).
    pub retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 16 << 10, // CMCD keys and a signed URL fit ten times over
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75), // above the longest usual segment duration
            slow_read: Duration::from_secs(60), // a paused player comes back with a range request
            handshake_time: Duration::from_secs(10),
            ranges: 32,
            discarded_body: 64 << 10,
            open_files: 1024,
            connection_memory: Bytes(1 << 30),
            unproven_handshakes: 128,
            cold_memory: 64 << 20, // 256 reads of 256 KiB: more than saturates a drive
            retry_after: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The default limits with the amounts of a machine's budgets.
    pub fn from_budgets(budgets: &Budgets) -> Self {
        Self {
            connections: budgets.connections as usize,
            open_files: budgets.open_files_per_worker as usize,
            connection_memory: budgets.connection_memory,
            cold_memory: usize::try_from(budgets.cold_per_worker.0).unwrap_or(usize::MAX),
            ..Self::default()
        }
    }
}
