//! Sites.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Admin, Caller, JsonBody, PathPart},
    limits,
    registry::Refusal,
};
use axum::{Json, extract::State};
use cdn_types::{SiteId, api::v1::Site};

/// All sites.
#[utoipa::path(get, path = "/v1/sites", tag = "fleet",
    responses((status = 200, description = "All sites, sorted by id", body = Vec<Site>)))]
pub async fn list(State(app): State<Shared>) -> Json<Vec<Site>> {
    Json(app.registry().fleet().sites().cloned().collect())
}

/// Adds or replaces a site.
#[utoipa::path(put, path = "/v1/sites/{site}", tag = "fleet", security(("token" = ["admin"])),
    params(("site" = SiteId, Path, description = "The site's id, as in the body")),
    request_body = Site,
    responses((status = 200, description = "As it is now", body = Site)))]
pub async fn put(
    _: Caller<Admin>,
    State(app): State<Shared>,
    PathPart(id): PathPart<SiteId>,
    JsonBody(site): JsonBody<Site, { limits::SITE_BODY }>,
) -> Answer<Site> {
    if site.id != id {
        let (path, body) = (id.to_string(), site.id.to_string());
        return Err(Refusal::OtherId { path, body }.into());
    }
    Ok(Json(app.registry().put_site(site).await?))
}
