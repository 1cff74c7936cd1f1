//! The routes of all neighbours (their Adj-RIBs-In), and the best one to each prefix: the only one that steering hears of
//! from this appliance. Best is the class first, then the shorter AS path, then the lower neighbour AS, and within one the
//! lower MED (MEDs of different ASes cannot be compared), then the neighbour that stands first in the configuration. A
//! change of the best route makes the prefix *changed*, until [`feed`](super::feed) tells it.

use super::{
    Families, Family,
    attributes::PathAttributes,
    filter::{Filter, Reason},
    nlri::Nlri,
};
use cdn_types::{
    api::v1::routes::{MOST_COMMUNITIES, PeeringClass, RouteAttributes},
    intern::Interner,
};
use ipnet::IpNet;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Place of a neighbour in the configuration.
pub type NeighborIndex = u16;

/// What the table must know of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbor {
    /// Its AS.
    pub asn: u32,
    /// Its class.
    pub class: PeeringClass,
}

#[derive(Debug, Clone)]
struct Route {
    neighbor: NeighborIndex,
    path: u32,
    attributes: Arc<RouteAttributes>,
    /// Of a session that was lost and may come back gracefully.
    stale: bool,
}

/// Counts of one neighbour.
#[derive(Debug, Clone, Default)]
struct Received {
    /// Routes that count.
    routes: [usize; 2],
    /// Routes that do not, with the reason.
    refused: BTreeMap<Nlri, Reason>,
}

/// All routes of an appliance.
#[derive(Debug)]
pub struct Rib {
    local_as: u32,
    filter: Filter,
    neighbors: Vec<Neighbor>,
    received: Vec<Received>,
    prefixes: BTreeMap<IpNet, Vec<Route>>,
    attributes: Interner<RouteAttributes>,
    changed: BTreeSet<IpNet>,
}

impl Rib {
    /// An empty table.
    pub fn new(local_as: u32, filter: Filter, neighbors: Vec<Neighbor>) -> Self {
        Self {
            local_as,
            filter,
            received: neighbors.iter().map(|_| Received::default()).collect(),
            neighbors,
            prefixes: BTreeMap::new(),
            attributes: Interner::default(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes routes in that share their attributes.
    pub fn announce(&mut self, from: NeighborIndex, list: &[Nlri], attributes: &PathAttributes) {
        let loops = attributes.as_path.has(self.local_as);
        let neighbor = self.neighbors[usize::from(from)];
        let shared = self.attributes.intern(&told(attributes, neighbor));
        for nlri in list {
            let reason = self.filter.refuses(&nlri.prefix);
            match reason.or(loops.then_some(Reason::AsPathLoop)) {
                None => self.insert(from, *nlri, &shared),
                Some(reason) => {
                    self.remove(from, nlri);
                    self.received[usize::from(from)].refused.insert(*nlri, reason);
                }
            }
        }
    }

    /// Takes routes out.
    pub fn withdraw(&mut self, from: NeighborIndex, list: &[Nlri]) {
        for nlri in list {
            self.remove(from, nlri);
            self.received[usize::from(from)].refused.remove(nlri);
        }
    }

    fn insert(&mut self, from: NeighborIndex, nlri: Nlri, attributes: &Arc<RouteAttributes>) {
        let received = &mut self.received[usize::from(from)];
        received.refused.remove(&nlri);
        let routes = self.prefixes.entry(nlri.prefix).or_default();
        let before = best(routes).cloned();
        let route = Route {
            neighbor: from,
            path: nlri.path,
            attributes: Arc::clone(attributes),
            stale: false,
        };
        match routes
            .iter_mut()
            .find(|r| r.neighbor == from && r.path == nlri.path)
        {
            Some(known) => *known = route,
            None => {
                received.routes[side(&nlri.prefix)] += 1;
                routes.push(route);
            }
        }
        if best(routes) != before.as_ref() {
            self.changed.insert(nlri.prefix);
        }
    }

    fn remove(&mut self, from: NeighborIndex, nlri: &Nlri) {
        let path = nlri.path;
        self.drop_routes(&nlri.prefix, |route| route.neighbor == from && route.path == path);
    }

    /// Drops the routes to a prefix for which `gone` says so.
    fn drop_routes(&mut self, prefix: &IpNet, gone: impl Fn(&Route) -> bool) {
        let Some(routes) = self.prefixes.get_mut(prefix) else {
            return;
        };
        let before = best(routes).cloned();
        routes.retain(|route| {
            let gone = gone(route);
            if gone {
                self.received[usize::from(route.neighbor)].routes[side(prefix)] -= 1;
            }
            !gone
        });
        if best(routes) != before.as_ref() {
            self.changed.insert(*prefix);
        }
        if routes.is_empty() {
            self.prefixes.remove(prefix);
        }
    }

    /// Notes that a neighbour's session is lost: its routes of `kept` families become stale, all others go.
    pub fn lose(&mut self, from: NeighborIndex, kept: Families) {
        self.received[usize::from(from)].refused.clear();
        for (prefix, routes) in &mut self.prefixes {
            if kept.has(Family::of_prefix(prefix)) {
                let own = routes.iter_mut().filter(|r| r.neighbor == from);
                own.for_each(|route| route.stale = true);
            }
        }
        self.sweep(from, |family, _| !kept.has(family));
    }

    /// Drops what is still stale of a neighbour's family: it has told its whole table anew, or did not come back.
    pub fn drop_stale(&mut self, from: NeighborIndex, of: Family) {
        self.sweep(from, |family, route| family == of && route.stale);
    }

    /// Drops a neighbour's routes of these paths.
    pub fn drop_paths(&mut self, from: NeighborIndex, paths: &BTreeSet<u32>) {
        let refused = &mut self.received[usize::from(from)].refused;
        refused.retain(|nlri, _| !paths.contains(&nlri.path));
        self.sweep(from, |_, route| paths.contains(&route.path));
    }

    fn sweep(&mut self, from: NeighborIndex, gone: impl Fn(Family, &Route) -> bool) {
        let own = |prefix: &IpNet, r: &Route| r.neighbor == from && gone(Family::of_prefix(prefix), r);
        let prefixes: Vec<IpNet> = self
            .prefixes
            .iter()
            .filter(|(prefix, routes)| routes.iter().any(|r| own(prefix, r)))
            .map(|(prefix, _)| *prefix)
            .collect();
        for prefix in &prefixes {
            self.drop_routes(prefix, |route| own(prefix, route));
        }
    }

    /// Routes received from a neighbour, whether they count or not: what its prefix limit is on.
    pub fn received(&self, from: NeighborIndex) -> usize {
        let received = &self.received[usize::from(from)];
        received.routes.iter().sum::<usize>() + received.refused.len()
    }

    /// Routes of a neighbour's family that count.
    pub fn counted(&self, from: NeighborIndex, family: Family) -> usize {
        self.received[usize::from(from)].routes[usize::from(family == Family::V6)]
    }

    /// Routes of a neighbour that count for nothing, sorted by prefix.
    pub fn refused(&self, from: NeighborIndex) -> impl Iterator<Item = (&Nlri, Reason)> {
        let refused = &self.received[usize::from(from)].refused;
        refused.iter().map(|(nlri, reason)| (nlri, *reason))
    }

    /// The best route to exactly this prefix.
    pub fn best(&self, prefix: &IpNet) -> Option<&Arc<RouteAttributes>> {
        best(self.prefixes.get(prefix)?)
    }

    /// Prefixes with a route.
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// Distinct sets of attributes that are kept.
    pub fn attribute_sets(&self) -> usize {
        self.attributes.len()
    }

    /// Whether a best route has changed that was not taken yet.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes at most `most` prefixes whose best route has changed.
    pub fn take_changed(&mut self, most: usize) -> Vec<IpNet> {
        (0..most).map_while(|_| self.changed.pop_first()).collect()
    }

    /// Makes every prefix changed: all is to be told anew.
    pub fn change_all(&mut self) {
        self.changed.extend(self.prefixes.keys().copied());
    }
}

fn side(prefix: &IpNet) -> usize {
    usize::from(Family::of_prefix(prefix) == Family::V6)
}

/// The best of the routes to a prefix.
fn best(routes: &[Route]) -> Option<&Arc<RouteAttributes>> {
    let best = routes.iter().min_by(|a, b| order(a, b));
    best.map(|route| &route.attributes)
}

/// A total order, so that the best route does not depend on which came first.
fn order(a: &Route, b: &Route) -> Ordering {
    let key = |r: &Route| {
        let a = &r.attributes;
        let med = a.med.unwrap_or(0);
        (a.class, a.as_path_len, a.neighbor_as, med, r.neighbor, r.path)
    };
    key(a).cmp(&key(b))
}

/// What is told of a route.
fn told(attributes: &PathAttributes, neighbor: Neighbor) -> RouteAttributes {
    let path = &attributes.as_path;
    let mut told = RouteAttributes {
        class: neighbor.class,
        as_path_len: path.len(),
        neighbor_as: path.first().unwrap_or(neighbor.asn),
        origin_as: path.origin(),
        med: attributes.med,
        communities: attributes.communities.clone(),
        large_communities: attributes.large_communities.clone(),
    };
    told.communities.truncate(MOST_COMMUNITIES);
    told.large_communities.truncate(MOST_COMMUNITIES);
    told
}

#[cfg(test)]
mod tests;
