//! What the service exports on `/metrics`: one table, everything registered from it.

use cdn_types::metric::{Kind, Metric, Stability};
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};
use std::collections::HashMap;

/// Every metric of this program.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "steering_requests_total",
        kind: Kind::Counter,
        unit: "requests",
        labels: &["door", "status"],
        stability: Stability::Stable,
        help: "Requests answered, by door (rank, go, play, steer, other) and HTTP status.",
    },
    Metric {
        name: "steering_sessions_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "Sessions begun (manifests and redirects to manifests), by how the client's own site could serve.",
    },
    Metric {
        name: "steering_moves_total",
        kind: Kind::Counter,
        unit: "answers",
        labels: &[],
        stability: Stability::Experimental,
        help: "Steering answers that put another pathway first than the one the player said it uses.",
    },
    Metric {
        name: "steering_player_reports_total",
        kind: Kind::Counter,
        unit: "reports",
        labels: &["outcome"],
        stability: Stability::Experimental,
        help: "Throughput that players reported: taken, early (its session's TTL is not over), bad (no number, or lists of different length), undeclared (a pathway that its session does not have), full (no room until collected).",
    },
    Metric {
        name: "steering_throughput_networks",
        kind: Kind::Gauge,
        unit: "networks",
        labels: &[],
        stability: Stability::Experimental,
        help: "Networks (/24, /48) of which rankings know how fast their viewers were served.",
    },
    Metric {
        name: "steering_failovers_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &[],
        stability: Stability::Experimental,
        help: "Sessions that left the appliance that they were told to use for another, once a TTL each.",
    },
    Metric {
        name: "steering_arrivals_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &["outcome"],
        stability: Stability::Experimental,
        help: "Sessions that appliances saw come to them in play: fled (from where they were sent; these are failovers), expected (sent there, or known to be there), again (had fled within a minute), silent (does not poll here), unknown (not begun here), shared (its player gives several sessions one id), undeclared (its manifest does not name that appliance), late (told too late).",
    },
    Metric {
        name: "steering_beginnings_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &[],
        stability: Stability::Experimental,
        help: "Sessions that appliances saw begin.",
    },
    Metric {
        name: "steering_feedback_rounds_total",
        kind: Kind::Counter,
        unit: "rounds",
        labels: &[],
        stability: Stability::Experimental,
        help: "Times that what players and appliances say was taken in, some ten a second; if it stands still, rankings no longer follow what they say.",
    },
    Metric {
        name: "steering_viewer_throughputs_total",
        kind: Kind::Counter,
        unit: "samples",
        labels: &[],
        stability: Stability::Experimental,
        help: "Throughputs of sessions that appliances told.",
    },
    Metric {
        name: "steering_viewer_reports_lost_total",
        kind: Kind::Counter,
        unit: "reports",
        labels: &[],
        stability: Stability::Experimental,
        help: "Reports of appliances on their viewers for which there was no room.",
    },
    Metric {
        name: "steering_viewer_gaps_total",
        kind: Kind::Counter,
        unit: "answers",
        labels: &[],
        stability: Stability::Experimental,
        help: "Answers of the control plane that said that such reports are missed: it has restarted, or this service was away for a minute.",
    },
    Metric {
        name: "steering_viewer_poll_errors_total",
        kind: Kind::Counter,
        unit: "polls",
        labels: &[],
        stability: Stability::Experimental,
        help: "Polls for such reports that failed.",
    },
    Metric {
        name: "steering_probes_total",
        kind: Kind::Counter,
        unit: "probes",
        labels: &["outcome"],
        stability: Stability::Experimental,
        help: "Requests of this service to appliances: answered, failed (no answer in a second, or 500 and above), skipped (too many are under way).",
    },
    Metric {
        name: "steering_circuits",
        kind: Kind::Gauge,
        unit: "appliances",
        labels: &["state"],
        stability: Stability::Experimental,
        help: "Appliances that seem to fail viewers: open (out of all answers), trial (a share of sessions gets them), distrusted (so many of the site do that it is not believed).",
    },
    Metric {
        name: "steering_circuit_openings_total",
        kind: Kind::Counter,
        unit: "openings",
        labels: &["by"],
        stability: Stability::Experimental,
        help: "Times that an appliance was taken out of answers, by who saw it fail: players, probes.",
    },
    Metric {
        name: "steering_distrusted_sites",
        kind: Kind::Gauge,
        unit: "sites",
        labels: &[],
        stability: Stability::Experimental,
        help: "Sites of which too many appliances seem to fail to believe it: this service's own way there may be broken.",
    },
    Metric {
        name: "steering_manifest_errors_total",
        kind: Kind::Counter,
        unit: "requests",
        labels: &["kind"],
        stability: Stability::Stable,
        help: "Packed manifests that could not be personalised; the viewer was redirected to the packed one.",
    },
    Metric {
        name: "steering_snapshot_generation",
        kind: Kind::Gauge,
        unit: "generations",
        labels: &[],
        stability: Stability::Stable,
        help: "Generation of the fleet snapshot in use; 0 while there is none.",
    },
    Metric {
        name: "steering_snapshot_stale_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: &[],
        stability: Stability::Stable,
        help: "Seconds since the snapshot in use was last known to be the newest; grows while the control plane is away.",
    },
    Metric {
        name: "steering_control_connected",
        kind: Kind::Gauge,
        unit: "boolean",
        labels: &[],
        stability: Stability::Stable,
        help: "1 while the last poll of the control plane (or the last reading of the snapshot file) succeeded.",
    },
    Metric {
        name: "steering_snapshot_errors_total",
        kind: Kind::Counter,
        unit: "attempts",
        labels: &["kind"],
        stability: Stability::Stable,
        help: "Failed attempts to get a snapshot: unreachable, refused (contradicts itself), cache (file not written).",
    },
    Metric {
        name: "steering_report_errors_total",
        kind: Kind::Counter,
        unit: "attempts",
        labels: &[],
        stability: Stability::Stable,
        help: "Failed attempts to report decisions to the control plane; counts are absolute and sent again.",
    },
    Metric {
        name: "steering_signing_key_swaps_total",
        kind: Kind::Counter,
        unit: "changes",
        labels: &["outcome"],
        stability: Stability::Stable,
        help: "Changes of a key file that were taken up (swapped) or refused, the old keys staying (refused).",
    },
    Metric {
        name: "steering_fleet_size",
        kind: Kind::Gauge,
        unit: "entries",
        labels: &["kind"],
        stability: Stability::Experimental,
        help: "Appliances and titles in the snapshot in use, networks with a route, and networks that more than one site claims.",
    },
    Metric {
        name: "steering_route_changes_total",
        kind: Kind::Counter,
        unit: "routes",
        labels: &["kind"],
        stability: Stability::Experimental,
        help: "Routes taken in, by kind: announced (new or with other attributes), withdrawn.",
    },
    Metric {
        name: "steering_route_errors_total",
        kind: Kind::Counter,
        unit: "batches",
        labels: &[],
        stability: Stability::Experimental,
        help: "Batches of routes that were refused: they contradict themselves, or the table would be too large.",
    },
    Metric {
        name: "steering_routes_generation",
        kind: Kind::Gauge,
        unit: "generations",
        labels: &[],
        stability: Stability::Experimental,
        help: "Generation of the routes in use, as the control plane numbers them; 0 while it has told none.",
    },
    Metric {
        name: "steering_routes_stale_seconds",
        kind: Kind::Gauge,
        unit: "seconds",
        labels: &[],
        stability: Stability::Experimental,
        help: "Seconds since the routes in use were last known to be the newest; grows while the control plane is away.",
    },
    Metric {
        name: "steering_route_poll_errors_total",
        kind: Kind::Counter,
        unit: "attempts",
        labels: &[],
        stability: Stability::Experimental,
        help: "Failed attempts to get changes of routes from the control plane; the last table stays in use.",
    },
    Metric {
        name: "steering_policy_version",
        kind: Kind::Gauge,
        unit: "versions",
        labels: &[],
        stability: Stability::Stable,
        help: "Version of the policy in use; 0 is the policy as shipped.",
    },
    Metric {
        name: "steering_policy_errors_total",
        kind: Kind::Counter,
        unit: "files",
        labels: &[],
        stability: Stability::Stable,
        help: "Policy files that were refused; the policy before stays in use.",
    },
    Metric {
        name: "steering_dns_answers_total",
        kind: Kind::Counter,
        unit: "answers",
        labels: &["transport", "rcode"],
        stability: Stability::Experimental,
        help: "DNS answers, by transport (udp, tcp) and response code (NOERROR, NXDOMAIN, REFUSED, …).",
    },
    Metric {
        name: "steering_dns_limited_total",
        kind: Kind::Counter,
        unit: "queries",
        labels: &["outcome"],
        stability: Stability::Experimental,
        help: "DNS queries over UDP beyond the rate of their network: cut (sent to TCP), dropped (not answered).",
    },
    Metric {
        name: "steering_decisions_logged_total",
        kind: Kind::Counter,
        unit: "decisions",
        labels: &["outcome"],
        stability: Stability::Experimental,
        help: "Decisions for the decision log: written, dropped (the queue was full, or the drive did not answer for seconds), failed (the drive refused).",
    },
    Metric {
        name: "steering_site_misses_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &["site", "class"],
        stability: Stability::Experimental,
        help: "Sessions begun that the viewer's own site could not take, by what its appliance nearest to serving lacks: capacity, health, content.",
    },
    Metric {
        name: "steering_title_misses_total",
        kind: Kind::Counter,
        unit: "sessions",
        labels: &["title", "class"],
        stability: Stability::Experimental,
        help: "The same by title: the 20 of the largest demand, and `other`; begins anew when these 20 change.",
    },
    Metric {
        name: "steering_experiment_arms_stopped_total",
        kind: Kind::Counter,
        unit: "arms",
        labels: &["experiment", "arm"],
        stability: Stability::Experimental,
        help: "Arms of experiments that were stopped because they did harm.",
    },
];

/// The registered metrics.
pub struct Metrics {
    registry: Registry,
    /// By door and status.
    pub requests: IntCounterVec,
    /// By outcome.
    pub sessions: IntCounterVec,
    /// Answers that move a session.
    pub moves: IntCounter,
    /// By outcome.
    pub player_reports: IntCounterVec,
    /// Networks measured.
    pub throughput_networks: Gauge,
    /// Failovers seen.
    pub failovers: IntCounter,
    /// By outcome.
    pub arrivals: IntCounterVec,
    /// Sessions.
    pub beginnings: IntCounter,
    /// Collections.
    pub feedback_rounds: IntCounter,
    /// Samples of throughput.
    pub viewer_throughputs: IntCounter,
    /// Reports.
    pub viewer_reports_lost: IntCounter,
    /// Answers.
    pub viewer_gaps: IntCounter,
    /// Polls for reports that failed.
    pub viewer_poll_errors: IntCounter,
    /// By outcome.
    pub probes: IntCounterVec,
    /// By state.
    pub circuits: GaugeVec,
    /// By signal.
    pub circuit_openings: IntCounterVec,
    /// Sites.
    pub distrusted_sites: Gauge,
    /// By kind of manifest.
    pub manifest_errors: IntCounterVec,
    /// Of the snapshot in use.
    pub generation: Gauge,
    /// Seconds.
    pub stale: Gauge,
    /// 0 or 1.
    pub connected: Gauge,
    /// By kind.
    pub snapshot_errors: IntCounterVec,
    /// Reports that failed.
    pub report_errors: IntCounter,
    /// By outcome.
    pub key_swaps: IntCounterVec,
    /// By kind.
    pub fleet_size: GaugeVec,
    /// By kind.
    pub route_changes: IntCounterVec,
    /// Batches refused.
    pub route_errors: IntCounter,
    /// Of the routes in use.
    pub routes_generation: Gauge,
    /// Seconds.
    pub routes_stale: Gauge,
    /// Polls for routes that failed.
    pub route_poll_errors: IntCounter,
    /// Of the policy in use.
    pub policy_version: Gauge,
    /// Files refused.
    pub policy_errors: IntCounter,
    /// By transport and code.
    pub dns_answers: IntCounterVec,
    /// By outcome.
    pub dns_limited: IntCounterVec,
    /// By outcome.
    pub decisions: IntCounterVec,
    /// By site and class.
    pub site_misses: IntCounterVec,
    /// By title and class.
    pub title_misses: IntCounterVec,
    /// By experiment and arm.
    pub arms_stopped: IntCounterVec,
}

impl Metrics {
    /// Registers the table.
    pub fn new() -> Result<Self, prometheus::Error> {
        let table: HashMap<_, _> = METRICS.iter().map(|m| (m.name, m)).collect();
        let registry = Registry::new();
        let entry = |name: &str| *table.get(name).expect("every field below is in the table");
        let opts = |name: &str| Opts::new(name, entry(name).help);
        let counters = |name: &str| -> Result<IntCounterVec, prometheus::Error> {
            let vec = IntCounterVec::new(opts(name), entry(name).labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        let counter = |name: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::with_opts(opts(name))?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str| -> Result<Gauge, prometheus::Error> {
            let gauge = Gauge::with_opts(opts(name))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let gauges = |name: &str| -> Result<GaugeVec, prometheus::Error> {
            let vec = GaugeVec::new(opts(name), entry(name).labels)?;
            registry.register(Box::new(vec.clone()))?;
            Ok(vec)
        };
        Ok(Self {
            requests: counters("steering_requests_total")?,
            sessions: counters("steering_sessions_total")?,
            moves: counter("steering_moves_total")?,
            player_reports: counters("steering_player_reports_total")?,
            throughput_networks: gauge("steering_throughput_networks")?,
            failovers: counter("steering_failovers_total")?,
            arrivals: counters("steering_arrivals_total")?,
            beginnings: counter("steering_beginnings_total")?,
            feedback_rounds: counter("steering_feedback_rounds_total")?,
            viewer_throughputs: counter("steering_viewer_throughputs_total")?,
            viewer_reports_lost: counter("steering_viewer_reports_lost_total")?,
            viewer_gaps: counter("steering_viewer_gaps_total")?,
            viewer_poll_errors: counter("steering_viewer_poll_errors_total")?,
            probes: counters("steering_probes_total")?,
            circuits: gauges("steering_circuits")?,
            circuit_openings: counters("steering_circuit_openings_total")?,
            distrusted_sites: gauge("steering_distrusted_sites")?,
            manifest_errors: counters("steering_manifest_errors_total")?,
            generation: gauge("steering_snapshot_generation")?,
            stale: gauge("steering_snapshot_stale_seconds")?,
            connected: gauge("steering_control_connected")?,
            snapshot_errors: counters("steering_snapshot_errors_total")?,
            report_errors: counter("steering_report_errors_total")?,
            key_swaps: counters("steering_signing_key_swaps_total")?,
            fleet_size: gauges("steering_fleet_size")?,
            route_changes: counters("steering_route_changes_total")?,
            route_errors: counter("steering_route_errors_total")?,
            routes_generation: gauge("steering_routes_generation")?,
            routes_stale: gauge("steering_routes_stale_seconds")?,
            route_poll_errors: counter("steering_route_poll_errors_total")?,
            policy_version: gauge("steering_policy_version")?,
            policy_errors: counter("steering_policy_errors_total")?,
            dns_answers: counters("steering_dns_answers_total")?,
            dns_limited: counters("steering_dns_limited_total")?,
            decisions: counters("steering_decisions_logged_total")?,
            site_misses: counters("steering_site_misses_total")?,
            title_misses: counters("steering_title_misses_total")?,
            arms_stopped: counters("steering_experiment_arms_stopped_total")?,
            registry,
        })
    }

    /// Prometheus text format.
    pub fn text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_is_exported() {
        let metrics = Metrics::new().unwrap();
        metrics.requests.with_label_values(&["rank", "200"]).inc();
        metrics.sessions.with_label_values(&["hit"]).inc();
        metrics.player_reports.with_label_values(&["taken"]).inc();
        metrics.arrivals.with_label_values(&["fled"]).inc();
        metrics.probes.with_label_values(&["failed"]).inc();
        metrics.circuits.with_label_values(&["open"]).set(1.0);
        metrics.circuit_openings.with_label_values(&["probes"]).inc();
        metrics.manifest_errors.with_label_values(&["hls"]).inc();
        metrics.snapshot_errors.with_label_values(&["refused"]).inc();
        metrics.key_swaps.with_label_values(&["swapped"]).inc();
        metrics.fleet_size.with_label_values(&["titles"]).set(1.0);
        metrics.route_changes.with_label_values(&["announced"]).inc();
        metrics.dns_answers.with_label_values(&["udp", "NOERROR"]).inc();
        metrics.dns_limited.with_label_values(&["cut"]).inc();
        metrics.decisions.with_label_values(&["written"]).inc();
        metrics.site_misses.with_label_values(&["lon", "content"]).inc();
        metrics.title_misses.with_label_values(&["film", "content"]).inc();
        metrics.arms_stopped.with_label_values(&["x", "b"]).inc();
        let text = metrics.text();
        for metric in METRICS {
            assert!(
                text.contains(&format!("# TYPE {} ", metric.name)),
                "{}",
                metric.name
            );
        }
    }
}
