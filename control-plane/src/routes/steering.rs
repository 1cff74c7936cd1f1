//! Steering services' counters.

use crate::{
    app::Shared,
    extract::{Caller, JsonBody, Service},
    limits,
    problem::ApiProblem,
};
use axum::extract::State;
use cdn_types::api::v1::SteeringReport;
use http::StatusCode;

/// Takes a steering service's counters in; sending them twice changes nothing.
#[utoipa::path(post, path = "/v1/steering/report", tag = "demand", security(("token" = ["service"])),
    request_body = SteeringReport,
    responses((status = 204, description = "Taken in")))]
pub async fn report(
    _: Caller<Service>,
    State(app): State<Shared>,
    JsonBody(report): JsonBody<SteeringReport, { limits::STEERING_BODY }>,
) -> Result<StatusCode, ApiProblem> {
    app.registry().steering_report(report).await?;
    Ok(StatusCode::NO_CONTENT)
}
