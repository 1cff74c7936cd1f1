//! One worker's local handles on the metrics. Counting touches only the worker's own memory; [`Counters::flush`], run
//! by the worker's tick, adds it to what `/metrics` shows.

use crate::{http::Protocol, metrics::Metrics};
use prometheus::{core::AtomicU64, core::GenericLocalCounter, local::LocalHistogram};
use std::{collections::HashMap, sync::Arc, time::Duration};

type Local = GenericLocalCounter<AtomicU64>;

/// Why a connection was cut by a limit; the label of `oca_connections_cut_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// The request head did not come in time.
    HeaderTime,
    /// The client took too little of a response for too long.
    SlowReader,
    /// The TLS handshake did not end in time.
    TlsHandshake,
    /// The drain's limit was reached.
    DrainLimit,
}

impl Cut {
    fn label(self) -> &'static str {
        match self {
            Self::HeaderTime => "header_time",
            Self::SlowReader => "slow_reader",
            Self::TlsHandshake => "tls_handshake",
            Self::DrainLimit => "drain_limit",
        }
    }
}

/// Local counters, made on first use.
#[derive(Debug)]
pub struct Counters {
    metrics: Arc<Metrics>,
    requests: HashMap<(Protocol, u16), Local>,
    labelled: HashMap<(&'static str, &'static str), Local>,
    seconds: HashMap<Protocol, LocalHistogram>,
}

impl Counters {
    /// Nothing counted yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            requests: HashMap::new(),
            labelled: HashMap::new(),
            seconds: HashMap::new(),
        }
    }

    /// Counts an answered request.
    pub fn request(&mut self, protocol: Protocol, status: u16, took: Duration) {
        let metrics = &self.metrics;
        let by_status = self.requests.entry((protocol, status)).or_insert_with(|| {
            let labels = [protocol.name(), &status.to_string()];
            metrics.counter("oca_requests_total", &labels).local()
        });
        by_status.inc();
        let by_protocol = self.seconds.entry(protocol);
        by_protocol
            .or_insert_with(|| {
                metrics
                    .histogram("oca_request_seconds", &[protocol.name()])
                    .local()
            })
            .observe(took.as_secs_f64());
    }

    /// Counts connections cut by a limit.
    pub fn cut(&mut self, why: Cut, connections: u64) {
        self.add("oca_connections_cut_total", why.label(), connections);
    }

    /// Adds to a counter of [`crate::metrics::METRICS`] with one label, or with none if `label` is empty.
    pub fn add(&mut self, name: &'static str, label: &'static str, by: u64) {
        let metrics = &self.metrics;
        let counter = self.labelled.entry((name, label)).or_insert_with(|| {
            let labels: &[&str] = if label.is_empty() { &[] } else { &[label] };
            metrics.counter(name, labels).local()
        });
        counter.inc_by(by);
    }

    /// Adds everything to the shared metrics.
    pub fn flush(&self) {
        let locals = self.requests.values().chain(self.labelled.values());
        locals.for_each(Local::flush);
        self.seconds.values().for_each(LocalHistogram::flush);
    }
}

impl Drop for Counters {
    fn drop(&mut self) {
        self.flush();
    }
}
