//! The fleet snapshot, by long poll.

use crate::{
    app::Shared,
    extract::Asked,
    long_poll::{self, News, Wait},
    problem::ApiProblem,
};
use axum::{extract::State, response::Response};
use cdn_types::api::v1::FleetSnapshot;
use http::HeaderMap;

/// The fleet at one moment, all that steering needs to rank offline.
#[utoipa::path(get, path = "/v1/fleet", tag = "fleet", params(Wait),
    responses(
        (status = 200, description = "The snapshot", body = FleetSnapshot,
            headers(("ETag" = String, description = "`\"<boot>-<generation>\"`"))),
        (status = 304, description = "Nothing that steering cares about has changed in time")))]
pub async fn snapshot(
    State(app): State<Shared>,
    Asked(wait): Asked<Wait>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let look = || {
        let (tag, body) = app.snapshot();
        News {
            tag,
            body: Some(body),
        }
    };
    long_poll::answer(&app, &headers, &wait, app.registry().generations(), look).await
}
