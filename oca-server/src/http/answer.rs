//! From a request to its answer, alike for HTTP/2 and HTTP/3: look-up, decision, fields, and the pieces of the body.

use crate::{
    http::{
        Peer, Protocol,
        exchange::Said,
        lookup::{LookUp, look_up, representation},
    },
    signing::gate::Admitted,
    worker::Worker,
};
use bytes::Bytes;
use oca_core::{
    decision::{Body, Decision, decide},
    path::Target,
    range::Slice,
    request::{Fields, Method},
};
use std::collections::VecDeque;

/// A request at the gate, if there is one.
pub fn admit<'t>(
    worker: &Worker,
    protocol: Protocol,
    peer: Peer,
    target: &'t str,
    said: &Said<'_>,
) -> Option<Admitted<'t>> {
    let gate = worker.gate.as_ref()?;
    let method = Method::parse(said.method);
    Some(gate.admit(protocol, peer.tls.is_some(), method, target, said))
}

/// What a target names for a method.
pub fn find(worker: &Worker, method: Method, target: &str) -> LookUp {
    match (method, Target::parse(target)) {
        (Method::Other, _) => LookUp::Failed(405),
        (Method::Options, _) => LookUp::Missing,
        (_, Ok(target)) => look_up(worker, &target),
        (_, Err(_)) => LookUp::Failed(400),
    }
}

/// The answer to a request for what was found.
pub fn answer<'a>(
    worker: &Worker,
    method: Method,
    fields: &Fields<'_>,
    looked_up: &'a LookUp,
) -> Decision<'a> {
    let facts = match looked_up {
        LookUp::Found(open, found) => Some(representation(open, found)),
        LookUp::Missing => None,
        LookUp::Failed(status) => {
            return Decision {
                head_only: method == Method::Head,
                ..Decision::error(*status)
            };
        }
    };
    decide(method, fields, facts, worker.limits.ranges, worker.boundary())
}

/// Calls `field` with each field of the response.
pub fn fields(worker: &Worker, decision: &Decision<'_>, mut field: impl FnMut(&str, &str)) {
    let mut date = Vec::with_capacity(32);
    worker.clock.http_date(&mut date);
    field("Date", std::str::from_utf8(&date).unwrap_or_default());
    field("Server", "nightfill");
    decision.fields(&mut field);
    if decision.status == 429 {
        field("Retry-After", &worker.limits.retry_after.as_secs().to_string());
    }
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes in memory.
    Text(Bytes),
    /// Bytes of the file.
    File(Slice),
}

impl Piece {
    /// How many bytes it is.
    pub fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(slice) => slice.len,
        }
    }
}

/// The pieces of a body in order.
pub fn pieces(body: Body, head_only: bool) -> VecDeque<Piece> {
    match body {
        _ if head_only => VecDeque::new(),
        Body::None | Body::File(None) => VecDeque::new(),
        Body::Text(text) => [Piece::Text(Bytes::from_static(text.as_bytes()))].into(),
        Body::File(Some(slice)) => [Piece::File(slice)].into(),
        Body::Parts { parts, tail, .. } => {
            let pairs = parts
                .into_iter()
                .flat_map(|p| [Piece::Text(p.head.into()), Piece::File(p.slice)]);
            pairs.chain([Piece::Text(tail.into())]).collect()
        }
    }
}
