//! What appliances hear by BGP: told by them, asked for by steering, checked by operators.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Appliance, Asked, Caller, JsonBody, PathPart},
    limits,
    long_poll::{self, News, Wait},
    problem::ApiProblem,
    registry::{Refusal, at_most},
    rib::Taken,
};
use axum::{Json, extract::State, response::Response};
use cdn_types::{
    OcaId,
    api::v1::routes::{
        BATCH_PREFIXES, MOST_COMMUNITIES, RouteBatch, RouteBatchAnswer, RouteChanges, SiteRouteCheck,
    },
};
use http::HeaderMap;
use serde::Deserialize;

/// Takes changes of an appliance's routes in; sending them twice changes nothing.
#[utoipa::path(post, path = "/v1/appliances/{id}/routes", tag = "fleet", security(("token" = ["appliance"])),
    params(("id" = OcaId, Path, description = "The appliance's id")),
    request_body = RouteBatch,
    responses((status = 200, description = "Which batch is wanted next", body = RouteBatchAnswer)))]
pub async fn tell(
    caller: Caller<Appliance>,
    State(app): State<Shared>,
    PathPart(id): PathPart<OcaId>,
    JsonBody(batch): JsonBody<RouteBatch, { limits::ROUTE_BODY }>,
) -> Answer<RouteBatchAnswer> {
    caller.speaks_for(&id)?;
    check(&batch)?;
    if app.registry().fleet().appliance(&id).is_none() {
        return Err(Refusal::NoAppliance(id).into());
    }
    let (known, routes) = {
        let rib = app.rib().read();
        (rib.knows_boot(&id, &batch.boot), rib.routes_of(&id))
    };
    // A late batch of a run that another has followed is for nobody.
    if !known && app.store().is_former_boot(&id, &batch.boot).await? {
        return Ok(Json(RouteBatchAnswer { next: 0 }));
    }
    at_most("routes", limits::APPLIANCE_ROUTES, routes + prefixes(&batch))?;
    let (answer, taken) = app.rib().take(&id, batch);
    let result = match taken {
        Taken::New => "taken",
        Taken::Repeated => "repeated",
        Taken::Gap => "gap",
    };
    app.metrics()
        .count("nightfill_control_route_batches_total", &[result], 1);
    app.metrics()
        .set("nightfill_control_routes", &[], app.rib().read().len() as u64);
    Ok(Json(answer))
}

fn prefixes(batch: &RouteBatch) -> usize {
    batch.announced.iter().map(|g| g.prefixes.len()).sum()
}

fn check(batch: &RouteBatch) -> Result<(), Refusal> {
    crate::registry::check_boot(&batch.boot)?;
    at_most(
        "prefixes",
        BATCH_PREFIXES,
        prefixes(batch) + batch.withdrawn.len(),
    )?;
    for group in &batch.announced {
        let attributes = &group.attributes;
        at_most("communities", MOST_COMMUNITIES, attributes.communities.len())?;
        at_most(
            "large_communities",
            MOST_COMMUNITIES,
            attributes.large_communities.len(),
        )?;
    }
    let announced = batch.announced.iter().flat_map(|g| &g.prefixes);
    match announced.chain(&batch.withdrawn).find(|p| p.trunc() != **p) {
        Some(prefix) => Err(Refusal::HostBits(*prefix)),
        None => Ok(()),
    }
}

/// Since when news is asked for.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Since {
    /// Generation of the last answer; 0 for all that there is.
    #[serde(default)]
    pub since: u64,
    /// Seconds to wait for news; cut to 60.
    #[serde(default)]
    pub wait: u64,
}

/// Changes of all appliances' routes since a generation, by long poll.
#[utoipa::path(get, path = "/v1/routes", tag = "fleet", params(Since),
    responses(
        (status = 200, description = "The changes, or everything after a `reset`", body = RouteChanges,
            headers(("ETag" = String, description = "`\"<generation>\"`"))),
        (status = 304, description = "Nothing has changed in time")))]
pub async fn changes(State(app): State<Shared>, Asked(asked): Asked<Since>) -> Result<Response, ApiProblem> {
    let look = || {
        let rib = app.rib().read();
        let generation = rib.generation();
        let changes = (generation != asked.since).then(|| rib.changes(asked.since));
        drop(rib);
        let json = |changes| serde_json::to_vec(&changes).expect("wire types have no failing serializer");
        News {
            tag: format!("\"{generation}\""),
            body: changes.map(|c| json(c).into()),
        }
    };
    let wait = Wait { wait: asked.wait };
    long_poll::answer(&app, &HeaderMap::new(), &wait, app.rib().generations(), look).await
}

/// Sites with several appliances that listen, and whether these hear the same prefixes.
#[utoipa::path(get, path = "/v1/routes/check", tag = "fleet",
    responses((status = 200, description = "Sites, sorted by id", body = Vec<SiteRouteCheck>)))]
pub async fn check_sites(State(app): State<Shared>) -> Json<Vec<SiteRouteCheck>> {
    let fleet = app.registry().fleet();
    let rib = app.rib().read();
    let check = |site: &cdn_types::api::v1::Site| {
        let own = fleet.appliances().filter(|a| a.row.site == site.id);
        let ids: Vec<OcaId> = own.map(|a| a.row.id.clone()).collect();
        rib.check(&site.id, &ids)
    };
    Json(fleet.sites().filter_map(check).collect())
}
