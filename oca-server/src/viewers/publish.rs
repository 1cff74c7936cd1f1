//! Tells the control plane what is seen of viewers. What is told when is decided in `oca_core::viewers::outbox`; here are the clock,
//! the call, and a back-off while nobody answers.

use super::Viewers;
use crate::{
    control::{Control, ControlError, Identity},
    drain::Drain,
    metrics::Metrics,
    report::pace,
};
use cdn_types::api::v1::viewers::ViewerBatch;
use oca_core::viewers::{crowd::Tally, outbox::Outbox};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often what workers tell is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the task works on.
#[derive(Debug)]
pub struct Publisher {
    /// What workers tell.
    pub viewers: Arc<Viewers>,
    /// Whom to tell.
    pub control: Control,
    /// As whom.
    pub identity: Identity,
    /// Name of this run.
    pub boot: String,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
}

impl Publisher {
    /// Publishes until the process leaves.
    pub async fn run(self, drain: Drain) {
        tokio::select! {
            () = self.publish() => {}
            () = drain.stopped() => {}
        }
    }

    async fn publish(&self) {
        let (mut outbox, mut before) = (Outbox::new(self.boot.clone()), Tally::default());
        let (mut seen, mut failures, began) = (Vec::new(), 0, Instant::now());
        let mut retry_at = began;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let second = began.elapsed().as_secs() as u32; // a hundred years fit
            self.viewers.take(&mut seen);
            outbox.see(&seen, second);
            seen.clear();
            self.count(&mut before, outbox.tally());
            if Instant::now() < retry_at {
                continue;
            }
            let Some(batch) = outbox.next(second) else {
                continue;
            };
            match self.tell(&batch).await {
                Ok(()) => {
                    failures = 0;
                    outbox.done();
                }
                Err(error) => {
                    tracing::debug!(%error, "viewers were not told");
                    failures += 1;
                    retry_at = Instant::now() + pace::pause(failures, pace::roll());
                    match error.is_unreachable() {
                        true => outbox.failed(),
                        false => outbox.done(), // it would be refused again
                    }
                }
            }
        }
    }

    async fn tell(&self, batch: &ViewerBatch) -> Result<(), ControlError> {
        let result = self.control.viewers(&self.identity, batch).await;
        let outcome = if result.is_ok() { "acknowledged" } else { "failed" };
        let counter = "oca_viewer_batches_total";
        self.metrics.counter(counter, &[outcome]).inc();
        result.map(|_| ())
    }

    fn count(&self, before: &mut Tally, now: Tally) {
        let sessions = "oca_viewer_sessions_total";
        let throughputs = "oca_viewer_throughputs_total";
        for (name, label, before, now) in [
            (sessions, "began", before.began, now.began),
            (sessions, "arrived", before.arrived, now.arrived),
            (sessions, "forgotten", before.forgotten, now.forgotten),
            (throughputs, "taken", before.sampled, now.sampled),
            (throughputs, "bad", before.bad, now.bad),
        ] {
            self.metrics.counter(name, &[label]).inc_by(now - before);
        }
        *before = now;
        let dropped = now.dropped + self.viewers.lost();
        self.metrics.gauge("oca_viewers_lost", &[]).set(dropped as f64);
    }
}
