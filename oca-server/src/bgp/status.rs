//! What the operator sees of the sessions: `/bgp` of the admin listener, and metrics.

use super::{Speaker, config::NeighborConfig};
use crate::metrics::Metrics;
use oca_core::bgp::{
    Families, Family,
    filter::Reason,
    rib::{NeighborIndex, Rib},
    session::{Peer, State},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// Refused prefixes that are shown for each reason.
const EXAMPLES: usize = 20;

/// One session as it is shown.
#[derive(Debug)]
pub(super) struct Shown {
    address: String,
    pub(super) state: State,
    pub(super) peer: Option<Peer>,
    pub(super) stale: Families,
    /// Whether its table was told once since the start.
    pub(super) told: bool,
    since: Option<Instant>,
    ups: u64,
    last_end: Option<String>,
}

impl Shown {
    pub(super) fn new(config: &NeighborConfig) -> Self {
        Self {
            address: config.address.to_string(),
            state: State::Active,
            peer: None,
            stale: Families::default(),
            told: false,
            since: None,
            ups: 0,
            last_end: None,
        }
    }

    pub(super) fn came_up(&mut self) {
        self.since = Some(Instant::now());
        self.ups += 1;
    }

    pub(super) fn went_down(&mut self, why: String) {
        self.since = None;
        self.last_end = Some(why);
    }
}

/// What counts for nothing of a neighbour's routes: by reason, how many, and the first.
fn refused(rib: &Rib, index: NeighborIndex) -> BTreeMap<Reason, (u64, Vec<String>)> {
    let mut all: BTreeMap<Reason, (u64, Vec<String>)> = BTreeMap::new();
    for (nlri, reason) in rib.refused(index) {
        let (count, examples) = all.entry(reason).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(nlri.prefix.to_string());
        }
    }
    all
}

fn names(families: Families) -> Vec<&'static str> {
    families.iter().map(name).collect()
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

impl Speaker {
    /// Everything, as JSON.
    pub fn status(&self) -> Value {
        let (rib, shown) = (self.rib(), self.shown());
        let neighbors: Vec<Value> = shown
            .iter()
            .zip(0..)
            .map(|(shown, index)| self.neighbor(&rib, shown, index))
            .collect();
        json!({
            "local_as": self.config.local.asn,
            "router_id": self.config.local.id,
            "prefixes": rib.len(),
            "attribute_sets": rib.attribute_sets(),
            "neighbors": neighbors,
        })
    }

    fn neighbor(&self, rib: &Rib, shown: &Shown, index: NeighborIndex) -> Value {
        let config = &self.config.neighbors[usize::from(index)];
        let refused = refused(rib, index)
            .into_iter()
            .map(|(reason, (count, examples))| {
                let value = json!({"routes": count, "examples": examples});
                (reason.name().to_owned(), value)
            });
        let open = shown.peer.as_ref().map(|peer| &peer.open);
        json!({
            "address": shown.address,
            "as": config.asn,
            "class": config.class,
            "protocol": if config.bmp.is_some() { "bmp" } else { "bgp" },
            "state": shown.state.name(),
            "up_seconds": shown.since.map(|at| at.elapsed().as_secs()),
            "sessions": shown.ups,
            "last_end": shown.last_end,
            "router_id": open.map(|o| o.id),
            "hold_seconds": shown.peer.as_ref().and_then(|p| p.hold_time).map(|t| t.as_secs()),
            "families": open.map(|o| names(o.families)),
            "add_path": open.map(|o| names(o.add_path)),
            "route_refresh": open.map(|o| o.refresh),
            "restart_seconds": open.and_then(|o| o.graceful).map(|g| g.time.as_secs()),
            "stale": names(shown.stale),
            "routes": {
                "ipv4": rib.counted(index, Family::V4),
                "ipv6": rib.counted(index, Family::V6),
            },
            "prefix_limit": config.prefix_limit,
            "refused": refused.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// Has the gauges set at each scrape.
    pub(super) fn show_metrics(self: &Arc<Self>) {
        let speaker: Weak<Self> = Arc::downgrade(self);
        self.metrics.on_scrape(move |metrics| {
            if let Some(speaker) = speaker.upgrade() {
                speaker.set_gauges(metrics);
            }
        });
    }

    fn set_gauges(&self, metrics: &Metrics) {
        let (rib, shown) = (self.rib(), self.shown());
        for (shown, index) in shown.iter().zip(0..) {
            let address = shown.address.as_str();
            let set = |name, labels: &[&str], value: f64| metrics.gauge(name, labels).set(value);
            let up = shown.since.map_or(Duration::ZERO, |at| at.elapsed());
            set("oca_bgp_session_seconds", &[address], up.as_secs_f64());
            for family in Family::ALL {
                let routes = rib.counted(index, family) as f64;
                set("oca_bgp_routes", &[address, name(family)], routes);
            }
            let refused = refused(&rib, index);
            for reason in Reason::ALL {
                let count = refused.get(&reason).map_or(0, |(count, _)| *count);
                set("oca_bgp_refused_routes", &[address, reason.name()], count as f64);
            }
        }
        metrics.gauge("oca_bgp_prefixes", &[]).set(rib.len() as f64);
    }
}
