//! Plans, and what the planner says of them: a report (why each title is where it is) and a review (how the day went). The control
//! plane keeps these two as they come, for people and pages; nothing is decided by them.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Caller, JsonBody, PathPart, Planner},
    limits,
    registry::Refusal,
};
use axum::{Json, extract::State};
use cdn_types::{PlanNumber, api::v1::PlanSummary, plan::Plan};
use serde_json::Value;
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

/// Why each title is where it is, as the planner says.
#[utoipa::path(get, path = "/v1/plans/{n}/report", tag = "plans",
    params(("n" = u64, Path, description = "The plan's number")),
    responses((status = 200, description = "The report, as fill-planner writes it", body = Value)))]
pub async fn get_report(State(app): State<Shared>, PathPart(Number(n)): PathPart<Number>) -> Answer<Value> {
    note(&app, n, "report").await
}

/// Keeps the planner's report of a plan, in place of an earlier one.
#[utoipa::path(put, path = "/v1/plans/{n}/report", tag = "plans", security(("token" = ["planner"])),
    params(("n" = u64, Path, description = "The plan's number")),
    request_body(content = Value, description = "An object whose `number` is the plan's"),
    responses((status = 200, description = "Kept", body = Value)))]
pub async fn put_report(
    _: Caller<Planner>,
    State(app): State<Shared>,
    PathPart(Number(n)): PathPart<Number>,
    JsonBody(note): JsonBody<Value, { limits::PLAN_BODY }>,
) -> Answer<Value> {
    app.registry().put_plan_note(n, "report", note).await?;
    Ok(Json(serde_json::json!({})))
}

/// What came of the plan on its day, as the planner says.
#[utoipa::path(get, path = "/v1/plans/{n}/review", tag = "plans",
    params(("n" = u64, Path, description = "The plan's number")),
    responses((status = 200, description = "The review, as fill-planner writes it", body = Value)))]
pub async fn get_review(State(app): State<Shared>, PathPart(Number(n)): PathPart<Number>) -> Answer<Value> {
    note(&app, n, "review").await
}

/// Keeps the planner's review of a plan, in place of an earlier one.
#[utoipa::path(put, path = "/v1/plans/{n}/review", tag = "plans", security(("token" = ["planner"])),
    params(("n" = u64, Path, description = "The plan's number")),
    request_body(content = Value, description = "An object whose `number` is the plan's"),
    responses((status = 200, description = "Kept", body = Value)))]
pub async fn put_review(
    _: Caller<Planner>,
    State(app): State<Shared>,
    PathPart(Number(n)): PathPart<Number>,
    JsonBody(note): JsonBody<Value, { limits::PLAN_BODY }>,
) -> Answer<Value> {
    app.registry().put_plan_note(n, "review", note).await?;
    Ok(Json(serde_json::json!({})))
}

async fn note(app: &Shared, number: PlanNumber, kind: &'static str) -> Answer<Value> {
    let note = app.store().plan_note(number, kind).await?;
    note.map(Json)
        .ok_or_else(|| Refusal::NoNote { number, kind }.into())
}
