//! The task that makes what rankings read from what players said and probes found.

use super::{Feedback, Fled, Heard, Met, Report, probes::Prober};
use crate::{
    fleet::{Fleet, FleetState},
    metrics::Metrics,
};
use cdn_types::{OcaId, api::v1::viewers::NetworkThroughput};
use ipnet::IpNet;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use steering_core::{
    circuit::{
        Signal, Verdict,
        fleet::{Circuits, Verdicts, Word},
    },
    policy::circuit::CircuitPolicy,
    throughput::{Throughput, faded, step},
};

/// How often reports are collected.
const COLLECT_EVERY: Duration = Duration::from_millis(100);
/// Seconds between two tables of throughput: what was measured a few seconds ago moves no one.
const PUBLISH_SECONDS: f64 = 5.0;
/// Networks whose throughput is followed, with a few appliances each: some tens of megabytes at most.
const NETWORKS: usize = 65_536;

/// Seconds after which an arrival says little of now.
const NEWS_SECONDS: f64 = 10.0;
/// Seconds that an arrival takes to the control plane, in the mean: appliances tell once in a second.
const GATHERED_SECONDS: f64 = 1.0;

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
        let (reports, heard) = (self.feedback.collect(), self.feedback.heard());
        let fleet = self.fleet.current();
        self.measure(&reports, now);
        if let Some(fleet) = fleet {
            for heard in &heard {
                self.measure_heard(&fleet, heard, now);
            }
            let fled = self.meet(&fleet, &heard, now);
            let polled = reports.into_iter().filter_map(|report| report.word);
            let words: Vec<_> = polled.chain(words(&fleet, &fled)).collect();
            self.judge(&fleet, &words, now);
        }
        self.publish(now);
        self.metrics.feedback_rounds.inc();
    }

    fn measure(&mut self, reports: &[Report], now: f64) {
        for report in reports {
            for (appliance, bits_per_second) in &report.throughputs {
                self.throughput
                    .sample(report.client, appliance, *bits_per_second, now);
            }
        }
    }

    /// Takes in what an appliance was told of throughput, by its age. Who has what it calls enough counts as one who has what
    /// the policy calls so: more was not tried.
    fn measure_heard(&mut self, fleet: &Fleet, heard: &Heard, now: f64) {
        let enough = step(fleet.index.policy().enough_throughput);
        let age = now - heard.at + heard.report.age_ms as f64 / 1000.0;
        for NetworkThroughput {
            network,
            steps,
            enough: sated,
        } in &heard.report.seen.throughputs
        {
            for (step, count) in steps.iter().copied().chain([(enough, *sated)]) {
                if count == 0 {
                    continue;
                }
                let weight = f64::from(count) * faded(age);
                let appliance = &heard.report.appliance;
                self.throughput.samples(*network, appliance, step, weight, now);
                self.metrics.viewer_throughputs.inc_by(u64::from(count));
            }
        }
    }

    /// Joins what appliances met to sessions: who has fled.
    fn meet(&self, fleet: &Fleet, heard: &[Heard], now: f64) -> Vec<Fled> {
        let mut fled = Vec::new();
        for Heard { report, at } in heard {
            let Some(ix) = fleet.index.appliance_ix(&report.appliance) else {
                continue;
            };
            let then = at - report.age_ms as f64 / 1000.0 - GATHERED_SECONDS;
            let met = |session| Met {
                session,
                appliance: fleet.index.appliance(ix).number(),
                then,
            };
            for session in &report.seen.began {
                self.feedback.began_at(&met(*session));
            }
            self.metrics.beginnings.inc_by(report.seen.began.len() as u64);
            let arrived = &report.seen.arrived;
            if now - then > NEWS_SECONDS {
                let late = self.metrics.arrivals.with_label_values(&["late"]);
                late.inc_by(arrived.len() as u64);
                continue;
            }
            let words = arrived
                .iter()
                .map(|session| self.feedback.arrived_at(&met(*session)));
            fled.extend(words.flatten());
        }
        fled
    }

    fn publish(&mut self, now: f64) {
        if now - self.published >= PUBLISH_SECONDS {
            self.published = now;
            let measured = self.throughput.measured(now);
            self.metrics.throughput_networks.set(measured.len() as f64);
            self.fleet.set_measured(measured);
        }
    }

    fn judge(&mut self, fleet: &Arc<Fleet>, words: &[Word], now: f64) {
        let policy = &fleet.index.policy().circuit;
        if !std::ptr::eq(self.told.as_ptr(), Arc::as_ptr(fleet)) {
            self.circuits.follow(&fleet.index, policy, now);
            self.told = Arc::downgrade(fleet);
        }
        let fled = words.iter().filter(|w| !w.served).count();
        self.metrics.failovers.inc_by(fled as u64);
        self.circuits.words(policy, words, now);
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

/// The words of sessions that have fled.
fn words<'a>(fleet: &'a Fleet, fled: &'a [Fled]) -> impl Iterator<Item = Word> + 'a {
    let mut ids: HashMap<u64, &OcaId> = HashMap::new();
    if !fled.is_empty() {
        let appliances = fleet.index.appliances();
        ids.extend(appliances.map(|(_, appliance)| (appliance.number(), &appliance.id)));
    }
    fled.iter().filter_map(move |fled| {
        Some(Word {
            client: IpNet::from(fled.network).addr(),
            appliance: OcaId::clone(ids.get(&fled.from)?),
            served: false,
        })
    })
}
