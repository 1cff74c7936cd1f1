//! The steering list: one JSON body that serves HLS (draft-pantos-content-steering-05 §5) and DASH (ETSI TS 103 998 §7).
//!
//! The rules here are those that real players enforce by failing: an integer TTL of at least four seconds (without it
//! one player polls in a storm), an absolute RELOAD-URI without echoed parameters (others resolve relative ones
//! differently, or append parameters anew at each poll), only pathways that the session's manifest declares, and at
//! least two of them where two exist (with a single one hls.js switches its own error failover off).

use cdn_types::{OcaId, api::v1::ApplianceState};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use steering_core::{ApplianceIx, Index, Ranking, index::FALLBACK_ID};

/// Media type of the answer (draft-pantos-content-steering-05 §11.1).
pub const MEDIA_TYPE: &str = "application/vnd.apple.steering-list";
/// Seconds between two polls of a session unless configured.
pub const DEFAULT_TTL: u32 = 10;
/// Seconds between two polls while an appliance of the session drains: its viewers shall leave soon.
pub const DRAIN_TTL: u32 = 5;
/// Least TTL in seconds that players handle well.
pub const MIN_TTL: u32 = 4;
/// Largest TTL that may be configured: the recommended value of both standards.
pub const MAX_TTL: u32 = 300;
/// Most pathways and throughputs read from one poll; what follows is ignored.
const MAX_REPORTED: usize = 16;

/// The body. Field names are the standards'.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SteeringList {
    /// Always 1.
    #[serde(rename = "VERSION")]
    pub version: u8,
    /// Seconds until the next poll.
    #[serde(rename = "TTL")]
    pub ttl: u32,
    /// Where to poll next, absolute.
    #[serde(rename = "RELOAD-URI")]
    pub reload_uri: String,
    /// Best first.
    #[serde(rename = "PATHWAY-PRIORITY")]
    pub pathway_priority: Vec<String>,
}

/// What a player says when it polls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Poll {
    /// Pathways or service locations used since the last poll, in its order.
    pub pathways: Vec<String>,
    /// Bit/s over each of them; `None` where unknown.
    pub throughputs: Vec<Option<u64>>,
}

impl Poll {
    /// Reads a query string: HLS and DASH names, quoted or not, lists or single values, encoded or not. What cannot
    /// be read is left out; a poll never fails for its parameters.
    pub fn parse(query: &str) -> Self {
        let mut poll = Self::default();
        for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value).decode_utf8_lossy();
            let list = || {
                let items = value.split(',').map(|v| v.trim().trim_matches('"').trim());
                items.take(MAX_REPORTED)
            };
            match key {
                "_HLS_pathway" | "_DASH_pathway" => {
                    poll.pathways = list().filter(|v| !v.is_empty()).map(str::to_owned).collect();
                }
                "_HLS_throughput" | "_DASH_throughput" => {
                    // Some players send decimals.
                    poll.throughputs = list().map(|v| v.split('.').next()?.parse().ok()).collect();
                }
                _ => {}
            }
        }
        poll
    }

    /// Where the session is: the last pathway it names (players list them in order of use).
    pub fn current(&self) -> Option<&str> {
        self.pathways.last().map(String::as_str)
    }
}

/// Orders the pathways that a session declares. `ranking` was made over the declared appliances only, all of them.
///
/// First the ranked ones, then the fallback if it is declared. If that leaves fewer than two, the least bad of the
/// others follow: one that drains still answers, and a player's failover needs somewhere to go.
pub fn priorities(index: &Index, ranking: &Ranking, declared: &[OcaId]) -> Vec<String> {
    let id = |ix: ApplianceIx| index.appliance(ix).id.to_string();
    let mut list: Vec<String> = ranking.entries.iter().map(|e| id(e.appliance)).collect();
    if declared.iter().any(|d| d.as_str() == FALLBACK_ID) {
        list.push(FALLBACK_ID.to_owned());
    }
    if list.len() < 2 {
        let worst_of =
            |d: &steering_core::Dropped| d.reasons.iter().map(steering_core::DropReason::badness).max();
        let mut rest: Vec<_> = ranking.dropped.iter().collect();
        rest.sort_by_key(|d| (worst_of(d), d.tier));
        list.extend(rest.iter().map(|d| id(d.appliance)).take(2 - list.len()));
    }
    if list.len() < 2 {
        // Appliances that have left the fleet since: nothing better is declared.
        let gone: Vec<_> = declared
            .iter()
            .map(OcaId::to_string)
            .filter(|d| !list.contains(d))
            .collect();
        list.extend(gone.into_iter().take(2 - list.len()));
    }
    list
}

/// Whether an appliance that the session declares drains.
pub fn drains(index: &Index, declared: &[OcaId]) -> bool {
    declared
        .iter()
        .filter_map(|id| index.appliance_ix(id))
        .any(|ix| index.appliance(ix).state == ApplianceState::Draining)
}

/// TTL in seconds: `base`, or [`DRAIN_TTL`] if that is less while an appliance drains, moved by up to a fifth either
/// way so that sessions which began together do not poll together. `random` is any number.
pub fn ttl(base: u32, draining: bool, random: u64) -> u32 {
    let base = if draining { base.min(DRAIN_TTL) } else { base };
    let fifth = u64::from(base / 5);
    let moved = u64::from(base) - fifth + random % (2 * fifth + 1);
    (moved as u32).max(MIN_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_of_all_tested_players_are_understood() {
        let poll = |q: &str| Poll::parse(q);
        let hls = poll("_HLS_pathway=a&_HLS_throughput=34972592");
        assert_eq!(hls.current(), Some("a"));
        assert_eq!(hls.throughputs, [Some(34_972_592)]);
        assert_eq!(poll("_HLS_pathway=%22oca-1.x%22").current(), Some("oca-1.x"));
        assert_eq!(poll("_HLS_pathway=\"a\"").current(), Some("a"));
        let dash = poll("_DASH_pathway=%22a,b%22&_DASH_throughput=135059750,");
        assert_eq!(dash.pathways, ["a", "b"]);
        assert_eq!(dash.throughputs, [Some(135_059_750), None]);
        assert_eq!(dash.current(), Some("b"));
        assert_eq!(poll("_DASH_pathway=\"a\",\"b\"").pathways, ["a", "b"]);
        for nothing in [
            "",
            "&&&",
            "_HLS_pathway",
            "_HLS_pathway=",
            "_HLS_pathway=%22%22",
            "x=%ff%",
        ] {
            assert_eq!(poll(nothing).current(), None, "{nothing}");
        }
        assert_eq!(poll("_HLS_throughput=12.7,x").throughputs, [Some(12), None]);
    }

    #[test]
    fn ttl_is_moved_by_a_fifth_and_never_below_four() {
        let all: Vec<_> = (0..1000).map(|r| ttl(10, false, r)).collect();
        assert_eq!((all.iter().min(), all.iter().max()), (Some(&8), Some(&12)));
        let all: Vec<_> = (0..1000).map(|r| ttl(10, true, r)).collect();
        assert_eq!((all.iter().min(), all.iter().max()), (Some(&4), Some(&6)));
        assert_eq!(ttl(4, false, u64::MAX), 4);
        assert!((240..=360).contains(&ttl(300, false, u64::MAX)));
    }
}
