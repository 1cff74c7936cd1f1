//! `GET /v1/play/{asset}/master.m3u8` and `…/manifest.mpd`: where a session begins. The packed manifest, with this
//! viewer's best appliances and the origin declared in it, and the address of the session's own steering list.

use super::{
    PathParts, Peer, Prefix, Problem, client_addr::Viewer, count_session, fleet, log, public_base, title_id,
    ways,
};
use crate::{
    app::Shared,
    cmcd,
    decisions::record::Door,
    feedback::{Begun, sids::PATHWAYS},
    fleet::Fleet,
    manifest::{Pathway, hls, mpd},
    session::Session,
};
use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use cdn_types::{OcaId, TitleId};
use std::sync::Arc;
use steering_core::{Options, Ranking};

/// Appliances declared in a manifest; the fallback comes on top. More would only make manifests longer: a player that
/// has lost three appliances is better served by the origin.
pub const DECLARED: usize = 3;

#[derive(Clone, Copy)]
enum Kind {
    Hls,
    Dash,
}

/// Handles the call.
pub async fn play(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    PathParts((asset, file)): PathParts<(String, String)>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let kind = match file.as_str() {
        "master.m3u8" => Kind::Hls,
        "manifest.mpd" => Kind::Dash,
        _ => {
            return Err(Problem::not_found(
                "A title is played at master.m3u8 (HLS) or manifest.mpd (DASH).",
            ));
        }
    };
    let asset = title_id(&asset)?;
    let fleet = fleet(&shared)?;
    let viewer = Viewer::of(&shared, peer, &headers);
    // Ids only have to differ; without the system's random numbers the service's own will do.
    let id = getrandom::u64().unwrap_or_else(|_| shared.random.next());
    let options = Options {
        limit: DECLARED,
        session: Some(id),
        country: viewer.country,
        ..Options::default()
    };
    let session_id = format!("{id:016x}");
    let exposure = shared.running.exposure(fleet.index.policy(), &session_id);
    let ranking = steering_core::rank(fleet.index_of(&exposure), viewer.ip, &asset, &options)?;
    if !ranking.licensed {
        return Err(Problem::not_licensed(&asset));
    }
    let pathways = pathways(&shared, &fleet, &ranking)?;
    if pathways.is_empty() {
        return Err(Problem::nobody(
            "No healthy appliance holds it and the fleet names no origin.",
        ));
    }
    let session = session(session_id, asset, &pathways);
    if method == Method::GET {
        count_session(&shared, &fleet, &ranking);
        let sid = cmcd::session_id(&headers, query.as_deref());
        let begun = Begun {
            session: id,
            client: viewer.ip,
            sid: sid.as_deref(),
            pathways: numbers(&fleet, &session),
        };
        shared.feedback.begin(&begun, shared.feedback.now());
        log(
            &shared,
            Door::Play,
            &fleet.index,
            viewer,
            &session.asset,
            |decision| {
                decision.of_session(&session.id, &exposure);
                decision.player_id = sid;
                decision.answered = pathways.iter().map(|p| p.id.clone()).collect();
            },
        );
    }
    let steering = format!(
        "{}/v1/steer/{}",
        public_base(&shared, &headers),
        shared.key.seal(&session)
    );
    Ok(answer(&shared, &fleet, &ranking, kind, &pathways, &steering))
}

fn pathways(shared: &Shared, fleet: &Fleet, ranking: &Ranking) -> Result<Vec<Pathway>, Problem> {
    let plain = &fleet.index.title(ranking.title).prefix;
    let prefix = Prefix::new(shared, plain)?;
    let ways = ways(&fleet.index, ranking).into_iter();
    let pathways = ways.map(|(id, base_url)| Pathway {
        id: id.to_owned(),
        base_url: base_url.to_owned(),
        plain: plain.clone(),
        prefix: prefix.at(id).to_owned(),
    });
    Ok(pathways.collect())
}

fn session(id: String, asset: TitleId, pathways: &[Pathway]) -> Session {
    Session {
        asset,
        id,
        pathways: pathways
            .iter()
            .filter_map(|p| OcaId::new(p.id.clone()).ok())
            .collect(),
    }
}

/// Numbers of the appliances that a session declares, by position.
fn numbers(fleet: &Fleet, session: &Session) -> [u64; PATHWAYS] {
    let mut numbers = [0; PATHWAYS];
    for (number, id) in numbers.iter_mut().zip(&session.pathways) {
        let ix = fleet.index.appliance_ix(id);
        *number = ix.map_or(0, |ix| fleet.index.appliance(ix).number());
    }
    numbers
}

/// The personalised manifest. If the packed one cannot be rewritten, the viewer is sent to it as it is: played without
/// steering is better than not played.
fn answer(
    shared: &Shared,
    fleet: &Fleet,
    ranking: &Ranking,
    kind: Kind,
    pathways: &[Pathway],
    steering: &str,
) -> Response {
    let title = fleet.title(ranking.title);
    let (name, media_type, path, text) = match kind {
        Kind::Hls => (
            "hls",
            "application/vnd.apple.mpegurl",
            &title.hls_path,
            hls::personalise(&title.hls, &title.hls_path, pathways, steering).map_err(|e| e.to_string()),
        ),
        Kind::Dash => (
            "dash",
            "application/dash+xml",
            &title.dash_path,
            mpd::personalise(&title.dash, &title.dash_path, pathways, steering).map_err(|e| e.to_string()),
        ),
    };
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, media_type)], text).into_response(),
        Err(error) => {
            shared.metrics.manifest_errors.with_label_values(&[name]).inc();
            tracing::warn!(title = %title.id, "{name} manifest not personalised: {error}");
            (StatusCode::FOUND, [(header::LOCATION, pathways[0].url(path))]).into_response()
        }
    }
}
