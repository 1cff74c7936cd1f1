//! A ranking in words that a machine can read and an operator can follow: every step with what it decided.

use crate::{
    circuit::Verdict,
    index::{FALLBACK_ID, Index},
    key::KeyName,
    rank::{DropReason, Headroom, Ranked, Ranking, Tier},
    routes::{Attributes, Candidate, Origin, SiteClass},
    throughput,
};
use cdn_types::{OcaId, RegionId, SiteId, TitleId, api::v1::SteeringOutcome, time::Timestamp};
use ipnet::IpNet;
use serde::Serialize;
use std::net::IpAddr;

/// Why a list is as it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The client as ranked.
    pub client: IpAddr,
    /// The title.
    pub asset: TitleId,
    /// Generation of the snapshot that decided.
    pub generation: u64,
    /// When that snapshot was taken.
    pub taken_at: Timestamp,
    /// Version of the policy that decided; 0 is the one as shipped.
    pub policy: u64,
    /// The network that the client was found in, by its best route.
    pub prefix: Option<IpNet>,
    /// The site of that route.
    pub site: Option<SiteId>,
    /// That site's region.
    pub region: Option<RegionId>,
    /// How that site could serve.
    pub outcome: SteeringOutcome,
    /// Who was left after each step.
    pub steps: Vec<Step>,
    /// Who is in the answer, in order.
    pub ranked: Vec<RankedWhy>,
    /// Who is not.
    pub dropped: Vec<DroppedWhy>,
    /// Appliances that were refused and are named all the same, since a player needs somewhere to flee to.
    pub reserve: Vec<OcaId>,
    /// Sites of which too many appliances seem to fail to believe it.
    pub distrusted: Vec<SiteId>,
    /// Id of the last entry, if the fleet has an origin.
    pub fallback: Option<&'static str>,
}

/// One step of the way from all candidates to the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What was asked: the tiers that candidates came from, then the reasons to drop.
    pub step: &'static str,
    /// Candidates after it.
    pub left: usize,
}

/// One entry's sort keys, first key first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedWhy {
    /// The appliance.
    pub appliance: OcaId,
    /// Its site.
    pub site: SiteId,
    /// The key at which it lost to the entry before it; `kept` where that is first for being in use.
    pub lost_at: Option<LostAt>,
    /// A rule puts it before all others.
    pub pinned: bool,
    /// How near it is.
    pub tier: Tier,
    /// Its route, if it has one.
    pub route: Option<RouteWhy>,
    /// Sum of the rules that prefer (or, below zero, avoid) it.
    pub preference: i64,
    /// Step of load.
    pub headroom: Headroom,
    /// What that was made of: thousandths of capacity.
    pub load_permille: u32,
    /// Steps of two that its measured throughput is short of enough; 0 also when nothing is known.
    pub throughput_short: u64,
    /// What viewers of the client's network measured, in bit/s: the lower end of the step of their median; absent
    /// while too few have said.
    pub throughput_from: Option<u64>,
    /// Distance in steps of 50 km; 0 without a client's place, 4095 without the site's.
    pub distance_steps: u64,
    /// The title is hot, and this is not one of the siblings that it was dealt to.
    pub not_dealt: bool,
    /// The last key, more is better.
    pub rendezvous: f64,
    /// Whether viewers or probes failed there, and what follows from it.
    pub circuit: Verdict,
    /// It is first because the session is there already.
    pub kept: bool,
}

/// Where an entry lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LostAt {
    /// At a key.
    Key(KeyName),
    /// Not at all: the one before it is kept.
    Kept(&'static str),
}

/// The route of an entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteWhy {
    /// The network: its own longest match.
    pub prefix: IpNet,
    /// Class of the route.
    pub class: SiteClass,
    /// Who says so.
    pub origin: Origin,
    /// Length of the AS path.
    pub as_path_len: u16,
    /// The AS that announced it.
    pub neighbour_as: Option<u32>,
    /// The AS at the other end.
    pub origin_as: Option<u32>,
    /// MED as received.
    pub med: Option<u32>,
    /// Communities.
    pub communities: Vec<String>,
}

/// What spoke against one appliance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DroppedWhy {
    /// The appliance.
    pub appliance: OcaId,
    /// Its site.
    pub site: SiteId,
    /// How near it is.
    pub tier: Tier,
    /// Everything that spoke against it.
    pub reasons: Vec<DropReason>,
}

/// Explains a ranking; ask [`rank()`](crate::rank()) with `complete` so that nobody is left out.
pub fn explain(index: &Index, client: IpAddr, ranking: &Ranking) -> Explanation {
    let client = client.to_canonical();
    let site = ranking.site.map(|(own, _)| index.site(own));
    let before = std::iter::once(None).chain(ranking.entries.iter().map(Some));
    let entries = ranking.entries.iter().zip(before);
    Explanation {
        client,
        asset: index.title(ranking.title).id.clone(),
        generation: index.generation,
        taken_at: index.taken_at,
        policy: index.policy().version,
        prefix: ranking.site.map(|(_, net)| net),
        site: site.map(|s| s.id.clone()),
        region: site.map(|s| s.region.clone()),
        outcome: ranking.outcome,
        steps: steps(ranking),
        ranked: entries
            .map(|(e, before)| ranked(index, client, e, before))
            .collect(),
        dropped: ranking
            .dropped
            .iter()
            .map(|d| DroppedWhy {
                appliance: index.appliance(d.appliance).id.clone(),
                site: index.site(index.appliance(d.appliance).site).id.clone(),
                tier: d.tier,
                reasons: d.reasons.clone(),
            })
            .collect(),
        reserve: ranking
            .reserve
            .iter()
            .map(|ix| index.appliance(*ix).id.clone())
            .collect(),
        distrusted: index.circuits().distrusted.clone(),
        fallback: index
            .fallback
            .as_ref()
            .filter(|_| ranking.licensed)
            .map(|_| FALLBACK_ID),
    }
}

/// Reasons to drop in the order in which they are asked.
const QUESTIONS: [&str; 10] = [
    "not_licensed",
    "blocked",
    "not_reported",
    "lost",
    "unhealthy",
    "failing",
    "draining",
    "unusable",
    "content_missing",
    "over_capacity",
];

fn steps(ranking: &Ranking) -> Vec<Step> {
    let tiers = ranking
        .entries
        .iter()
        .map(|e| e.tier)
        .chain(ranking.dropped.iter().map(|d| d.tier));
    let tiers: Vec<_> = tiers.collect();
    let within = |last: Tier| tiers.iter().filter(|t| **t <= last).count();
    let mut steps = vec![
        Step {
            step: "routes",
            left: within(Tier::Routed),
        },
        Step {
            step: "region",
            left: within(Tier::SameRegion),
        },
        Step {
            step: "fleet",
            left: within(Tier::Elsewhere),
        },
    ];
    let mut left = tiers.len();
    for question in QUESTIONS {
        let earlier = &QUESTIONS[..QUESTIONS.iter().position(|q| *q == question).unwrap_or(0)];
        let fell = ranking.dropped.iter().filter(|d| {
            let has = |name: &str| d.reasons.iter().any(|r| r.name() == name);
            has(question) && !earlier.iter().any(|e| has(e))
        });
        left -= fell.count();
        steps.push(Step { step: question, left });
    }
    steps
}

fn ranked(index: &Index, client: IpAddr, entry: &Ranked, before: Option<&Ranked>) -> RankedWhy {
    let appliance = index.appliance(entry.appliance);
    let part = |name| entry.key.part(name);
    RankedWhy {
        appliance: appliance.id.clone(),
        site: index.site(appliance.site).id.clone(),
        lost_at: before.map(|before| match before.kept {
            true => LostAt::Kept("kept"),
            false => LostAt::Key(entry.key.differs(before.key)),
        }),
        pinned: part(KeyName::Pin) == 0,
        tier: entry.tier,
        route: route(index, client, entry).map(|(c, a)| RouteWhy {
            prefix: crate::index::network(client, c.prefix_len),
            class: c.class,
            origin: a.origin,
            as_path_len: a.as_path_len,
            neighbour_as: a.neighbour_as,
            origin_as: a.origin_as,
            med: a.med,
            communities: a.communities.iter().map(ToString::to_string).collect(),
        }),
        preference: i64::from(i16::MAX) - part(KeyName::Preference) as i64,
        headroom: entry.headroom,
        load_permille: appliance.load_permille,
        throughput_short: part(KeyName::Throughput),
        throughput_from: index
            .measured()
            .step(client, appliance.seed)
            .map(throughput::from),
        distance_steps: part(KeyName::Distance),
        not_dealt: part(KeyName::Copy) == 1,
        rendezvous: entry.score,
        circuit: index.circuits().of(appliance),
        kept: entry.kept,
    }
}

/// The route that an entry's key was made from.
fn route<'a>(index: &'a Index, client: IpAddr, entry: &Ranked) -> Option<(Candidate, &'a Attributes)> {
    if entry.tier > Tier::Routed {
        return None;
    }
    let len = u64::from(u8::MAX) - entry.key.part(KeyName::PrefixLength);
    let place = entry.key.part(KeyName::Class);
    let found = index.routes().covering(client).iter().find(|c| {
        index.reached(c).contains(&entry.appliance)
            && u64::from(c.prefix_len) == len
            && u64::from(index.policy().class_place(c.class)) == place
    })?;
    Some((found, index.routes().attributes(&found)))
}
