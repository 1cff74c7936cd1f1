//! Tells the control plane what is heard, as it changes: one batch on its way at a time, the next as soon as it is
//! answered. A control plane that is away costs nothing but that nobody knows; what changes meanwhile is told once.

use super::{SETTLE_TIME, Speaker};
use crate::{
    control::{Control, Identity},
    drain::Drain,
};
use oca_core::bgp::feed::Feed;
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, sleep_until};

/// Wait for more after a first change, so that one UPDATE of many prefixes, or some, make one batch.
const GATHER: Duration = Duration::from_millis(20);
/// Longest silence: an empty batch then finds out whether the control plane has restarted, and has forgotten the table.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Pause after a batch that nobody answered.
const RETRY: Duration = Duration::from_secs(1);
/// Pause after a batch that was refused: an older control plane, a token that has ended.
const REFUSED_RETRY: Duration = Duration::from_secs(10);

/// Publishes until the process leaves.
pub async fn run(speaker: Arc<Speaker>, control: Control, identity: Identity, boot: String, drain: Drain) {
    tokio::select! {
        () = publish(&speaker, &control, &identity, boot) => {}
        () = drain.stopped() => {}
    }
}

async fn publish(speaker: &Speaker, control: &Control, identity: &Identity, boot: String) {
    let mut feed = Feed::new(boot);
    loop {
        let settled = speaker.is_settled();
        let batch = feed.batch(&mut speaker.rib(), settled).cloned();
        let Some(batch) = batch else {
            tokio::select! {
                () = speaker.changed.notified() => sleep(GATHER).await,
                () = sleep_until(speaker.started + SETTLE_TIME), if !settled => {}
                () = sleep(ASK_AGAIN) => feed.ask(),
            }
            continue;
        };
        let result = control.routes(identity, &batch).await;
        let outcome = if result.is_ok() { "acknowledged" } else { "failed" };
        let counter = "oca_bgp_route_batches_total";
        speaker.metrics.counter(counter, &[outcome]).inc();
        match result {
            Ok(answer) => feed.answered(answer),
            Err(error) => {
                tracing::debug!(%error, "routes were not told");
                sleep(if error.is_unreachable() {
                    RETRY
                } else {
                    REFUSED_RETRY
                })
                .await;
            }
        }
    }
}
