//! Every metric of the appliance in one table, and the registry made from it. Handles are asked for by name, so that a
//! metric that is not in the table cannot exist; workers keep local handles and flush them a few times a second, so
//! that no counter's cache line travels between cores on the hot path.

use cdn_types::metric::{Kind, Metric, Stability};
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts,
    Registry, TextEncoder,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// All metrics of `oca-server`.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "oca_connections",
        kind: Kind::Gauge,
        unit: "connections",
        labels: &[],
        stability: Stability::Stable,
        help: "Viewer connections open now",
    },
    Metric {
        name: "oca_connections_accepted_total",
        kind: Kind::Counter,
        unit: "connections",
        labels: &["listener"],
        stability: Stability::Stable,
        help: "Viewer connections accepted, by listener (plain, tls, quic)",
    },
    Metric {
        name: "oca_connections_shed_total",
        kind: Kind::Counter,
        unit: "connections",
        labels: &[],
        stability: Stability::Stable,
        help: "Connections answered 429, refused or closed because the connection limit was reached",
    },
    Metric {
        name: "oca_connections_cut_total",
        kind: Kind::Counter,
        unit: "connections",
        labels: &["reason"],
        stability: Stability::Stable,
        help: "Connections cut by a limit: header_time, slow_reader, tls_handshake, drain_limit",
    },
    Metric {
        name: "oca_requests_total",
        kind: Kind::Counter,
        unit: "requests",
        labels: &["protocol", "status"],
        stability: Stability::Stable,
        help: "Requests answered, by protocol (HTTP/1.0, HTTP/1.1, HTTP/2, HTTP/3) and status",
    },
    Metric {
        name: "oca_signed_requests_total",
        kind: Kind::Counter,
        unit: "requests",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "Requests of which a token was asked: verified, or the reason of the refusal (docs/decisions/signing.md)",
    },
    Metric {
        name: "oca_signing_key_swaps_total",
        kind: Kind::Counter,
        unit: "changes",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "Changes of the signing key file that were taken up (swapped) or refused, the old keys staying (refused)",
    },
    Metric {
        name: "oca_sent_bytes_total",
        kind: Kind::Counter,
        unit: "bytes",
        labels: &["protocol"],
        stability: Stability::Stable,
        help: "Body bytes sent to viewers",
    },
    Metric {
        name: "oca_request_seconds",
        kind: Kind::Histogram,
        unit: "seconds",
        labels: &["protocol"],
        stability: Stability::Stable,
        help: "From the request's last header byte to the response's last byte given to the kernel",
    },
    Metric {
        name: "oca_body_faults_total",
        kind: Kind::Counter,
        unit: "responses",
        labels: &["cause"],
        stability: Stability::Stable,
        help: "Responses reset because the file came up short (short) or could not be read (read_error)",
    },
    Metric {
        name: "oca_access_log_dropped_total",
        kind: Kind::Counter,
        unit: "lines",
        labels: &[],
        stability: Stability::Stable,
        help: "Access-log lines dropped because the writer fell behind or failed",
    },
    Metric {
        name: "oca_open_files",
        kind: Kind::Gauge,
        unit: "files",
        labels: &[],
        stability: Stability::Experimental,
        help: "Files held open for sending, all workers",
    },
    Metric {
        name: "oca_drive_read_bytes_total",
        kind: Kind::Counter,
        unit: "bytes",
        labels: &["via"],
        stability: Stability::Experimental,
        help: "Bytes read from drives for viewers: past the page cache (direct, passing) or into it (cached)",
    },
    Metric {
        name: "oca_drive_reads",
        kind: Kind::Gauge,
        unit: "reads",
        labels: &["drive"],
        stability: Stability::Experimental,
        help: "Reads for viewers under way on each drive",
    },
    Metric {
        name: "oca_drive_read_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: &["drive"],
        stability: Stability::Experimental,
        help: "Mean time of the latest reads of each drive, exponentially weighted",
    },
    Metric {
        name: "oca_drive_ejected",
        kind: Kind::Gauge,
        unit: "boolean",
        labels: &["drive"],
        stability: Stability::Stable,
        help: "1 if the drive was given up or cannot be used, else 0",
    },
    Metric {
        name: "oca_drive_reads_waiting",
        kind: Kind::Gauge,
        unit: "reads",
        labels: &[],
        stability: Stability::Experimental,
        help: "Reads that wait for their turn on a drive or for memory, all workers",
    },
    Metric {
        name: "oca_tls_handshakes_total",
        kind: Kind::Counter,
        unit: "handshakes",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "TLS handshakes: full, resumed, failed; quic = of HTTP/3, full or resumed",
    },
    Metric {
        name: "oca_quic_retries_total",
        kind: Kind::Counter,
        unit: "handshakes",
        labels: &[],
        stability: Stability::Stable,
        help: "HTTP/3 clients sent back to prove their address because many handshakes were running",
    },
    Metric {
        name: "oca_quic_passed_on_total",
        kind: Kind::Counter,
        unit: "datagrams",
        labels: &[],
        stability: Stability::Experimental,
        help: "Datagrams of HTTP/3 connections that a process before an upgrade still has, passed on to it",
    },
    Metric {
        name: "oca_upgrades_total",
        kind: Kind::Counter,
        unit: "upgrades",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "Upgrades: taken_over = this process took over from another, failed = it was to be replaced and went on",
    },
    Metric {
        name: "oca_tls_sessions_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &["sealed_by"],
        stability: Stability::Stable,
        help: "TLS sessions over TCP, by who seals their records: process, kernel (by software or by the network card)",
    },
    Metric {
        name: "oca_tls_kernel_sessions",
        kind: Kind::Gauge,
        unit: "sessions",
        labels: &["sealed_by"],
        stability: Stability::Stable,
        help: "TLS sessions of this machine whose records the kernel seals now: software, card (/proc/net/tls_stat)",
    },
    Metric {
        name: "oca_tls_certificate_swaps_total",
        kind: Kind::Counter,
        unit: "swaps",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "Certificate files that changed: swapped, refused (the old ones stay)",
    },
    Metric {
        name: "oca_draining",
        kind: Kind::Gauge,
        unit: "state",
        labels: &[],
        stability: Stability::Stable,
        help: "1 while new viewers are unwanted, else 0",
    },
    Metric {
        name: "oca_control_reachable",
        kind: Kind::Gauge,
        unit: "boolean",
        labels: &[],
        stability: Stability::Stable,
        help: "1 if the control plane answered the last call, 0 if it could not be reached",
    },
    Metric {
        name: "oca_plan_number",
        kind: Kind::Gauge,
        unit: "plans",
        labels: &[],
        stability: Stability::Stable,
        help: "Number of the plan that is executed",
    },
    Metric {
        name: "oca_reports_total",
        kind: Kind::Counter,
        unit: "reports",
        labels: &["result"],
        stability: Stability::Stable,
        help: "Reports to the control plane, by result (acknowledged, failed)",
    },
    Metric {
        name: "oca_demand_lost",
        kind: Kind::Gauge,
        unit: "requests",
        labels: &[],
        stability: Stability::Experimental,
        help: "Demand counts given up since the start because too many waited for the control plane",
    },
    Metric {
        name: "oca_fill_plan_objects",
        kind: Kind::Gauge,
        unit: "objects",
        labels: &[],
        stability: Stability::Stable,
        help: "Objects of the plan",
    },
    Metric {
        name: "oca_fill_done_objects",
        kind: Kind::Gauge,
        unit: "objects",
        labels: &[],
        stability: Stability::Stable,
        help: "Objects of the plan that are held and verified",
    },
    Metric {
        name: "oca_fill_plan_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        stability: Stability::Stable,
        help: "Bytes of the plan",
    },
    Metric {
        name: "oca_fill_done_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        stability: Stability::Stable,
        help: "Bytes of the plan that are held and verified",
    },
    Metric {
        name: "oca_fill_stopped",
        kind: Kind::Gauge,
        unit: "boolean",
        labels: &[],
        stability: Stability::Stable,
        help: "1 while the fill cannot go on (full disk, no source), else 0",
    },
    Metric {
        name: "oca_fill_blocks_total",
        kind: Kind::Counter,
        unit: "blocks",
        labels: &["source"],
        stability: Stability::Stable,
        help: "Blocks (1 MiB) fetched and verified, by kind of source (peer, site, origin)",
    },
    Metric {
        name: "oca_fill_failures_total",
        kind: Kind::Counter,
        unit: "fetches",
        labels: &["source", "reason"],
        stability: Stability::Stable,
        help: "Fetches that failed, by kind of source and reason (refused, absent, broken, corrupt, disk)",
    },
    Metric {
        name: "oca_objects_damaged_total",
        kind: Kind::Counter,
        unit: "objects",
        labels: &[],
        stability: Stability::Stable,
        help: "Objects found damaged on the own disk and removed",
    },
    Metric {
        name: "oca_ram_hot_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &["how"],
        stability: Stability::Stable,
        help: "Bytes of hot objects in memory: held there (held), or read in where locking is not allowed (read_in)",
    },
    Metric {
        name: "oca_ram_hot_budget_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        stability: Stability::Stable,
        help: "Most memory for hot objects",
    },
    Metric {
        name: "oca_store_objects",
        kind: Kind::Gauge,
        unit: "objects",
        labels: &[],
        stability: Stability::Stable,
        help: "Objects held and offered to viewers",
    },
    Metric {
        name: "oca_store_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        stability: Stability::Stable,
        help: "Bytes taken by objects, whole and partial",
    },
    Metric {
        name: "oca_bgp_session_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: &["neighbor"],
        stability: Stability::Experimental,
        help: "How long each BGP session is up; 0 = it is not",
    },
    Metric {
        name: "oca_bgp_routes",
        kind: Kind::Gauge,
        unit: "routes",
        labels: &["neighbor", "family"],
        stability: Stability::Experimental,
        help: "Routes heard of each BGP neighbour that count, by family (ipv4, ipv6)",
    },
    Metric {
        name: "oca_bgp_refused_routes",
        kind: Kind::Gauge,
        unit: "routes",
        labels: &["neighbor", "reason"],
        stability: Stability::Experimental,
        help: "Routes heard of each BGP neighbour that count for nothing, by reason (bogon, default_route, over_specific, as_path_loop)",
    },
    Metric {
        name: "oca_bgp_prefixes",
        kind: Kind::Gauge,
        unit: "prefixes",
        labels: &[],
        stability: Stability::Experimental,
        help: "Prefixes with a route of any BGP neighbour",
    },
    Metric {
        name: "oca_bgp_updates_total",
        kind: Kind::Counter,
        unit: "messages",
        labels: &["neighbor", "outcome"],
        stability: Stability::Experimental,
        help: "UPDATEs of each BGP neighbour: taken, treated_as_withdraw (a malformed attribute, RFC 7606)",
    },
    Metric {
        name: "oca_bgp_connections_refused_total",
        kind: Kind::Counter,
        unit: "connections",
        labels: &["reason"],
        stability: Stability::Experimental,
        help: "BGP connections closed at once: unknown (no neighbour's address), collision (the neighbour has a session, or is idle), too_many",
    },
    Metric {
        name: "oca_bgp_route_batches_total",
        kind: Kind::Counter,
        unit: "batches",
        labels: &["result"],
        stability: Stability::Experimental,
        help: "Batches of route changes for the control plane, by result (acknowledged, failed)",
    },
    Metric {
        name: "oca_viewer_sessions_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &["event"],
        stability: Stability::Experimental,
        help: "Sessions with CMCD: began here, arrived (came here while they played), forgotten (early, for want of room)",
    },
    Metric {
        name: "oca_viewer_throughputs_total",
        kind: Kind::Counter,
        unit: "samples",
        labels: &["outcome"],
        stability: Stability::Experimental,
        help: "Throughputs that players measured (CMCD mtp): taken, once in some 20 s of a session, or bad (none that can be)",
    },
    Metric {
        name: "oca_viewers_lost",
        kind: Kind::Gauge,
        unit: "entries",
        labels: &[],
        stability: Stability::Experimental,
        help: "What was seen of viewers since the start and not told: no room for it, or too old because the control plane was away",
    },
    Metric {
        name: "oca_viewer_batches_total",
        kind: Kind::Counter,
        unit: "batches",
        labels: &["result"],
        stability: Stability::Experimental,
        help: "Batches of what was seen of viewers for the control plane, by result (acknowledged, failed)",
    },
];

/// Upper bounds of the duration histograms in seconds: a cached segment to a slow viewer's long download.
const DURATION_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];

type Refresh = Box<dyn Fn(&Metrics) + Send>;

/// The registry: one family for each entry of [`METRICS`].
pub struct Metrics {
    registry: Registry,
    counters: HashMap<&'static str, IntCounterVec>,
    gauges: HashMap<&'static str, GaugeVec>,
    histograms: HashMap<&'static str, HistogramVec>,
    refresh: Mutex<Vec<Refresh>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

const WELL_FORMED: &str = "a test registers every entry of METRICS";
const IN_TABLE: &str = "metric names in the code stand in METRICS with that kind and these labels";

impl Metrics {
    /// Registers the whole table.
    pub fn new() -> Self {
        let mut m = Self {
            registry: Registry::new(),
            counters: HashMap::new(),
            gauges: HashMap::new(),
            histograms: HashMap::new(),
            refresh: Mutex::default(),
        };
        for metric in METRICS {
            m.register(metric);
        }
        m
    }

    fn register(&mut self, metric: &Metric) {
        let (name, help, labels) = (metric.name, metric.help, metric.labels);
        match metric.kind {
            Kind::Counter => {
                let vec = IntCounterVec::new(Opts::new(name, help), labels).expect(WELL_FORMED);
                self.registry.register(Box::new(vec.clone())).expect(WELL_FORMED);
                self.counters.insert(name, vec);
            }
            Kind::Gauge => {
                let vec = GaugeVec::new(Opts::new(name, help), labels).expect(WELL_FORMED);
                self.registry.register(Box::new(vec.clone())).expect(WELL_FORMED);
                self.gauges.insert(name, vec);
            }
            Kind::Histogram => {
                let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
                let vec = HistogramVec::new(opts, labels).expect(WELL_FORMED);
                self.registry.register(Box::new(vec.clone())).expect(WELL_FORMED);
                self.histograms.insert(name, vec);
            }
        }
    }

    /// The counter of this name and label values, which must be in [`METRICS`].
    pub fn counter(&self, name: &str, labels: &[&str]) -> IntCounter {
        let family = self.counters.get(name).expect(IN_TABLE);
        family.get_metric_with_label_values(labels).expect(IN_TABLE)
    }

    /// The gauge of this name and label values, which must be in [`METRICS`].
    pub fn gauge(&self, name: &str, labels: &[&str]) -> Gauge {
        let family = self.gauges.get(name).expect(IN_TABLE);
        family.get_metric_with_label_values(labels).expect(IN_TABLE)
    }

    /// The histogram of this name and label values, which must be in [`METRICS`].
    pub fn histogram(&self, name: &str, labels: &[&str]) -> Histogram {
        let family = self.histograms.get(name).expect(IN_TABLE);
        family.get_metric_with_label_values(labels).expect(IN_TABLE)
    }

    /// Has `refresh` called before every rendering, to set gauges from state that lives elsewhere.
    pub fn on_scrape(&self, refresh: impl Fn(&Self) + Send + 'static) {
        let mut list = self.refresh.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(Box::new(refresh));
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> String {
        for refresh in self.refresh.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            refresh(self);
        }
        let mut out = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut out)
            .expect("writing to memory does not fail");
        String::from_utf8(out).expect("the text format is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_table_can_be_rendered() {
        let m = Metrics::new();
        for metric in METRICS {
            let labels: Vec<&str> = metric.labels.iter().map(|_| "x").collect();
            match metric.kind {
                Kind::Counter => m.counter(metric.name, &labels).inc(),
                Kind::Gauge => m.gauge(metric.name, &labels).set(1.0),
                Kind::Histogram => m.histogram(metric.name, &labels).observe(0.1),
            }
        }
        m.on_scrape(|m| m.gauge("oca_connections", &[]).set(42.0));
        let text = m.render();
        for metric in METRICS {
            assert!(text.contains(metric.name), "{}", metric.name);
        }
        assert!(text.contains("oca_connections 42"), "{text}");
    }
}
