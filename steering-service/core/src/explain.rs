//! A ranking in words that a machine can read and an operator can follow: every step with what it decided.

use crate::{
    index::{FALLBACK_ID, Index},
    rank::{DropReason, Headroom, Ranking, Tier},
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
    /// The network that the client was found in, by longest match.
    pub prefix: Option<IpNet>,
    /// The site that announces it.
    pub site: Option<SiteId>,
    /// That site's region.
    pub region: Option<RegionId>,
    /// How that site could serve.
    pub outcome: SteeringOutcome,
    /// Who is in the answer, in order.
    pub ranked: Vec<RankedWhy>,
    /// Who is not.
    pub dropped: Vec<DroppedWhy>,
    /// Id of the last entry, if the fleet has an origin.
    pub fallback: Option<&'static str>,
}

/// One entry's sort key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankedWhy {
    /// The appliance.
    pub appliance: OcaId,
    /// Its site.
    pub site: SiteId,
    /// First key.
    pub tier: Tier,
    /// Second key.
    pub headroom: Headroom,
    /// What the second key was made of: thousandths of capacity.
    pub load_permille: u32,
    /// Third key, more is better.
    pub rendezvous: f64,
    /// It is first because the session is there already.
    pub kept: bool,
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
    let site = ranking.site.map(|(own, _)| index.site(own));
    Explanation {
        client: client.to_canonical(),
        asset: index.title(ranking.title).id.clone(),
        generation: index.generation,
        taken_at: index.taken_at,
        prefix: ranking.site.map(|(_, net)| net),
        site: site.map(|s| s.id.clone()),
        region: site.map(|s| s.region.clone()),
        outcome: ranking.outcome,
        ranked: ranking
            .entries
            .iter()
            .map(|e| {
                let appliance = index.appliance(e.appliance);
                RankedWhy {
                    appliance: appliance.id.clone(),
                    site: index.site(appliance.site).id.clone(),
                    tier: e.tier,
                    headroom: e.headroom,
                    load_permille: appliance.load_permille,
                    rendezvous: e.score,
                    kept: e.kept,
                }
            })
            .collect(),
        dropped: ranking
            .dropped
            .iter()
            .map(|d| {
                let appliance = index.appliance(d.appliance);
                DroppedWhy {
                    appliance: appliance.id.clone(),
                    site: index.site(appliance.site).id.clone(),
                    tier: d.tier,
                    reasons: d.reasons.clone(),
                }
            })
            .collect(),
        fallback: index.fallback.as_ref().map(|_| FALLBACK_ID),
    }
}
