//! `GET /v1/rank?client=IP&asset=ID[&country=XX][&explain=1]`: the ranked list as JSON, for smart clients, operators and tests.

use super::{Peer, Prefix, Problem, client_addr::Viewer, fleet, log, title_id};
use crate::{
    app::Shared,
    decisions::record::Door,
    fleet::{Fleet, RoutesAge},
};
use axum::{
    Extension, Json,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
};
use cdn_types::{TitleId, api::v1::SteeringOutcome};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};
use steering_core::{Explanation, Headroom, Options, Ranking, Tier, explain, index::FALLBACK_ID};

/// Appliances in a list that is not explained; nobody fails over more often.
pub const LIMIT: usize = 8;

/// The query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankQuery {
    asset: String,
    client: Option<String>,
    explain: Option<String>,
    country: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct RankAnswer {
    asset: TitleId,
    client: IpAddr,
    outcome: SteeringOutcome,
    generation: u64,
    /// Seconds since the snapshot was last known to be the newest.
    stale_seconds: Option<f64>,
    /// Age of the routes that the control plane told; absent without.
    #[serde(skip_serializing_if = "Option::is_none")]
    routes: Option<RoutesAge>,
    ranked: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explanation>,
}

#[derive(Debug, Serialize)]
struct Entry {
    appliance: String,
    base_url: String,
    /// What the paths of the title's files are appended to.
    url: String,
    site: Option<String>,
    tier: Option<Tier>,
    headroom: Option<Headroom>,
    reason: String,
}

/// Handles the call.
pub async fn rank(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    query: Result<Query<RankQuery>, QueryRejection>,
) -> Result<Json<RankAnswer>, Problem> {
    let Query(query) = query.map_err(|e| {
        Problem::bad_request(format!(
            "{}. Give asset=ID, and client=IP, country=XX, explain=1 if wanted.",
            e.body_text()
        ))
    })?;
    let asset = title_id(&query.asset)?;
    let asker = Viewer::of(&shared, peer, &headers);
    let client = match &query.client {
        None => asker.ip,
        Some(text) => text
            .parse::<IpAddr>()
            .map_err(|_| Problem::bad_request("client must be an IPv4 or IPv6 address, such as 192.0.2.7."))?
            .to_canonical(),
    };
    let country = match &query.country {
        None => asker.country.filter(|_| query.client.is_none()),
        Some(text) => Some(
            text.parse()
                .map_err(|why| Problem::bad_request(format!("country: {why}.")))?,
        ),
    };
    let wants_explain = match query.explain.as_deref() {
        None | Some("0") => false,
        Some("1") => true,
        Some(_) => return Err(Problem::bad_request("explain must be 0 or 1.")),
    };
    let now = (shared.clock)();
    // Before the fleet, so that an answer never claims routes that it does not have.
    let routes = shared.fleet.routes_age(now);
    let fleet = fleet(&shared)?;
    let options = Options {
        limit: if wants_explain { usize::MAX } else { LIMIT },
        complete: wants_explain,
        country,
        ..Options::default()
    };
    let ranking = steering_core::rank(&fleet.index, client, &asset, &options)?;
    let prefix = Prefix::new(&shared, &fleet.index.title(ranking.title).prefix)?;
    let ranked = entries(&fleet, &ranking, &prefix);
    if !wants_explain {
        let viewer = Viewer { ip: client, country };
        log(&shared, Door::Rank, &fleet.index, viewer, &asset, |decision| {
            decision.answered = ranked.iter().map(|e| e.appliance.clone()).collect();
        });
    }
    Ok(Json(RankAnswer {
        outcome: ranking.outcome,
        generation: fleet.index.generation,
        stale_seconds: shared.fleet.stale_seconds(now),
        routes,
        ranked,
        explain: wants_explain.then(|| explain(&fleet.index, client, &ranking)),
        asset,
        client,
    }))
}

fn entries(fleet: &Fleet, ranking: &Ranking, prefix: &Prefix<'_>) -> Vec<Entry> {
    let index = &fleet.index;
    let appliances = ranking.entries.iter().map(|e| {
        let appliance = index.appliance(e.appliance);
        let (near, room) = (near(e.tier), room(e.headroom));
        Entry {
            appliance: appliance.id.to_string(),
            base_url: appliance.base_url.clone(),
            url: format!("{}{}", appliance.base_url, prefix.at(appliance.id.as_str())),
            site: Some(index.site(appliance.site).id.to_string()),
            tier: Some(e.tier),
            headroom: Some(e.headroom),
            reason: format!("{near}, holds the title, {room}"),
        }
    });
    let fallback = index
        .fallback
        .iter()
        .filter(|_| ranking.licensed)
        .map(|url| Entry {
            appliance: FALLBACK_ID.to_owned(),
            base_url: url.clone(),
            url: format!("{url}{}", prefix.at(FALLBACK_ID)),
            site: None,
            tier: None,
            headroom: None,
            reason: "the origin, when no appliance answers".to_owned(),
        });
    appliances.chain(fallback).collect()
}

fn near(tier: Tier) -> &'static str {
    match tier {
        Tier::OwnSite => "in the client's own site",
        Tier::Routed => "with a route to the client",
        Tier::SameRegion => "in the client's region",
        Tier::Elsewhere => "in another region",
    }
}

fn room(headroom: Headroom) -> &'static str {
    match headroom {
        Headroom::Free => "has room",
        Headroom::Busy => "is busy",
        Headroom::Tight => "is nearly full",
        Headroom::Full => "is full",
    }
}
