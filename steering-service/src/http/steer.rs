//! `GET /v1/steer/{session}`: the steering list of a running session, for HLS and DASH alike.
//!
//! A session of ours always gets 200 with at least one pathway that its manifest declares: when the title has left the
//! catalogue, when its appliances have left the fleet, when there is no snapshot at all. Players treat other answers as
//! an end of steering, and some an empty list as an end of playback.

use super::{PathParts, Peer, Problem, client_addr::Viewer, log, public_base};
use crate::{
    app::Shared,
    decisions::record::Door,
    experiments::Exposure,
    feedback::Asked,
    poll_rate::stretched,
    session::Session,
    steering_list::{MEDIA_TYPE, Poll, SteeringList, drains, priorities, put_last, ttl},
};
use axum::{
    Extension,
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use cdn_types::OcaId;
use std::{net::SocketAddr, sync::Arc};
use steering_core::{Index, Options};

/// Handles the call, where it came through the router.
pub async fn steer(
    State(shared): State<Arc<Shared>>,
    Extension(Peer(peer)): Extension<Peer>,
    PathParts(token): PathParts<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&shared, peer, &token, query.as_deref(), &headers)
}

/// Handles the call.
pub fn answer(
    shared: &Shared,
    peer: SocketAddr,
    token: &str,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let session = shared
        .key
        .open(token)
        .map_err(|e| Problem::session(format!("{e}.")))?;
    let poll = Poll::parse(query.unwrap_or_default());
    let viewer = Viewer::of(shared, peer, headers);
    let fleet = shared.fleet.current();
    let exposure = match &fleet {
        Some(fleet) => shared.running.exposure(fleet.index.policy(), &session.id),
        None => Exposure::new(),
    };
    let index = fleet.as_ref().map(|fleet| fleet.index_of(&exposure));
    let (mut pathway_priority, draining) = decide(index, &session, &poll, viewer);
    let now = shared.feedback.now();
    let fled = shared.feedback.avoided(&session, &poll, now);
    if let Some(fled) = fled {
        put_last(&mut pathway_priority, fled);
    }
    if let (Some(current), Some(first)) = (poll.current(), pathway_priority.first())
        && current != first
    {
        shared.metrics.moves.inc();
    }
    let ttl = ttl(shared.ttl, draining, shared.random.next());
    let ttl = stretched(ttl, shared.poll_rate.count(now), shared.polls_per_second);
    let told = pathway_priority.first().map(String::as_str);
    let asked = Asked {
        session: &session,
        client: viewer.ip,
        poll: &poll,
    };
    shared.feedback.note(&asked, told, ttl, now);
    if let Some(index) = index {
        log(shared, Door::Steer, index, viewer, &session.asset, |decision| {
            decision.of_session(&session.id, &exposure);
            decision.declared.clone_from(&session.pathways);
            decision.used = used(&poll);
            decision.fled = fled.cloned();
            decision.answered.clone_from(&pathway_priority);
        });
    }
    let list = SteeringList {
        version: 1,
        ttl,
        reload_uri: format!("{}/v1/steer/{token}", public_base(shared, headers)),
        pathway_priority,
    };
    let body = serde_json::to_string(&list).unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response())
}

/// What the player says it used, each with its throughput; the lists are in one order.
fn used(poll: &Poll) -> Vec<(String, Option<u64>)> {
    let throughputs = poll.throughputs.iter().copied().chain(std::iter::repeat(None));
    poll.pathways.iter().cloned().zip(throughputs).collect()
}

/// The order of the declared pathways, and whether one of them drains.
fn decide(index: Option<&Index>, session: &Session, poll: &Poll, viewer: Viewer) -> (Vec<String>, bool) {
    let as_declared = || session.pathways.iter().map(OcaId::to_string).collect();
    let Some(index) = index else {
        return (as_declared(), false);
    };
    let declared: Vec<_> = session
        .pathways
        .iter()
        .filter_map(|id| index.appliance_ix(id))
        .collect();
    let current = poll.current().and_then(|id| OcaId::new(id).ok());
    let options = Options {
        limit: usize::MAX,
        complete: true,
        only: Some(&declared),
        current: current.and_then(|id| index.appliance_ix(&id)),
        session: u64::from_str_radix(&session.id, 16).ok(),
        country: viewer.country,
        location: None,
    };
    let draining = drains(index, &session.pathways);
    match steering_core::rank(index, viewer.ip, &session.asset, &options) {
        Ok(ranking) => match priorities(index, &ranking, &session.pathways) {
            list if list.is_empty() => (as_declared(), draining),
            list => (list, draining),
        },
        Err(_) => (as_declared(), draining),
    }
}
