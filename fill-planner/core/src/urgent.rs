//! A plan out of turn, for a title whose demand nobody foresaw: the active plan, and one title more. Everything else stays as it was but
//! for what must go to make room, which is what is worth least per byte, and never anything that is worth more than the title itself. Storage,
//! one window's fill and the window hold as they do every night.

use crate::{
    fleet::{Appliance, Fleet, FleetError, SiteFleet},
    place::Refusal,
    rendezvous,
    report::{
        Action, ApplianceReport, HistoryReport, LeftOut, PlanReport, REPORT_FORMAT, SiteReport, TitleReport,
    },
};
use cdn_types::{
    Bytes, ObjectDigest, OcaId, PlanNumber, RegionId, TitleId,
    api::v1::{Catalogue, CatalogueObject, FleetSnapshot},
    plan::{AppliancePlan, FillSource, Plan, PlanDrop, PlanItem, SourceKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// What is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The title.
    pub title: TitleId,
    /// In these regions; everywhere if empty.
    pub regions: BTreeSet<RegionId>,
    /// Bytes a day that each region's viewers are expected to draw; absent = as much as of the title that they are
    /// expected to draw most of.
    pub expected: Option<Bytes>,
    /// Number of the new plan.
    pub number: PlanNumber,
}

/// Why there is no such plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrgentError {
    /// The catalogue does not have it.
    #[error("the catalogue has no title {0}; publish it first")]
    UnknownTitle(TitleId),
    /// The fleet has no site there.
    #[error("no site is in region {region}; the regions are {}", .known.join(", "))]
    UnknownRegion {
        /// As asked for.
        region: RegionId,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The number is not above the active plan's.
    #[error("number {number} is not above the active plan's number {active}")]
    Number {
        /// Asked for.
        number: PlanNumber,
        /// The active plan's.
        active: PlanNumber,
    },
    /// The fleet contradicts itself.
    #[error("fleet: {0}")]
    Fleet(#[from] FleetError),
    /// Every site has it, or no site can take it.
    #[error("nothing to do: {0}")]
    Nothing(String),
}

/// A plan and what changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Urgent {
    /// The plan, whole.
    pub plan: Plan,
    /// What it changes, and why.
    pub report: PlanReport,
}

/// The active plan and one title more.
///
/// # Errors
/// When title, region or number are wrong, or there is nothing to do.
pub fn urgent(
    active: &Plan,
    fleet: &FleetSnapshot,
    catalogue: &Catalogue,
    wanted: &Wanted,
) -> Result<Urgent, UrgentError> {
    if wanted.number <= active.number {
        return Err(UrgentError::Number {
            number: wanted.number,
            active: active.number,
        });
    }
    let objects: Vec<_> = catalogue
        .objects
        .iter()
        .filter(|o| o.title == wanted.title)
        .collect();
    if objects.is_empty() {
        return Err(UrgentError::UnknownTitle(wanted.title.clone()));
    }
    let fleet = Fleet::new(fleet, active.date)?;
    let known: BTreeSet<_> = fleet.sites.iter().map(|s| s.region.clone()).collect();
    if let Some(region) = wanted.regions.difference(&known).next() {
        return Err(UrgentError::UnknownRegion {
            region: region.clone(),
            known: known.iter().map(ToString::to_string).collect(),
        });
    }
    let mut change = Change {
        active,
        fleet: &fleet,
        objects,
        wanted,
        parts: active.appliances.clone(),
        reports: Vec::new(),
    };
    change.all();
    change.finish()
}

struct Change<'a> {
    active: &'a Plan,
    fleet: &'a Fleet,
    objects: Vec<&'a CatalogueObject>,
    wanted: &'a Wanted,
    parts: Vec<AppliancePlan>,
    reports: Vec<SiteReport>,
}

/// A title on an appliance, as the active plan has it.
#[derive(Default)]
struct Group {
    size: u64,
    expected: u64,
}

impl Change<'_> {
    fn all(&mut self) {
        let fleet = self.fleet;
        for site in &fleet.sites {
            if self.wanted.regions.is_empty() || self.wanted.regions.contains(&site.region) {
                let report = self.site(site);
                self.reports.extend(report);
            }
        }
    }

    fn size(&self) -> u64 {
        self.objects.iter().map(|o| o.size.0).sum()
    }

    /// Bytes a day that a site's viewers are expected to draw of the title.
    fn expected(&self, site: &SiteFleet) -> u64 {
        if let Some(bytes) = self.wanted.expected {
            return (bytes.0 as f64 * site.share) as u64;
        }
        let mut titles: BTreeMap<&TitleId, u64> = BTreeMap::new();
        for part in self.active.appliances.iter().filter(|p| p.site == site.id) {
            for item in &part.items {
                *titles.entry(&item.title).or_default() += item.expected.0;
            }
        }
        titles.into_values().max().unwrap_or(0)
    }

    fn part(&self, id: &OcaId) -> Option<usize> {
        self.parts.iter().position(|p| p.appliance == *id)
    }

    /// Gives the title to one appliance of a site; absent = the site has it by the active plan already.
    fn site(&mut self, site: &SiteFleet) -> Option<SiteReport> {
        let has_all = |part: &AppliancePlan| {
            let held: BTreeSet<_> = part.items.iter().map(|i| i.digest).collect();
            self.objects.iter().all(|o| held.contains(&o.digest))
        };
        if self.parts.iter().any(|p| p.site == site.id && has_all(p)) {
            return None;
        }
        let expected = self.expected(site);
        let mut refusal = Refusal::LargerThanStorage;
        for appliance in by_hash(self.active.seed, &self.wanted.title, &site.appliances) {
            let Some(index) = self.part(&appliance.id) else {
                continue;
            };
            match self.give(index, appliance, expected) {
                Ok(report) => return Some(site_report(site, expected, vec![report], vec![])),
                Err(why) => refusal = why,
            }
        }
        let left_out = LeftOut {
            title: self.wanted.title.clone(),
            file: None,
            size: Bytes(self.size()),
            expected: Bytes(expected),
            reason: refusal,
        };
        Some(site_report(site, 0, vec![], vec![left_out]))
    }

    /// Puts the title first in an appliance's part, and takes out what must go.
    fn give(
        &mut self,
        index: usize,
        appliance: &Appliance,
        expected: u64,
    ) -> Result<ApplianceReport, Refusal> {
        let (size, part) = (self.size(), &self.parts[index]);
        if size > appliance.storage {
            return Err(Refusal::LargerThanStorage);
        }
        let missing = |o: &&&CatalogueObject| !self.fleet.holds(appliance, &o.digest);
        let fill: u64 = self.objects.iter().filter(missing).map(|o| o.size.0).sum();
        if fill > appliance.fill_cap {
            return Err(Refusal::LargerThanFill);
        }
        let own: BTreeSet<_> = self.objects.iter().map(|o| o.digest).collect();
        let others = part.items.iter().filter(|i| !own.contains(&i.digest));
        let mut groups: BTreeMap<&TitleId, Group> = BTreeMap::new();
        for item in others {
            let group = groups.entry(&item.title).or_default();
            group.size += item.size.0;
            group.expected += item.expected.0;
        }
        let mut used: u64 = groups.values().map(|g| g.size).sum();
        // The least worth per byte goes first, and only if the title is worth more.
        let density = |g: &Group| g.expected as f64 / g.size.max(1) as f64;
        let worth = expected as f64 / size.max(1) as f64;
        let mut cheapest: Vec<_> = groups.iter().filter(|(_, g)| density(g) < worth).collect();
        cheapest.sort_by(|a, b| density(a.1).total_cmp(&density(b.1)).then(a.0.cmp(b.0)));
        let mut gone: BTreeSet<TitleId> = BTreeSet::new();
        for (title, group) in cheapest {
            if used + size <= appliance.storage {
                break;
            }
            used -= group.size;
            gone.insert((*title).clone());
        }
        if used + size > appliance.storage {
            return Err(Refusal::NoRoom);
        }
        let mut titles = vec![self.added(fill, expected)];
        let dropped: u64 = gone.iter().map(|t| groups[t].size).sum();
        titles.extend(gone.iter().map(|title| self.dropped(title, &groups[title])));
        self.rewrite(index, appliance, &gone, expected);
        Ok(ApplianceReport {
            appliance: appliance.id.clone(),
            storage: Bytes(appliance.storage),
            fill_cap: Bytes(appliance.fill_cap),
            kept: Bytes(used),
            added: Bytes(fill),
            dropped: Bytes(dropped),
            expected: Bytes(expected),
            hit_share: None,
            titles,
        })
    }

    fn rewrite(&mut self, index: usize, appliance: &Appliance, gone: &BTreeSet<TitleId>, expected: u64) {
        let (size, sources) = (self.size(), self.sources(index));
        let part = &mut self.parts[index];
        // The origin stays the last of the sources: what was behind the new ones moves on.
        let origin = part.sources.len().saturating_sub(1);
        let shift = sources.len();
        for item in &mut part.items {
            for from in &mut item.from {
                if usize::from(*from) >= origin {
                    *from += shift as u16;
                }
            }
        }
        let from: Vec<u16> = (origin..origin + shift + 1).map(|i| i as u16).collect();
        part.sources.splice(origin..origin, sources);
        let new: BTreeSet<_> = self.objects.iter().map(|o| o.digest).collect();
        let (leaving, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut part.items)
            .into_iter()
            .filter(|i| !new.contains(&i.digest))
            .partition(|i| gone.contains(&i.title));
        let still: BTreeSet<_> = staying.iter().map(|i| i.digest).collect();
        let drops = leaving
            .into_iter()
            .filter(|i| self.fleet.holds(appliance, &i.digest) && !still.contains(&i.digest));
        part.drops.extend(drops.map(|i| PlanDrop {
            digest: i.digest,
            size: i.size,
        }));
        let items = self.objects.iter().map(|o| PlanItem {
            digest: o.digest,
            size: o.size,
            title: o.title.clone(),
            path: o.path.clone(),
            media_type: o.media_type.clone(),
            from: from.clone(),
            expected: Bytes((expected as f64 * o.size.0 as f64 / size.max(1) as f64) as u64),
            kept: self.fleet.holds(appliance, &o.digest),
        });
        part.items = items.chain(staying).collect();
        part.drops.retain(|d| !new.contains(&d.digest));
    }

    /// Appliances that hold the title already, those of the same site first; the origin is in every part.
    fn sources(&self, index: usize) -> Vec<FillSource> {
        let part = &self.parts[index];
        let holds = |a: &Appliance| self.objects.iter().all(|o| self.fleet.holds(a, &o.digest));
        let mut near = Vec::new();
        for site in &self.fleet.sites {
            let own = site.id == part.site;
            let kind = if own { SourceKind::Peer } else { SourceKind::Site };
            let others = site
                .appliances
                .iter()
                .filter(|a| a.source && a.id != part.appliance && holds(a));
            near.extend(others.map(|a| {
                let rank = (!own, site.region != part.region, a.id.clone());
                let source = FillSource {
                    kind,
                    appliance: Some(a.id.clone()),
                    base_url: a.base_url.clone(),
                };
                (rank, source)
            }));
        }
        near.sort_by(|a, b| a.0.cmp(&b.0));
        near.into_iter()
            .map(|(_, source)| source)
            .take(MOST_SOURCES)
            .collect()
    }

    fn added(&self, fill: u64, expected: u64) -> TitleReport {
        TitleReport {
            title: Some(self.wanted.title.clone()),
            file: None,
            action: Action::Added,
            size: Bytes(self.size()),
            fill: Bytes(fill),
            expected: Bytes(expected),
            copies: 1,
            basis: None,
            because: "urgent: asked for by an operator, before the next night".into(),
        }
    }

    fn dropped(&self, title: &TitleId, group: &Group) -> TitleReport {
        TitleReport {
            title: Some(title.clone()),
            file: None,
            action: Action::Dropped,
            size: Bytes(group.size),
            fill: Bytes(0),
            expected: Bytes(group.expected),
            copies: 0,
            basis: None,
            because: format!(
                "its room goes to {}, which is worth more per byte",
                self.wanted.title
            ),
        }
    }

    fn finish(self) -> Result<Urgent, UrgentError> {
        let Some(first) = self.reports.first() else {
            return Err(UrgentError::Nothing(format!(
                "every site has {} by plan {}",
                self.wanted.title, self.active.number
            )));
        };
        if self.reports.iter().all(|r| r.appliances.is_empty()) {
            let why = first
                .left_out
                .first()
                .map_or("no site can take it", |l| l.reason.because());
            return Err(UrgentError::Nothing(format!(
                "no site can take {}: {why}",
                self.wanted.title
            )));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.active.inputs.as_bytes());
        hasher.update(self.wanted.title.as_str().as_bytes());
        for part in &self.parts {
            part.items
                .iter()
                .for_each(|i| _ = hasher.update(i.digest.as_bytes()));
        }
        let plan = Plan {
            number: self.wanted.number,
            inputs: ObjectDigest::from_bytes(*hasher.finalize().as_bytes()),
            appliances: self.parts,
            ..self.active.clone()
        };
        let report = PlanReport {
            format: REPORT_FORMAT,
            number: plan.number,
            date: plan.date,
            seed: plan.seed,
            inputs: plan.inputs,
            method: format!(
                "plan {} and title {}, urgently",
                self.active.number, self.wanted.title
            ),
            history: HistoryReport {
                days: 0,
                newest: None,
                oldest: None,
                bytes: Bytes(0),
            },
            promise: None,
            warnings: Vec::new(),
            optimum: Default::default(),
            links: Vec::new(),
            sites: self.reports,
        };
        Ok(Urgent { plan, report })
    }
}

/// Most appliances that an item names as sources.
const MOST_SOURCES: usize = 4;

/// A site's appliances in the order in which they get the title.
fn by_hash<'a>(seed: u64, title: &TitleId, appliances: &'a [Appliance]) -> Vec<&'a Appliance> {
    let title = rendezvous::key(seed, "title", title.as_str());
    let score = |a: &Appliance| {
        let key = rendezvous::key(seed, "appliance", a.id.as_str());
        rendezvous::score(title, key, a.storage as f64)
    };
    let mut order: Vec<_> = appliances.iter().collect();
    order.sort_by(|a, b| score(b).total_cmp(&score(a)));
    order
}

fn site_report(
    site: &SiteFleet,
    expected: u64,
    appliances: Vec<ApplianceReport>,
    left_out: Vec<LeftOut>,
) -> SiteReport {
    SiteReport {
        site: site.id.clone(),
        region: site.region.clone(),
        expected: Bytes(expected),
        hit_share: None,
        survives: None,
        from_origin: appliances.iter().map(|a| a.added).sum(),
        from_sites: Bytes(0),
        appliances,
        left_out_titles: left_out.len() as u64,
        left_out_expected: left_out.iter().map(|l| l.expected).sum(),
        left_out,
    }
}
