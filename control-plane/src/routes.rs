//! The calls. Each is registered once, by utoipa-axum, so that the router and the OpenAPI document cannot differ.

mod appliances;
mod bgp;
mod demand;
mod fleet;
mod health;
mod join;
mod origin;
mod overview;
mod plans;
mod sites;
mod steering;
mod titles;
mod tokens;
mod viewers;

use crate::{app::Shared, linger, openapi, pages, problem::ApiProblem};
use axum::{
    Json, Router,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::Response,
};
use http::Uri;
use std::{path::PathBuf, time::Instant};
use utoipa::openapi::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

/// What a handler answers.
type Answer<T> = Result<Json<T>, ApiProblem>;

/// Every call of the API, and the document that describes them.
pub fn router() -> (Router<Shared>, OpenApi) {
    let (router, document) = OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(titles::list))
        .routes(routes!(titles::get, titles::put, titles::remove))
        .routes(routes!(titles::object))
        .routes(routes!(titles::catalogue))
        .routes(routes!(origin::info))
        .routes(routes!(origin::redirect))
        .routes(routes!(sites::list))
        .routes(routes!(sites::put))
        .routes(routes!(join::token))
        .routes(routes!(join::join))
        .routes(routes!(appliances::list))
        .routes(routes!(appliances::report))
        .routes(routes!(appliances::plan))
        .routes(routes!(bgp::tell))
        .routes(routes!(bgp::changes))
        .routes(routes!(bgp::check_sites))
        .routes(routes!(viewers::tell))
        .routes(routes!(viewers::news))
        .routes(routes!(appliances::drain))
        .routes(routes!(appliances::undrain))
        .routes(routes!(plans::list, plans::publish))
        .routes(routes!(plans::get))
        .routes(routes!(plans::activate))
        .routes(routes!(plans::get_report, plans::put_report))
        .routes(routes!(plans::get_review, plans::put_review))
        .routes(routes!(fleet::snapshot))
        .routes(routes!(demand::query, demand::import))
        .routes(routes!(steering::report))
        .routes(routes!(overview::overview))
        .routes(routes!(tokens::create))
        .routes(routes!(health::document))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .split_for_parts();
    (router, openapi::complete(document))
}

/// Adds what surrounds the calls: counting, the pages, and answers for what is no call.
pub fn finish(router: Router<Shared>, app: Shared, players: Option<PathBuf>) -> Router {
    router
        .method_not_allowed_fallback(wrong_method)
        .route_layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app)
        .merge(pages::router(players))
        .fallback(unknown_route)
        .layer(middleware::from_fn(linger::read_the_rest))
}

async fn unknown_route(uri: Uri) -> ApiProblem {
    ApiProblem::unknown_route(format_args!(
        "{} is no call; /v1/openapi.json lists them",
        uri.path()
    ))
}

async fn wrong_method(request: Request) -> ApiProblem {
    ApiProblem::wrong_method(format_args!(
        "{} does not take {}; the Allow header lists what it takes",
        request.uri().path(),
        request.method()
    ))
}

async fn count(State(app): State<Shared>, path: MatchedPath, request: Request, next: Next) -> Response {
    let (started, method) = (Instant::now(), request.method().clone());
    let response = next.run(request).await;
    let status = response.status();
    let labels = [path.as_str(), method.as_str(), status.as_str()];
    app.metrics()
        .count("nightfill_control_requests_total", &labels, 1);
    let seconds = started.elapsed().as_secs_f64();
    app.metrics()
        .observe("nightfill_control_request_seconds", &[path.as_str()], seconds);
    response
}
