//! Takes what appliances hear by BGP from the control plane by long poll: `GET /v1/routes?since=G&wait=30`. The first answer is
//! everything, each later one what changed since. The control plane gathers while a table is made and for [`ROUTE_GAP`] after
//! an answer, so that many small changes are one table, and nothing is queued here.
//!
//! Routes are not kept in a file: the control plane answers with everything at once, and a start without it has the sites'
//! networks of the cached snapshot to rank by.

use super::{
    FleetState,
    control::{PollError, WAIT_SECONDS, pause, poll},
};
use crate::{metrics::Metrics, random::Random};
use cdn_types::{api::v1::routes::RouteChanges, time::Timestamp};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// Least time between two tables, so that a burst of changes is taken in groups.
const ROUTE_GAP: Duration = Duration::from_millis(100);

/// Why changes could not be taken.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    /// Not told.
    #[error(transparent)]
    Poll(#[from] PollError),
    /// Told, but not in words that this version knows.
    #[error("no changes of routes: {0}")]
    Json(#[from] serde_json::Error),
    /// The table was not made.
    #[error("making the table ended early: {0}")]
    Made(#[from] tokio::task::JoinError),
}

/// Follows the routes that one control plane knows.
pub struct RouteFeed {
    /// Client for all calls to the control plane.
    pub client: reqwest::Client,
    /// Scheme and authority.
    pub url: String,
    /// The shared state to renew.
    pub state: Arc<FleetState>,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
    /// For jitter.
    pub random: Arc<Random>,
}

impl RouteFeed {
    /// Follows for ever.
    pub async fn follow(self) {
        let (mut since, mut failures, mut connected) = (0, 0u32, true);
        loop {
            match self.step(since).await {
                Ok(generation) => {
                    since = generation;
                    failures = 0;
                    if !std::mem::replace(&mut connected, true) {
                        tracing::info!("the control plane tells routes again");
                    }
                }
                Err(error) => {
                    if let FeedError::Made(_) = error {
                        since = 0; // nobody knows how much of it was taken
                    }
                    self.metrics.route_poll_errors.inc();
                    if std::mem::replace(&mut connected, false) {
                        tracing::warn!("no routes told, going on with the last table: {error}");
                    }
                    tokio::time::sleep(pause(failures, self.random.next())).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    /// One poll and what it brought, put in use; the generation to ask from next.
    async fn step(&self, since: u64) -> Result<u64, FeedError> {
        let url = format!("{}/v1/routes?since={since}&wait={WAIT_SECONDS}", self.url);
        let news = poll(self.client.get(url)).await?;
        let gap = Instant::now() + ROUTE_GAP;
        let generation = match news {
            None => since,
            Some(news) => {
                let state = Arc::clone(&self.state);
                let take = move || {
                    let changes: RouteChanges = serde_json::from_slice(&news.text)?;
                    state.take_routes(&changes);
                    Ok::<_, FeedError>(changes.generation)
                };
                tokio::task::spawn_blocking(take).await??
            }
        };
        self.state.confirm_routes(generation, Timestamp::now());
        tokio::time::sleep_until(gap).await;
        Ok(generation)
    }
}
