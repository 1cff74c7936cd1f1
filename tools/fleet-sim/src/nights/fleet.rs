//! A synthetic catalogue and fleet, and one fleet's contents over the nights.

use super::{Setup, viewers::Day};
use crate::dice::Dice;
use anyhow::Context;
use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, FleetSnapshot, Site, TitleView},
    plan::Plan,
};
use fill_core::{History, Inputs, Policy, Predictor, Rules};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};
use steering_core::{Index, Options, Tier, rank};

/// Appliances of a site.
const PER_SITE: usize = 2;
/// Mean bytes of a title: an hour and a half in a ladder of renditions.
const TITLE_BYTES: f64 = 8e9;
/// Share of a title's bytes that one session draws: one rendition of several, most of its length.
const SESSION_PART: f64 = 0.3;
/// Egress of an appliance: never the limit here.
const EGRESS: BitsPerSecond = BitsPerSecond(200_000_000_000);

/// What does not change: titles, sites, hardware.
#[derive(Debug, Clone)]
pub struct World {
    catalogue: Catalogue,
    regions: Vec<RegionId>,
    snapshot: FleetSnapshot,
    seed: u64,
}

impl World {
    /// Makes titles and hardware of a set-up.
    pub fn new(setup: &Setup) -> anyhow::Result<Self> {
        let catalogue = catalogue(setup)?;
        let regions: Vec<RegionId> = (0..setup.regions)
            .map(|r| RegionId::new(format!("region-{r}")))
            .collect::<Result<_, _>>()?;
        let bytes: u64 = catalogue.objects.iter().map(|o| o.size.0).sum();
        let storage = (bytes as f64 * setup.storage / PER_SITE as f64) as u64;
        // The window is open all day, so that the rate alone is the cap.
        let rate = storage as f64 * setup.fill * 8.0 / FillWindow::always().seconds() as f64;
        let capacity = Capacity {
            storage: Bytes(storage),
            egress: EGRESS,
            fill_rate: BitsPerSecond(rate as u64),
        };
        let sites = 0..setup.appliances.div_ceil(PER_SITE);
        let sites: anyhow::Result<_> = sites.map(|s| site(s, &regions)).collect();
        let appliances: anyhow::Result<_> = (0..setup.appliances).map(|a| appliance(a, capacity)).collect();
        let titles = catalogue.objects.iter().zip(0..).map(|(o, i)| title(o, i));
        let snapshot = FleetSnapshot {
            objects: catalogue.objects.iter().map(|o| o.digest).collect(),
            titles: titles.collect(),
            ..FleetSnapshot::of(sites?, appliances?)
        };
        Ok(Self {
            catalogue,
            regions,
            snapshot,
            seed: setup.seed,
        })
    }

    /// Number of sites.
    pub fn sites(&self) -> usize {
        self.snapshot.sites.len()
    }
    /// Regions.
    pub fn regions(&self) -> &[RegionId] {
        &self.regions
    }
    /// Index of a site's region.
    pub fn region_of(&self, site: usize) -> usize {
        site % self.regions.len()
    }
    /// A site's share of its region's viewers: by appliances, which are equal.
    pub fn site_share(&self, site: usize) -> f64 {
        let count = |s: usize| self.appliances(s).count() as f64;
        let region = (0..self.sites()).filter(|s| self.region_of(*s) == self.region_of(site));
        count(site) / region.map(count).sum::<f64>()
    }
    /// Bytes for objects at a site.
    pub fn site_storage(&self, site: usize) -> u64 {
        self.appliances(site).map(|a| a.capacity.storage.0).sum()
    }
    /// Bytes for objects in the fleet.
    pub fn storage(&self) -> u64 {
        self.snapshot
            .appliances
            .iter()
            .map(|a| a.capacity.storage.0)
            .sum()
    }
    /// Bytes of a title.
    pub fn size(&self, title: usize) -> u64 {
        self.catalogue.objects[title].size.0
    }
    /// Bytes that one session of a title draws.
    pub fn session_bytes(&self, title: usize) -> u64 {
        (self.size(title) as f64 * SESSION_PART) as u64
    }
    /// A title's only object.
    pub fn object(&self, title: usize) -> ObjectDigest {
        self.catalogue.objects[title].digest
    }

    fn appliances(&self, site: usize) -> impl Iterator<Item = &ApplianceView> {
        let id = self.snapshot.sites[site].id.clone();
        self.snapshot.appliances.iter().filter(move |a| a.site == id)
    }
}

fn catalogue(setup: &Setup) -> anyhow::Result<Catalogue> {
    let mut dice = Dice::new(setup.seed, "sizes");
    let object = |t: usize| {
        // Between a short episode and a long film.
        let size = (TITLE_BYTES * (0.5 * dice.normal()).exp()).clamp(TITLE_BYTES / 8.0, TITLE_BYTES * 4.0);
        let path = format!("/t/title-{t:05}/v1/video.mp4");
        Ok(CatalogueObject {
            digest: ObjectDigest::of(path.as_bytes()),
            size: Bytes(size as u64),
            title: TitleId::new(format!("title-{t:05}"))?,
            path,
            media_type: "video/mp4".into(),
            rendition: Some("v1080".into()),
        })
    };
    let objects: anyhow::Result<Vec<_>> = (0..setup.titles).map(object).collect();
    Ok(Catalogue { objects: objects? })
}

fn site_id(site: usize) -> Result<SiteId, cdn_types::id::IdError> {
    SiteId::new(format!("site-{site:04}"))
}

/// An address in a site's network: 10.x.y.0/24.
fn client(site: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | (site as u32) << 8 | 1))
}

fn site(s: usize, regions: &[RegionId]) -> anyhow::Result<Site> {
    Ok(Site {
        prefixes: vec![format!("{}/24", Ipv4Addr::from(0x0a00_0000 | (s as u32) << 8)).parse()?],
        ..Site::new(site_id(s)?, regions[s % regions.len()].clone())
    })
}

fn appliance(a: usize, capacity: Capacity) -> anyhow::Result<ApplianceView> {
    let id = OcaId::new(format!("oca-{a:04}"))?;
    Ok(ApplianceView::serving(id, site_id(a / PER_SITE)?, capacity))
}

fn title(object: &CatalogueObject, index: u32) -> TitleView {
    TitleView {
        id: object.title.clone(),
        name: object.title.to_string(),
        prefix: format!("/t/{}/v1", object.title),
        objects: vec![index],
        hls_path: "index.m3u8".into(),
        hls: String::new(),
        dash_path: "manifest.mpd".into(),
        dash: String::new(),
        demand: Bytes(0),
    }
}

/// One fleet's contents.
#[derive(Debug, Clone)]
pub struct Fleet {
    snapshot: FleetSnapshot,
    previous: Option<Plan>,
}

impl Fleet {
    /// Nothing is held yet.
    pub fn empty(world: &World) -> Self {
        Self {
            snapshot: world.snapshot.clone(),
            previous: None,
        }
    }

    /// Plans and executes a night; bytes filled. `delivered`: the boxes come with the plan's contents on them, so
    /// that no cap holds and nothing counts as filled.
    pub fn fill(
        &mut self,
        world: &World,
        number: u64,
        history: &History,
        predictor: &dyn Predictor,
        delivered: bool,
    ) -> anyhow::Result<u64> {
        let mut snapshot = self.snapshot.clone();
        if delivered {
            for a in &mut snapshot.appliances {
                a.capacity.fill_rate = BitsPerSecond(u64::MAX);
            }
        }
        let planned = fill_core::plan(
            &Inputs {
                number: PlanNumber(number),
                seed: world.seed,
                history,
                catalogue: &world.catalogue,
                fleet: &snapshot,
                previous: self.previous.as_ref(),
                rules: Rules::default(),
                policy: &Policy::default(),
            },
            predictor,
        )?;
        let filled = self.execute(&planned.plan)?;
        self.previous = Some(planned.plan);
        Ok(if delivered { 0 } else { filled })
    }

    fn execute(&mut self, plan: &Plan) -> anyhow::Result<u64> {
        let index: BTreeMap<_, u32> = self.snapshot.objects.iter().copied().zip(0..).collect();
        let mut filled = 0;
        for appliance in &mut self.snapshot.appliances {
            let part = plan.part(&appliance.id).context("an appliance has no part")?;
            let held: BTreeSet<u32> = part.items.iter().map(|i| index[&i.digest]).collect();
            filled += part
                .items
                .iter()
                .filter(|i| !i.kept)
                .map(|i| i.size.0)
                .sum::<u64>();
            appliance.held = held.len() as u64;
            appliance.holds = held.into_iter().collect();
        }
        self.snapshot.generation += 1;
        Ok(filled)
    }

    /// Serves a day: bytes of sessions whose first ranked appliance is in the viewer's own site.
    pub fn serve(&self, world: &World, day: &Day) -> anyhow::Result<u64> {
        let index = Index::build(&self.snapshot)?;
        let mut local: BTreeMap<(usize, usize), bool> = BTreeMap::new();
        let mut hit = 0;
        for session in &day.sessions {
            let key = (session.site, session.title);
            let is_local = match local.get(&key) {
                Some(known) => *known,
                None => {
                    let asset = &world.catalogue.objects[session.title].title;
                    let ranking = rank(&index, client(session.site), asset, &Options::default())?;
                    let first = ranking.entries.first();
                    let is_local = first.is_some_and(|e| e.tier == Tier::OwnSite);
                    *local.entry(key).or_insert(is_local)
                }
            };
            if is_local {
                hit += world.session_bytes(session.title);
            }
        }
        Ok(hit)
    }
}
