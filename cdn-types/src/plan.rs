//! The fill plan: numbered, immutable, complete. The planner writes it, the control plane keeps it, each appliance
//! executes its own part without choices of its own: what to hold, in which order to fetch, from which sources.
//!
//! Same inputs and seed give the same bytes: a plan holds no clock reading, and every list has a defined order.

use crate::{
    BitsPerSecond, Bytes, FillWindow, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId, time::Date,
};
use serde::{Deserialize, Serialize};

/// `format` of the plan documents that this release reads and writes.
pub const PLAN_FORMAT: u32 = 1;

/// A whole plan, for every appliance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    /// Above every number published before.
    pub number: PlanNumber,
    /// The day whose viewers it serves.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub date: Date,
    /// Seed of every tie-break.
    pub seed: u64,
    /// BLAKE3 over the planner's inputs, so that a plan can be traced to them.
    pub inputs: ObjectDigest,
    /// One part an appliance, sorted by appliance id.
    pub appliances: Vec<AppliancePlan>,
}

/// One appliance's part of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AppliancePlan {
    /// Whose part it is.
    pub appliance: OcaId,
    /// Its site.
    pub site: SiteId,
    /// The site's region.
    pub region: RegionId,
    /// When it may fill.
    pub window: FillWindow,
    /// How fast it may fill.
    pub fill_rate: BitsPerSecond,
    /// Where objects may be fetched from; items point into this list.
    pub sources: Vec<FillSource>,
    /// Everything it shall hold, in fill order (most valuable byte first). What is not listed is dropped once all
    /// listed items are held.
    pub items: Vec<PlanItem>,
    /// Objects it held when the plan was made and shall drop; the same order as the planner's report.
    pub drops: Vec<PlanDrop>,
}

/// A place to fetch objects from: `base_url` + the object's public path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct FillSource {
    /// What it is; sources of an item are ranked peer, site, origin.
    pub kind: SourceKind,
    /// The appliance behind it; absent for the origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<OcaId>,
    /// `http://host:port`, no trailing slash.
    pub base_url: String,
}

/// How far away a fill source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// Another appliance of the same site.
    Peer,
    /// An appliance of another site.
    Site,
    /// The origin store.
    Origin,
}

/// One object that an appliance shall hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanItem {
    /// The object.
    pub digest: ObjectDigest,
    /// Its size in bytes.
    pub size: Bytes,
    /// The title it belongs to.
    pub title: TitleId,
    /// Public path, `/t/{title}/{version}/{path}`.
    pub path: String,
    /// Media type to serve it with.
    pub media_type: String,
    /// Indices into the part's `sources`, best first.
    pub from: Vec<u16>,
    /// Bytes that the forecast expects viewers to draw of it here on the plan's day.
    pub expected: Bytes,
    /// Whether it was held already when the plan was made.
    pub kept: bool,
}

/// One object that an appliance held and shall drop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PlanDrop {
    /// The object.
    pub digest: ObjectDigest,
    /// Its size in bytes.
    pub size: Bytes,
}

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// From a later release, or not a plan.
    #[error("plan has format {0}; this release reads format {PLAN_FORMAT}")]
    Format(u32),
    /// The same appliance has two parts.
    #[error("appliance {0} has two parts")]
    DuplicateAppliance(OcaId),
    /// The same path stands twice in one part.
    #[error("part of {appliance}: path `{path}` stands twice")]
    DuplicatePath {
        /// Whose part.
        appliance: OcaId,
        /// The path.
        path: String,
    },
    /// An item's path is not a public path.
    #[error("part of {appliance}: `{path}` is not a public path (/t/title/version/file)")]
    Path {
        /// Whose part.
        appliance: OcaId,
        /// The path.
        path: String,
    },
    /// An item without a source, or with one that is not in the list.
    #[error("part of {appliance}: item `{path}` has no valid source")]
    NoSource {
        /// Whose part.
        appliance: OcaId,
        /// The item's path.
        path: String,
    },
}

impl AppliancePlan {
    /// Checks what the types alone cannot: paths and sources.
    pub fn check(&self) -> Result<(), PlanError> {
        let appliance = || self.appliance.clone();
        let mut paths = std::collections::BTreeSet::new();
        for item in &self.items {
            let path = item.path.clone();
            if !item
                .path
                .strip_prefix("/t/")
                .is_some_and(crate::title::is_plain_path)
            {
                return Err(PlanError::Path {
                    appliance: appliance(),
                    path,
                });
            }
            if !paths.insert(&item.path) {
                return Err(PlanError::DuplicatePath {
                    appliance: appliance(),
                    path,
                });
            }
            if item.from.is_empty() || item.from.iter().any(|&i| usize::from(i) >= self.sources.len()) {
                return Err(PlanError::NoSource {
                    appliance: appliance(),
                    path,
                });
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Checks what the types alone cannot, for every part.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.format != PLAN_FORMAT {
            return Err(PlanError::Format(self.format));
        }
        let mut seen = std::collections::BTreeSet::new();
        for part in &self.appliances {
            if !seen.insert(&part.appliance) {
                return Err(PlanError::DuplicateAppliance(part.appliance.clone()));
            }
            part.check()?;
        }
        Ok(())
    }

    /// The part of one appliance.
    pub fn part(&self, appliance: &OcaId) -> Option<&AppliancePlan> {
        self.appliances.iter().find(|p| &p.appliance == appliance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> AppliancePlan {
        AppliancePlan {
            appliance: OcaId::new("a1").unwrap(),
            site: SiteId::new("s").unwrap(),
            region: RegionId::new("r").unwrap(),
            window: FillWindow::always(),
            fill_rate: BitsPerSecond(1_000_000),
            sources: vec![FillSource {
                kind: SourceKind::Origin,
                appliance: None,
                base_url: "http://o".into(),
            }],
            items: vec![PlanItem {
                digest: ObjectDigest::of(b"x"),
                size: Bytes(1),
                title: TitleId::new("t1").unwrap(),
                path: "/t/t1/abc/x.mp4".into(),
                media_type: "video/mp4".into(),
                from: vec![0],
                expected: Bytes(5),
                kept: false,
            }],
            drops: vec![],
        }
    }

    #[test]
    fn a_part_without_a_way_to_fetch_is_refused() {
        assert_eq!(part().check(), Ok(()));
        let mut p = part();
        p.items[0].from = vec![1];
        assert!(matches!(p.check(), Err(PlanError::NoSource { .. })));
        let mut p = part();
        p.items[0].path = "/t/../../etc/passwd".into();
        assert!(matches!(p.check(), Err(PlanError::Path { .. })));
        let mut p = part();
        p.items.push(p.items[0].clone());
        assert!(matches!(p.check(), Err(PlanError::DuplicatePath { .. })));
    }
}
