//! Long polls: a GET with `?wait=S` and `If-None-Match` is answered when there is news, or 304 after `S` seconds.

use crate::{app::App, limits, problem::ApiProblem};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cdn_types::api::v1::MAX_WAIT_SECONDS;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};

/// How long to wait for news.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wait {
    /// Seconds to wait for something newer than the `ETag` of `If-None-Match`; cut to 60.
    #[serde(default)]
    pub wait: u64,
}

/// What there is to tell now.
pub struct News {
    /// Its `ETag`.
    pub tag: String,
    /// JSON; none if there is nothing to tell yet.
    pub body: Option<Bytes>,
}

/// Answers with what `look` sees as soon as its tag is not the one that the caller has; `changed` wakes when it may
/// be another. When the program ends, waiting ends too.
pub async fn answer<T>(
    app: &App,
    headers: &HeaderMap,
    wait: &Wait,
    mut changed: watch::Receiver<T>,
    look: impl Fn() -> News,
) -> Result<Response, ApiProblem> {
    let deadline = Instant::now() + Duration::from_secs(wait.wait.min(MAX_WAIT_SECONDS));
    let mut stop = app.stop();
    let mut place = None;
    loop {
        changed.borrow_and_update();
        let news = look();
        match news.body {
            Some(body) if !has(headers, &news.tag) => return Ok(fresh(news.tag, body)),
            _ if *stop.borrow() || Instant::now() >= deadline => return Ok(unchanged(news.tag)),
            _ => {}
        }
        if place.is_none() {
            place = Some(app.polls().try_acquire().map_err(|_| {
                let limit = limits::LONG_POLLS;
                ApiProblem::too_many_waiting(format_args!(
                    "{limit} requests wait already; ask again in some seconds"
                ))
            })?);
        }
        tokio::select! {
            woken = changed.changed() => woken.map_err(|_| ApiProblem::internal("the registry has ended"))?,
            _ = stop.changed() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

/// JSON with its `ETag`.
fn fresh(tag: String, body: Bytes) -> Response {
    let headers = [
        (header::ETAG, tag),
        (header::CONTENT_TYPE, "application/json".into()),
        (header::CACHE_CONTROL, "no-cache".into()),
    ];
    (headers, body).into_response()
}

fn unchanged(tag: String) -> Response {
    let headers = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache".into())];
    (StatusCode::NOT_MODIFIED, headers).into_response()
}

/// Whether `If-None-Match` names this tag (RFC 9110 §13.1.2, weak comparison).
fn has(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_in_lists_and_weakly() {
        let has = |value: &'static str, tag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, value.parse().unwrap());
            has(&headers, tag)
        };
        for good in ["\"plan-1\"", "W/\"plan-1\"", "\"x\", \"plan-1\"", "*"] {
            assert!(has(good, "\"plan-1\""), "{good}");
        }
        for bad in ["plan-1", "\"plan-12\"", "\"plan\"", ""] {
            assert!(!has(bad, "\"plan-1\""), "{bad}");
        }
    }
}
