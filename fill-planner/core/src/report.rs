//! The report that goes with a plan: what each appliance keeps, gets and drops, what share of its site's demand it is
//! expected to serve, and why. It is written beside the plan and is no input of any program.

use crate::{
    demand::Basis,
    place::{Refusal, Score},
    promise::Promise,
};
use cdn_types::{Bytes, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId, time::Date};
use serde::{Deserialize, Serialize};

/// `format` of the reports that this release writes.
pub const REPORT_FORMAT: u32 = 1;

/// What a plan does and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanReport {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// The plan's number.
    pub number: PlanNumber,
    /// The day it serves.
    pub date: Date,
    /// Seed of the tie-breaks.
    pub seed: u64,
    /// Digest over the inputs, as in the plan.
    pub inputs: ObjectDigest,
    /// Name of the forecast's method.
    pub method: String,
    /// What the forecast knew.
    pub history: HistoryReport,
    /// What the day is expected to bring, with an interval; absent = not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// What an operator should look at.
    pub warnings: Vec<String>,
    /// How near the plan is to the best.
    #[serde(default)]
    pub optimum: OptimumReport,
    /// The night's bytes of each link.
    #[serde(default)]
    pub links: Vec<LinkReport>,
    /// Sites, sorted.
    pub sites: Vec<SiteReport>,
}

/// How near a plan is to the best, given the forecast. Worth is in bytes a day, less what fills must earn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct OptimumReport {
    /// Worth of the plan.
    pub worth: Bytes,
    /// Part of it for which only room is made tonight.
    pub tomorrow: Bytes,
    /// What no plan under the same limits can pass.
    pub bound: Bytes,
    /// How far the worth is below the bound, 0 to 1.
    pub gap: f64,
}

impl OptimumReport {
    /// Whole bytes of a score.
    pub fn new(score: &Score) -> Self {
        let bytes = |b: f64| Bytes(b.max(0.0).round() as u64);
        Self {
            worth: bytes(score.worth),
            tomorrow: bytes(score.tomorrow),
            bound: bytes(score.bound),
            gap: score.gap(),
        }
    }
}

/// One link's night.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkReport {
    /// `origin`, `into site S`, or a link of the policy.
    pub link: String,
    /// Most bytes, where the policy sets them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Bytes>,
    /// Bytes expected: each title once a site, since the other appliances copy it from the first.
    pub bytes: Bytes,
}

impl PlanReport {
    /// Share of the expected bytes of all sites that their own appliances can serve; absent when nothing is expected.
    pub fn hit_share(&self) -> Option<f64> {
        let expected: f64 = self.sites.iter().map(|s| s.expected.0 as f64).sum();
        let hit = self
            .sites
            .iter()
            .map(|s| s.expected.0 as f64 * s.hit_share.unwrap_or(0.0));
        (expected > 0.0).then(|| hit.sum::<f64>() / expected)
    }
}

/// What the forecast knew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryReport {
    /// Number of days.
    pub days: usize,
    /// The newest of them.
    pub newest: Option<Date>,
    /// The oldest of them.
    pub oldest: Option<Date>,
    /// Bytes of all days and regions.
    pub bytes: Bytes,
}

/// One site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteReport {
    /// Its id.
    pub site: SiteId,
    /// Its region.
    pub region: RegionId,
    /// Bytes that its viewers are expected to draw on the day.
    pub expected: Bytes,
    /// Share of them that its own appliances can serve by this plan, 0 to 1; absent when nothing is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_share: Option<f64>,
    /// Share of the expected bytes that it could still serve at the peak without the appliance that matters most; absent
    /// if it has only one, or nothing is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survives: Option<f64>,
    /// Bytes that the night brings from the origin.
    #[serde(default)]
    pub from_origin: Bytes,
    /// Bytes that it brings from other sites.
    #[serde(default)]
    pub from_sites: Bytes,
    /// Its appliances, sorted.
    pub appliances: Vec<ApplianceReport>,
    /// Number of titles, or parts of titles, that no appliance of the site gets.
    #[serde(default)]
    pub left_out_titles: u64,
    /// Bytes that its viewers are expected to draw of them.
    #[serde(default)]
    pub left_out_expected: Bytes,
    /// Those, the most expected first; at most 10,000.
    pub left_out: Vec<LeftOut>,
}

/// One appliance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApplianceReport {
    /// Its id.
    pub appliance: OcaId,
    /// Its storage.
    pub storage: Bytes,
    /// Most bytes that it can fill in one window.
    pub fill_cap: Bytes,
    /// Bytes that it holds and keeps.
    pub kept: Bytes,
    /// Bytes that it is to fill.
    pub added: Bytes,
    /// Bytes that it is to drop, of objects whose size is known.
    pub dropped: Bytes,
    /// Bytes that it is expected to serve on the day.
    pub expected: Bytes,
    /// Share of its site's expected bytes that it is expected to serve; absent when nothing is expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hit_share: Option<f64>,
    /// Titles in fill order, then the dropped ones.
    pub titles: Vec<TitleReport>,
}

/// What happens to one title on one appliance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TitleReport {
    /// The title; absent for objects that the catalogue no longer has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<TitleId>,
    /// Its largest file, where only a part of the title is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What happens.
    pub action: Action,
    /// Bytes of the title (of the dropped objects, for a drop).
    pub size: Bytes,
    /// Bytes to be filled.
    pub fill: Bytes,
    /// Bytes that viewers are expected to draw of it here on the day.
    pub expected: Bytes,
    /// Copies of it at this site by this plan.
    pub copies: usize,
    /// Where the expectation comes from; absent for objects that the catalogue no longer has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<Basis>,
    /// Why, for people.
    pub because: String,
}

/// What happens to a title.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Held and stays.
    Kept,
    /// To be filled, or completed.
    Added,
    /// Held and goes.
    Dropped,
}

impl Action {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Added => "added",
            Self::Dropped => "dropped",
        }
    }
}

/// A title without a copy at a site.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The title.
    pub title: TitleId,
    /// Its largest file, where only a part of the title is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its size.
    pub size: Bytes,
    /// Bytes that the site's viewers are expected to draw of it.
    pub expected: Bytes,
    /// Why.
    pub reason: Refusal,
}

impl Refusal {
    /// For people.
    pub fn because(self) -> &'static str {
        match self {
            Self::Barred => "the policy bars it here on this day",
            Self::NoBase => "the smaller rendition that it needs beside it is not here",
            Self::NoLinkLeft => "a shared link's bytes went to what is worth more",
            Self::NoEgress => "at the peak the appliances here are busy with what they have",
            Self::LargerThanStorage => "larger than any appliance's storage",
            Self::LargerThanFill => "larger than one night's fill of any appliance",
            Self::NoRoom => "no room: what is stored is worth more per byte",
            Self::RoomTomorrow => "room is made for it tonight; it is filled the next night",
            Self::NoFillLeft => "no fill left tonight: what is filled is worth more per byte",
        }
    }
}
