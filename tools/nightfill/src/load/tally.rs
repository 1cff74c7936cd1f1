//! Counts and times. Each thread has its own and they are added up at the end; only what the live line shows is shared.

use super::{exchange::Exchange, fault::Fault};
use hdrhistogram::Histogram;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Longest time that is told apart, in microseconds: an hour.
const LONGEST_MICROS: u64 = 3_600_000_000;
/// Significant digits of a time.
const DIGITS: u8 = 3;

/// Times in microseconds.
pub(super) type Times = Histogram<u32>;

/// What all threads together have done so far.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Requests that ended well.
    pub requests: AtomicU64,
    /// Body bytes.
    pub bytes: AtomicU64,
    /// Requests and connections that failed.
    pub errors: AtomicU64,
    /// Connections that are open and idle.
    pub idle: AtomicU64,
}

/// Errors of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Errors {
    /// How many.
    pub count: u64,
    /// What the first one said.
    pub first: String,
}

/// One thread's results.
#[derive(Debug)]
pub(super) struct Results {
    /// From the first packet to a usable connection.
    pub connect: Times,
    /// From the request to the first byte of its response.
    pub first_byte: Times,
    /// From the request to the last byte of its response.
    pub completion: Times,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// By kind.
    pub errors: BTreeMap<&'static str, Errors>,
    /// What was agreed on in handshakes.
    pub handshakes: BTreeMap<String, u64>,
    /// Connections made.
    pub connections: u64,
}

impl Results {
    fn new() -> Self {
        let times = || Times::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("the bounds are sound");
        Self {
            connect: times(),
            first_byte: times(),
            completion: times(),
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            handshakes: BTreeMap::new(),
            connections: 0,
        }
    }

    /// Adds another thread's.
    pub(super) fn add(&mut self, other: Self) {
        let same = "all have the same bounds";
        self.connect.add(other.connect).expect(same);
        self.first_byte.add(other.first_byte).expect(same);
        self.completion.add(other.completion).expect(same);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (kind, errors) in other.errors {
            let mine = self.errors.entry(kind).or_default();
            mine.count += errors.count;
            if mine.first.is_empty() {
                mine.first = errors.first;
            }
        }
        for (what, count) in other.handshakes {
            *self.handshakes.entry(what).or_default() += count;
        }
        self.connections += other.connections;
    }
}

impl Default for Results {
    fn default() -> Self {
        Self::new()
    }
}

/// Where one thread counts.
#[derive(Debug)]
pub(super) struct Tally {
    live: Arc<Live>,
    results: RefCell<Results>,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self {
            live,
            results: RefCell::default(),
        }
    }

    /// Body bytes came.
    pub(super) fn bytes(&self, count: u64) {
        self.live.bytes.fetch_add(count, Relaxed);
    }

    /// A connection was made since `began`; `agreed` says on what.
    pub(super) fn connected(&self, began: Instant, agreed: &str) {
        let mut results = self.results.borrow_mut();
        results.connections += 1;
        results.connect.saturating_record(micros(began.elapsed()));
        match results.handshakes.get_mut(agreed) {
            Some(count) => *count += 1,
            None => _ = results.handshakes.insert(agreed.to_owned(), 1),
        }
    }

    /// A connection is held idle.
    pub(super) fn idles(&self) {
        self.live.idle.fetch_add(1, Relaxed);
    }

    /// A response ended; well or not.
    pub(super) fn ended(&self, exchange: &Exchange<'_>, result: &Result<(), Fault>) {
        let (began, first) = exchange.times();
        if exchange.status() != 0 {
            let mut results = self.results.borrow_mut();
            *results.statuses.entry(exchange.status()).or_default() += 1;
            if let Some(first) = first {
                results.first_byte.saturating_record(micros(first - began));
            }
        }
        match result {
            Ok(()) => {
                self.live.requests.fetch_add(1, Relaxed);
                let mut results = self.results.borrow_mut();
                results.completion.saturating_record(micros(began.elapsed()));
            }
            Err(fault) => self.fault(fault),
        }
    }

    /// Something failed.
    pub(super) fn fault(&self, fault: &Fault) {
        self.live.errors.fetch_add(1, Relaxed);
        let mut results = self.results.borrow_mut();
        let errors = results.errors.entry(fault.kind()).or_default();
        errors.count += 1;
        if errors.first.is_empty() {
            errors.first = fault.to_string();
        }
    }

    /// All of it, leaving nothing.
    pub(super) fn take(&self) -> Results {
        self.results.take()
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros().try_into().unwrap_or(LONGEST_MICROS)
}
