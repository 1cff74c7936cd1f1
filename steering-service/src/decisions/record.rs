//! One decision as the log has it: everything that the ranking was asked, and the list that was answered.
//!
//! The viewer's address is not kept, only a network of it that ranks alike
//! ([`Index::network_alike`](steering_core::Index::network_alike)).

use crate::experiments::Exposure;
use cdn_types::{OcaId, TitleId};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use steering_core::Index;

/// Which door answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Door {
    /// `/v1/play`: a session begins.
    #[serde(rename = "p")]
    Play,
    /// `/v1/steer`: a session polls.
    #[serde(rename = "s")]
    Steer,
    /// `/v1/go`.
    #[serde(rename = "g")]
    Go,
    /// `/v1/rank` without `explain`.
    #[serde(rename = "r")]
    Rank,
    /// A name that DNS answered with an appliance.
    #[serde(rename = "d")]
    Dns,
}

/// A session's random number; 16 hexadecimal digits in text, as in its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    /// From its digits.
    pub fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is no session: give 16 hexadecimal digits"))
        })
    }
}

/// One decision. docs/formats/decision-log.md describes the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Milliseconds since 1970.
    #[serde(rename = "t")]
    pub at: i64,
    /// Which door.
    #[serde(rename = "k")]
    pub door: Door,
    /// The session, where the door has sessions.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Where a session begins: the id that its player gives it in CMCD, by which appliances log its requests.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub player_id: Option<String>,
    /// A network around the viewer that ranks as the viewer did.
    #[serde(rename = "n")]
    pub network: IpNet,
    /// The viewer's country by two letters, if it was known.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The title.
    #[serde(rename = "a")]
    pub title: TitleId,
    /// Generation of the fleet snapshot.
    #[serde(rename = "g")]
    pub generation: u64,
    /// Version of the policy.
    #[serde(rename = "p")]
    pub policy: u64,
    /// The session's arm in each experiment.
    #[serde(rename = "x", default, skip_serializing_if = "Exposure::is_empty")]
    pub arms: Exposure,
    /// At a poll: the pathways that the session's manifest declares.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<OcaId>,
    /// At a poll: the pathways that the player says it used, in order, and bit/s over each, `null` where it does not know.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    pub used: Vec<(String, Option<u64>)>,
    /// At a poll: the pathway that the session has fled from lately.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub fled: Option<OcaId>,
    /// The list that was answered, best first.
    #[serde(rename = "l")]
    pub answered: Vec<String>,
}

impl Decision {
    /// What all doors know. `network` is one that ranks as its client does.
    pub fn new(door: Door, at: i64, index: &Index, network: IpNet, title: &TitleId) -> Self {
        Self {
            at,
            door,
            session: None,
            player_id: None,
            network,
            country: None,
            title: title.clone(),
            generation: index.generation,
            policy: index.policy().version,
            arms: Exposure::new(),
            declared: Vec::new(),
            used: Vec::new(),
            fled: None,
            answered: Vec::new(),
        }
    }

    /// Adds the session by the id in its token, and its arms.
    pub fn of_session(&mut self, id: &str, exposure: &Exposure) {
        self.session = SessionId::parse(id);
        self.arms.clone_from(exposure);
    }

    /// Where the player says it is.
    pub fn current(&self) -> Option<&str> {
        self.used.last().map(|(id, _)| id.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The n-th of a run of polls that look like real ones.
    pub fn decision(n: u64) -> Decision {
        let id = |i: u64| OcaId::new(format!("oca-{i:03}")).unwrap();
        let first = n % 7;
        Decision {
            at: 1_764_000_000_000 + n as i64 * 13,
            door: Door::Steer,
            session: Some(SessionId(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            player_id: None,
            network: format!("198.51.{}.0/24", n % 256).parse().unwrap(),
            country: None,
            title: TitleId::new(format!("film-{}", n % 50)).unwrap(),
            generation: 4711,
            policy: 12,
            arms: Exposure::new(),
            declared: vec![id(first), id(first + 1), id(first + 2)],
            used: vec![(id(first).to_string(), Some(20_000_000 + n * 7919 % 9_000_000))],
            fled: None,
            answered: (first..first + 3).map(|i| id(i).to_string()).collect(),
        }
    }

    #[test]
    fn a_decision_is_one_short_line() {
        let line = serde_json::to_string(&decision(3)).unwrap();
        assert_eq!(serde_json::from_str::<Decision>(&line).unwrap(), decision(3));
        assert!(
            line.starts_with(
                r#"{"t":1764000000039,"k":"s","s":"daa66d2c7ddf743f","n":"198.51.3.0/24","a":"film-3""#
            ),
            "{line}"
        );
    }
}
