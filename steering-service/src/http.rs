//! The doors: what viewers, players, operators and monitors can ask, and the headers that all answers have.

pub mod advertisement;
pub mod client_addr;
pub mod go;
pub mod health;
pub mod play;
pub mod problem;
pub mod proxy_protocol;
pub mod rank;
pub mod server;
pub mod steer;

use crate::{
    app::Shared,
    decisions::record::{Decision, Door},
    fleet::Fleet,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use axum::{
    Router,
    extract::{FromRequestParts, Path, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use cdn_types::{TitleId, time::Timestamp};
use client_addr::Viewer;
use problem::Problem;
use serde::de::DeserializeOwned;
use std::{borrow::Cow, net::SocketAddr, sync::Arc};
use steering_core::{ApplianceIx, Index, RankError, Ranking, index::FALLBACK_ID};

/// Address of the TCP peer, or of the one that a trusted proxy passed on, put into every request by [`server`].
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// All routes.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/rank", get(rank::rank))
        .route("/v1/go/{asset}/{*path}", get(go::go))
        .route("/v1/play/{asset}/{file}", get(play::play))
        .route("/v1/steer/{session}", get(steer::steer))
        .route("/OC/FCI/advertisement", get(advertisement::advertisement))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(|| async {
            Problem::not_found("There is nothing at this address; see /v1/rank, /v1/go, /v1/play, /v1/steer.")
        })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), around))
        .with_state(shared)
}

/// The answer to a player's poll. Polls are most of what is asked, and their answer waits for nothing: they pass the router by.
pub fn at_once<B>(shared: &Shared, peer: SocketAddr, request: &axum::http::Request<B>) -> Option<Response> {
    let token = request.uri().path().strip_prefix("/v1/steer/")?;
    if request.method() != Method::GET || token.bytes().any(|b| matches!(b, b'/' | b'%')) {
        return None;
    }
    let answer = steer::answer(shared, peer, token, request.uri().query(), request.headers());
    let mut response = answer.into_response();
    finish(shared, "steer", &mut response);
    Some(response)
}

/// Answers preflights, and finishes what the others answer.
async fn around(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let door = door(request.uri().path());
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        next.run(request).await
    };
    finish(&shared, door, &mut response);
    response
}

/// Adds what every answer to a browser needs, and counts.
fn finish(shared: &Shared, door: &'static str, response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Retry-After, Location"),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    let status = response.status();
    shared
        .metrics
        .requests
        .with_label_values(&[door, status.as_str()])
        .inc();
}

fn door(path: &str) -> &'static str {
    if path == "/OC/FCI/advertisement" {
        return "advertisement";
    }
    match path.strip_prefix("/v1/").and_then(|p| p.split('/').next()) {
        Some("rank") => "rank",
        Some("go") => "go",
        Some("play") => "play",
        Some("steer") => "steer",
        _ => "other",
    }
}

/// What a browser may send here: players add CMCD keys and ranges to whatever they fetch.
fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Accept, Content-Type, Range, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::ALLOW, "GET, HEAD, OPTIONS"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// The parts of an address; what is no text is told as every other error is.
pub struct PathParts<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParts<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(parts)) => Ok(Self(parts)),
            Err(e) => Err(Problem::bad_request(format!("{}.", e.body_text()))),
        }
    }
}

/// The fleet, or 503 while there is none.
fn fleet(shared: &Shared) -> Result<Arc<Fleet>, Problem> {
    shared.fleet.current().ok_or_else(Problem::no_fleet)
}

fn title_id(text: &str) -> Result<TitleId, Problem> {
    TitleId::new(text).map_err(|e| Problem::bad_request(e.to_string()))
}

impl From<RankError> for Problem {
    fn from(error: RankError) -> Self {
        Problem::not_found(format!("{error}."))
    }
}

/// Scheme and authority under which the player reached us.
fn public_base(shared: &Shared, headers: &HeaderMap) -> String {
    if let Some(url) = &shared.public_url {
        return url.clone();
    }
    let plain = |h: &&str| {
        !h.is_empty()
            && h.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
    };
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .filter(plain);
    match host {
        Some(host) => format!("http://{host}"),
        None => format!("http://{}", shared.listen),
    }
}

/// Addresses (scheme and authority) of a ranking's entries, then the fallback, with their ids; then, where that is fewer
/// than the policy wants, appliances that should get no viewers, for a player that has nowhere else to flee to.
pub(crate) fn ways<'a>(index: &'a Index, ranking: &Ranking) -> Vec<(&'a str, &'a str)> {
    let way = |ix: ApplianceIx| {
        let appliance = index.appliance(ix);
        (appliance.id.as_str(), appliance.base_url.as_str())
    };
    let appliances = ranking.entries.iter().map(|e| way(e.appliance));
    let fallback = index.fallback.as_deref().map(|url| (FALLBACK_ID, url));
    let reserve = ranking.reserve.iter().map(|ix| way(*ix));
    appliances.chain(fallback).chain(reserve).collect()
}

/// A title's prefix as viewers are given it.
struct Prefix<'a> {
    at_appliances: Cow<'a, str>,
    at_fallback: Cow<'a, str>,
}

impl<'a> Prefix<'a> {
    /// Signed, if addresses are signed.
    fn new(shared: &Shared, plain: &'a str) -> Result<Self, Problem> {
        let plain = Cow::Borrowed(plain);
        let Some(signer) = &shared.signer else {
            return Ok(Self {
                at_appliances: plain.clone(),
                at_fallback: plain,
            });
        };
        let signed = signer.sign(&plain, Timestamp::now().as_millisecond());
        let signed: Cow<'_, str> = signed.map(Cow::Owned).ok_or_else(|| {
            Problem::nobody("Addresses cannot be signed: the system gives no random numbers.")
        })?;
        Ok(Self {
            at_fallback: if signer.signs_fallback() {
                signed.clone()
            } else {
                plain
            },
            at_appliances: signed,
        })
    }

    /// For the appliance or the fallback of that id.
    fn at(&self, id: &str) -> &str {
        if id == FALLBACK_ID {
            &self.at_fallback
        } else {
            &self.at_appliances
        }
    }
}

/// Counts the beginning of a session.
fn count_session(shared: &Shared, fleet: &Fleet, ranking: &Ranking) {
    use cdn_types::api::v1::SteeringOutcome as O;
    let name = match ranking.outcome {
        O::Hit => "hit",
        O::ContentMiss => "content_miss",
        O::HealthMiss => "health_miss",
        O::NoSite => "no_site",
    };
    shared.metrics.sessions.with_label_values(&[name]).inc();
    let site = ranking.site.map(|(ix, _)| &fleet.index.site(ix).id);
    let title = &fleet.index.title(ranking.title).id;
    if let Some((ix, _)) = ranking.site.filter(|_| ranking.outcome != O::Hit)
        && let Some(miss) = fleet.index.miss(ix, ranking.title)
    {
        let metrics = &shared.metrics;
        let site = fleet.index.site(ix).id.as_str();
        metrics.site_misses.with_label_values(&[site, miss.name()]).inc();
        let top = fleet.index.top().contains(&ranking.title);
        let label = if top { title.as_str() } else { "other" };
        metrics
            .title_misses
            .with_label_values(&[label, miss.name()])
            .inc();
    }
    shared.counts.add(Timestamp::now(), site, title, ranking.outcome);
}

/// Logs a decision, if anybody has a use for it; `fill` adds what the door knows.
fn log(
    shared: &Shared,
    door: Door,
    index: &Index,
    viewer: Viewer,
    title: &TitleId,
    fill: impl FnOnce(&mut Decision),
) {
    if shared.decisions.wanted(index.policy()) {
        let now = (shared.clock)().as_millisecond();
        let mut decision = Decision::new(door, now, index, index.network_alike(viewer.ip), title);
        decision.country = viewer.country.map(|c| c.to_string());
        fill(&mut decision);
        shared.decisions.push(decision, index);
    }
}
