//! Where each object is fetched from, best first: peers of the same site, appliances of other sites (the same region
//! first), the origin. The origin is always the last: it has everything, and it is the furthest.
//!
//! Among the peers that get a title anew in the same night one is its master and fetches from afar; the others
//! name the master, which has it soon, and never each other: two that wait for one another help nobody. Appliances of
//! other sites are named only for what they hold already.

use crate::{bundle::Bundles, fleet::Fleet, place::Placement, rendezvous};
use cdn_types::{
    ObjectDigest, OcaId,
    plan::{FillSource, SourceKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// Most peers named for an object: beyond these an appliance loses more time asking than fetching.
const MAX_PEERS: usize = 4;
/// Most appliances of other sites named for an object.
const MAX_FAR: usize = 3;

/// An appliance by its site's and its own index in the [`Fleet`].
type At = (usize, usize);

/// Ranks sources over the whole fleet.
pub struct Sources<'a> {
    fleet: &'a Fleet,
    placements: &'a [Placement],
    holders: BTreeMap<ObjectDigest, Vec<At>>,
    title_keys: Vec<u64>,
    appliance_keys: Vec<Vec<u64>>,
}

/// A source of an object before it has an index. Its order is the order of a part's source list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranked {
    kind: SourceKind,
    at: Option<At>,
}

impl<'a> Sources<'a> {
    /// Notes who holds what. `placements` are the fleet's sites' in order.
    pub fn new(fleet: &'a Fleet, bundles: &Bundles<'_>, placements: &'a [Placement], seed: u64) -> Self {
        let mut holders: BTreeMap<ObjectDigest, Vec<At>> = BTreeMap::new();
        for (s, site) in fleet.sites.iter().enumerate() {
            for (a, appliance) in site.appliances.iter().enumerate().filter(|(_, a)| a.source) {
                for object in &appliance.holds {
                    holders.entry(*object).or_default().push((s, a));
                }
            }
        }
        let titles = bundles.list.iter();
        let keys = |ids: Vec<&OcaId>| {
            let keys = ids.into_iter();
            keys.map(|id| rendezvous::key(seed, "appliance", id.as_str()))
                .collect()
        };
        Self {
            fleet,
            placements,
            holders,
            title_keys: titles
                .map(|b| rendezvous::key(seed, "title", b.title.as_str()))
                .collect(),
            appliance_keys: fleet
                .sites
                .iter()
                .map(|s| keys(s.appliances.iter().map(|a| &a.id).collect()))
                .collect(),
        }
    }

    /// Sources of one object of `bundle` for the appliance at `to`, best first; never empty.
    pub fn rank(&self, to: At, bundle: usize, object: &ObjectDigest) -> Vec<Ranked> {
        let nothing = Vec::new();
        let holders = self.holders.get(object).unwrap_or(&nothing);
        let score =
            |at: &At| rendezvous::mix(self.title_keys[bundle] ^ self.key(*at) ^ self.key(to).rotate_left(17));
        let mut peers: Vec<At> = holders
            .iter()
            .copied()
            .filter(|h| h.0 == to.0 && *h != to)
            .collect();
        // One that drops it tonight may be gone before it is asked.
        peers.sort_by_key(|at| (!self.chosen(*at, bundle), score(at)));
        peers.extend(self.master(to, bundle, object).filter(|m| !peers.contains(m)));
        peers.truncate(MAX_PEERS);
        let mut far: Vec<At> = holders.iter().copied().filter(|h| h.0 != to.0).collect();
        let region = |at: &At| &self.fleet.sites[at.0].region;
        far.sort_by_key(|at| (region(at) != region(&to), !self.chosen(*at, bundle), score(at)));
        far.truncate(MAX_FAR);
        let of = |kind| move |at| Ranked { kind, at: Some(at) };
        let peers = peers.into_iter().map(of(SourceKind::Peer));
        let far = far.into_iter().map(of(SourceKind::Site));
        let origin = Ranked {
            kind: SourceKind::Origin,
            at: None,
        };
        peers.chain(far).chain([origin]).collect()
    }

    /// Writes a part's source list from everything its items named.
    pub fn list(&self, named: &BTreeSet<Ranked>) -> Vec<FillSource> {
        named
            .iter()
            .map(|r| {
                let appliance = r.at.map(|(s, a)| &self.fleet.sites[s].appliances[a]);
                FillSource {
                    kind: r.kind,
                    appliance: appliance.map(|a| a.id.clone()),
                    base_url: appliance.map_or_else(|| self.fleet.origin.clone(), |a| a.base_url.clone()),
                }
            })
            .collect()
    }

    fn key(&self, at: At) -> u64 {
        self.appliance_keys[at.0][at.1]
    }

    fn chosen(&self, at: At, bundle: usize) -> bool {
        self.placements[at.0].appliances[at.1]
            .chosen
            .contains_key(&bundle)
    }

    /// The appliance of the same site that fetches this object from afar tonight, unless that is `to` itself.
    fn master(&self, to: At, bundle: usize, object: &ObjectDigest) -> Option<At> {
        let site = &self.fleet.sites[to.0];
        let gets_it = |a: &usize| {
            let appliance = &site.appliances[*a];
            appliance.source && self.chosen((to.0, *a), bundle) && !appliance.holds.contains(object)
        };
        (0..site.appliances.len())
            .filter(gets_it)
            .max_by_key(|a| {
                (
                    rendezvous::mix(self.title_keys[bundle] ^ self.key((to.0, *a))),
                    *a,
                )
            })
            .map(|a| (to.0, a))
            .filter(|m| *m != to)
    }
}
