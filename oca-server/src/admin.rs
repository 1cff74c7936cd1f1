//! The admin listener: `/metrics`, `/healthz`, `/readyz`, `/bgp`, `POST /v1/drain`, `/v1/undrain`, `/v1/upgrade` and
//! `/v1/bgp/refresh`, apart from viewers
//! and meant for the operator's network alone. It runs on the main thread's runtime: a scrape costs no worker anything.

use crate::{
    bgp::Speaker,
    drain::Drain,
    handover::{Handed, Held, Role},
    listen,
    metrics::Metrics,
    upgrade::Upgrades,
};
use bytes::Bytes;
use cdn_types::api::v1::Condition;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use std::{
    convert::Infallible,
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore};

/// Admin connections at once: a few scrapers and an operator.
const MAX_CONNECTIONS: usize = 64;
/// Longest wait for a request's head.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Pause after a failed `accept`, so that a full descriptor table does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What `/readyz` says of the parts that only the program's composition knows.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// Whether viewers may be sent here (drain is added by the admin listener itself).
    pub ready: bool,
    /// What is wrong, if anything.
    pub conditions: Vec<Condition>,
}

/// What the admin listener shows and switches.
#[derive(Clone)]
pub struct AdminState {
    /// Rendered at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Switched by `/v1/drain` and `/v1/undrain`.
    pub drain: Drain,
    /// Asked at each `/readyz`; must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Asked by `/v1/upgrade`.
    pub upgrades: Upgrades,
    /// Shown by `/bgp`, if the appliance listens.
    pub bgp: Option<Arc<Speaker>>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// The listener: what was handed over, or a new one; answers nobody yet.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind(listen: SocketAddr, handed: &mut Handed) -> io::Result<StdListener> {
    match handed.take(Role::Admin, listen).into_iter().next() {
        Some(given) => Ok(given.into()),
        None => listen::listeners(listen, 1)?
            .pop()
            .ok_or(io::ErrorKind::NotFound.into()),
    }
}

/// Answers on the current tokio runtime; it ends with the runtime, or when another process has the listener.
///
/// # Errors
/// When it cannot be watched.
pub fn start(listener: StdListener, state: AdminState, held: &Held) -> io::Result<()> {
    held.keep(Role::Admin, &[&listener])?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        let drain = state.drain.clone();
        tokio::select! {
            () = accept(listener, state) => {}
            () = drain.handed_over() => {}
        }
    });
    Ok(())
}

async fn accept(listener: TcpListener, state: AdminState) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let state = state.clone();
                async move { Ok::<_, Infallible>(respond(&state, &request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(slot);
        });
    }
}

async fn respond(state: &AdminState, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/v1/upgrade") => upgrade(state).await,
        (_, "/v1/upgrade") => not_allowed("POST"),
        _ => answer(state, request),
    }
}

async fn upgrade(state: &AdminState) -> Response<Full<Bytes>> {
    let (status, body) = match state.upgrades.ask().await {
        Ok(pid) => (StatusCode::OK, json!({"upgraded": true, "pid": pid})),
        Err(why) => {
            let why = why.to_string();
            (StatusCode::BAD_GATEWAY, json!({"upgraded": false, "why": why}))
        }
    };
    let mut response = text(status, "application/json", format!("{body}\n"));
    // The next request is for another process.
    let close = header::HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

fn answer(state: &AdminState, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let drains = f64::from(u8::from(state.drain.is_draining()));
            state.metrics.gauge("oca_draining", &[]).set(drains);
            text(
                StatusCode::OK,
                "text/plain; version=0.0.4",
                state.metrics.render(),
            )
        }
        (&Method::GET, "/healthz") => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET, "/readyz") => ready(state),
        (&Method::GET, "/bgp") => bgp(state, Speaker::status),
        (&Method::POST, "/v1/bgp/refresh") => refresh(state, request.uri().query()),
        (&Method::POST, "/v1/drain") => switch(state, true),
        (&Method::POST, "/v1/undrain") => switch(state, false),
        (_, "/metrics" | "/healthz" | "/readyz" | "/bgp") => not_allowed("GET"),
        (_, "/v1/drain" | "/v1/undrain" | "/v1/bgp/refresh") => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "not found\n".to_owned()),
    }
}

fn ready(state: &AdminState) -> Response<Full<Bytes>> {
    let readiness = (state.readiness)();
    let draining = state.drain.is_draining();
    let ready = readiness.ready && !draining;
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({"ready": ready, "draining": draining, "conditions": readiness.conditions});
    text(status, "application/json", format!("{body}\n"))
}

fn switch(state: &AdminState, on: bool) -> Response<Full<Bytes>> {
    state.drain.set_draining(on);
    tracing::info!(draining = on, "drain switched by the admin listener");
    let body = json!({"draining": state.drain.is_draining()});
    text(StatusCode::OK, "application/json", format!("{body}\n"))
}

/// What the BGP listener says; 404 if there is none.
fn bgp(state: &AdminState, say: impl Fn(&Speaker) -> serde_json::Value) -> Response<Full<Bytes>> {
    match &state.bgp {
        Some(speaker) => text(StatusCode::OK, "application/json", format!("{}\n", say(speaker))),
        None => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "there is no [bgp] in the configuration\n".to_owned(),
        ),
    }
}

/// Asks one neighbour (`?neighbor=ADDRESS`) or all for their routes anew.
fn refresh(state: &AdminState, query: Option<&str>) -> Response<Full<Bytes>> {
    let wanted = query.map(|q| q.strip_prefix("neighbor=").unwrap_or(q).parse());
    match wanted.transpose() {
        Ok(neighbor) => bgp(state, |speaker| json!({"asked": speaker.refresh(neighbor)})),
        Err(_) => text(
            StatusCode::BAD_REQUEST,
            "text/plain",
            "give ?neighbor=ADDRESS, or nothing for all\n".to_owned(),
        ),
    }
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "text/plain",
        format!("use {allow}\n"),
    );
    let allow = header::HeaderValue::from_static(allow);
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

fn text(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let media_type = header::HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
