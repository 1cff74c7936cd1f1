//! Demand history.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Asked, Caller, JsonBody, Planner},
    limits,
    problem::ApiProblem,
};
use axum::{Json, extract::State};
use cdn_types::{
    Hour,
    api::v1::{DemandRow, Imported},
};
use serde::Deserialize;

/// Which hours.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Hours {
    /// First hour, e.g. `2026-11-23T14Z`.
    #[param(value_type = String)]
    from: Hour,
    /// Hour after the last.
    #[param(value_type = String)]
    to: Hour,
}

/// Demand by hour, region and object: what appliances counted and what was imported.
#[utoipa::path(get, path = "/v1/demand", tag = "demand", params(Hours),
    responses((status = 200, description = "Rows, sorted by hour, region, object", body = Vec<DemandRow>)))]
pub async fn query(State(app): State<Shared>, Asked(hours): Asked<Hours>) -> Answer<Vec<DemandRow>> {
    if hours.from > hours.to {
        return Err(ApiProblem::bad_query(format_args!(
            "from {} is after to {}",
            hours.from, hours.to
        )));
    }
    let rows = app
        .store()
        .demand(hours.from, hours.to, limits::DEMAND_ROWS + 1)
        .await?;
    if rows.len() > limits::DEMAND_ROWS {
        return Err(ApiProblem::bad_query(format_args!(
            "from {} to {} has more than {} rows; ask for fewer hours at a time",
            hours.from,
            hours.to,
            limits::DEMAND_ROWS
        )));
    }
    Ok(Json(rows))
}

/// Takes in history; a row of the same hour, region and object replaces the one before.
#[utoipa::path(post, path = "/v1/demand", tag = "demand", security(("token" = ["planner"])),
    request_body = Vec<DemandRow>,
    responses((status = 200, description = "Taken in", body = Imported)))]
pub async fn import(
    _: Caller<Planner>,
    State(app): State<Shared>,
    JsonBody(rows): JsonBody<Vec<DemandRow>, { limits::IMPORT_BODY }>,
) -> Answer<Imported> {
    Ok(Json(app.registry().import_demand(rows).await?))
}
