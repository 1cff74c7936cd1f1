//! Takes the fleet from the control plane by long poll: `GET /v1/fleet?wait=30` with the last ETag, answered when
//! something has changed, or by 304 when the wait is over.

use super::{FleetState, cache::Text};
use crate::{metrics::Metrics, random::Random};
use cdn_types::time::Timestamp;
use reqwest::{StatusCode, header};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Seconds that the control plane may hold a poll.
pub(crate) const WAIT_SECONDS: u64 = 30;
/// What an answer may take beyond the wait: a large snapshot over a slow line.
const ANSWER_SLACK: Duration = Duration::from_secs(60);
/// Time for a connection to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before the first retry; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between retries: what a viewer-facing fleet may lag after the control plane is back.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// Least time between two snapshots, so that a busy fleet's changes are taken in groups.
const SNAPSHOT_GAP: Duration = Duration::from_millis(200);
/// Largest answer in bytes: a snapshot of about a million prefixes, ten thousand appliances and all titles, or the routes
/// of some hundred appliances that hear the whole internet.
const MAX_ANSWER_BYTES: usize = 1 << 30;

/// Why a poll failed.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// No connection, cut, too slow.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// Answered, but not with what was asked for.
    #[error("the control plane answered {0}")]
    Status(StatusCode),
    /// Larger than this service takes.
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
}

/// What a poll brought.
pub(crate) struct News {
    pub text: Vec<u8>,
    etag: Option<header::HeaderValue>,
}

/// The client of one control plane.
pub struct Poller {
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
    /// Where the text of every good snapshot goes too.
    pub texts: watch::Sender<Option<Text>>,
}

/// A client with the timeouts that this service wants.
pub fn client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("steering-service/", env!("CARGO_PKG_VERSION")))
        .build()
}

impl Poller {
    /// Polls for ever.
    pub async fn follow(self) {
        let (mut etag, mut failures) = (None, 0u32);
        loop {
            match self.poll(etag.as_ref()).await {
                Ok(Some(news)) => {
                    failures = 0;
                    etag = news.etag;
                    self.state.connected(true, &"");
                    self.take(Arc::new(news.text)).await;
                    tokio::time::sleep(SNAPSHOT_GAP).await;
                }
                Ok(None) => {
                    failures = 0;
                    self.state.connected(true, &"");
                    self.state.confirm(Timestamp::now());
                }
                Err(error) => {
                    self.metrics
                        .snapshot_errors
                        .with_label_values(&["unreachable"])
                        .inc();
                    self.state.connected(false, &error);
                    tokio::time::sleep(pause(failures, self.random.next())).await;
                    failures = failures.saturating_add(1);
                }
            }
        }
    }

    async fn poll(&self, etag: Option<&header::HeaderValue>) -> Result<Option<News>, PollError> {
        let mut request = self
            .client
            .get(format!("{}/v1/fleet?wait={WAIT_SECONDS}", self.url));
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        poll(request).await
    }

    /// Puts a snapshot in use. A refused one keeps its ETag: asking for it again would not mend it.
    async fn take(&self, text: Text) {
        let (state, text_) = (Arc::clone(&self.state), Arc::clone(&text));
        let taken = tokio::task::spawn_blocking(move || state.install(&text_, |_| Timestamp::now())).await;
        match taken {
            Ok(Ok(fleet)) => {
                tracing::debug!(generation = fleet.index.generation, "fleet snapshot taken");
                self.texts.send_replace(Some(text));
            }
            Ok(Err(error)) => {
                self.metrics.snapshot_errors.with_label_values(&["refused"]).inc();
                tracing::error!("snapshot refused, going on with the last one: {error}");
            }
            Err(error) => tracing::error!("indexing ended early: {error}"),
        }
    }
}

/// One long poll of [`WAIT_SECONDS`]: none if there was no news in time.
pub(crate) async fn poll(request: reqwest::RequestBuilder) -> Result<Option<News>, PollError> {
    let longest = Duration::from_secs(WAIT_SECONDS) + ANSWER_SLACK;
    let mut response = request.timeout(longest).send().await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(None),
        other => return Err(PollError::Status(other)),
    }
    let etag = response.headers().get(header::ETAG).cloned();
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if text.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(PollError::TooLarge);
        }
        text.extend_from_slice(&chunk);
    }
    Ok(Some(News { text, etag }))
}

/// Pause before retry number `failures`: doubling, and between half and the whole of it by chance, so that many
/// services do not come back at once.
pub(crate) fn pause(failures: u32, random: u64) -> Duration {
    let whole = MIN_PAUSE.saturating_mul(1 << failures.min(16)).min(MAX_PAUSE);
    whole / 2 + whole.mul_f64((random % 1024) as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_a_limit() {
        for random in [0, 511, 1023] {
            assert!(pause(0, random) >= MIN_PAUSE / 2 && pause(0, random) <= MIN_PAUSE);
            assert!(pause(3, random) >= MIN_PAUSE * 4 && pause(3, random) <= MIN_PAUSE * 8);
            assert!(pause(u32::MAX, random) <= MAX_PAUSE && pause(40, random) >= MAX_PAUSE / 2);
        }
        assert_ne!(pause(5, 1), pause(5, 900));
    }
}
