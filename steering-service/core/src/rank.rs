//! The ranking itself.
//!
//! Candidates are the appliances of the client's own site (longest prefix match), then those of other sites of its
//! region, then all others: the *tier*. Dropped are those that must not get this viewer: not reporting or unhealthy,
//! draining, lacking any object of the title, or full. The rest is ordered by tier, then by headroom in coarse steps,
//! then by weighted rendezvous hash. Coarse steps matter: with exact load the emptiest appliance would attract
//! everybody at once and titles would wander between siblings, cold in all of their memories.
//!
//! A session that is already somewhere stays there while that is as near as the best and at most one step fuller
//! ([`Options::current`]): equals are not worth a rebuffer, and a player that has fled from an appliance which we still
//! believe healthy is not sent back to it.

use crate::{
    index::{ApplianceIx, Index, SiteIx, TitleIx},
    rendezvous,
};
use cdn_types::{
    TitleId,
    api::v1::{ApplianceState, SteeringOutcome},
};
use ipnet::IpNet;
use serde::Serialize;
use std::{cmp::Ordering, net::IpAddr};

/// Below this share of its capacity (in thousandths) an appliance counts as free.
pub const FREE_BELOW_PERMILLE: u32 = 700;
/// Below this share it counts as busy, above as tight.
pub const BUSY_BELOW_PERMILLE: u32 = 850;
/// From this share on it gets no new viewers: reports are ten seconds old and sessions' rates vary.
pub const FULL_FROM_PERMILLE: u32 = 950;

/// How near an appliance is to the client. Nearer is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// In the site whose networks the client is in.
    OwnSite,
    /// In another site of that site's region.
    SameRegion,
    /// Anywhere else.
    Elsewhere,
}

/// How much room an appliance has, in coarse steps. More room is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Headroom {
    /// Below [`FREE_BELOW_PERMILLE`], or of unknown capacity.
    Free,
    /// Below [`BUSY_BELOW_PERMILLE`].
    Busy,
    /// Below [`FULL_FROM_PERMILLE`].
    Tight,
    /// Takes no new viewers.
    Full,
}

impl Headroom {
    /// The step of a load.
    pub fn of(load_permille: u32) -> Self {
        match load_permille {
            p if p < FREE_BELOW_PERMILLE => Self::Free,
            p if p < BUSY_BELOW_PERMILLE => Self::Busy,
            p if p < FULL_FROM_PERMILLE => Self::Tight,
            _ => Self::Full,
        }
    }
    fn step(self) -> u8 {
        self as u8
    }
}

/// Why an appliance is not in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum DropReason {
    /// It lacks objects of the title.
    ContentMissing {
        /// How many.
        objects: usize,
    },
    /// It has joined but not reported yet.
    NotReported,
    /// It says that it should get no viewers.
    Unhealthy,
    /// It has missed its reports.
    Lost,
    /// It drains.
    Draining,
    /// It sends as much as it can.
    OverCapacity {
        /// Egress in thousandths of its capacity.
        load_permille: u32,
    },
    /// It cannot be named to a player.
    Unusable {
        /// What is wrong.
        detail: &'static str,
    },
}

impl DropReason {
    /// Stable name, for metrics and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ContentMissing { .. } => "content_missing",
            Self::NotReported => "not_reported",
            Self::Unhealthy => "unhealthy",
            Self::Lost => "lost",
            Self::Draining => "draining",
            Self::OverCapacity { .. } => "over_capacity",
            Self::Unusable { .. } => "unusable",
        }
    }
    /// How bad it would be to send a viewer there all the same; less is better. Only the tail of a steering answer
    /// uses this, where a player demands a second entry.
    pub fn badness(&self) -> u8 {
        match self {
            Self::Draining => 1,
            Self::OverCapacity { .. } => 2,
            Self::Unhealthy => 3,
            Self::Lost => 4,
            Self::NotReported => 5,
            Self::ContentMissing { .. } => 6,
            Self::Unusable { .. } => 7,
        }
    }
}

/// An appliance in the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Which.
    pub appliance: ApplianceIx,
    /// How near.
    pub tier: Tier,
    /// How much room.
    pub headroom: Headroom,
    /// Its rendezvous score for the title.
    pub score: f64,
    /// It is first because the session is there already.
    pub kept: bool,
}

/// An appliance that is not in the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// Which.
    pub appliance: ApplianceIx,
    /// How near.
    pub tier: Tier,
    /// Everything that speaks against it, never empty.
    pub reasons: Vec<DropReason>,
}

/// What is asked of [`rank()`] beside client and title.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Most appliances wanted; the fallback comes on top.
    pub limit: usize,
    /// Consider every appliance of the fleet, so that `dropped` is complete. Without it, tiers farther away are
    /// looked at only while the answer is short of `limit`; the entries are the same.
    pub complete: bool,
    /// Consider these appliances only: those that a session's manifest declares.
    pub only: Option<&'a [ApplianceIx]>,
    /// Where the session is now.
    pub current: Option<ApplianceIx>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            limit: 3,
            complete: false,
            only: None,
            current: None,
        }
    }
}

/// The answer. After `entries` comes the fallback, always, if the fleet has one.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The title.
    pub title: TitleIx,
    /// The client's own site and the network that says so.
    pub site: Option<(SiteIx, IpNet)>,
    /// How the client's own site could serve.
    pub outcome: SteeringOutcome,
    /// Best first, no appliance twice.
    pub entries: Vec<Ranked>,
    /// Candidates that were looked at and refused, nearest tier first, by id within a tier.
    pub dropped: Vec<Dropped>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RankError {
    /// The snapshot does not have the title.
    #[error("title `{0}` is not in the fleet's catalogue")]
    UnknownTitle(TitleId),
}

/// Ranks the appliances of `index` for one client and one title.
pub fn rank(index: &Index, client: IpAddr, asset: &TitleId, options: &Options) -> Result<Ranking, RankError> {
    let title = index
        .title_ix(asset)
        .ok_or_else(|| RankError::UnknownTitle(asset.clone()))?;
    let site = index.site_of(client);
    let mut ranking = Ranking {
        title,
        site,
        outcome: SteeringOutcome::NoSite,
        entries: Vec::new(),
        dropped: Vec::new(),
    };
    if let Some((own, _)) = site {
        ranking.outcome = outcome(index, own, title);
    }
    match options.only {
        Some(only) => {
            let mut only = only.to_vec();
            only.sort_by(|a, b| index.appliance(*a).id.cmp(&index.appliance(*b).id));
            only.dedup();
            for ix in only {
                consider(index, &mut ranking, ix);
            }
        }
        None => consider_tiers(index, &mut ranking, options),
    }
    ranking.entries.sort_by(|a, b| order(index, a, b));
    ranking.dropped.sort_by_key(|d| d.tier);
    if let Some(current) = options.current {
        keep(&mut ranking.entries, current);
    }
    ranking.entries.truncate(options.limit);
    Ok(ranking)
}

fn consider_tiers(index: &Index, ranking: &mut Ranking, options: &Options) {
    let own = ranking.site.map(|(own, _)| own);
    let enough =
        |r: &Ranking| !options.complete && options.current.is_none() && r.entries.len() >= options.limit;
    if let Some(own) = own {
        consider_site(index, ranking, own);
        if enough(ranking) {
            return;
        }
        for site in index.region(&index.site(own).region) {
            if *site != own {
                consider_site(index, ranking, *site);
            }
        }
        if enough(ranking) {
            return;
        }
    }
    let region = own.map(|own| &index.site(own).region);
    for (ix, site) in index.sites() {
        if Some(&site.region) != region {
            consider_site(index, ranking, ix);
        }
    }
}

fn consider_site(index: &Index, ranking: &mut Ranking, site: SiteIx) {
    for appliance in &index.site(site).appliances {
        consider(index, ranking, *appliance);
    }
}

fn consider(index: &Index, ranking: &mut Ranking, ix: ApplianceIx) {
    let appliance = index.appliance(ix);
    let tier = tier(index, ranking.site.map(|(own, _)| own), appliance.site);
    let reasons = refusals(index, ix, ranking.title);
    if reasons.is_empty() {
        ranking.entries.push(Ranked {
            appliance: ix,
            tier,
            headroom: Headroom::of(appliance.load_permille),
            score: rendezvous::score(index.title(ranking.title).seed, appliance.seed, appliance.weight),
            kept: false,
        });
    } else {
        ranking.dropped.push(Dropped {
            appliance: ix,
            tier,
            reasons,
        });
    }
}

fn tier(index: &Index, own: Option<SiteIx>, site: SiteIx) -> Tier {
    match own {
        Some(own) if own == site => Tier::OwnSite,
        Some(own) if index.site(own).region == index.site(site).region => Tier::SameRegion,
        _ => Tier::Elsewhere,
    }
}

/// Everything that speaks against sending a viewer of `title` to an appliance.
fn refusals(index: &Index, ix: ApplianceIx, title: TitleIx) -> Vec<DropReason> {
    let appliance = index.appliance(ix);
    let mut reasons = Vec::new(); // does not allocate while empty
    match appliance.state {
        ApplianceState::Serving => {}
        ApplianceState::Joined => reasons.push(DropReason::NotReported),
        ApplianceState::Draining => reasons.push(DropReason::Draining),
        ApplianceState::Unhealthy => reasons.push(DropReason::Unhealthy),
        ApplianceState::Lost => reasons.push(DropReason::Lost),
    }
    if let Some(detail) = appliance.unusable {
        reasons.push(DropReason::Unusable { detail });
    }
    if !index.holds(ix, title) {
        reasons.push(DropReason::ContentMissing {
            objects: index.missing(ix, title),
        });
    }
    if Headroom::of(appliance.load_permille) == Headroom::Full {
        reasons.push(DropReason::OverCapacity {
            load_permille: appliance.load_permille,
        });
    }
    reasons
}

/// How the client's own site stands, whatever else is asked: a site where nobody has the title misses content; one
/// where somebody has it, but cannot take the viewer, misses health.
fn outcome(index: &Index, own: SiteIx, title: TitleIx) -> SteeringOutcome {
    let mut outcome = SteeringOutcome::ContentMiss;
    for ix in &index.site(own).appliances {
        if refusals(index, *ix, title).is_empty() {
            return SteeringOutcome::Hit;
        }
        if index.holds(*ix, title) {
            outcome = SteeringOutcome::HealthMiss;
        }
    }
    outcome
}

fn order(index: &Index, a: &Ranked, b: &Ranked) -> Ordering {
    (a.tier, a.headroom)
        .cmp(&(b.tier, b.headroom))
        .then_with(|| b.score.total_cmp(&a.score))
        .then_with(|| {
            index
                .appliance(a.appliance)
                .id
                .cmp(&index.appliance(b.appliance).id)
        })
}

/// Moves where the session is to the front, if that is as near as the best and at most one step fuller.
fn keep(entries: &mut [Ranked], current: ApplianceIx) {
    let Some(at) = entries.iter().position(|e| e.appliance == current) else {
        return;
    };
    let (best, here) = (&entries[0], &entries[at]);
    if at > 0 && here.tier == best.tier && here.headroom.step() <= best.headroom.step() + 1 {
        entries[..=at].rotate_right(1);
        entries[0].kept = true;
    }
}
