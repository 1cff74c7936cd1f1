//! The task that makes what rankings read from what players said and probes found.

use super::{Feedback, Report, probes::Prober};
use crate::{
    fleet::{Fleet, FleetState},
    metrics::Metrics,
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};
use steering_core::{
    circuit::{
        Signal, Verdict,
        fleet::{Circuits, Verdicts},
    },
    policy::circuit::CircuitPolicy,
    throughput::Throughput,
};

/// How often reports are collected.
const COLLECT_EVERY: Duration = Duration::from_millis(100);
/// Seconds between two tables of throughput: what was measured a few seconds ago moves no one.
const PUBLISH_SECONDS: f64 = 5.0;
/// Networks whose throughput is followed, with a few appliances each: some tens of megabytes at most.
const NETWORKS: usize = 65_536;

/// What the task works on.
pub struct Worker {
    feedback: Arc<Feedback>,
    fleet: Arc<FleetState>,
    metrics: Arc<Metrics>,
    prober: Option<Prober>,
    throughput: Throughput,
    published: f64,
    circuits: Circuits,
    verdicts: Verdicts,
    /// The fleet that the circuits were last told of.
    told: Weak<Fleet>,
}

impl Worker {
    /// With nothing measured and all circuits closed.
    pub fn new(
        feedback: Arc<Feedback>,
        fleet: Arc<FleetState>,
        metrics: Arc<Metrics>,
        prober: Option<Prober>,
    ) -> Self {
        Self {
            feedback,
            fleet,
            metrics,
            prober,
            throughput: Throughput::new(NETWORKS),
            published: f64::NEG_INFINITY,
            circuits: Circuits::default(),
            verdicts: Verdicts::default(),
            told: Weak::new(),
        }
    }

    /// Collects for ever.
    pub async fn follow(mut self) {
        let mut ticks = tokio::time::interval(COLLECT_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now = self.feedback.now();
            self.tick(now);
        }
    }

    /// One round at `now`, on the clock of [`Feedback::now`].
    pub fn tick(&mut self, now: f64) {
        let reports = self.feedback.collect();
        self.measure(&reports, now);
        if let Some(fleet) = self.fleet.current() {
            self.judge(&fleet, reports, now);
        }
    }

    fn measure(&mut self, reports: &[Report], now: f64) {
        for report in reports {
            for (appliance, bits_per_second) in &report.throughputs {
                self.throughput
                    .sample(report.client, appliance, *bits_per_second, now);
            }
        }
        if now - self.published >= PUBLISH_SECONDS {
            self.published = now;
            let measured = self.throughput.measured(now);
            self.metrics.throughput_networks.set(measured.len() as f64);
            self.fleet.set_measured(measured);
        }
    }

    fn judge(&mut self, fleet: &Arc<Fleet>, reports: Vec<Report>, now: f64) {
        let policy = &fleet.index.policy().circuit;
        if !std::ptr::eq(self.told.as_ptr(), Arc::as_ptr(fleet)) {
            self.circuits.follow(&fleet.index, policy, now);
            self.told = Arc::downgrade(fleet);
        }
        let words: Vec<_> = reports.into_iter().filter_map(|r| r.word).collect();
        let fled = words.iter().filter(|w| !w.served).count();
        self.metrics.failovers.inc_by(fled as u64);
        self.circuits.words(policy, &words, now);
        self.probe(fleet, policy, now);
        let verdicts = self.circuits.verdicts(policy, now);
        if verdicts != self.verdicts {
            self.tell(fleet, &verdicts);
            self.verdicts = verdicts.clone();
            self.fleet.set_circuits(verdicts);
        }
        for signal in Signal::ALL {
            let counter = self.metrics.circuit_openings.with_label_values(&[signal.name()]);
            counter.inc_by(self.circuits.openings(signal) - counter.get());
        }
    }

    fn probe(&mut self, fleet: &Fleet, policy: &CircuitPolicy, now: f64) {
        let Some(prober) = &self.prober else {
            return;
        };
        let count = |outcome: &str| self.metrics.probes.with_label_values(&[outcome]).inc();
        for found in prober.collect() {
            count(if found.answered { "answered" } else { "failed" });
            self.circuits
                .probed(policy, &found.appliance, found.answered, now);
        }
        for id in self.circuits.due(policy, now) {
            if let Some(ix) = fleet.index.appliance_ix(&id)
                && !prober.send(id, &fleet.index.appliance(ix).base_url)
            {
                count("skipped");
            }
        }
    }

    /// Logs and counts what has changed.
    fn tell(&self, fleet: &Fleet, verdicts: &Verdicts) {
        for (_, appliance) in fleet.index.appliances() {
            let (before, after) = (self.verdicts.of(appliance), verdicts.of(appliance));
            if before != after {
                tracing::warn!(appliance = %appliance.id, ?before, ?after, "circuit");
            }
        }
        let states = ["open", "trial", "distrusted"];
        let mut counts = [0.0; 3];
        for verdict in verdicts.iter() {
            match verdict {
                Verdict::Closed => {}
                Verdict::Open { .. } => counts[0] += 1.0,
                Verdict::Trial { .. } => counts[1] += 1.0,
                Verdict::Distrusted { .. } => counts[2] += 1.0,
            }
        }
        for (state, count) in states.iter().zip(counts) {
            self.metrics.circuits.with_label_values(&[*state]).set(count);
        }
        self.metrics
            .distrusted_sites
            .set(verdicts.distrusted.len() as f64);
    }
}
