//! Reports: what the appliance is, has and does, sent every few seconds. A report is idempotent and complete but for
//! what the control plane acknowledged, so a lost one costs nothing, and a control plane that is away costs only
//! that nobody knows. The answer may ask for another pace, a whole inventory, or a drain.

pub mod conditions;
mod delta;
pub mod pace;

use crate::{
    control::{Control, ControlError, Identity},
    drain::Drain,
    fill::Shown,
    metrics::Metrics,
    store::{Store, demand::DemandHistory},
    traffic::Traffic,
};
use cdn_types::{
    BitsPerSecond, Bytes, Hour, ObjectDigest,
    api::v1::{Capacity, Health, Load, REPORT_SECONDS, Report, ReportAnswer},
    time::Timestamp,
};
use conditions::Conditions;
use delta::InventoryDelta;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Longest that each of the last reports may hold up the end of the process.
const FAREWELL: Duration = Duration::from_secs(3);

/// What never changes within a run.
#[derive(Debug, Clone)]
pub struct Presence {
    /// Where it is reached.
    pub base_url: String,
    /// What it can do.
    pub capacity: Capacity,
    /// Seconds between reports, whatever the control plane answers.
    pub report_seconds: Option<u64>,
}

/// Where a report's contents come from.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What it holds and what was drawn.
    pub store: Arc<Store>,
    /// What the send path counts.
    pub traffic: Arc<Traffic>,
    /// How the fill goes, of which plan.
    pub fill: watch::Receiver<Shown>,
    /// Bytes fetched by the fill since the start.
    pub fetched: Arc<AtomicU64>,
    /// What is wrong.
    pub conditions: Conditions,
    /// The drain switch.
    pub drain: Drain,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
}

/// Sends reports and keeps what was acknowledged.
#[derive(Debug)]
pub struct Reporter {
    control: Control,
    identity: Identity,
    presence: Presence,
    facts: Facts,
    boot: String,
    seq: u64,
    inventory: InventoryDelta,
    demand: DemandHistory,
    last: Totals,
    remote_drain: bool,
}

#[derive(Debug, Clone, Copy)]
struct Totals {
    at: Instant,
    sent: u64,
    fetched: u64,
}

impl Reporter {
    /// A reporter of this run, which is named by `boot`.
    pub fn new(control: Control, identity: Identity, presence: Presence, facts: Facts, boot: String) -> Self {
        Self {
            control,
            identity,
            presence,
            facts,
            boot,
            seq: 0,
            inventory: InventoryDelta::default(),
            demand: DemandHistory::default(),
            last: Totals {
                at: Instant::now(),
                sent: 0,
                fetched: 0,
            },
            remote_drain: false,
        }
    }

    /// Reports until the process ends, once more to say so, and at last what was drawn meanwhile.
    pub async fn run(mut self) {
        let drain = self.facts.drain.clone();
        loop {
            let wanted = self.send().await;
            let seconds = self.presence.report_seconds.unwrap_or(wanted);
            tokio::select! {
                () = tokio::time::sleep(pace::report_in(seconds, pace::roll())) => {}
                () = drain.stopped() => break,
            }
        }
        if drain.is_handed_over() {
            return self.leave(&drain).await;
        }
        let _ = tokio::time::timeout(FAREWELL, self.send()).await; // it leaves in any case
        drain.ended().await;
        self.gather(Timestamp::now());
        if !self.demand.pending().is_empty() {
            let _ = tokio::time::timeout(FAREWELL, self.send()).await; // as above
        }
    }

    /// Another process reports from here on: it is left what is drawn from this one until its end.
    async fn leave(mut self, drain: &Drain) {
        drain.ended().await;
        self.demand
            .gather(&self.facts.store.demand, Hour::of(Timestamp::now()));
        let folder = self.facts.store.layout().left_demand();
        if let Err(error) = self.demand.leave(&folder, &self.boot) {
            tracing::warn!(%error, "what viewers drew cannot be left to the process that took over");
        }
    }

    fn gather(&mut self, at: Timestamp) {
        self.demand.gather(&self.facts.store.demand, Hour::of(at));
        let folder = self.facts.store.layout().left_demand();
        if let Err(error) = self.demand.adopt(&folder) {
            tracing::warn!(%error, "cannot read what a former process left to be reported");
        }
    }

    /// Sends one report; answers when the next is wanted.
    async fn send(&mut self) -> u64 {
        let (generation, held) = self.facts.store.inventory();
        let report = self.compose(generation, &held);
        let result = self.control.report(&self.identity, &report).await;
        let outcome = if result.is_ok() { "acknowledged" } else { "failed" };
        self.facts.metrics.counter("oca_reports_total", &[outcome]).inc();
        note_contact(&self.facts.conditions, &self.facts.metrics, result.as_ref().err());
        match result {
            Ok(answer) => {
                self.acknowledged(&report, held, &answer);
                answer.next_report_seconds
            }
            Err(e) => {
                tracing::debug!(error = %e, "report failed");
                if !e.is_unreachable() {
                    self.facts
                        .conditions
                        .set(conditions::CONTROL_REFUSED, e.to_string());
                }
                REPORT_SECONDS
            }
        }
    }

    fn compose(&mut self, generation: u64, held: &BTreeSet<ObjectDigest>) -> Report {
        let at = Timestamp::now();
        self.gather(at);
        let lost = self.demand.lost() + self.facts.store.demand.lost();
        self.facts.metrics.gauge("oca_demand_lost", &[]).set(lost as f64);
        let totals = self.facts.traffic.totals();
        let now = Totals {
            at: Instant::now(),
            sent: totals.bytes_sent,
            fetched: self.facts.fetched.load(Relaxed),
        };
        let before = std::mem::replace(&mut self.last, now);
        let passed = now.at - before.at;
        let Shown {
            plan,
            status: mut fill,
        } = self.facts.fill.borrow().clone();
        fill.rate = mean_rate(now.fetched - before.fetched, passed);
        self.seq += 1;
        Report {
            boot: self.boot.clone(),
            seq: self.seq,
            at,
            base_url: self.presence.base_url.clone(),
            capacity: self.presence.capacity,
            health: Health {
                serving: !self.facts.drain.is_stopping(),
                draining: self.facts.drain.is_draining(),
                conditions: self.facts.conditions.list(),
            },
            load: Load {
                egress: mean_rate(now.sent - before.sent, passed),
                connections: totals.connections,
                bytes_sent: Bytes(totals.bytes_sent),
                requests: totals.requests,
            },
            plan,
            fill,
            inventory: self.inventory.update(generation, held),
            demand: self.demand.pending(),
        }
    }

    fn acknowledged(&mut self, report: &Report, held: BTreeSet<ObjectDigest>, answer: &ReportAnswer) {
        self.facts.conditions.clear(conditions::CONTROL_REFUSED);
        self.demand.acknowledge(&report.demand);
        if answer.resync_inventory {
            self.inventory.resync();
        } else {
            self.inventory.acknowledge(report.inventory.generation, held);
        }
        // Only a change of the wish counts: a drain by the admin listener is not undone by every answer.
        if answer.drain != self.remote_drain {
            tracing::info!(drain = answer.drain, "the control plane switches the drain");
            self.remote_drain = answer.drain;
            self.facts.drain.set_draining(answer.drain);
        }
    }
}

/// Notes whether the control plane answered.
pub fn note_contact(conditions: &Conditions, metrics: &Metrics, error: Option<&ControlError>) {
    let unreachable = error.filter(|e| e.is_unreachable());
    metrics
        .gauge("oca_control_reachable", &[])
        .set(f64::from(u8::from(unreachable.is_none())));
    match unreachable {
        Some(e) => conditions.set(conditions::CONTROL_UNREACHABLE, e.to_string()),
        None => conditions.clear(conditions::CONTROL_UNREACHABLE),
    }
}

fn mean_rate(bytes: u64, passed: Duration) -> BitsPerSecond {
    let nanos = passed.as_nanos().max(1);
    let bits = u128::from(bytes) * 8 * 1_000_000_000 / nanos;
    BitsPerSecond(u64::try_from(bits).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bits_a_second_over_the_time_that_passed() {
        assert_eq!(
            mean_rate(1_250, Duration::from_millis(10)),
            BitsPerSecond(1_000_000)
        );
        assert_eq!(mean_rate(0, Duration::ZERO), BitsPerSecond(0));
    }
}
