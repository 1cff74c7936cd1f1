//! What the control plane counts and shows on `/metrics`: one table, and everything is registered from it.

use cdn_types::metric::{Kind, Metric, Stability};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};
use std::collections::HashMap;

/// Every metric of this program.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "nightfill_control_requests_total",
        kind: Kind::Counter,
        unit: "requests",
        labels: &["route", "method", "status"],
        stability: Stability::Stable,
        help: "Requests answered, by route as in the API document.",
    },
    Metric {
        name: "nightfill_control_request_seconds",
        kind: Kind::Histogram,
        unit: "seconds",
        labels: &["route"],
        stability: Stability::Experimental,
        help: "Time from request to answer; long polls include their waiting.",
    },
    Metric {
        name: "nightfill_control_appliances",
        kind: Kind::Gauge,
        unit: "appliances",
        labels: &["state"],
        stability: Stability::Stable,
        help: "Appliances by state: joined, serving, draining, unhealthy, lost.",
    },
    Metric {
        name: "nightfill_control_reports_total",
        kind: Kind::Counter,
        unit: "reports",
        labels: &["result"],
        stability: Stability::Stable,
        help: "Reports taken, and ignored because they were stale.",
    },
    Metric {
        name: "nightfill_control_inventory_resyncs_total",
        kind: Kind::Counter,
        unit: "reports",
        labels: &[],
        stability: Stability::Stable,
        help: "Reports whose inventory delta did not fit, so that the whole inventory was asked for.",
    },
    Metric {
        name: "nightfill_control_route_batches_total",
        kind: Kind::Counter,
        unit: "batches",
        labels: &["result"],
        stability: Stability::Experimental,
        help: "Batches of route changes: taken, repeated, and gap = answered by the number that is wanted.",
    },
    Metric {
        name: "nightfill_control_routes",
        kind: Kind::Gauge,
        unit: "routes",
        labels: &[],
        stability: Stability::Experimental,
        help: "Routes that appliances hear by BGP, as far as they have told.",
    },
    Metric {
        name: "nightfill_control_viewer_batches_total",
        kind: Kind::Counter,
        unit: "batches",
        labels: &["result"],
        stability: Stability::Experimental,
        help: "Batches of what appliances saw of their viewers: taken, repeated, former (of a run that another has followed).",
    },
    Metric {
        name: "nightfill_control_viewer_items",
        kind: Kind::Gauge,
        unit: "entries",
        labels: &[],
        stability: Stability::Experimental,
        help: "Networks and sessions in what is kept of that, for a minute at most.",
    },
    Metric {
        name: "nightfill_control_demand_counts_total",
        kind: Kind::Counter,
        unit: "rows",
        labels: &["result"],
        stability: Stability::Stable,
        help: "Demand counts of reports: taken, unknown_object, hour_out_of_range, above_limit.",
    },
    Metric {
        name: "nightfill_control_long_polls",
        kind: Kind::Gauge,
        unit: "requests",
        labels: &[],
        stability: Stability::Experimental,
        help: "Requests that wait for news.",
    },
    Metric {
        name: "nightfill_control_fleet_generation",
        kind: Kind::Gauge,
        unit: "generation",
        labels: &[],
        stability: Stability::Experimental,
        help: "Generation of the fleet snapshot.",
    },
    Metric {
        name: "nightfill_control_fleet_snapshot_bytes",
        kind: Kind::Gauge,
        unit: "bytes",
        labels: &[],
        stability: Stability::Experimental,
        help: "Size of the fleet snapshot that was made last.",
    },
    Metric {
        name: "nightfill_control_active_plan",
        kind: Kind::Gauge,
        unit: "number",
        labels: &[],
        stability: Stability::Stable,
        help: "Number of the active plan; 0 if none.",
    },
    Metric {
        name: "nightfill_control_titles",
        kind: Kind::Gauge,
        unit: "titles",
        labels: &[],
        stability: Stability::Stable,
        help: "Titles registered.",
    },
    Metric {
        name: "nightfill_control_objects",
        kind: Kind::Gauge,
        unit: "objects",
        labels: &[],
        stability: Stability::Stable,
        help: "Objects known, of current versions and of earlier ones still listed.",
    },
];

/// Bounds of the request histogram, in seconds: database calls are milliseconds, long polls up to a minute.
const SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0, 60.0];

/// The metrics of one run.
pub struct Metrics {
    registry: Registry,
    counters: HashMap<&'static str, IntCounterVec>,
    gauges: HashMap<&'static str, IntGaugeVec>,
    histograms: HashMap<&'static str, HistogramVec>,
}

impl Default for Metrics {
    /// Registers everything of the table.
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::new(),
            counters: HashMap::new(),
            gauges: HashMap::new(),
            histograms: HashMap::new(),
        };
        for metric in METRICS {
            metrics
                .add(metric)
                .expect("the table has valid and different names");
        }
        metrics
    }
}

impl Metrics {
    fn add(&mut self, m: &Metric) -> prometheus::Result<()> {
        let collector: Box<dyn Collector> = match m.kind {
            Kind::Counter => {
                let vec = IntCounterVec::new(Opts::new(m.name, m.help), m.labels)?;
                self.counters.insert(m.name, vec.clone());
                Box::new(vec)
            }
            Kind::Gauge => {
                let vec = IntGaugeVec::new(Opts::new(m.name, m.help), m.labels)?;
                self.gauges.insert(m.name, vec.clone());
                Box::new(vec)
            }
            Kind::Histogram => {
                let options = HistogramOpts::new(m.name, m.help).buckets(SECONDS.to_vec());
                let vec = HistogramVec::new(options, m.labels)?;
                self.histograms.insert(m.name, vec.clone());
                Box::new(vec)
            }
        };
        self.registry.register(collector)
    }

    /// Adds to a counter of the table.
    pub fn count(&self, name: &'static str, labels: &[&str], by: u64) {
        let counter = self.counters.get(name).expect("a counter of the table");
        counter.with_label_values(labels).inc_by(by);
    }

    /// Sets a gauge of the table.
    pub fn set(&self, name: &'static str, labels: &[&str], value: u64) {
        let gauge = self.gauges.get(name).expect("a gauge of the table");
        gauge
            .with_label_values(labels)
            .set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Adds a measurement to a histogram of the table.
    pub fn observe(&self, name: &'static str, labels: &[&str], value: f64) {
        let histogram = self.histograms.get(name).expect("a histogram of the table");
        histogram.with_label_values(labels).observe(value);
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_table_is_exported() {
        let metrics = Metrics::default();
        for m in METRICS {
            let labels = vec!["x"; m.labels.len()];
            match m.kind {
                Kind::Counter => metrics.count(m.name, &labels, 1),
                Kind::Gauge => metrics.set(m.name, &labels, 1),
                Kind::Histogram => metrics.observe(m.name, &labels, 1.0),
            }
        }
        let text = metrics.text();
        for m in METRICS {
            assert!(text.contains(&format!("# HELP {} ", m.name)), "{}", m.name);
        }
    }
}
