//! Takes what appliances see of their viewers from the control plane by long poll: `GET /v1/viewers?since=G&wait=30`. The first
//! answer is the last minute, each later one what came since. What is missed, by a restart of either side or a long
//! absence, is counted and not asked for again: the next report tells what is so now.

use super::Feedback;
use crate::{
    fleet::control::{PollError, WAIT_SECONDS, pause, poll},
    metrics::Metrics,
    random::Random,
};
use cdn_types::api::v1::viewers::ViewerNews;
use std::{sync::Arc, time::Duration};
use tokio::task::spawn_blocking;

/// Least time between two answers, so that reports of many appliances are taken in groups.
const GAP: Duration = Duration::from_millis(100);

/// Why news could not be taken.
#[derive(Debug, thiserror::Error)]
enum NewsError {
    /// Not told.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// Told, but not in words that this version knows.
    #[error("no news of viewers: {0}")]
    Json(#[from] serde_json::Error),
    /// Not read.
    #[error("reading the news ended early: {0}")]
    Read(#[from] tokio::task::JoinError),
}

/// Follows what one control plane is told.
pub struct ViewerFeed {
    /// Client for all calls to the control plane.
    pub client: reqwest::Client,
    /// Scheme and authority.
    pub url: String,
    /// Where it goes.
    pub feedback: Arc<Feedback>,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
    /// For jitter.
    pub random: Arc<Random>,
}

impl ViewerFeed {
    /// Follows for ever.
    pub async fn follow(self) {
        let (mut since, mut failures) = (0, 0u32);
        loop {
            match self.step(since).await {
                Ok(generation) => {
                    (since, failures) = (generation, 0);
                    tokio::time::sleep(GAP).await;
                }
                Err(error) => {
                    self.metrics.viewer_poll_errors.inc();
                    tracing::debug!("no news of viewers: {error}");
                    tokio::time::sleep(pause(failures, self.random.next())).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// One poll; answers the generation to ask from next.
    async fn step(&self, since: u64) -> Result<u64, NewsError> {
        let url = format!("{}/v1/viewers?since={since}&wait={WAIT_SECONDS}", self.url);
        let Some(news) = poll(self.client.get(url)).await? else {
            return Ok(since);
        };
        let at = self.feedback.now();
        let read = move || serde_json::from_slice::<ViewerNews>(&news.text);
        let news = spawn_blocking(read).await??;
        if news.missed {
            self.metrics.viewer_gaps.inc();
        }
        self.feedback.hear(news.reports, at);
        Ok(news.generation)
    }
}
