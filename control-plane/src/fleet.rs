//! The fleet in memory: what the database holds of sites, appliances, inventories and current titles, in the shape
//! that steering asks for.
//!
//! Plain data and plain functions: time comes as an argument, nothing here waits or fails. Every change goes through a
//! method, which decides whether steering must hear of it; if so the generation grows and long polls wake.
//!
//! What steering hears of at once: sites, titles, an appliance's state, conditions, address, capacity, plan and fill
//! state, and what it holds. Its load moves with every report and would wake every poll every few seconds for
//! nothing, so it counts only when it has moved by [`LOAD_STEP`] of the capacity since the last time it was told; the
//! fill's byte counters never count. A snapshot thus shows loads that are right within one step.

mod appliance;
mod dictionary;
mod inventory;
mod known;
mod snapshot;

pub use appliance::Appliance;
pub use inventory::InventoryChange;
pub use known::Known;

use crate::store::{ApplianceRow, KnownObject, TitleRow};
use cdn_types::{
    Bytes, ObjectDigest, OcaId, SiteId, TitleId,
    api::v1::{ApplianceView, Site, TitleSummary},
};
use dictionary::Dictionary;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Share of an appliance's capacity that its load must move by before steering hears of it: 1/20 is finer than any
/// headroom rule needs.
pub const LOAD_STEP: u64 = 20;

/// A title as memory keeps it.
#[derive(Debug, Clone)]
struct Title {
    row: TitleRow,
    /// Indices of its objects, rising.
    objects: BTreeSet<u32>,
    size: Bytes,
}

/// The whole fleet.
#[derive(Debug)]
pub struct Fleet {
    generation: u64,
    sites: BTreeMap<SiteId, Site>,
    appliances: BTreeMap<OcaId, Appliance>,
    titles: BTreeMap<TitleId, Title>,
    dictionary: Dictionary,
    known: Known,
    /// What viewers drew of each title in the last day.
    demand: BTreeMap<TitleId, Bytes>,
}

impl Fleet {
    /// An empty fleet whose first generation is `generation`. Every start must give a larger one than the last
    /// start ended with, so that generations grow over restarts.
    pub fn new(generation: u64) -> Self {
        Self {
            generation,
            sites: BTreeMap::new(),
            appliances: BTreeMap::new(),
            titles: BTreeMap::new(),
            dictionary: Dictionary::default(),
            known: Known::default(),
            demand: BTreeMap::new(),
        }
    }

    /// Grows with every change that steering must hear of.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All sites, sorted by id.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.sites.values()
    }

    /// One site.
    pub fn site(&self, id: &SiteId) -> Option<&Site> {
        self.sites.get(id)
    }

    /// Adds or replaces a site.
    pub fn put_site(&mut self, site: Site) {
        if self.sites.get(&site.id) != Some(&site) {
            self.sites.insert(site.id.clone(), site);
            self.generation += 1;
        }
    }

    /// All appliances, sorted by id.
    pub fn appliances(&self) -> impl Iterator<Item = &Appliance> {
        self.appliances.values()
    }

    /// One appliance.
    pub fn appliance(&self, id: &OcaId) -> Option<&Appliance> {
        self.appliances.get(id)
    }

    /// One appliance as operators see it.
    pub fn view(&self, id: &OcaId) -> Option<ApplianceView> {
        self.appliances.get(id).map(Appliance::view)
    }

    /// Puts an appliance in as it stands in the database, seen at `uptime`. `held` is its whole inventory.
    pub fn restore(&mut self, row: ApplianceRow, held: &[ObjectDigest], uptime: Duration) {
        let held = held.iter().map(|d| self.dictionary.intern(d)).collect();
        self.appliances
            .insert(row.id.clone(), Appliance::new(row, held, uptime));
        self.generation += 1;
    }

    /// Takes in what a report changed.
    pub fn report(&mut self, row: ApplianceRow, change: &InventoryChange, uptime: Duration) {
        let Some(appliance) = self.appliances.get_mut(&row.id) else {
            return;
        };
        for digest in &change.removed {
            if let Some(index) = self.dictionary.index(digest) {
                appliance.held.remove(&index);
            }
        }
        for digest in &change.added {
            appliance.held.insert(self.dictionary.intern(digest));
        }
        let moved = !change.added.is_empty() || !change.removed.is_empty();
        appliance.seen = uptime;
        if appliance.update(row) || moved {
            self.generation += 1;
        }
        if self.dictionary.wants_compaction() {
            self.compact();
        }
    }

    /// Sets what the operator wants.
    pub fn set_drain(&mut self, id: &OcaId, drain: bool) {
        self.change(id, |row| row.drain = drain);
    }

    /// Notes that an appliance has missed its reports.
    pub fn set_lost(&mut self, id: &OcaId) {
        self.change(id, |row| row.lost = true);
    }

    fn change(&mut self, id: &OcaId, edit: impl FnOnce(&mut ApplianceRow)) {
        if let Some(appliance) = self.appliances.get_mut(id) {
            let mut row = appliance.row.clone();
            edit(&mut row);
            if appliance.update(row) {
                self.generation += 1;
            }
        }
    }

    /// Appliances that have reported, but not for longer than `patience`, and are not yet taken for lost.
    pub fn overdue(&self, uptime: Duration, patience: Duration) -> Vec<OcaId> {
        self.appliances
            .values()
            .filter(|a| a.row.report.is_some() && !a.row.lost)
            .filter(|a| uptime.saturating_sub(a.seen) > patience)
            .map(|a| a.row.id.clone())
            .collect()
    }

    /// What a report's inventory changes for this appliance.
    pub fn inventory_change(
        &self,
        id: &OcaId,
        boot: &str,
        update: &cdn_types::api::v1::InventoryUpdate,
    ) -> InventoryChange {
        let Some(appliance) = self.appliances.get(id) else {
            return InventoryChange::default();
        };
        inventory::decide(appliance, &self.dictionary, boot, update)
    }

    /// Replaces what is known of titles: the current ones and every object that is kept.
    pub fn set_titles(&mut self, titles: Vec<TitleRow>, objects: &[KnownObject]) {
        self.titles.clear();
        self.known = Known::default();
        let mut own: BTreeMap<&TitleId, Vec<&KnownObject>> = BTreeMap::new();
        for object in objects.iter().filter(|o| o.current) {
            own.entry(&object.title).or_default().push(object);
        }
        for row in titles {
            let objects = own.remove(&row.id).unwrap_or_default();
            self.insert_title(row, objects.into_iter());
        }
        for object in objects {
            self.known.insert(object);
        }
        self.generation += 1;
    }

    /// Adds or replaces one title; objects of its earlier version stay known.
    pub fn put_title(&mut self, row: TitleRow, objects: &[KnownObject]) {
        self.known.retire(&row.id);
        for object in objects {
            self.known.insert(object);
        }
        self.insert_title(row, objects.iter());
        self.generation += 1;
        if self.dictionary.wants_compaction() {
            self.compact();
        }
    }

    /// Takes one title away; its objects stay known until its versions are forgotten.
    pub fn remove_title(&mut self, id: &TitleId) {
        self.known.retire(id);
        self.titles.remove(id);
        self.generation += 1;
        if self.dictionary.wants_compaction() {
            self.compact();
        }
    }

    fn insert_title<'a>(&mut self, row: TitleRow, objects: impl Iterator<Item = &'a KnownObject>) {
        let mut title = Title {
            objects: BTreeSet::new(),
            size: Bytes(0),
            row,
        };
        for object in objects {
            title.objects.insert(self.dictionary.intern(&object.digest));
            title.size.0 += object.size.0;
        }
        self.titles.insert(title.row.id.clone(), title);
    }

    /// Sets what was drawn of objects in the last day: steering spreads hot titles by it. An object that several titles
    /// share counts for the first of them.
    pub fn set_demand(&mut self, drawn: &[(ObjectDigest, Bytes)]) {
        let mut demand: BTreeMap<TitleId, Bytes> = BTreeMap::new();
        for (object, bytes) in drawn.iter().filter(|(_, bytes)| bytes.0 > 0) {
            if let Some(title) = self.known.title_of(object) {
                demand.entry(title.clone()).or_default().0 += bytes.0;
            }
        }
        if self.demand != demand {
            self.demand = demand;
            self.generation += 1;
        }
    }

    /// Every object that is kept.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Forgets earlier versions of titles.
    pub fn drop_versions(&mut self, versions: &[(TitleId, String)]) {
        self.known.drop_versions(versions);
    }

    /// Whether any appliance holds this object.
    pub fn is_held(&self, digest: &ObjectDigest) -> bool {
        self.dictionary
            .index(digest)
            .is_some_and(|index| self.appliances.values().any(|a| a.held.contains(&index)))
    }

    /// All titles, sorted by id.
    pub fn titles(&self) -> impl Iterator<Item = TitleSummary> {
        self.titles.values().map(|t| TitleSummary {
            id: t.row.id.clone(),
            name: t.row.name.clone(),
            version: t.row.version.clone(),
            duration_ms: t.row.duration_ms,
            objects: self.known.count(&t.row.id, &t.row.version),
            size: t.size,
        })
    }

    /// The name of a title, for people.
    pub fn title_name(&self, id: &TitleId) -> Option<&str> {
        self.titles.get(id).map(|t| t.row.name.as_str())
    }

    /// Drops dictionary entries that neither a title nor an inventory uses any more.
    fn compact(&mut self) {
        let old = std::mem::take(&mut self.dictionary);
        let mut renumber = |set: &BTreeSet<u32>| -> BTreeSet<u32> {
            set.iter()
                .map(|index| self.dictionary.intern(old.digest(*index)))
                .collect()
        };
        for title in self.titles.values_mut() {
            title.objects = renumber(&title.objects);
        }
        for appliance in self.appliances.values_mut() {
            appliance.held = renumber(&appliance.held);
        }
        self.dictionary.compacted();
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests;
