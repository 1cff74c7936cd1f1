//! Counters of the send path, one set a worker so that no cache line is shared, added up by whoever reports.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One worker's counters.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerTraffic {
    /// Body bytes sent to viewers.
    pub bytes_sent: AtomicU64,
    /// Requests answered, whatever the status.
    pub requests: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
}

/// Counters of all workers.
#[derive(Debug)]
pub struct Traffic {
    workers: Vec<WorkerTraffic>,
}

/// Sums over all workers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Body bytes sent to viewers since the start.
    pub bytes_sent: u64,
    /// Requests answered since the start.
    pub requests: u64,
    /// Connections open now.
    pub connections: u64,
}

impl Traffic {
    /// Counters for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerTraffic::default()).collect(),
        }
    }
    /// How many workers it counts for.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }
    /// The counters of one worker (0-based).
    pub fn worker(&self, index: usize) -> &WorkerTraffic {
        &self.workers[index]
    }
    /// Adds up all workers.
    pub fn totals(&self) -> Totals {
        let sum = |f: fn(&WorkerTraffic) -> &AtomicU64| self.workers.iter().map(|w| f(w).load(Relaxed)).sum();
        Totals {
            bytes_sent: sum(|w| &w.bytes_sent),
            requests: sum(|w| &w.requests),
            connections: sum(|w| &w.connections),
        }
    }
}
