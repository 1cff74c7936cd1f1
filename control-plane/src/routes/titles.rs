//! Titles, objects and the catalogue.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Admin, Caller, JsonBody, PathPart},
    limits,
    problem::ApiProblem,
    registry::Refusal,
};
use axum::{Json, extract::State};
use cdn_types::{
    ObjectDigest, TitleId,
    api::v1::{Catalogue, ObjectInfo, TitleRegistration, TitleSummary},
};
use http::StatusCode;

/// All titles.
#[utoipa::path(get, path = "/v1/titles", tag = "titles",
    responses((status = 200, description = "All titles, sorted by id", body = Vec<TitleSummary>)))]
pub async fn list(State(app): State<Shared>) -> Json<Vec<TitleSummary>> {
    Json(app.registry().fleet().titles().collect())
}

/// One title, whole.
#[utoipa::path(get, path = "/v1/titles/{title}", tag = "titles",
    params(("title" = TitleId, Path, description = "The title's id")),
    responses((status = 200, description = "Its current version", body = TitleRegistration)))]
pub async fn get(State(app): State<Shared>, PathPart(id): PathPart<TitleId>) -> Answer<TitleRegistration> {
    let title = app.store().title(&id).await?;
    title.map(Json).ok_or_else(|| Refusal::NoTitle(id).into())
}

/// Registers a title, or a new version of it; the same again changes nothing.
#[utoipa::path(put, path = "/v1/titles/{title}", tag = "titles", security(("token" = ["admin"])),
    params(("title" = TitleId, Path, description = "The title's id, as in the manifest")),
    request_body = TitleRegistration,
    responses((status = 200, description = "Registered", body = TitleSummary)))]
pub async fn put(
    _: Caller<Admin>,
    State(app): State<Shared>,
    PathPart(id): PathPart<TitleId>,
    JsonBody(title): JsonBody<TitleRegistration, { limits::TITLE_BODY }>,
) -> Answer<TitleSummary> {
    Ok(Json(app.registry().put_title(id, title).await?))
}

/// Takes a title out of the catalogue, of steering and of planning. Its objects can be resolved as long as an appliance
/// holds one or a plan that is active or above lists one.
#[utoipa::path(delete, path = "/v1/titles/{title}", tag = "titles", security(("token" = ["admin"])),
    params(("title" = TitleId, Path, description = "The title's id")),
    responses((status = 204, description = "It is no longer registered")))]
pub async fn remove(
    _: Caller<Admin>,
    State(app): State<Shared>,
    PathPart(id): PathPart<TitleId>,
) -> Result<StatusCode, ApiProblem> {
    app.registry().remove_title(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is needed to fetch and verify one object.
#[utoipa::path(get, path = "/v1/objects/{digest}", tag = "titles",
    params(("digest" = ObjectDigest, Path, description = "BLAKE3 digest, 64 hex digits")),
    responses((status = 200, description = "The object", body = ObjectInfo)))]
pub async fn object(
    State(app): State<Shared>,
    PathPart(digest): PathPart<ObjectDigest>,
) -> Answer<ObjectInfo> {
    let object = app.store().object(&digest).await?;
    object
        .map(Json)
        .ok_or_else(|| ApiProblem::not_found(format_args!("object {digest} is of no registered title")))
}

/// Every object of every title's current version, for the planner.
#[utoipa::path(get, path = "/v1/catalogue", tag = "titles",
    responses((status = 200, description = "The catalogue", body = Catalogue)))]
pub async fn catalogue(State(app): State<Shared>) -> Answer<Catalogue> {
    Ok(Json(app.store().catalogue().await?))
}
