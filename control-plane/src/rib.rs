//! The routes that appliances hear, in memory alone: they are told anew after a restart. Steering asks for what changed
//! since a generation; a log of changes answers that while it reaches back far enough, else everything is told.
//!
//! Plain data and plain functions. Equal sets of attributes are kept once over all appliances, so that a route costs its
//! prefix and a pointer.

mod check;
mod shared;

pub use shared::SharedRib;

use crate::limits;
use cdn_types::{
    OcaId,
    api::v1::routes::{
        ApplianceRoutes, RouteAttributes, RouteBatch, RouteBatchAnswer, RouteChanges, RouteGroup,
    },
    intern::Interner,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// A route of one appliance.
#[derive(Debug)]
struct Route {
    attributes: Arc<RouteAttributes>,
    /// Told before the whole table that is being told now, and not again yet.
    unconfirmed: bool,
}

/// What one appliance hears.
#[derive(Debug, Default)]
struct Heard {
    boot: String,
    /// Number of the batch that is wanted; 0 = nothing is known of the boot.
    next: u64,
    routes: BTreeMap<IpNet, Route>,
}

/// A route that changed.
#[derive(Debug)]
struct Change {
    generation: u64,
    /// Index into the appliances.
    appliance: u32,
    prefix: IpNet,
}

/// What becomes of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It was taken in.
    New,
    /// It had been taken in before, or is older.
    Repeated,
    /// Batches before it are missing.
    Gap,
}

/// All routes of all appliances.
#[derive(Debug)]
pub struct Rib {
    generation: u64,
    ids: Vec<OcaId>,
    heard: Vec<Heard>,
    attributes: Interner<RouteAttributes>,
    log: VecDeque<Change>,
    /// Changes after this generation are all in the log.
    log_from: u64,
}

impl Rib {
    /// No routes. Every start must give a larger generation than the last start ended with.
    pub fn new(generation: u64) -> Self {
        Self {
            generation,
            ids: Vec::new(),
            heard: Vec::new(),
            attributes: Interner::default(),
            log: VecDeque::new(),
            log_from: generation,
        }
    }

    /// Grows with every batch that changes a route.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Routes of all appliances.
    pub fn len(&self) -> usize {
        self.heard.iter().map(|h| h.routes.len()).sum()
    }

    /// Routes of one appliance.
    pub fn routes_of(&self, id: &OcaId) -> usize {
        self.index(id).map_or(0, |at| self.heard[at].routes.len())
    }

    /// Whether the last batch of this appliance was of this boot.
    pub fn knows_boot(&self, id: &OcaId, boot: &str) -> bool {
        self.index(id).is_some_and(|at| self.heard[at].boot == boot)
    }

    fn index(&self, id: &OcaId) -> Option<usize> {
        self.ids.iter().position(|known| known == id)
    }

    /// Takes a batch in and answers it.
    pub fn take(&mut self, id: &OcaId, batch: RouteBatch) -> (RouteBatchAnswer, Taken) {
        let at = self.index(id).unwrap_or_else(|| {
            self.ids.push(id.clone());
            self.heard.push(Heard::default());
            self.ids.len() - 1
        });
        let heard = &mut self.heard[at];
        let next = if heard.boot == batch.boot { heard.next } else { 0 };
        let answer = RouteBatchAnswer { next };
        if next > batch.number {
            return (answer, Taken::Repeated);
        }
        if !batch.reset && (next == 0 || batch.number != next) {
            return (answer, Taken::Gap);
        }
        heard.next = batch.number + 1;
        if heard.boot != batch.boot {
            heard.boot.clone_from(&batch.boot);
        }
        self.apply(at, batch);
        let next = self.heard[at].next;
        (RouteBatchAnswer { next }, Taken::New)
    }

    fn apply(&mut self, at: usize, batch: RouteBatch) {
        let heard = &mut self.heard[at];
        let mut changed = BTreeSet::new();
        if batch.reset {
            heard
                .routes
                .values_mut()
                .for_each(|route| route.unconfirmed = true);
        }
        for prefix in batch.withdrawn {
            if heard.routes.remove(&prefix).is_some() {
                changed.insert(prefix);
            }
        }
        for group in batch.announced {
            let attributes = self.attributes.intern(&group.attributes);
            for prefix in group.prefixes {
                let route = Route {
                    attributes: Arc::clone(&attributes),
                    unconfirmed: false,
                };
                let before = heard.routes.insert(prefix, route);
                if before.is_none_or(|before| before.attributes != attributes) {
                    changed.insert(prefix);
                }
            }
        }
        if batch.complete {
            heard.routes.retain(|prefix, route| {
                if route.unconfirmed {
                    changed.insert(*prefix);
                }
                !route.unconfirmed
            });
        }
        self.note(at, changed);
    }

    fn note(&mut self, at: usize, changed: BTreeSet<IpNet>) {
        if changed.is_empty() {
            return;
        }
        self.generation += 1;
        self.log.extend(changed.into_iter().map(|prefix| Change {
            generation: self.generation,
            appliance: at as u32, // appliances are thousands
            prefix,
        }));
        while self.log.len() > limits::ROUTE_CHANGES {
            self.log_from = self.log.pop_front().map_or(self.log_from, |c| c.generation);
        }
    }

    /// What changed since a generation, or everything if the log does not reach back so far.
    pub fn changes(&self, since: u64) -> RouteChanges {
        let reset = since < self.log_from || since > self.generation;
        let mut changed: BTreeMap<u32, BTreeSet<IpNet>> = BTreeMap::new();
        if !reset {
            for change in self.log.iter().rev().take_while(|c| c.generation > since) {
                changed.entry(change.appliance).or_default().insert(change.prefix);
            }
        }
        let mut appliances: Vec<ApplianceRoutes> = if reset {
            let all = self.ids.iter().zip(&self.heard);
            all.filter(|(_, heard)| !heard.routes.is_empty())
                .map(|(id, heard)| told(id, heard, heard.routes.keys().copied()))
                .collect()
        } else {
            let one = |(at, prefixes): (u32, BTreeSet<IpNet>)| {
                told(
                    &self.ids[at as usize],
                    &self.heard[at as usize],
                    prefixes.into_iter(),
                )
            };
            changed.into_iter().map(one).collect()
        };
        appliances.sort_by(|a, b| a.appliance.cmp(&b.appliance));
        RouteChanges {
            generation: self.generation,
            reset,
            appliances,
        }
    }
}

/// These prefixes of an appliance as they are now.
fn told(id: &OcaId, heard: &Heard, prefixes: impl Iterator<Item = IpNet>) -> ApplianceRoutes {
    let mut groups: BTreeMap<&RouteAttributes, Vec<IpNet>> = BTreeMap::new();
    let mut withdrawn = Vec::new();
    for prefix in prefixes {
        match heard.routes.get(&prefix) {
            Some(route) => groups.entry(&route.attributes).or_default().push(prefix),
            None => withdrawn.push(prefix),
        }
    }
    let group = |(attributes, prefixes): (&RouteAttributes, _)| RouteGroup {
        attributes: attributes.clone(),
        prefixes,
    };
    ApplianceRoutes {
        appliance: id.clone(),
        announced: groups.into_iter().map(group).collect(),
        withdrawn,
    }
}

#[cfg(test)]
mod tests;
