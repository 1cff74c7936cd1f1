//! The ranking itself.
//!
//! Candidates are the appliances whose routes cover the client, each with its own longest match (the networks of a site
//! are routes of all its appliances), then those of the same region as the client's own site, then all others: the
//! *tier*. Dropped are those that must not get this viewer: not reporting or unhealthy, draining, lacking any object of
//! the title, full, blocked by policy, or not licensed. The rest is ordered by one key ([`crate::key`]). Load and
//! throughput count in coarse steps: with exact load the emptiest appliance would attract everybody at once and titles
//! would wander between siblings, cold in all of their memories.
//!
//! A session that is already somewhere stays there while no better route leads elsewhere and it is at most one step
//! worse ([`Options::current`]): equals are not worth a rebuffer, and a player that has fled from an appliance which we
//! still believe healthy is not sent back to it.
//!
//! [`rank_into`] allocates nothing once its [`Ranking`] has been used: look-ups find sets that were made before.

mod pass;

use crate::{
    circuit::Signal,
    index::{ApplianceIx, Index, SiteIx, TitleIx},
    key::Key,
    policy::{Country, Location},
};
use cdn_types::{TitleId, api::v1::SteeringOutcome};
use ipnet::IpNet;
use serde::Serialize;
use std::net::IpAddr;

pub use pass::rank_into;

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
    /// In the client's own site: the one with the best route to it.
    OwnSite,
    /// In another site, with a route to the client.
    Routed,
    /// In another site of that site's region.
    SameRegion,
    /// Anywhere else.
    Elsewhere,
}

/// How much room an appliance has, in coarse steps. More room is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Headroom {
    /// Below the policy's first step ([`FREE_BELOW_PERMILLE`] as shipped), or of unknown capacity.
    Free,
    /// Below the second ([`BUSY_BELOW_PERMILLE`]).
    Busy,
    /// Below the third ([`FULL_FROM_PERMILLE`]).
    Tight,
    /// Takes no new viewers.
    Full,
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
    /// Viewers or probes fail there: [`crate::circuit`].
    Failing {
        /// Who says so.
        by: Signal,
    },
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
    /// A rule of the policy keeps these clients from it.
    Blocked,
    /// The title may not be watched in the client's country.
    NotLicensed,
}

impl DropReason {
    /// Stable name, for metrics and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ContentMissing { .. } => "content_missing",
            Self::NotReported => "not_reported",
            Self::Unhealthy => "unhealthy",
            Self::Failing { .. } => "failing",
            Self::Lost => "lost",
            Self::Draining => "draining",
            Self::OverCapacity { .. } => "over_capacity",
            Self::Unusable { .. } => "unusable",
            Self::Blocked => "blocked",
            Self::NotLicensed => "not_licensed",
        }
    }
    /// How bad it would be to send a viewer there all the same; less is better. Only the tail of a steering answer
    /// uses this, where a player demands a second entry.
    pub fn badness(&self) -> u8 {
        match self {
            Self::Draining => 1,
            Self::OverCapacity { .. } => 2,
            Self::Unhealthy => 3,
            Self::Failing { .. } => 4,
            Self::Lost => 5,
            Self::NotReported => 6,
            Self::ContentMissing { .. } => 7,
            Self::Unusable { .. } => 8,
            Self::Blocked => 9,
            Self::NotLicensed => 10,
        }
    }
}

/// An appliance in the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// All keys.
    pub key: Key,
    /// Its rendezvous score for the title (and for this viewer, if the title is dealt out).
    pub score: f64,
    /// Which.
    pub appliance: ApplianceIx,
    /// How near.
    pub tier: Tier,
    /// How much room.
    pub headroom: Headroom,
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
    /// Consider every appliance of the fleet, and note in `dropped` who is not in the answer and why. Without it, tiers
    /// farther away are looked at only while the answer is short of `limit`; the entries are the same.
    pub complete: bool,
    /// Consider these appliances only: those that a session's manifest declares.
    pub only: Option<&'a [ApplianceIx]>,
    /// Where the session is now.
    pub current: Option<ApplianceIx>,
    /// A hash of the session, which chooses among the siblings that a hot title is dealt to; the client's address does
    /// where there is none.
    pub session: Option<u64>,
    /// The country that the client is in, if that is known.
    pub country: Option<Country>,
    /// Where the client is, if that is known.
    pub location: Option<Location>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            limit: 3,
            complete: false,
            only: None,
            current: None,
            session: None,
            country: None,
            location: None,
        }
    }
}

/// The answer. After `entries` comes the fallback, always, if the fleet has one and the title may be watched.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// The title.
    pub title: TitleIx,
    /// The client's own site and the network that says so.
    pub site: Option<(SiteIx, IpNet)>,
    /// How the client's own site could serve.
    pub outcome: SteeringOutcome,
    /// The title may be watched where the client is.
    pub licensed: bool,
    /// Best first, no appliance twice.
    pub entries: Vec<Ranked>,
    /// With [`Options::complete`]: candidates that were refused, nearest tier first, by id within a tier.
    pub dropped: Vec<Dropped>,
    /// Where entries and fallback are fewer than the policy's least number: appliances that hold the title and were
    /// refused, the least bad first, as many as lack. For players that need somewhere to flee to.
    pub reserve: Vec<ApplianceIx>,
    scratch: pass::Scratch,
}

impl Default for Ranking {
    fn default() -> Self {
        Self {
            title: TitleIx(0),
            site: None,
            outcome: SteeringOutcome::NoSite,
            licensed: true,
            entries: Vec::new(),
            dropped: Vec::new(),
            reserve: Vec::new(),
            scratch: pass::Scratch::default(),
        }
    }
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
    let client = index.client(client);
    let title = index
        .title_ix(asset.as_str())
        .ok_or_else(|| RankError::UnknownTitle(asset.clone()))?;
    let mut ranking = Ranking::default();
    rank_into(index, client, title, options, &mut ranking);
    Ok(ranking)
}
