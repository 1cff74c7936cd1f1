//! Where each object is fetched from, best first: peers of the same site, appliances of other sites (the same region
//! first), the origin. The origin is always the last: it has everything, and it is the furthest.
//!
//! Among the peers that get a title anew in the same night one is its master and fetches from afar; the others
//! name the master, which has it soon, and never each other: two that wait for one another help nobody. Appliances of
//! other sites are named only for what they hold already.

use crate::{
    bundle::Bundles,
    fleet::{Fleet, SiteFleet},
    place::Placement,
    present::Holdings,
    rendezvous,
};
use cdn_types::plan::{FillSource, SourceKind};
use std::collections::BTreeSet;

/// Most peers named for an object: beyond these an appliance loses more time asking than fetching.
const MAX_PEERS: usize = 4;
/// Most appliances of other sites named for an object.
const MAX_FAR: usize = 3;
/// Most appliances of other regions that are looked at for that.
const FAR_LOOKED_AT: usize = 16;
/// No index.
const NONE: u32 = u32::MAX;

/// An appliance by its site's and its own index in the [`Fleet`].
type At = (usize, usize);

/// Ranks sources over the whole fleet.
pub struct Sources<'a> {
    fleet: &'a Fleet,
    bundles: &'a Bundles<'a>,
    placements: &'a [Placement],
    title_keys: &'a [u64],
    /// Appliances by region, then site.
    order: Vec<At>,
    /// By site: its first and its region's first and last place in `order`.
    ranges: Vec<(u32, std::ops::Range<u32>)>,
    /// By appliance in `order`.
    keys: Vec<u64>,
    /// By [`Fleet::objects`]: where its holders begin in `holders`, which are places in `order`, rising.
    starts: Vec<u32>,
    holders: Vec<u32>,
    /// By catalogue object: its place in [`Fleet::objects`].
    held_as: Vec<u32>,
    all_are_sources: bool,
}

/// A source of an object before it has an index. Its order is the order of a part's source list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ranked {
    kind: SourceKind,
    at: Option<At>,
}

impl<'a> Sources<'a> {
    /// Notes who holds what. `placements` are the fleet's sites' in order.
    pub fn new(
        fleet: &'a Fleet,
        bundles: &'a Bundles<'a>,
        holdings: &Holdings<'_>,
        placements: &'a [Placement],
        title_keys: &'a [u64],
        seed: u64,
    ) -> Self {
        let (order, ranges) = by_region(fleet);
        let appliance = |at: &At| &fleet.sites[at.0].appliances[at.1];
        let mut starts = vec![0u32; fleet.objects.len() + 1];
        let holds = |at: &At| {
            let a = appliance(at);
            a.holds.iter().filter(|_| a.source).copied()
        };
        for held in order.iter().flat_map(holds) {
            starts[held as usize + 1] += 1;
        }
        for n in 1..starts.len() {
            starts[n] += starts[n - 1];
        }
        let mut next = starts.clone();
        let mut holders = vec![0u32; starts.last().copied().unwrap_or(0) as usize];
        for (place, at) in (0u32..).zip(&order) {
            for held in holds(at) {
                holders[next[held as usize] as usize] = place;
                next[held as usize] += 1;
            }
        }
        let mut held_as = vec![NONE; bundles.objects.len()];
        for held in 0..fleet.objects.len() as u32 {
            for object in holdings.catalogued(held) {
                held_as[*object as usize] = held;
            }
        }
        let key = |at: &At| rendezvous::key(seed, "appliance", appliance(at).id.as_str());
        Self {
            fleet,
            bundles,
            placements,
            title_keys,
            keys: order.iter().map(key).collect(),
            all_are_sources: order.iter().all(|at| appliance(at).source),
            order,
            ranges,
            starts,
            holders,
            held_as,
        }
    }

    /// Whether an appliance holds a catalogue object.
    pub fn holds(&self, at: At, object: usize) -> bool {
        let holds = &self.fleet.sites[at.0].appliances[at.1].holds;
        holds.binary_search(&self.held_as[object]).is_ok()
    }

    /// Sources of a catalogue object for the appliance at `to`, best first; never empty.
    pub fn rank(&self, to: At, object: usize) -> Vec<Ranked> {
        let bundle = self.bundles.bundle_of(object as u32);
        let (to_place, site, region) = self.places(to);
        let holders = self.holders_of(object);
        let title = self.title_keys[bundle as usize];
        let to_key = self.keys[to_place as usize].rotate_left(17);
        let rank = |place: u32| {
            // One that drops it tonight may be gone before it is asked.
            let stays = self.chosen(self.order[place as usize], bundle);
            (
                !stays,
                rendezvous::mix(title ^ self.keys[place as usize] ^ to_key),
            )
        };
        let within = |range: &std::ops::Range<u32>| {
            let first = holders.partition_point(|h| *h < range.start);
            let last = holders.partition_point(|h| *h < range.end);
            first..last
        };
        let (in_site, in_region) = (within(&site), within(&region));
        let mut peers: Vec<u32> = holders[in_site.clone()].to_vec();
        peers.retain(|p| *p != to_place);
        peers.sort_by_key(|p| rank(*p));
        peers.extend(self.master(to, bundle, object).filter(|m| !peers.contains(m)));
        peers.truncate(MAX_PEERS);
        let mut near: Vec<u32> = holders[in_region.start..in_site.start].to_vec();
        near.extend(&holders[in_site.end..in_region.end]);
        near.sort_by_key(|p| rank(*p));
        near.truncate(MAX_FAR);
        let mut far: Vec<u32> = Vec::new();
        if near.len() < MAX_FAR {
            // A window among all others, at a place of the object's and appliance's own, so that nobody is asked by all.
            let (before, after) = (&holders[..in_region.start], &holders[in_region.end..]);
            let n = before.len() + after.len();
            let from = rendezvous::mix(title ^ to_key) as usize % n.max(1);
            let window = (0..n.min(FAR_LOOKED_AT)).map(|k| (from + k) % n);
            far = window
                .map(|k| before.get(k).copied().unwrap_or_else(|| after[k - before.len()]))
                .collect();
            far.sort_by_key(|p| rank(*p));
            far.truncate(MAX_FAR - near.len());
        }
        let of = |kind| {
            move |place: u32| Ranked {
                kind,
                at: Some(self.order[place as usize]),
            }
        };
        let peers = peers.into_iter().map(of(SourceKind::Peer));
        let others = near.into_iter().chain(far).map(of(SourceKind::Site));
        let origin = Ranked {
            kind: SourceKind::Origin,
            at: None,
        };
        peers.chain(others).chain([origin]).collect()
    }

    /// Whether an appliance gets any of a bundle from a neighbour that fetches it in the same night.
    pub fn follows(&self, at: At, bundle: u32) -> bool {
        let mut lacks = self.bundles.range(bundle).filter(|o| !self.holds(at, *o));
        let site = self.places(at).1;
        lacks.any(|object| {
            let held_here = self.holders_of(object).iter().any(|h| site.contains(h));
            !held_here && self.master(at, bundle, object).is_some()
        })
    }

    /// Whether two objects of one bundle have the same sources, whoever asks.
    pub fn alike(&self, one: usize, other: usize) -> bool {
        // Those that hold it and are no sources make a difference for who is the master.
        self.all_are_sources && self.holders_of(one) == self.holders_of(other)
    }

    /// Writes a part's source list from everything its items named.
    pub fn list(&self, named: &BTreeSet<&Ranked>) -> Vec<FillSource> {
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

    fn places(&self, at: At) -> (u32, std::ops::Range<u32>, std::ops::Range<u32>) {
        let (first, region) = &self.ranges[at.0];
        let end = first + self.fleet.sites[at.0].appliances.len() as u32;
        (first + at.1 as u32, *first..end, region.clone())
    }

    fn holders_of(&self, object: usize) -> &[u32] {
        match self.held_as[object] {
            NONE => &[],
            held => {
                let held = held as usize;
                &self.holders[self.starts[held] as usize..self.starts[held + 1] as usize]
            }
        }
    }

    fn chosen(&self, at: At, bundle: u32) -> bool {
        self.placements[at.0].appliances[at.1].get(bundle).is_some()
    }

    /// The appliance of the same site that fetches this object from afar tonight, unless that is `to` itself.
    fn master(&self, to: At, bundle: u32, object: usize) -> Option<u32> {
        let site = &self.fleet.sites[to.0];
        let first = self.ranges[to.0].0;
        let gets_it = |a: &usize| {
            let at = (to.0, *a);
            site.appliances[*a].source && self.chosen(at, bundle) && !self.holds(at, object)
        };
        let title = self.title_keys[bundle as usize];
        (0..site.appliances.len())
            .filter(gets_it)
            .max_by_key(|a| (rendezvous::mix(title ^ self.keys[first as usize + a]), *a))
            .filter(|a| *a != to.1)
            .map(|a| first + a as u32)
    }
}

/// Appliances by region, then site; and for each site its first place and its region's places.
fn by_region(fleet: &Fleet) -> (Vec<At>, Vec<(u32, std::ops::Range<u32>)>) {
    let region = |s: &usize| &fleet.sites[*s].region;
    let mut sites: Vec<usize> = (0..fleet.sites.len()).collect();
    sites.sort_by(|a, b| region(a).cmp(region(b)).then(a.cmp(b)));
    let mut order = Vec::new();
    let mut ranges = vec![(0, 0..0); sites.len()];
    let count = |site: &SiteFleet| site.appliances.len();
    for group in sites.chunk_by(|a, b| region(a) == region(b)) {
        let start = order.len() as u32;
        for s in group {
            ranges[*s].0 = order.len() as u32;
            order.extend((0..count(&fleet.sites[*s])).map(|a| (*s, a)));
        }
        for s in group {
            ranges[*s].1 = start..order.len() as u32;
        }
    }
    (order, ranges)
}
