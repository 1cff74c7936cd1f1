//! Whether the program runs, whether it can answer, what it counts, and what it can do.

use crate::{app::Shared, limits, problem::ApiProblem};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use cdn_types::api::v1::ApplianceState;
use http::{StatusCode, header};

/// The process runs.
#[utoipa::path(get, path = "/healthz", tag = "program",
    responses((status = 200, description = "It runs", body = String, content_type = "text/plain")))]
pub async fn alive() -> &'static str {
    "ok\n"
}

/// The program can answer: the database does, and it is not about to end.
#[utoipa::path(get, path = "/readyz", tag = "program",
    responses(
        (status = 200, description = "Ready", body = String, content_type = "text/plain"),
        (status = 503, description = "Not ready", body = String, content_type = "text/plain")))]
pub async fn ready(State(app): State<Shared>) -> (StatusCode, String) {
    if *app.stop().borrow() {
        return (StatusCode::SERVICE_UNAVAILABLE, "ending\n".into());
    }
    match app.store().ping().await {
        Ok(()) => (StatusCode::OK, "ready\n".into()),
        Err(e) => (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n")),
    }
}

/// What is counted, in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "program",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<Shared>) -> Response {
    let m = app.metrics();
    {
        let fleet = app.registry().fleet();
        for (state, name) in [
            (ApplianceState::Joined, "joined"),
            (ApplianceState::Serving, "serving"),
            (ApplianceState::Draining, "draining"),
            (ApplianceState::Unhealthy, "unhealthy"),
            (ApplianceState::Lost, "lost"),
        ] {
            let n = fleet.appliances().filter(|a| a.state() == state).count();
            m.set("nightfill_control_appliances", &[name], n as u64);
        }
        m.set("nightfill_control_fleet_generation", &[], fleet.generation());
        m.set("nightfill_control_titles", &[], fleet.titles().count() as u64);
        m.set("nightfill_control_objects", &[], fleet.known().len() as u64);
    }
    let plan = app
        .registry()
        .active_plan()
        .borrow()
        .as_ref()
        .map_or(0, |p| p.number.0);
    m.set("nightfill_control_active_plan", &[], plan);
    let waiting = limits::LONG_POLLS - app.polls().available_permits();
    m.set("nightfill_control_long_polls", &[], waiting as u64);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], m.text()).into_response()
}

/// This document.
#[utoipa::path(get, path = "/v1/openapi.json", tag = "program",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub async fn document(State(app): State<Shared>) -> Result<Response, ApiProblem> {
    Ok(([(header::CONTENT_TYPE, "application/json")], app.openapi()).into_response())
}
