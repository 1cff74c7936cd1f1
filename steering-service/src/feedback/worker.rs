//! The task that makes what rankings read from what players said.

use super::Feedback;
use crate::{fleet::FleetState, metrics::Metrics};
use std::{sync::Arc, time::Duration};
use steering_core::throughput::Throughput;

/// How often reports are collected.
const COLLECT_EVERY: Duration = Duration::from_millis(250);
/// Seconds between two tables of throughput: what was measured a few seconds ago moves no one.
const PUBLISH_SECONDS: f64 = 5.0;
/// Networks whose throughput is followed, with a few appliances each: some tens of megabytes at most.
const NETWORKS: usize = 65_536;

/// What the task works on.
pub struct Worker {
    feedback: Arc<Feedback>,
    fleet: Arc<FleetState>,
    metrics: Arc<Metrics>,
    throughput: Throughput,
    published: f64,
}

impl Worker {
    /// With nothing measured.
    pub fn new(feedback: Arc<Feedback>, fleet: Arc<FleetState>, metrics: Arc<Metrics>) -> Self {
        Self {
            feedback,
            fleet,
            metrics,
            throughput: Throughput::new(NETWORKS),
            published: f64::NEG_INFINITY,
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
        for report in &reports {
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
}
