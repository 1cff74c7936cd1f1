//! The steering list: one JSON body that serves HLS (draft-pantos-content-steering-05 §5) and DASH (ETSI TS 103 998 §7).
//!
//! The rules here are those that real players enforce by failing: an integer TTL of at least four seconds (without it
//! one player polls in a storm), an absolute RELOAD-URI without echoed parameters (others resolve relative ones
//! differently, or append parameters anew at each poll), only pathways that the session's manifest declares, and at
//! least two of them where two exist (with a single one hls.js switches its own error failover off).

use cdn_types::{OcaId, api::v1::ApplianceState, viewers::MAX_THROUGHPUT};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use steering_core::{ApplianceIx, Index, Ranking, index::FALLBACK_ID};

/// Media type of the answer (draft-pantos-content-steering-05 §11.1).
pub const MEDIA_TYPE: &str = "application/vnd.apple.steering-list";
/// Seconds within which a session follows a change of its ranking unless configured.
pub const DEFAULT_TTL: u32 = 20;
/// The same while an appliance of the session drains: its viewers shall leave soon.
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
    /// Throughputs that could not be read, and lists of them that are not as long as the pathways'.
    pub bad: usize,
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
                    let read: Vec<_> = list().map(throughput).collect();
                    poll.bad += read.iter().filter(|t| t.is_err()).count();
                    poll.throughputs = read.into_iter().map(|t| t.unwrap_or(None)).collect();
                }
                _ => {}
            }
        }
        let (pathways, throughputs) = (poll.pathways.len(), poll.throughputs.len());
        if pathways != 0 && throughputs != 0 && pathways != throughputs {
            poll.bad += 1;
            poll.throughputs.clear();
        }
        poll
    }

    /// Pathways with the bit/s over each, where both were told.
    pub fn measured(&self) -> impl Iterator<Item = (&str, u64)> {
        let pairs = self.pathways.iter().zip(&self.throughputs);
        pairs.filter_map(|(pathway, throughput)| Some((pathway.as_str(), (*throughput)?)))
    }

    /// Where the session is: the last pathway it names (players list them in order of use).
    pub fn current(&self) -> Option<&str> {
        self.pathways.last().map(String::as_str)
    }
}

/// Reads a throughput in bit/s: digits, of which some players send a fraction too; nothing where it is not known.
fn throughput(text: &str) -> Result<Option<u64>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match whole.parse() {
        Ok(read @ 1..=MAX_THROUGHPUT) if digits(whole) && digits(fraction) => Ok(Some(read)),
        _ => Err(()),
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

/// Puts the pathway that a session has fled from last: others have to show whether it is the appliance or this viewer's way there.
pub fn put_last(list: &mut [String], fled: &OcaId) {
    list.sort_by_key(|id| id == fled.as_str());
}

/// Whether an appliance that the session declares drains.
pub fn drains(index: &Index, declared: &[OcaId]) -> bool {
    declared
        .iter()
        .filter_map(|id| index.appliance_ix(id))
        .any(|ix| index.appliance(ix).state == ApplianceState::Draining)
}

/// Seconds until a session shall poll again, for it to have followed a change `within` seconds (within [`DRAIN_TTL`], if that is
/// less, while an appliance drains).
///
/// A player that polls late by a whole TTL still has to take the answer, and to come to the next segment that it asks for: Shaka asks
/// for two at a time. So it is told 65 % of `within` and by chance up to a tenth of it more, since sessions that began together
/// shall not poll together; what is left is 5 s of the default for the poll and two segments. `random` is any number.
pub fn ttl(within: u32, draining: bool, random: u64) -> u32 {
    let within = u64::from(if draining { within.min(DRAIN_TTL) } else { within });
    let told = within * 65 / 100 + random % (within / 10 + 1);
    (told as u32).max(MIN_TTL)
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
    fn throughputs_are_read_strictly_and_bad_ones_counted() {
        for (query, good, bad) in [
            (
                "_HLS_pathway=a&_HLS_throughput=5000000",
                vec![("a", 5_000_000)],
                0,
            ),
            ("_HLS_throughput=5000000", vec![], 0),
            ("_DASH_pathway=a,b&_DASH_throughput=,7.25", vec![("b", 7)], 0),
            ("_DASH_pathway=a,b&_DASH_throughput=7", vec![], 1),
            ("_DASH_pathway=a,b&_DASH_throughput=x,7", vec![("b", 7)], 1),
            ("_HLS_pathway=a&_HLS_throughput=0", vec![], 1),
            ("_HLS_pathway=a&_HLS_throughput=-5", vec![], 1),
            ("_HLS_pathway=a&_HLS_throughput=%2B5", vec![], 1),
            ("_HLS_pathway=a&_HLS_throughput=NaN", vec![], 1),
            ("_HLS_pathway=a&_HLS_throughput=1e9", vec![], 1),
            ("_HLS_pathway=a&_HLS_throughput=5.", vec![], 1),
            ("_HLS_pathway=a&_HLS_throughput=1000000000001", vec![], 1),
            (
                "_HLS_pathway=a&_HLS_throughput=99999999999999999999999",
                vec![],
                1,
            ),
        ] {
            let poll = Poll::parse(query);
            assert_eq!((poll.measured().collect(), poll.bad), (good, bad), "{query}");
        }
    }

    #[test]
    fn sessions_poll_early_enough_to_follow_within_the_ttl_and_not_together() {
        let range = |within, draining| {
            let all = (0..1000).map(|random| ttl(within, draining, random));
            all.clone().min().zip(all.max()).expect("some")
        };
        assert_eq!(range(20, false), (13, 15));
        assert_eq!(range(20, true), (4, 4), "an appliance drains");
        assert_eq!(range(4, false), (4, 4), "never less");
        for within in 6..=MAX_TTL {
            let (least, most) = range(within, false);
            assert!(most <= within * 3 / 4, "{within}");
            assert_eq!(most - least, within / 10, "{within}");
        }
    }
}
