//! A fleet snapshot with its ids resolved: sites, appliances, titles, and who holds what.
//!
//! Built whole and swapped whole. What the control plane vouches for (ids, indices, public prefixes) must hold, or
//! the snapshot is refused and the service goes on with its last one; what an appliance says about itself (its
//! address) can only cost that appliance its viewers, never the fleet its steering.

use crate::{
    bits::{self, Bits},
    ids::Ids,
    presence::Presence,
    rendezvous::Seed,
    routes::Covered,
    spread::Spread,
};
use cdn_types::{
    OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceState, ApplianceView, FleetSnapshot},
    time::Timestamp,
};
use std::collections::HashMap;

/// Pathway-ID and service location of the fallback; an appliance cannot have this id.
pub const FALLBACK_ID: &str = "origin";

/// Titles that are told apart in metrics.
pub const TOP_TITLES: usize = 20;

/// Position of an appliance in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApplianceIx(pub u32);
/// Position of a site in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteIx(pub u32);
/// Position of a title in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TitleIx(pub u32);

/// Why a snapshot is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Two entries with one id.
    #[error("the snapshot lists {kind} `{id}` twice")]
    Duplicate {
        /// `site`, `appliance` or `title`.
        kind: &'static str,
        /// The id.
        id: String,
    },
    /// An appliance of no site.
    #[error("appliance `{appliance}` belongs to site `{site}`, which the snapshot does not list")]
    UnknownSite {
        /// The appliance.
        appliance: OcaId,
        /// Its site.
        site: SiteId,
    },
    /// An index past the end of the object dictionary.
    #[error("{owner} points to object {index}, but the snapshot's dictionary has {objects}")]
    ObjectIndex {
        /// Who points.
        owner: String,
        /// Where to.
        index: u32,
        /// Length of the dictionary.
        objects: usize,
    },
    /// A title whose public paths cannot be put into a URL unescaped.
    #[error("title `{title}`: `{path}` is not a public path of plain parts")]
    TitlePath {
        /// The title.
        title: TitleId,
        /// The offending prefix or manifest path.
        path: String,
    },
    /// A fallback that is no address.
    #[error("`fallback` is `{url}`: {reason}; give http://host:port, or leave it empty")]
    Fallback {
        /// The text.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// One appliance, ready to be ranked.
#[derive(Debug, Clone)]
pub struct Appliance {
    /// Its id.
    pub id: OcaId,
    /// Its site.
    pub site: SiteIx,
    /// Where viewers reach it: scheme and authority, no trailing slash.
    pub base_url: String,
    /// Why `base_url` (or the id) cannot be given to a player, if so.
    pub unusable: Option<&'static str>,
    /// As the control plane sees it.
    pub state: ApplianceState,
    /// Egress in thousandths of its capacity; 0 when no capacity is told.
    pub load_permille: u32,
    /// Seconds from its last report to the snapshot, where that is told.
    pub report_age: Option<f64>,
    /// Capacity in Mbit/s: the rendezvous weight.
    pub weight: u64,
    /// Position among all appliances by id.
    pub(crate) order: u32,
    /// Position among those of its site, at most 255.
    pub(crate) sibling: u8,
    pub(crate) seed: Seed,
}

impl Appliance {
    /// Its id as a number, for tables.
    pub fn number(&self) -> u64 {
        self.seed.number()
    }
}

/// One site.
#[derive(Debug, Clone)]
pub struct Site {
    /// Its id.
    pub id: SiteId,
    /// Its region.
    pub region: RegionId,
    /// Its appliances, by id.
    pub appliances: Vec<ApplianceIx>,
    /// Position of its region among the fleet's.
    pub(crate) region_ix: u32,
}

/// One title.
#[derive(Debug, Clone)]
pub struct Title {
    /// Its id.
    pub id: TitleId,
    /// `/t/{title}/{version}`.
    pub prefix: String,
    /// Path of the packed multivariant playlist below the prefix.
    pub hls_path: String,
    /// Path of the packed MPD below the prefix.
    pub dash_path: String,
    /// Bytes that viewers drew of it in a day; 0 when that is not known.
    pub demand: u64,
    pub(crate) seed: Seed,
    objects: Vec<u32>,
}

/// The snapshot, resolved.
#[derive(Debug)]
pub struct FleetIndex {
    /// Generation of the snapshot.
    pub generation: u64,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// Scheme and authority of the origin, no trailing slash; absent when the snapshot names none.
    pub fallback: Option<String>,
    sites: Vec<Site>,
    appliances: Vec<Appliance>,
    titles: Vec<Title>,
    title_ids: Ids,
    /// The titles' seeds, side by side: all that a ranking asks of a title beside its holders.
    title_seeds: Vec<Seed>,
    appliance_ids: Ids,
    site_ids: Ids,
    /// Appliances of each region.
    regions: Vec<Bits>,
    presence: Presence,
    spread: Spread,
    networks: Vec<Covered>,
    top: Vec<TitleIx>,
}

impl FleetIndex {
    /// Resolves a snapshot, or says what is wrong with it.
    pub fn build(snapshot: &FleetSnapshot) -> Result<Self, IndexError> {
        let (mut sites, site_ids) = sites(snapshot)?;
        let (mut appliances, appliance_ids) = appliances(snapshot, &site_ids)?;
        let mut by_id: Vec<_> = (0..appliances.len() as u32).map(ApplianceIx).collect();
        by_id.sort_by(|a, b| appliances[a.0 as usize].id.cmp(&appliances[b.0 as usize].id));
        for (order, ix) in by_id.into_iter().enumerate() {
            let appliance = &mut appliances[ix.0 as usize];
            appliance.order = order as u32;
            let siblings = &mut sites[appliance.site.0 as usize].appliances;
            appliance.sibling = siblings.len().min(255) as u8;
            siblings.push(ix);
        }
        let (titles, title_ids) = titles(snapshot)?;
        let holds: Vec<&[u32]> = snapshot.appliances.iter().map(|a| a.holds.as_slice()).collect();
        let needed = titles.iter().map(|t| t.objects.as_slice());
        let presence = Presence::new(snapshot.objects.len(), &holds, needed);
        let spread = Spread::new(&sites, &appliances, &titles, &presence);
        Ok(Self {
            generation: snapshot.generation,
            taken_at: snapshot.taken_at,
            fallback: fallback(&snapshot.fallback)?,
            regions: regions(&sites, appliances.len()),
            networks: networks(snapshot),
            top: top(&titles),
            sites,
            appliances,
            title_seeds: titles.iter().map(|t| t.seed).collect(),
            titles,
            title_ids,
            appliance_ids,
            site_ids,
            presence,
            spread,
        })
    }

    /// A title by its id.
    pub fn title_ix(&self, id: &str) -> Option<TitleIx> {
        self.title_ids.position(id).map(TitleIx)
    }
    /// An appliance by its id.
    pub fn appliance_ix(&self, id: &OcaId) -> Option<ApplianceIx> {
        self.appliance_ids.position(id.as_str()).map(ApplianceIx)
    }
    /// A site by its id.
    pub fn site_ix(&self, id: &SiteId) -> Option<SiteIx> {
        self.site_ids.position(id.as_str()).map(SiteIx)
    }
    /// A title.
    pub fn title(&self, ix: TitleIx) -> &Title {
        &self.titles[ix.0 as usize]
    }
    /// An appliance.
    pub fn appliance(&self, ix: ApplianceIx) -> &Appliance {
        &self.appliances[ix.0 as usize]
    }
    /// A site.
    pub fn site(&self, ix: SiteIx) -> &Site {
        &self.sites[ix.0 as usize]
    }
    /// All sites, in the snapshot's order.
    pub fn sites(&self) -> impl Iterator<Item = (SiteIx, &Site)> {
        self.sites.iter().enumerate().map(|(i, s)| (SiteIx(i as u32), s))
    }
    /// All appliances, in the snapshot's order.
    pub fn appliances(&self) -> impl Iterator<Item = (ApplianceIx, &Appliance)> {
        let all = self.appliances.iter().enumerate();
        all.map(|(i, a)| (ApplianceIx(i as u32), a))
    }
    /// Number of appliances.
    pub fn appliance_count(&self) -> usize {
        self.appliances.len()
    }
    /// Number of titles.
    pub fn title_count(&self) -> usize {
        self.titles.len()
    }
    /// The networks that sites simply have.
    pub fn networks(&self) -> &[Covered] {
        &self.networks
    }
    /// The titles with the largest demand, [`TOP_TITLES`] at most, by position.
    pub fn top(&self) -> &[TitleIx] {
        &self.top
    }
    /// Whether an appliance holds every object of a title. A title without objects is held by nobody: there is
    /// nothing to send.
    pub fn holds(&self, appliance: ApplianceIx, title: TitleIx) -> bool {
        bits::has(self.presence.of_title(title.0), appliance.0)
    }
    /// Objects of a title that an appliance lacks.
    pub fn missing(&self, appliance: ApplianceIx, title: TitleIx) -> usize {
        let lacks = |o: &&u32| !bits::has(self.presence.of_object(**o), appliance.0);
        self.title(title).objects.iter().filter(lacks).count()
    }
    /// The appliances that hold a title, as words of bits.
    pub(crate) fn holders(&self, title: TitleIx) -> &[u64] {
        self.presence.of_title(title.0)
    }
    /// The appliances of a site's region, as words of bits.
    pub(crate) fn region(&self, site: SiteIx) -> &[u64] {
        &self.regions[self.site(site).region_ix as usize].0
    }
    pub(crate) fn title_seed(&self, title: TitleIx) -> Seed {
        self.title_seeds[title.0 as usize]
    }
    /// How hot titles are spread over siblings.
    pub(crate) fn spread(&self) -> &Spread {
        &self.spread
    }
}

fn top(titles: &[Title]) -> Vec<TitleIx> {
    let mut top: Vec<_> = (0..titles.len() as u32).map(TitleIx).collect();
    let demand = |ix: &TitleIx| std::cmp::Reverse(titles[ix.0 as usize].demand);
    if top.len() > TOP_TITLES {
        top.select_nth_unstable_by_key(TOP_TITLES, |ix| (demand(ix), *ix));
        top.truncate(TOP_TITLES);
    }
    top.sort_unstable();
    top
}

fn networks(snapshot: &FleetSnapshot) -> Vec<Covered> {
    let of = |site: &cdn_types::api::v1::Site| {
        let site_id = site.id.clone();
        let covered = move |prefix: &ipnet::IpNet| Covered {
            prefix: *prefix,
            site: site_id.clone(),
        };
        site.prefixes.iter().map(covered).collect::<Vec<_>>()
    };
    snapshot.sites.iter().flat_map(of).collect()
}

fn regions(sites: &[Site], appliances: usize) -> Vec<Bits> {
    let count = sites.iter().map(|s| s.region_ix + 1).max().unwrap_or(0);
    let mut regions = vec![Bits::new(appliances); count as usize];
    for site in sites {
        for ix in &site.appliances {
            regions[site.region_ix as usize].add(ix.0);
        }
    }
    regions
}

fn duplicate(kind: &'static str, id: &impl ToString) -> IndexError {
    IndexError::Duplicate {
        kind,
        id: id.to_string(),
    }
}

fn sites(snapshot: &FleetSnapshot) -> Result<(Vec<Site>, Ids), IndexError> {
    let mut ids = Ids::default();
    let mut sites = Vec::with_capacity(snapshot.sites.len());
    let mut regions: HashMap<&RegionId, u32> = HashMap::new();
    for site in &snapshot.sites {
        if !ids.add(site.id.as_str()) {
            return Err(duplicate("site", &site.id));
        }
        sites.push(Site {
            id: site.id.clone(),
            region: site.region.clone(),
            appliances: Vec::new(),
            region_ix: {
                let next = regions.len() as u32;
                *regions.entry(&site.region).or_insert(next)
            },
        });
    }
    Ok((sites, ids))
}

fn appliances(snapshot: &FleetSnapshot, sites: &Ids) -> Result<(Vec<Appliance>, Ids), IndexError> {
    let mut ids = Ids::default();
    let mut appliances = Vec::with_capacity(snapshot.appliances.len());
    for view in &snapshot.appliances {
        if !ids.add(view.id.as_str()) {
            return Err(duplicate("appliance", &view.id));
        }
        let site = sites.position(view.site.as_str()).map(SiteIx);
        let site = site.ok_or_else(|| IndexError::UnknownSite {
            appliance: view.id.clone(),
            site: view.site.clone(),
        })?;
        appliances.push(appliance(view, site, snapshot)?);
    }
    Ok((appliances, ids))
}

fn appliance(view: &ApplianceView, site: SiteIx, snapshot: &FleetSnapshot) -> Result<Appliance, IndexError> {
    let (objects, taken_at) = (snapshot.objects.len(), snapshot.taken_at);
    if let Some(&index) = view.holds.iter().find(|o| **o as usize >= objects) {
        let owner = format!("appliance `{}`", view.id);
        return Err(IndexError::ObjectIndex {
            owner,
            index,
            objects,
        });
    }
    let base_url = view.base_url.trim_end_matches('/').to_owned();
    let unusable = if view.id.as_str() == FALLBACK_ID {
        Some("its id is reserved for the fallback")
    } else {
        check_base(&base_url).err()
    };
    let capacity = u128::from(view.capacity.egress.0);
    let load = u128::from(view.load.egress.0) * 1000;
    Ok(Appliance {
        id: view.id.clone(),
        site,
        base_url,
        unusable,
        state: view.state,
        load_permille: load
            .checked_div(capacity)
            .map_or(0, |p| p.min(u128::from(u32::MAX)) as u32),
        report_age: view
            .last_report
            .map(|at| (taken_at.as_millisecond() - at.as_millisecond()) as f64 / 1000.0),
        weight: (view.capacity.egress.0 / 1_000_000).max(1),
        order: 0,   // once all are known
        sibling: 0, // the same
        seed: Seed::of("appliance", view.id.as_str()),
    })
}

fn titles(snapshot: &FleetSnapshot) -> Result<(Vec<Title>, Ids), IndexError> {
    let mut ids = Ids::default();
    let mut titles = Vec::with_capacity(snapshot.titles.len());
    for view in &snapshot.titles {
        if !ids.add(view.id.as_str()) {
            return Err(duplicate("title", &view.id));
        }
        let objects = snapshot.objects.len();
        if let Some(&index) = view.objects.iter().find(|o| **o as usize >= objects) {
            let owner = format!("title `{}`", view.id);
            return Err(IndexError::ObjectIndex {
                owner,
                index,
                objects,
            });
        }
        let plain = cdn_types::title::is_plain_path;
        let wrong = [
            (&view.prefix, view.prefix.strip_prefix('/').is_some_and(plain)),
            (&view.hls_path, plain(&view.hls_path)),
            (&view.dash_path, plain(&view.dash_path)),
        ];
        if let Some((path, _)) = wrong.iter().find(|(_, ok)| !ok) {
            return Err(IndexError::TitlePath {
                title: view.id.clone(),
                path: path.chars().take(80).collect(),
            });
        }
        titles.push(Title {
            id: view.id.clone(),
            prefix: view.prefix.clone(),
            hls_path: view.hls_path.clone(),
            dash_path: view.dash_path.clone(),
            demand: view.demand.0,
            seed: Seed::of("title", view.id.as_str()),
            objects: view.objects.clone(),
        });
    }
    Ok((titles, ids))
}

fn fallback(url: &str) -> Result<Option<String>, IndexError> {
    let base = url.trim_end_matches('/');
    if base.is_empty() {
        return Ok(None);
    }
    match check_base(base) {
        Ok(()) => Ok(Some(base.to_owned())),
        Err(reason) => Err(IndexError::Fallback {
            url: url.chars().take(80).collect(),
            reason,
        }),
    }
}

/// Whether a text is `http(s)://host[:port][/plain/path]` and can stand in a playlist, an XML text and a header as
/// it is.
fn check_base(base: &str) -> Result<(), &'static str> {
    let rest = base
        .strip_prefix("https://")
        .or_else(|| base.strip_prefix("http://"))
        .ok_or("its address does not begin with http:// or https://")?;
    let plain = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'/' | b'~')
    };
    match rest.split('/').next() {
        None | Some("") => Err("its address names no host"),
        Some(_) if !rest.bytes().all(plain) => {
            Err("its address has characters other than A-Z a-z 0-9 . - _ ~ : [ ] /")
        }
        Some(_) => Ok(()),
    }
}
