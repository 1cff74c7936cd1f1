//! For monitors: alive, ready, and in numbers.

use super::{Problem, fleet};
use crate::app::Shared;
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::sync::Arc;

/// The process answers.
pub async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// It has a fleet to rank. A stale one is good enough: steering goes on without the control plane.
pub async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    let fleet = fleet(&shared)?;
    let now = (shared.clock)();
    let body = json!({
        "status": "ready",
        "generation": fleet.index.generation,
        "stale_seconds": shared.fleet.stale_seconds(now),
        "routes": shared.fleet.routes_age(now),
    });
    Ok(Json(body).into_response())
}

/// Prometheus text format.
pub async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let now = (shared.clock)();
    if let Some(stale) = shared.fleet.stale_seconds(now) {
        shared.metrics.stale.set(stale);
    }
    if let Some(age) = shared.fleet.routes_age(now) {
        shared.metrics.routes_stale.set(age.stale_seconds);
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        shared.metrics.text(),
    )
        .into_response()
}
