//! Takes what appliances hear by BGP from the control plane by long poll: `GET /v1/routes?since=G&wait=30`. The first answer is
//! everything, each later one what changed since. The control plane gathers while a table is made and for `ROUTE_GAP` after
//! an answer, so that many small changes are one table, and nothing is queued here.
//!
//! A whole answer to who asked for changes means most often that the control plane has restarted, and has yet to hear its appliances. It is
//! taken in at once, but what it does not tell stays for `HOLD`; with the next poll after that everything is asked for.
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
use tokio::{task::spawn_blocking, time::Instant};

/// Least time between two tables, so that a burst of changes is taken in groups.
const ROUTE_GAP: Duration = Duration::from_millis(100);

/// How long routes stay that a control plane does not tell after a restart. Appliances notice within seconds and tell
/// everything; one that has restarted too waits up to a minute for its neighbours.
const HOLD: Duration = Duration::from_secs(90);

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

/// How far the feed has come.
#[derive(Debug, Default)]
struct Place {
    /// Generation to ask from; 0 for everything.
    since: u64,
    /// When to ask for everything again.
    whole_at: Option<Instant>,
}

impl Place {
    /// The generation to ask from now.
    fn ask(&mut self, now: Instant) -> u64 {
        if self.whole_at.is_some_and(|at| at <= now) {
            *self = Self::default();
        }
        self.since
    }

    /// Takes note of an answer; one that nobody asked to be whole forgets nothing yet.
    fn told(&mut self, changes: &mut RouteChanges, now: Instant) {
        if changes.reset && self.since != 0 {
            changes.reset = false;
            self.whole_at = Some(now + HOLD);
        }
        self.since = changes.generation;
    }
}

impl RouteFeed {
    /// Follows for ever.
    pub async fn follow(self) {
        let (mut place, mut failures, mut connected) = (Place::default(), 0u32, true);
        loop {
            match self.step(&mut place).await {
                Ok(()) => {
                    failures = 0;
                    if !std::mem::replace(&mut connected, true) {
                        tracing::info!("the control plane tells routes again");
                    }
                }
                Err(error) => {
                    if let FeedError::Made(_) = error {
                        place = Place::default(); // nobody knows how much of it was taken
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

    /// One poll, and what it brought put in use.
    async fn step(&self, place: &mut Place) -> Result<(), FeedError> {
        let since = place.ask(Instant::now());
        let url = format!("{}/v1/routes?since={since}&wait={WAIT_SECONDS}", self.url);
        let news = poll(self.client.get(url)).await?;
        let now = Instant::now();
        if let Some(news) = news {
            let read = move || serde_json::from_slice::<RouteChanges>(&news.text);
            let mut changes = spawn_blocking(read).await??;
            place.told(&mut changes, now);
            let state = Arc::clone(&self.state);
            spawn_blocking(move || state.take_routes(&changes)).await?;
        }
        self.state.confirm_routes(place.since, Timestamp::now());
        tokio::time::sleep_until(now + ROUTE_GAP).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(generation: u64, reset: bool) -> RouteChanges {
        RouteChanges {
            generation,
            reset,
            appliances: vec![],
        }
    }

    #[test]
    fn a_restarted_control_plane_takes_nothing_away_until_it_has_heard_its_appliances() {
        let (mut place, start) = (Place::default(), Instant::now());
        let mut first = answer(5, true);
        place.told(&mut first, start);
        assert!(first.reset, "asked for");
        place.told(&mut answer(6, false), start);
        assert_eq!(place.ask(start + 2 * HOLD), 6);
        let mut restarted = answer(90, true);
        place.told(&mut restarted, start);
        assert!(!restarted.reset);
        assert_eq!(place.ask(start), 90);
        place.told(&mut answer(91, false), start);
        assert_eq!(place.ask(start + HOLD - ROUTE_GAP), 91);
        assert_eq!(place.ask(start + HOLD), 0);
        let mut whole = answer(95, true);
        place.told(&mut whole, start + HOLD);
        assert!(whole.reset, "now what is not told is gone");
        assert_eq!(place.ask(start + 9 * HOLD), 95);
    }
}
