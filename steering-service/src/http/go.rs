//! `GET /v1/go/{asset}/{path…}`: for clients without steering. 302 to the best appliance's address of that file; or,
//! for a client that asks for JSON, all addresses in order, so that it can fail over by itself.

use super::{
    PathParts, Peer, Prefix, Problem, client_addr::Viewer, count_session, fleet, log, title_id, ways,
};
use crate::{app::Shared, decisions::record::Door};
use axum::{
    Extension, Json,
    extract::{RawQuery, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use cdn_types::title::is_plain_path;
use serde_json::json;
use std::sync::Arc;
use steering_core::Options;

/// Handles the call.
pub async fn go(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    PathParts((asset, path)): PathParts<(String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asset = title_id(&asset)?;
    if !is_plain_path(&path) {
        return Err(Problem::bad_request(
            "The path within a title is made of A-Z a-z 0-9 . _ - and /, as its manifests write it.",
        ));
    }
    let fleet = fleet(&shared)?;
    let viewer = Viewer::of(&shared, peer, &headers);
    let options = Options {
        country: viewer.country,
        ..Options::default()
    };
    let ranking = steering_core::rank(&fleet.index, viewer.ip, &asset, &options)?;
    if !ranking.licensed {
        return Err(Problem::not_licensed(&asset));
    }
    let title = fleet.index.title(ranking.title);
    if method == Method::GET && (path == title.hls_path || path == title.dash_path) {
        count_session(&shared, &fleet, &ranking);
    }
    let query = query.map_or_else(String::new, |q| format!("?{q}"));
    let prefix = Prefix::new(&shared, &title.prefix)?;
    let locations: Vec<String> = ways(&fleet.index, &ranking)
        .into_iter()
        .map(|(id, base)| format!("{base}{}/{path}{query}", prefix.at(id)))
        .collect();
    let Some(first) = locations.first() else {
        return Err(Problem::nobody(
            "No healthy appliance holds it and the fleet names no origin.",
        ));
    };
    if method == Method::GET {
        log(&shared, Door::Go, &fleet.index, viewer, &asset, |decision| {
            let ways = ways(&fleet.index, &ranking).into_iter();
            decision.answered = ways.map(|(id, _)| id.to_owned()).collect();
        });
    }
    if wants_json(&headers) {
        let json = Json(json!({ "locations": locations }));
        return Ok(([(header::VARY, "Accept")], json).into_response());
    }
    Ok((
        StatusCode::FOUND,
        [(header::LOCATION, first.as_str()), (header::VARY, "Accept")],
    )
        .into_response())
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let json = parts
                .next()
                .is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
            let refused = |p: &str| {
                let weight = p.strip_prefix("q=").or_else(|| p.strip_prefix("Q="));
                weight.and_then(|q| q.parse().ok()) == Some(0.0)
            };
            json && !parts.any(refused)
        })
}
