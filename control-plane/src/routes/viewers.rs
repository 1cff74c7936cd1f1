//! What appliances see of their viewers: told by them, and handed on to steering. Nothing of it is stored.

use super::{Answer, bgp::Since};
use crate::{
    app::Shared,
    extract::{Appliance, Asked, Caller, JsonBody, PathPart},
    limits,
    long_poll::{self, News, Wait},
    problem::ApiProblem,
    registry::{Refusal, at_most, check_boot},
};
use axum::{Json, extract::State, response::Response};
use cdn_types::{
    OcaId,
    api::v1::viewers::{BATCH_NETWORKS, BATCH_SESSIONS, ViewerBatch, ViewerBatchAnswer, ViewerNews},
};
use http::HeaderMap;

/// Takes in what an appliance saw of its viewers; sending it twice changes nothing.
#[utoipa::path(post, path = "/v1/appliances/{id}/viewers", tag = "fleet", security(("token" = ["appliance"])),
    params(("id" = OcaId, Path, description = "The appliance's id")),
    request_body = ViewerBatch,
    responses((status = 200, description = "Whether it was news", body = ViewerBatchAnswer)))]
pub async fn tell(
    caller: Caller<Appliance>,
    State(app): State<Shared>,
    PathPart(id): PathPart<OcaId>,
    JsonBody(batch): JsonBody<ViewerBatch, { limits::VIEWER_BODY }>,
) -> Answer<ViewerBatchAnswer> {
    caller.speaks_for(&id)?;
    check_boot(&batch.boot)?;
    at_most("throughputs", BATCH_NETWORKS, batch.seen.throughputs.len())?;
    at_most("began", BATCH_SESSIONS, batch.seen.began.len())?;
    at_most("arrived", BATCH_SESSIONS, batch.seen.arrived.len())?;
    if app.registry().fleet().appliance(&id).is_none() {
        return Err(Refusal::NoAppliance(id).into());
    }
    let known = app.viewers().read().knows_boot(&id, &batch.boot);
    let former = !known && app.store().is_former_boot(&id, &batch.boot).await?;
    let taken = !former && app.viewers().take(&id, batch);
    let result = match (former, taken) {
        (true, _) => "former",
        (false, true) => "taken",
        (false, false) => "repeated",
    };
    app.metrics()
        .count("nightfill_control_viewer_batches_total", &[result], 1);
    let items = app.viewers().read().items();
    app.metrics()
        .set("nightfill_control_viewer_items", &[], items as u64);
    Ok(Json(ViewerBatchAnswer { taken }))
}

/// What all appliances saw of their viewers since a generation, by long poll; what is older than a minute is gone.
#[utoipa::path(get, path = "/v1/viewers", tag = "fleet", params(Since),
    responses(
        (status = 200, description = "What came since then", body = ViewerNews,
            headers(("ETag" = String, description = "`\"<generation>\"`"))),
        (status = 304, description = "Nothing came in time")))]
pub async fn news(State(app): State<Shared>, Asked(asked): Asked<Since>) -> Result<Response, ApiProblem> {
    let look = || {
        let (generation, news) = app.viewers().since(asked.since);
        let json = |news| serde_json::to_vec(&news).expect("wire types have no failing serializer");
        News {
            tag: format!("\"{generation}\""),
            body: news.map(|n| json(n).into()),
        }
    };
    let wait = Wait { wait: asked.wait };
    let changed = app.viewers().generations();
    long_poll::answer(&app, &HeaderMap::new(), &wait, changed, look).await
}
