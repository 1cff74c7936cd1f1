//! Joining.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Admin, Caller, JsonBody},
    limits,
};
use axum::{Json, extract::State};
use cdn_types::api::v1::{JoinAnswer, JoinRequest, JoinToken, NewJoinToken};

/// Makes a one-time token with which one appliance may join.
#[utoipa::path(post, path = "/v1/join-tokens", tag = "fleet", security(("token" = ["admin"])),
    request_body = NewJoinToken,
    responses((status = 200, description = "The token; it is shown this once", body = JoinToken)))]
pub async fn token(
    _: Caller<Admin>,
    State(app): State<Shared>,
    JsonBody(wanted): JsonBody<NewJoinToken, { limits::SMALL_BODY }>,
) -> Answer<JoinToken> {
    Ok(Json(app.registry().add_join_token(wanted).await?))
}

/// Lets an appliance join; the one-time token in the body is its permission.
#[utoipa::path(post, path = "/v1/join", tag = "fleet", request_body = JoinRequest,
    responses((status = 200, description = "Its identity from now on", body = JoinAnswer)))]
pub async fn join(
    State(app): State<Shared>,
    JsonBody(request): JsonBody<JoinRequest, { limits::SMALL_BODY }>,
) -> Answer<JoinAnswer> {
    Ok(Json(app.registry().join(request).await?))
}
