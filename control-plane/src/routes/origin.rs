//! The origin store's address, and the way to each object in it.

use crate::{app::Shared, problem::ApiProblem};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use cdn_types::api::v1::OriginInfo;
use http::{Method, StatusCode, Uri, header};

/// Where the origin store is.
#[utoipa::path(get, path = "/v1/origin", tag = "titles",
    responses((status = 200, description = "The store and its server", body = OriginInfo)))]
pub async fn info(State(app): State<Shared>) -> Json<OriginInfo> {
    Json(app.origin().info().clone())
}

/// The way to one object in the origin store.
#[utoipa::path(get, path = "/v1/origin/t/{*path}", tag = "titles",
    params(("path" = String, Path, description = "Public path behind /t/: title, version, file; it may have slashes")),
    responses((status = 307, description = "Fetch it there",
        headers(("Location" = String, description = "The store's own or a presigned address")))))]
pub async fn redirect(State(app): State<Shared>, method: Method, uri: Uri) -> Result<Response, ApiProblem> {
    let path = uri.path().strip_prefix("/v1/origin").unwrap_or_default();
    if app.registry().fleet().known().at(path).is_none() {
        return Err(ApiProblem::not_found(format_args!(
            "no registered title has an object at {path}"
        )));
    }
    let address = app.origin().address(method, path).await?;
    // A player on another origin follows this answer, so it needs the permission here already.
    let headers = [
        (header::LOCATION, address),
        (header::CACHE_CONTROL, "no-store".into()),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*".into()),
    ];
    Ok((StatusCode::TEMPORARY_REDIRECT, headers).into_response())
}
