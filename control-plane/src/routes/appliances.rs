//! Appliances: their list, their reports, their part of the plan, and draining.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Admin, Appliance, Asked, Caller, JsonBody, PathPart},
    limits,
    long_poll::{self, News, Wait},
    problem::ApiProblem,
    registry::Refusal,
};
use axum::{Json, extract::State, response::Response};
use cdn_types::{
    OcaId,
    api::v1::{ApplianceView, PlanPart, Report, ReportAnswer},
};
use http::HeaderMap;

/// All appliances.
#[utoipa::path(get, path = "/v1/appliances", tag = "fleet",
    responses((status = 200, description = "All appliances, sorted by id", body = Vec<ApplianceView>)))]
pub async fn list(State(app): State<Shared>) -> Json<Vec<ApplianceView>> {
    let fleet = app.registry().fleet();
    Json(fleet.appliances().map(crate::fleet::Appliance::view).collect())
}

/// Takes an appliance's report in; sending one twice changes nothing.
#[utoipa::path(post, path = "/v1/appliances/{id}/report", tag = "fleet", security(("token" = ["appliance"])),
    params(("id" = OcaId, Path, description = "The appliance's id")),
    request_body = Report,
    responses((status = 200, description = "What the control plane wants of it", body = ReportAnswer)))]
pub async fn report(
    caller: Caller<Appliance>,
    State(app): State<Shared>,
    PathPart(id): PathPart<OcaId>,
    JsonBody(report): JsonBody<Report, { limits::REPORT_BODY }>,
) -> Answer<ReportAnswer> {
    caller.speaks_for(&id)?;
    Ok(Json(app.registry().report(id, report).await?))
}

/// An appliance's part of the active plan, by long poll.
#[utoipa::path(get, path = "/v1/appliances/{id}/plan", tag = "plans",
    params(("id" = OcaId, Path, description = "The appliance's id"), Wait),
    responses(
        (status = 200, description = "Its part", body = PlanPart,
            headers(("ETag" = String, description = "`\"plan-N\"`"))),
        (status = 304, description = "No other plan became active in time, or none is active")))]
pub async fn plan(
    State(app): State<Shared>,
    PathPart(id): PathPart<OcaId>,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    if app.registry().fleet().appliance(&id).is_none() {
        return Err(Refusal::NoAppliance(id).into());
    }
    let changed = app.registry().active_plan();
    let active = changed.clone();
    let look = || {
        let plan = active.borrow().clone();
        let Some(plan) = plan else {
            return News {
                tag: "\"plan-0\"".into(),
                body: None,
            };
        };
        let part = PlanPart {
            number: plan.number,
            date: plan.date,
            part: plan.part(&id).cloned(),
        };
        News {
            tag: format!("\"plan-{}\"", plan.number),
            body: Some(
                serde_json::to_vec(&part)
                    .expect("wire types have no failing serializer")
                    .into(),
            ),
        }
    };
    long_poll::answer(&app, &headers, &wait, changed, look).await
}

/// Takes an appliance out of service: no new viewers.
#[utoipa::path(post, path = "/v1/appliances/{id}/drain", tag = "fleet", security(("token" = ["admin"])),
    params(("id" = OcaId, Path, description = "The appliance's id")),
    responses((status = 200, description = "As it is now", body = ApplianceView)))]
pub async fn drain(
    _: Caller<Admin>,
    State(app): State<Shared>,
    PathPart(id): PathPart<OcaId>,
) -> Answer<ApplianceView> {
    Ok(Json(app.registry().set_drain(id, true).await?))
}

/// Puts an appliance back into service.
#[utoipa::path(post, path = "/v1/appliances/{id}/undrain", tag = "fleet", security(("token" = ["admin"])),
    params(("id" = OcaId, Path, description = "The appliance's id")),
    responses((status = 200, description = "As it is now", body = ApplianceView)))]
pub async fn undrain(
    _: Caller<Admin>,
    State(app): State<Shared>,
    PathPart(id): PathPart<OcaId>,
) -> Answer<ApplianceView> {
    Ok(Json(app.registry().set_drain(id, false).await?))
}
