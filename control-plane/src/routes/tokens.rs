//! API tokens.

use super::Answer;
use crate::{
    app::Shared,
    extract::{Admin, Caller, JsonBody},
    limits,
};
use axum::{Json, extract::State};
use cdn_types::api::v1::{NewToken, TokenAnswer};

/// Makes an API token; appliances get theirs by joining.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", security(("token" = ["admin"])),
    request_body = NewToken,
    responses((status = 200, description = "The token; it is shown this once", body = TokenAnswer)))]
pub async fn create(
    _: Caller<Admin>,
    State(app): State<Shared>,
    JsonBody(wanted): JsonBody<NewToken, { limits::SMALL_BODY }>,
) -> Answer<TokenAnswer> {
    Ok(Json(app.registry().add_token(wanted).await?))
}
