//! The fleet as the planner sees it: sites with the appliances that get a part, checked and sorted. Load, health
//! details and clocks of the snapshot are not taken over, so they cannot change a plan.
//!
//! A lost appliance gets no part (it keeps what it has when it returns), is no source, and its copies do not count:
//! the titles that viewers will want must be somewhere else tomorrow. One that drains or is unwell for now is filled
//! like the others, so that it is ready when it returns, but nobody is sent to it as a source.

use cdn_types::{
    BitsPerSecond, FillWindow, ObjectDigest, OcaId, RegionId, SiteId,
    api::v1::{ApplianceState, ApplianceView, FleetSnapshot},
    time::Date,
};
use std::collections::BTreeMap;

/// Why a fleet is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetError {
    /// The same site twice.
    #[error("site {0} stands twice")]
    DuplicateSite(SiteId),
    /// The same appliance twice.
    #[error("appliance {0} stands twice")]
    DuplicateAppliance(OcaId),
    /// An appliance in a site that is not in the list.
    #[error("appliance {appliance} is in site {site}, which is not among the sites")]
    UnknownSite {
        /// The appliance.
        appliance: OcaId,
        /// The site.
        site: SiteId,
    },
    /// An index into `objects` that is out of range.
    #[error("appliance {appliance} holds object number {index}, but the snapshot lists {objects} objects")]
    UnknownObject {
        /// The appliance.
        appliance: OcaId,
        /// The index.
        index: u32,
        /// Length of the list.
        objects: usize,
    },
    /// Nobody could reach it.
    #[error("appliance {0} has an empty base_url")]
    NoAddress(OcaId),
    /// There is no origin to fall back to.
    #[error("`fallback` is empty; it must be the origin's http://host:port")]
    NoOrigin,
    /// More appliances than a plan's source index can name.
    #[error("{0} appliances; a plan can name at most {MAX_APPLIANCES}")]
    TooMany(usize),
}

/// Most appliances: a plan names sources by a 16-bit index.
pub const MAX_APPLIANCES: usize = 60_000;

/// Everything that gets a part, and the origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Sites with at least one appliance, sorted by id.
    pub sites: Vec<SiteFleet>,
    /// Appliances that get no part, with the reason, sorted by id.
    pub left_out: Vec<(OcaId, &'static str)>,
    /// Sites without an appliance that gets a part, with their regions.
    pub idle_sites: Vec<(SiteId, RegionId)>,
    /// Everything that anyone holds, sorted.
    pub objects: Vec<ObjectDigest>,
    /// `http://host:port` of the origin, no trailing slash.
    pub origin: String,
}

/// One site.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteFleet {
    /// Its id.
    pub id: SiteId,
    /// Its region.
    pub region: RegionId,
    /// When it fills.
    pub window: FillWindow,
    /// Its share of its region's viewers, 0 to 1: by egress, since boxes are put where viewers are.
    pub share: f64,
    /// Sorted by id, at least one.
    pub appliances: Vec<Appliance>,
}

/// One appliance.
#[derive(Debug, Clone, PartialEq)]
pub struct Appliance {
    /// Its id.
    pub id: OcaId,
    /// Where peers reach it, no trailing slash.
    pub base_url: String,
    /// Bytes for objects.
    pub storage: u64,
    /// Most bits a second that it is to send.
    pub egress: u64,
    /// Rate cap of its fill.
    pub fill_rate: BitsPerSecond,
    /// Most bytes that it can fill in one window.
    pub fill_cap: u64,
    /// Whether others may fetch from it.
    pub source: bool,
    /// What it holds: indices into [`Fleet::objects`], rising.
    pub holds: Vec<u32>,
}

impl Fleet {
    /// Checks a snapshot and sorts it. Windows are those that end on `day`, whose viewers are planned for.
    pub fn new(snapshot: &FleetSnapshot, day: Date) -> Result<Self, FleetError> {
        if snapshot.fallback.is_empty() {
            return Err(FleetError::NoOrigin);
        }
        if snapshot.appliances.len() > MAX_APPLIANCES {
            return Err(FleetError::TooMany(snapshot.appliances.len()));
        }
        let mut sites = BTreeMap::new();
        for s in &snapshot.sites {
            let site = SiteFleet {
                id: s.id.clone(),
                region: s.region.clone(),
                window: s.window.clone(),
                share: 0.0,
                appliances: Vec::new(),
            };
            if sites.insert(&s.id, site).is_some() {
                return Err(FleetError::DuplicateSite(s.id.clone()));
            }
        }
        let mut views: Vec<&ApplianceView> = snapshot.appliances.iter().collect();
        views.sort_by(|a, b| a.id.cmp(&b.id));
        if let Some(pair) = views.windows(2).find(|p| p[0].id == p[1].id) {
            return Err(FleetError::DuplicateAppliance(pair[0].id.clone()));
        }
        let (objects, rank) = sorted(&snapshot.objects);
        let mut left_out = Vec::new();
        for view in views {
            let site = sites.get_mut(&view.site).ok_or_else(|| FleetError::UnknownSite {
                appliance: view.id.clone(),
                site: view.site.clone(),
            })?;
            let appliance = Appliance::new(view, site.window.seconds_until(day), &rank)?;
            if view.state == ApplianceState::Lost {
                left_out.push((
                    view.id.clone(),
                    "lost: it has missed its reports and keeps what it has",
                ));
            } else {
                site.appliances.push(appliance);
            }
        }
        let (mut sites, idle): (Vec<_>, Vec<_>) = sites.into_values().partition(|s| !s.appliances.is_empty());
        share_out(&mut sites);
        Ok(Self {
            sites,
            left_out,
            idle_sites: idle.into_iter().map(|s| (s.id, s.region)).collect(),
            objects,
            origin: snapshot.fallback.trim_end_matches('/').to_owned(),
        })
    }

    /// Site and place in it of an appliance that gets a part.
    pub fn find(&self, appliance: &OcaId) -> Option<(usize, usize)> {
        self.sites.iter().enumerate().find_map(|(s, site)| {
            let a = site.appliances.binary_search_by(|a| a.id.cmp(appliance)).ok()?;
            Some((s, a))
        })
    }

    /// Whether one of its appliances holds an object.
    pub fn holds(&self, appliance: &Appliance, object: &ObjectDigest) -> bool {
        let index = self.objects.binary_search(object).ok();
        let index = index.and_then(|i| u32::try_from(i).ok());
        index.is_some_and(|i| appliance.holds.binary_search(&i).is_ok())
    }

    /// Feeds everything that a plan can depend on to a digest.
    pub(crate) fn digest_into(&self, hasher: &mut blake3::Hasher) {
        fn text(hasher: &mut blake3::Hasher, t: &str) {
            hasher.update(t.as_bytes());
            hasher.update(&[0]);
        }
        text(hasher, &self.origin);
        for site in &self.sites {
            text(hasher, site.id.as_str());
            text(hasher, site.region.as_str());
            text(hasher, &format!("{:?}", site.window));
            for a in &site.appliances {
                text(hasher, a.id.as_str());
                text(hasher, &a.base_url);
                let figures = format!(
                    "{} {} {} {} {}",
                    a.storage,
                    a.egress,
                    a.fill_rate.0,
                    a.source,
                    a.holds.len()
                );
                text(hasher, &figures);
                for object in &a.holds {
                    hasher.update(self.objects[*object as usize].as_bytes());
                }
            }
        }
    }
}

impl Appliance {
    fn new(view: &ApplianceView, seconds: u64, rank: &[u32]) -> Result<Self, FleetError> {
        if view.base_url.is_empty() {
            return Err(FleetError::NoAddress(view.id.clone()));
        }
        let of = |index: &u32| {
            rank.get(*index as usize)
                .copied()
                .ok_or_else(|| FleetError::UnknownObject {
                    appliance: view.id.clone(),
                    index: *index,
                    objects: rank.len(),
                })
        };
        let mut holds = view.holds.iter().map(of).collect::<Result<Vec<u32>, _>>()?;
        holds.sort_unstable();
        holds.dedup();
        Ok(Self {
            id: view.id.clone(),
            base_url: view.base_url.trim_end_matches('/').to_owned(),
            storage: view.capacity.storage.0,
            egress: view.capacity.egress.0,
            fill_rate: view.capacity.fill_rate,
            fill_cap: view.capacity.fill_rate.bytes_in(seconds).0,
            source: matches!(view.state, ApplianceState::Serving | ApplianceState::Joined),
            holds,
        })
    }
}

/// The objects in order, each once, and the place of each in that order.
fn sorted(objects: &[ObjectDigest]) -> (Vec<ObjectDigest>, Vec<u32>) {
    let mut sorted = objects.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let place = |o| sorted.partition_point(|s| s < o) as u32;
    let rank = objects.iter().map(place).collect();
    (sorted, rank)
}

impl SiteFleet {
    /// Bits a second that its appliances are to send at most.
    pub fn egress(&self) -> u64 {
        self.appliances
            .iter()
            .fold(0, |sum, a| sum.saturating_add(a.egress))
    }
}

/// Divides each region's viewers over its sites by egress, or evenly where none is known.
fn share_out(sites: &mut [SiteFleet]) {
    let mut regions: BTreeMap<RegionId, (f64, f64)> = BTreeMap::new();
    for site in sites.iter() {
        let (egress, count) = regions.entry(site.region.clone()).or_default();
        *egress += site.egress() as f64;
        *count += 1.0;
    }
    for site in sites {
        let (egress, count) = regions[&site.region];
        site.share = if egress > 0.0 {
            site.egress() as f64 / egress
        } else {
            1.0 / count
        };
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use cdn_types::{
        Bytes,
        api::v1::{Capacity, Site},
    };

    pub(crate) fn site(id: &str, region: &str) -> Site {
        Site::new(SiteId::new(id).unwrap(), RegionId::new(region).unwrap())
    }
    /// An appliance that fills `fill_rate` x 10,800 bytes in its window of 24 hours.
    pub(crate) fn appliance(id: &str, site: &str, storage: u64, fill_rate: u64) -> ApplianceView {
        let capacity = Capacity {
            storage: Bytes(storage),
            egress: BitsPerSecond(1_000_000_000),
            fill_rate: BitsPerSecond(fill_rate),
        };
        ApplianceView::serving(OcaId::new(id).unwrap(), SiteId::new(site).unwrap(), capacity)
    }
    pub(crate) fn snapshot(sites: Vec<Site>, appliances: Vec<ApplianceView>) -> FleetSnapshot {
        FleetSnapshot {
            fallback: "http://origin/".into(),
            ..FleetSnapshot::of(sites, appliances)
        }
    }

    const DAY: Date = Date::constant(2026, 11, 23);

    #[test]
    fn the_clock_changes_what_a_night_can_bring() {
        let mut s = snapshot(vec![site("s1", "r")], vec![appliance("a", "s1", 9, 8)]);
        s.sites[0].window = FillWindow::new("02:00", "14:00", "Europe/Amsterdam").unwrap();
        let cap = |day: &str| Fleet::new(&s, day.parse().unwrap()).unwrap().sites[0].appliances[0].fill_cap;
        let hours = ["2026-03-28", "2026-03-29", "2026-10-25"].map(|day| cap(day) / 3600);
        assert_eq!(hours, [12, 11, 13]);
    }

    #[test]
    fn a_fleet_is_checked_and_sorted() {
        let mut s = snapshot(
            vec![site("s2", "r"), site("s1", "r"), site("empty", "r")],
            vec![
                appliance("b", "s1", 9, 8),
                appliance("a", "s1", 9, 8),
                appliance("c", "s2", 9, 8),
            ],
        );
        let fleet = Fleet::new(&s, DAY).unwrap();
        let ids: Vec<_> = fleet.sites[0].appliances.iter().map(|a| a.id.as_str()).collect();
        assert_eq!((fleet.sites.len(), ids), (2, vec!["a", "b"]));
        assert!((fleet.sites[0].share - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(fleet.sites[0].appliances[0].fill_cap, 86_400);
        assert_eq!(fleet.origin, "http://origin");
        s.appliances[0].state = ApplianceState::Lost;
        let fleet = Fleet::new(&s, DAY).unwrap();
        assert_eq!(fleet.left_out[0].0.as_str(), "b");
        assert_eq!(fleet.sites[0].appliances.len(), 1);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let refuse = |change: &dyn Fn(&mut FleetSnapshot)| {
            let mut s = snapshot(vec![site("s1", "r")], vec![appliance("a", "s1", 9, 8)]);
            change(&mut s);
            Fleet::new(&s, DAY).unwrap_err().to_string()
        };
        assert!(refuse(&|s| s.sites.push(site("s1", "r"))).contains("site s1 stands twice"));
        assert!(refuse(&|s| s.appliances.push(appliance("a", "s1", 9, 8))).contains("a stands twice"));
        assert!(refuse(&|s| s.sites.clear()).contains("in site s1, which is not"));
        assert!(refuse(&|s| s.appliances[0].holds = vec![3]).contains("object number 3"));
        assert!(refuse(&|s| s.appliances[0].base_url.clear()).contains("empty base_url"));
        assert!(refuse(&|s| s.fallback.clear()).contains("fallback"));
    }
}
