//! Plans.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Caller, JsonBody, PathPart, Planner},
    limits,
    registry::Refusal,
};
use axum::{Json, extract::State};
use cdn_types::{PlanNumber, api::v1::PlanSummary, plan::Plan};
use std::{num::ParseIntError, str::FromStr};

/// A plan's number in a path.
pub struct Number(PlanNumber);

impl FromStr for Number {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        text.parse()
            .map(|n| Self(PlanNumber(n)))
            .map_err(|why| NumberError {
                text: text.chars().take(80).collect(),
                why,
            })
    }
}

/// Why a part of a path is no plan number.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a plan number: {why}")]
pub struct NumberError {
    text: String,
    why: ParseIntError,
}

/// All plans that are kept.
#[utoipa::path(get, path = "/v1/plans", tag = "plans",
    responses((status = 200, description = "All plans, the newest first", body = Vec<PlanSummary>)))]
pub async fn list(State(app): State<Shared>) -> Answer<Vec<PlanSummary>> {
    Ok(Json(app.store().plans().await?))
}

/// One plan, whole.
#[utoipa::path(get, path = "/v1/plans/{n}", tag = "plans",
    params(("n" = u64, Path, description = "The plan's number")),
    responses((status = 200, description = "The plan", body = Plan)))]
pub async fn get(State(app): State<Shared>, PathPart(Number(n)): PathPart<Number>) -> Answer<Plan> {
    let plan = app.store().plan(n).await?;
    plan.map(Json).ok_or_else(|| Refusal::NoPlan(n).into())
}

/// Publishes a plan; its number must be above all before.
#[utoipa::path(post, path = "/v1/plans", tag = "plans", security(("token" = ["planner"])),
    request_body = Plan,
    responses(
        (status = 200, description = "Published, not yet active", body = PlanSummary),
        (status = 409, description = "Stale: the number is not above all before",
            body = cdn_types::api::v1::Problem, content_type = "application/problem+json")))]
pub async fn publish(
    _: Caller<Planner>,
    State(app): State<Shared>,
    JsonBody(plan): JsonBody<Plan, { limits::PLAN_BODY }>,
) -> Answer<PlanSummary> {
    Ok(Json(app.registry().publish_plan(plan).await?))
}

/// Makes a plan the one that appliances execute.
#[utoipa::path(post, path = "/v1/plans/{n}/activate", tag = "plans", security(("token" = ["planner"])),
    params(("n" = u64, Path, description = "The plan's number")),
    responses(
        (status = 200, description = "Active", body = PlanSummary),
        (status = 409, description = "Stale: a higher plan is active",
            body = cdn_types::api::v1::Problem, content_type = "application/problem+json")))]
pub async fn activate(
    _: Caller<Planner>,
    State(app): State<Shared>,
    PathPart(Number(n)): PathPart<Number>,
) -> Answer<PlanSummary> {
    Ok(Json(app.registry().activate_plan(n).await?))
}
