//! Takes changes of routes in, and publishes tables.
//!
//! Sets of routes and attributes are stored once: the appliances of a site hear the same networks over the same
//! routers, so a table of a million networks has a few ten thousand different sets.

use super::{
    Attributes, HolderName, RouteTable,
    chunked::Chunked,
    covering::{Coverings, Holder, Parts, Route},
    family::Family,
    front::Front,
    intern::Interner,
};
use cdn_types::{OcaId, SiteId};
use foldhash::fast::FixedState;
use ipnet::IpNet;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

/// Most different networks: three times the internet's table of 2026.
pub const MAX_PREFIXES: usize = 4_000_000;
/// Candidates that covers may have gained, beyond as many as there were, before those out of use are dropped by
/// making all anew.
const SLACK: usize = 1 << 20;

/// What changed among the routes of one appliance.
#[derive(Debug, Clone, Default)]
pub struct RouteBatch {
    /// Attributes that the changes point into.
    pub attributes: Vec<Attributes>,
    /// Networks with the position of their attributes, or none for a network withdrawn. Of several entries for one
    /// network the last counts.
    pub changes: Vec<(IpNet, Option<u32>)>,
    /// All routes that the appliance had before are gone.
    pub reset: bool,
}

/// What a batch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Routes that are new, or have other attributes.
    pub announced: usize,
    /// Routes that are gone.
    pub withdrawn: usize,
}

/// A network that several sites claim: the first by id has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Covered {
    /// The network.
    pub prefix: IpNet,
    /// Whose it is.
    pub site: SiteId,
}

/// Why a batch is refused; nothing of it has been taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// A change that points past the batch's attributes.
    #[error(
        "{prefix} points to attributes {index}, but the batch has {attributes}; send the batch again whole"
    )]
    AttributeIndex {
        /// The network.
        prefix: IpNet,
        /// Where it points to.
        index: u32,
        /// How many there are.
        attributes: usize,
    },
    /// Too many networks.
    #[error(
        "the table would have more than {MAX_PREFIXES} networks; filter over-specific routes at the appliances"
    )]
    TooMany,
}

/// The routes of all appliances and sites, open to changes.
#[derive(Debug)]
pub struct RouteBuilder {
    v4: Family<u32>,
    v6: Family<u128>,
    front: Arc<Front>,
    sets: Interner<[Route]>,
    attributes: Interner<Attributes>,
    shown_attributes: Chunked<Option<Arc<Attributes>>>,
    coverings: Coverings,
    /// Candidates stored when covers were last made anew.
    covers_at_start: usize,
    holders: Arc<Vec<HolderName>>,
    holder_numbers: HashMap<HolderName, Holder>,
    coverage: Vec<Covered>,
    /// What became of a set within the current batch; each holds a use of the set that it became.
    became: HashMap<(u32, Option<u32>), Option<u32>, FixedState>,
}

impl Default for RouteBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteBuilder {
    /// No routes.
    pub fn new() -> Self {
        Self {
            v4: Family::new(),
            v6: Family::new(),
            front: Arc::new(Front::empty()),
            sets: Interner::default(),
            attributes: Interner::default(),
            shown_attributes: Chunked::default(),
            coverings: Coverings::new(),
            covers_at_start: 0,
            holders: Arc::default(),
            holder_numbers: HashMap::new(),
            coverage: Vec::new(),
            became: HashMap::default(),
        }
    }

    /// Takes one appliance's changes in.
    pub fn apply(&mut self, appliance: &OcaId, batch: &RouteBatch) -> Result<Applied, RouteError> {
        self.check(batch)?;
        let holder = self.holder(&HolderName::Appliance(appliance.clone()));
        let mut applied = Applied::default();
        if batch.reset {
            applied.withdrawn = self.withdraw_all(holder);
        }
        let numbers: Vec<u32> = batch.attributes.iter().map(|a| self.attribute(a)).collect();
        for (prefix, index) in &batch.changes {
            let attributes = index.map(|i| numbers[i as usize]);
            if self.change(holder, *prefix, attributes) {
                match attributes {
                    Some(_) => applied.announced += 1,
                    None => applied.withdrawn += 1,
                }
            }
        }
        self.end_batch();
        for number in numbers {
            self.release_attribute(number);
        }
        Ok(applied)
    }

    /// Forgets an appliance's routes, as when it has left the fleet. Number of routes that it had.
    pub fn forget(&mut self, appliance: &OcaId) -> usize {
        let holder = self.holder_numbers.get(&HolderName::Appliance(appliance.clone()));
        let Some(holder) = holder.copied() else { return 0 };
        let gone = self.withdraw_all(holder);
        self.end_batch();
        gone
    }

    /// All appliances that ever had a route.
    pub fn appliances(&self) -> impl Iterator<Item = &OcaId> {
        self.holders.iter().filter_map(|name| match name {
            HolderName::Appliance(id) => Some(id),
            HolderName::Site(_) => None,
        })
    }

    /// Sets the networks that sites simply have, instead of those of the call before. Returns what was not taken since
    /// a site whose id sorts before claims it too.
    pub fn cover(&mut self, mut networks: Vec<Covered>) -> Vec<Covered> {
        for network in &mut networks {
            network.prefix = network.prefix.trunc();
        }
        networks.sort_unstable();
        networks.dedup();
        let mut ignored = Vec::new();
        let mut kept: Vec<Covered> = Vec::with_capacity(networks.len());
        for network in networks {
            match kept.last() {
                Some(last) if last.prefix == network.prefix => ignored.push(network),
                _ => kept.push(network),
            }
        }
        let before = std::mem::take(&mut self.coverage);
        let attributes = self.attribute(&Attributes::coverage());
        for gone in before.iter().filter(|c| kept.binary_search(c).is_err()) {
            self.change_coverage(gone, None);
        }
        for new in kept.iter().filter(|c| before.binary_search(c).is_err()) {
            self.change_coverage(new, Some(attributes));
        }
        self.release_attribute(attributes);
        self.coverage = kept;
        ignored
    }

    /// The site whose network this is by [`cover`](Self::cover).
    pub fn covered_by(&self, prefix: IpNet) -> Option<&SiteId> {
        let at = self.coverage.binary_search_by(|c| c.prefix.cmp(&prefix)).ok()?;
        Some(&self.coverage[at].site)
    }

    /// A table of all routes as they are now.
    pub fn publish(&mut self) -> RouteTable {
        let all_anew = self.coverings.stored() > 2 * self.covers_at_start + SLACK;
        if all_anew {
            self.coverings = Coverings::new();
            self.v4.change_all();
            self.v6.change_all();
        }
        let parts = Parts {
            sets: &self.sets,
            attributes: &self.attributes,
            holders: &self.holders,
        };
        if let Some(slots) = self.v4.publish(&mut self.coverings, &parts) {
            self.front = Arc::new(self.front.changed(self.v4.published(), &slots));
        }
        self.v6.publish(&mut self.coverings, &parts);
        if all_anew || self.covers_at_start == 0 {
            self.covers_at_start = self.coverings.stored();
        }
        let (runs, groups) = self.coverings.publish();
        RouteTable {
            v4: Arc::clone(self.v4.published()),
            front: Arc::clone(&self.front),
            v6: Arc::clone(self.v6.published()),
            runs,
            groups,
            attributes: self.shown_attributes.clone(),
            holders: Arc::clone(&self.holders),
            prefixes: self.prefix_count(),
        }
    }

    /// The same, with nothing taken from the tables before: what a whole table costs.
    pub fn publish_anew(&mut self) -> RouteTable {
        self.v4.change_all();
        self.v6.change_all();
        self.publish()
    }

    /// Number of different networks.
    pub fn prefix_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
    /// Number of different sets of routes, and of different attributes.
    pub fn distinct(&self) -> (usize, usize) {
        (self.sets.len(), self.attributes.len())
    }

    fn check(&self, batch: &RouteBatch) -> Result<(), RouteError> {
        let attributes = batch.attributes.len();
        for (prefix, index) in &batch.changes {
            if let Some(index) = index.filter(|i| *i as usize >= attributes) {
                return Err(RouteError::AttributeIndex {
                    prefix: *prefix,
                    index,
                    attributes,
                });
            }
        }
        // Counted as if all were new: a batch is small beside the limit.
        if self.prefix_count() + batch.changes.len() > MAX_PREFIXES {
            return Err(RouteError::TooMany);
        }
        Ok(())
    }

    fn holder(&mut self, name: &HolderName) -> Holder {
        if let Some(holder) = self.holder_numbers.get(name) {
            return *holder;
        }
        let holder = Holder(self.holders.len() as u32);
        Arc::make_mut(&mut self.holders).push(name.clone());
        self.holder_numbers.insert(name.clone(), holder);
        holder
    }

    fn change_coverage(&mut self, network: &Covered, attributes: Option<u32>) {
        let holder = self.holder(&HolderName::Site(network.site.clone()));
        self.change(holder, network.prefix, attributes);
        self.end_batch(); // another holder may be next
    }

    /// Gives a holder a route to a network, or takes it away; whether that changed anything.
    fn change(&mut self, holder: Holder, prefix: IpNet, attributes: Option<u32>) -> bool {
        match prefix.trunc() {
            IpNet::V4(net) => {
                let network = (u32::from(net.network()), net.prefix_len());
                let before = self.v4.get(network);
                let after = self.changed_set(holder, before, attributes);
                if before != after {
                    self.v4.put(network, after);
                }
                self.replaced(before, after)
            }
            IpNet::V6(net) => {
                let network = (u128::from(net.network()), net.prefix_len());
                let before = self.v6.get(network);
                let after = self.changed_set(holder, before, attributes);
                if before != after {
                    self.v6.put(network, after);
                }
                self.replaced(before, after)
            }
        }
    }

    /// A network's set has been put in the place of another: moves the use.
    fn replaced(&mut self, before: Option<u32>, after: Option<u32>) -> bool {
        if before == after {
            return false;
        }
        if let Some(after) = after {
            self.sets.again(after);
        }
        if let Some(before) = before {
            self.release_set(before);
        }
        true
    }

    /// The set that `before` becomes when `holder`'s route in it changes.
    fn changed_set(&mut self, holder: Holder, before: Option<u32>, attributes: Option<u32>) -> Option<u32> {
        let key = (before.unwrap_or(u32::MAX), attributes);
        if let Some(became) = self.became.get(&key) {
            return *became;
        }
        let old: &[Route] = before.map_or(&[], |set| self.sets.get(set));
        let mut routes: Vec<Route> = old.iter().copied().filter(|r| r.holder != holder).collect();
        if let Some(attributes) = attributes {
            let at = routes.partition_point(|r| r.holder < holder);
            routes.insert(at, Route { holder, attributes });
        }
        let after = (!routes.is_empty()).then(|| self.take_set(&routes));
        if let Some(before) = before {
            self.sets.again(before); // its number must not be given to another set while `became` names it
        }
        self.became.insert(key, after);
        after
    }

    fn take_set(&mut self, routes: &[Route]) -> u32 {
        let (number, new) = self.sets.take(routes, |r| Arc::from(r));
        if new {
            for route in routes {
                self.attributes.again(route.attributes);
            }
        }
        number
    }

    fn release_set(&mut self, number: u32) {
        if let Some(routes) = self.sets.release(number) {
            for route in &*routes {
                self.release_attribute(route.attributes);
            }
        }
    }

    fn attribute(&mut self, attributes: &Attributes) -> u32 {
        let (number, new) = self.attributes.take(attributes, |a| Arc::new(a.clone()));
        if new {
            let shown = Some(Arc::clone(self.attributes.get(number)));
            if number == self.shown_attributes.next() {
                self.shown_attributes.push(shown);
            } else {
                self.shown_attributes.set(number, shown);
            }
        }
        number
    }

    fn release_attribute(&mut self, number: u32) {
        if self.attributes.release(number).is_some() {
            self.shown_attributes.set(number, None);
        }
    }

    fn withdraw_all(&mut self, holder: Holder) -> usize {
        let mut has: HashMap<u32, bool> = HashMap::new();
        let mut holds = |set: u32| match has.entry(set) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                let routes = self.sets.get(set);
                *new.insert(routes.binary_search_by_key(&holder, |r| r.holder).is_ok())
            }
        };
        let v4: Vec<_> = self.v4.iter().filter(|(_, set)| holds(*set)).collect();
        let v6: Vec<_> = self.v6.iter().filter(|(_, set)| holds(*set)).collect();
        for (network, set) in &v4 {
            let after = self.changed_set(holder, Some(*set), None);
            self.v4.put(*network, after);
            self.replaced(Some(*set), after);
        }
        for (network, set) in &v6 {
            let after = self.changed_set(holder, Some(*set), None);
            self.v6.put(*network, after);
            self.replaced(Some(*set), after);
        }
        v4.len() + v6.len()
    }

    fn end_batch(&mut self) {
        for ((before, _), after) in std::mem::take(&mut self.became) {
            for set in [(before != u32::MAX).then_some(before), after]
                .into_iter()
                .flatten()
            {
                self.release_set(set);
            }
        }
    }
}
