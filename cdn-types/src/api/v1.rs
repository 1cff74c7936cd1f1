//! Wire types of the control plane's API, `/v1`. JSON over HTTP; errors are `application/problem+json` (RFC 9457).
//!
//! | call | who | body → answer |
//! |---|---|---|
//! | `PUT /v1/titles/{title}` | admin | [`TitleRegistration`] → [`TitleSummary`] |
//! | `DELETE /v1/titles/{title}` | admin | → 204; its objects can be resolved while an appliance or a plan lists them |
//! | `GET /v1/titles`, `GET /v1/titles/{title}` | any | → `Vec<TitleSummary>`, [`TitleRegistration`] |
//! | `GET /v1/objects/{digest}` | any | → [`ObjectInfo`] |
//! | `GET /v1/catalogue` | any | → [`Catalogue`] (the planner's) |
//! | `GET /v1/origin` | any | → [`OriginInfo`] |
//! | `GET /v1/origin/t/...` | any | 307 to the origin's own (or presigned) address of that public path |
//! | `PUT /v1/sites/{site}`, `GET /v1/sites` | admin, any | [`Site`] |
//! | `POST /v1/join-tokens` | admin | [`NewJoinToken`] → [`JoinToken`] |
//! | `POST /v1/join` | one-time token | [`JoinRequest`] → [`JoinAnswer`] |
//! | `POST /v1/appliances/{id}/report` | that appliance | [`Report`] → [`ReportAnswer`] |
//! | `GET /v1/appliances/{id}/plan?wait=S` | any | → [`PlanPart`], `ETag`, 304 when `S` seconds pass without news |
//! | `POST /v1/appliances/{id}/routes` | that appliance | [`RouteBatch`](routes::RouteBatch) → [`RouteBatchAnswer`](routes::RouteBatchAnswer) |
//! | `POST /v1/appliances/{id}/viewers` | that appliance | [`ViewerBatch`](viewers::ViewerBatch) → [`ViewerBatchAnswer`](viewers::ViewerBatchAnswer) |
//! | `POST /v1/appliances/{id}/drain`, `…/undrain` | admin | → [`ApplianceView`] |
//! | `GET /v1/appliances` | any | → `Vec<ApplianceView>` |
//! | `POST /v1/plans`, `POST /v1/plans/{n}/activate` | planner | [`Plan`](crate::plan::Plan) → [`PlanSummary`]; 409 when stale |
//! | `PUT /v1/plans/{n}/report`, `PUT /v1/plans/{n}/review` | planner | what fill-planner says of a plan, JSON with its `number` → `{}` |
//! | `GET /v1/plans/{n}/report`, `GET /v1/plans/{n}/review` | any | → the same |
//! | `GET /v1/plans`, `GET /v1/plans/{n}` | any | → `Vec<PlanSummary>`, [`Plan`](crate::plan::Plan) |
//! | `GET /v1/fleet?wait=S` | any | → [`FleetSnapshot`], `ETag`, 304 as above |
//! | `GET /v1/routes?since=G&wait=S` | any | → [`RouteChanges`](routes::RouteChanges) since generation `G` (0 = all), waiting up to `S` seconds for any |
//! | `GET /v1/routes/check` | any | → `Vec<`[`SiteRouteCheck`](routes::SiteRouteCheck)`>`: appliances of a site that hear different prefixes |
//! | `GET /v1/viewers?since=G&wait=S` | any | → [`ViewerNews`](viewers::ViewerNews): what appliances saw of viewers since generation `G` (0 = the last minute) |
//! | `POST /v1/demand` | planner | `Vec<DemandRow>` (history import) → [`Imported`] |
//! | `GET /v1/demand?from=H&to=H` | any | → `Vec<DemandRow>`, `from` ≤ hour < `to` |
//! | `POST /v1/steering/report` | service | [`SteeringReport`] → 204 |
//! | `GET /v1/overview` | any | → [`Overview`], what the operator page draws |
//! | `POST /v1/tokens` | admin | [`NewToken`] → [`TokenAnswer`] |

use crate::{
    BitsPerSecond, Bytes, FillWindow, Hour, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    plan::AppliancePlan,
    time::{Date, Timestamp},
    title::TitleManifest,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Longest `wait` of a long poll, in seconds; a larger one is cut to it.
pub const MAX_WAIT_SECONDS: u64 = 60;
/// Seconds between two reports of an appliance unless the control plane answers otherwise.
pub const REPORT_SECONDS: u64 = 10;
/// An appliance that has missed this many reports is taken for lost.
pub const LOST_AFTER_REPORTS: u64 = 3;

macro_rules! wire {
    ($($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
            pub struct $name { $($body)* }
        )*
    };
}

pub mod routes;
mod synthetic;
pub mod viewers;

wire! {
    /// RFC 9457 problem details.
    #[derive(Default)]
    pub struct Problem {
        /// Stable name of the kind of problem, `urn:nightfill:<name>`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Short text for people, the same for every instance of the kind.
        pub title: String,
        /// HTTP status.
        pub status: u16,
        /// What was wrong here, where, and how to mend it.
        pub detail: String,
    }

    /// A title with the texts of its two manifests, so that steering can personalise them.
    pub struct TitleRegistration {
        /// `title.json`.
        pub manifest: TitleManifest,
        /// The HLS multivariant playlist as packed.
        pub hls: String,
        /// The DASH MPD as packed.
        pub dash: String,
    }

    /// One title in a list.
    pub struct TitleSummary {
        /// Its id.
        pub id: TitleId,
        /// For people.
        pub name: String,
        /// Version in its public path.
        pub version: String,
        /// Playing time in milliseconds.
        pub duration_ms: u64,
        /// Number of objects.
        pub objects: u64,
        /// Bytes of all objects.
        pub size: Bytes,
    }

    /// What an appliance needs to fetch and verify one object.
    pub struct ObjectInfo {
        /// The object.
        pub digest: ObjectDigest,
        /// Size in bytes.
        pub size: Bytes,
        /// Digest of each 1 MiB block.
        pub blocks: Vec<ObjectDigest>,
        /// Media type.
        pub media_type: String,
        /// Public path.
        pub path: String,
        /// Title it belongs to.
        pub title: TitleId,
    }

    /// Every object with what the planner needs to place it.
    pub struct Catalogue {
        /// Sorted by title, then path.
        pub objects: Vec<CatalogueObject>,
    }

    /// One object of the catalogue.
    pub struct CatalogueObject {
        /// The object.
        pub digest: ObjectDigest,
        /// Size in bytes.
        pub size: Bytes,
        /// Title it belongs to; the objects of a title are of use together.
        pub title: TitleId,
        /// Public path.
        pub path: String,
        /// Media type.
        pub media_type: String,
        /// Rendition, for media and media playlists.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rendition: Option<String>,
    }

    /// Where the origin store is.
    pub struct OriginInfo {
        /// The store for writing: `file:///path` or `s3://bucket/prefix`.
        pub store: String,
        /// `http://host:port` that serves the store's public paths.
        pub url: String,
    }

    /// A site and the networks it serves.
    pub struct Site {
        /// Its id.
        pub id: SiteId,
        /// Its region.
        pub region: RegionId,
        /// Client networks, IPv4 and IPv6; the longest match wins over all sites.
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        pub prefixes: Vec<IpNet>,
        /// When its appliances fill.
        pub window: FillWindow,
    }

    /// Asks for a one-time token with which one appliance may join.
    pub struct NewJoinToken {
        /// Id that the appliance will have.
        pub appliance: OcaId,
        /// Site that it will belong to.
        pub site: SiteId,
        /// Seconds until the token is void; 86,400 if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub valid_seconds: Option<u64>,
    }

    /// A one-time join token.
    pub struct JoinToken {
        /// The secret.
        pub token: String,
        /// When it becomes void.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub expires: Timestamp,
    }

    /// An appliance presents itself. The same token may be presented again by the same appliance until its first
    /// report: an answer lost on the way costs nothing.
    pub struct JoinRequest {
        /// The one-time token.
        pub token: String,
        /// The appliance's id, as in the token.
        pub appliance: OcaId,
        /// `http://host:port` or `https://…` at which viewers and peers reach it.
        pub base_url: String,
        /// Name of its hardware profile.
        pub profile: String,
        /// What it can hold and send.
        pub capacity: Capacity,
    }

    /// The appliance's identity from now on.
    pub struct JoinAnswer {
        /// Bearer token for this appliance's calls.
        pub token: String,
        /// Its site.
        pub site: Site,
    }

    /// What an appliance can hold, send and fill.
    #[derive(Copy, Default)]
    pub struct Capacity {
        /// Bytes for objects.
        pub storage: Bytes,
        /// Most that it is to send.
        pub egress: BitsPerSecond,
        /// Rate cap of its fill.
        pub fill_rate: BitsPerSecond,
    }

    /// What an appliance sends every few seconds. Reports are idempotent: counters are absolute for the boot.
    pub struct Report {
        /// Random name of this run of the process.
        pub boot: String,
        /// Grows with every report of the boot; an older one than the last is ignored.
        pub seq: u64,
        /// The appliance's clock.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub at: Timestamp,
        /// Where it is reached now.
        pub base_url: String,
        /// What it can do.
        pub capacity: Capacity,
        /// How it is.
        pub health: Health,
        /// What it is doing.
        pub load: Load,
        /// Highest plan that it executes, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan: Option<PlanNumber>,
        /// How its fill goes.
        pub fill: FillStatus,
        /// What it holds, whole or as changes.
        pub inventory: InventoryUpdate,
        /// Demand of the current and the last hours of this boot; absolute, so a report may be sent twice.
        pub demand: Vec<DemandCount>,
    }

    /// An appliance's health: no condition means well.
    #[derive(Default)]
    pub struct Health {
        /// Whether it should get viewers.
        pub serving: bool,
        /// Whether it drains: it answers what runs and wants nothing new.
        pub draining: bool,
        /// What is wrong, if anything.
        pub conditions: Vec<Condition>,
    }

    /// One thing that is wrong.
    pub struct Condition {
        /// Stable name, e.g. `disk_full`, `source_corrupt`, `control_unreachable`.
        pub kind: String,
        /// For people.
        pub detail: String,
    }

    /// What an appliance does right now.
    #[derive(Copy, Default)]
    pub struct Load {
        /// Mean bit/s sent to viewers since the last report.
        pub egress: BitsPerSecond,
        /// Open viewer connections.
        pub connections: u64,
        /// Bytes sent to viewers since the boot.
        pub bytes_sent: Bytes,
        /// Requests answered since the boot.
        pub requests: u64,
    }

    /// How a fill goes.
    pub struct FillStatus {
        /// What it does.
        pub state: FillState,
        /// Objects of the plan that are held and verified.
        pub objects_done: u64,
        /// Objects of the plan.
        pub objects_total: u64,
        /// Bytes of the plan that are held and verified.
        pub bytes_done: Bytes,
        /// Bytes of the plan.
        pub bytes_total: Bytes,
        /// Mean fill rate since the last report.
        pub rate: BitsPerSecond,
        /// Why it stopped, or waits, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub detail: Option<String>,
    }

    /// Changes of an inventory. `base` absent: `added` is the whole inventory.
    pub struct InventoryUpdate {
        /// Generation of the inventory after this update; grows with every change within a boot.
        pub generation: u64,
        /// Generation that this update starts from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub base: Option<u64>,
        /// Objects gained (or all).
        pub added: Vec<ObjectDigest>,
        /// Objects lost.
        pub removed: Vec<ObjectDigest>,
    }

    /// What viewers drew of one object in one hour, counted by one appliance since its boot.
    #[derive(Copy)]
    pub struct DemandCount {
        /// The hour.
        pub hour: Hour,
        /// The object.
        pub object: ObjectDigest,
        /// Requests answered with any of its bytes.
        pub requests: u64,
        /// Bytes sent.
        pub bytes: Bytes,
    }

    /// Answer to a report.
    pub struct ReportAnswer {
        /// Seconds until the next report is wanted.
        pub next_report_seconds: u64,
        /// The delta could not be applied: send the whole inventory next time.
        pub resync_inventory: bool,
        /// The operator wants it drained.
        pub drain: bool,
    }

    /// An appliance's part of the active plan.
    pub struct PlanPart {
        /// The plan's number.
        pub number: PlanNumber,
        /// The day it serves.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub date: Date,
        /// The part; absent when the plan has none for this appliance, which then keeps what it has.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub part: Option<AppliancePlan>,
    }

    /// One plan in a list.
    pub struct PlanSummary {
        /// Its number.
        pub number: PlanNumber,
        /// The day it serves.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub date: Date,
        /// Whether appliances execute it now.
        pub active: bool,
        /// Number of parts.
        pub appliances: u64,
        /// Objects over all parts.
        pub items: u64,
        /// Bytes over all parts.
        pub bytes: Bytes,
        /// When it was published.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub published: Timestamp,
    }

    /// The fleet at one moment, all that steering needs to rank offline.
    pub struct FleetSnapshot {
        /// Grows with every change.
        pub generation: u64,
        /// When it was taken.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub taken_at: Timestamp,
        /// Sorted by id.
        pub sites: Vec<Site>,
        /// Dictionary of objects that `holds` and `objects` of the other lists point into.
        pub objects: Vec<ObjectDigest>,
        /// Sorted by id.
        pub appliances: Vec<ApplianceView>,
        /// Sorted by id.
        pub titles: Vec<TitleView>,
        /// `http://host:port` of the origin: the last entry of every ranking.
        pub fallback: String,
    }

    /// One appliance as steering and operators see it.
    pub struct ApplianceView {
        /// Its id.
        pub id: OcaId,
        /// Its site.
        pub site: SiteId,
        /// Where viewers reach it.
        pub base_url: String,
        /// Its hardware profile.
        pub profile: String,
        /// Whether it may get viewers.
        pub state: ApplianceState,
        /// What is wrong with it, if anything.
        pub conditions: Vec<Condition>,
        /// What it can do.
        pub capacity: Capacity,
        /// What it does.
        pub load: Load,
        /// How its fill goes.
        pub fill: FillStatus,
        /// Plan that it executes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan: Option<PlanNumber>,
        /// Objects that it holds: indices into the snapshot's `objects`, rising. Empty outside a snapshot.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub holds: Vec<u32>,
        /// Number of objects that it holds.
        pub held: u64,
        /// When it last reported.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        pub last_report: Option<Timestamp>,
    }

    /// One title as steering sees it.
    pub struct TitleView {
        /// Its id.
        pub id: TitleId,
        /// For people.
        pub name: String,
        /// `/t/{title}/{version}`.
        pub prefix: String,
        /// Indices into the snapshot's `objects`, rising: what an appliance must hold to serve it.
        pub objects: Vec<u32>,
        /// Path of the multivariant playlist below the prefix, and its text.
        pub hls_path: String,
        /// Text of the HLS multivariant playlist as packed.
        pub hls: String,
        /// Path of the MPD below the prefix.
        pub dash_path: String,
        /// Text of the DASH MPD as packed.
        pub dash: String,
        /// What viewers drew of it in the last day; 0 when that is not known. Steering spreads hot titles by it.
        #[serde(default)]
        pub demand: Bytes,
    }

    /// One row of demand history.
    pub struct DemandRow {
        /// The hour.
        pub hour: Hour,
        /// Where the viewers were.
        pub region: RegionId,
        /// What they watched.
        pub object: ObjectDigest,
        /// Requests.
        pub requests: u64,
        /// Bytes.
        pub bytes: Bytes,
    }

    /// Answer to an import.
    pub struct Imported {
        /// Rows taken in.
        pub rows: u64,
    }

    /// Decisions of a steering service since its start, absolute per boot.
    pub struct SteeringReport {
        /// Random name of this run of the process.
        pub boot: String,
        /// Counters.
        pub counts: Vec<SteeringCount>,
    }

    /// How often steering answered in one way.
    pub struct SteeringCount {
        /// The hour.
        pub hour: Hour,
        /// Site whose networks the client was in; absent if none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub site: Option<SiteId>,
        /// The title.
        pub title: TitleId,
        /// How it went.
        pub outcome: SteeringOutcome,
        /// Sessions.
        pub sessions: u64,
    }

    /// What the operator page shows.
    pub struct Overview {
        /// When it was made.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub at: Timestamp,
        /// Sites, sorted.
        pub sites: Vec<Site>,
        /// Appliances, sorted, without `holds`.
        pub appliances: Vec<ApplianceView>,
        /// The active plan.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan: Option<PlanSummary>,
        /// Titles known.
        pub titles: u64,
        /// Objects known.
        pub objects: u64,
        /// Steering decisions of the last 24 hours by outcome.
        pub outcomes: Vec<OutcomeShare>,
        /// Bytes sent by appliances in each of the last 24 hours, oldest first.
        pub hours: Vec<HourBytes>,
        /// Most drawn titles of the last 24 hours, most first, at most ten.
        pub top_titles: Vec<TitleBytes>,
        /// Where steering is reached, if the operator told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub steering_url: Option<String>,
    }

    /// Share of one outcome.
    pub struct OutcomeShare {
        /// The outcome.
        pub outcome: SteeringOutcome,
        /// Sessions.
        pub sessions: u64,
    }

    /// Bytes of one hour.
    pub struct HourBytes {
        /// The hour.
        pub hour: Hour,
        /// Bytes sent.
        pub bytes: Bytes,
    }

    /// Bytes of one title.
    pub struct TitleBytes {
        /// The title.
        pub title: TitleId,
        /// For people.
        pub name: String,
        /// Bytes sent.
        pub bytes: Bytes,
    }

    /// Asks for an API token.
    pub struct NewToken {
        /// What its bearer may do.
        pub role: Role,
        /// For people: who has it.
        pub name: String,
    }

    /// A new API token; it is shown this once.
    pub struct TokenAnswer {
        /// The secret.
        pub token: String,
    }
}

impl Default for FillStatus {
    fn default() -> Self {
        Self {
            state: FillState::NoPlan,
            objects_done: 0,
            objects_total: 0,
            bytes_done: Bytes(0),
            bytes_total: Bytes(0),
            rate: BitsPerSecond(0),
            detail: None,
        }
    }
}

/// What a fill does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FillState {
    /// No plan has come yet.
    NoPlan,
    /// Something is missing and the window is closed.
    WaitingForWindow,
    /// Fetching.
    Filling,
    /// Everything of the plan is held.
    Done,
    /// Cannot go on (disk full, no source has it); retried later.
    Stopped,
}

/// Whether an appliance may get viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ApplianceState {
    /// Joined, not yet reported.
    Joined,
    /// Well.
    Serving,
    /// The operator or the appliance itself drains it: no new viewers.
    Draining,
    /// It says that it should get no viewers.
    Unhealthy,
    /// It has missed its reports.
    Lost,
}

/// How steering could serve a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SteeringOutcome {
    /// By an appliance of the client's own site.
    Hit,
    /// The own site lacks the content: another site or the origin serves.
    ContentMiss,
    /// The own site has it but cannot take the viewer (health, drain, load).
    HealthMiss,
    /// No site announces the client's network.
    NoSite,
}

/// What the bearer of a token may do. Admin may do everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Titles, sites, tokens, drains.
    Admin,
    /// Plans and demand history.
    Planner,
    /// Its own reports.
    Appliance,
    /// Viewer-facing services: steering reports.
    Service,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_as_it_was_written() {
        let report = Report {
            boot: "b1".into(),
            seq: 3,
            at: "2026-11-23T14:00:00Z".parse().unwrap(),
            base_url: "http://127.0.0.2:8080".into(),
            capacity: Capacity {
                storage: Bytes(1),
                egress: BitsPerSecond(2),
                fill_rate: BitsPerSecond(3),
            },
            health: Health {
                serving: true,
                ..Health::default()
            },
            load: Load::default(),
            plan: Some(PlanNumber(4)),
            fill: FillStatus::default(),
            inventory: InventoryUpdate {
                generation: 1,
                base: None,
                added: vec![],
                removed: vec![],
            },
            demand: vec![DemandCount {
                hour: "2026-11-23T14Z".parse().unwrap(),
                object: ObjectDigest::of(b"x"),
                requests: 1,
                bytes: Bytes(9),
            }],
        };
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.contains(r#""hour":"2026-11-23T14Z""#), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
