//! Who covers a range of addresses: the routes of its network and, of all networks around it, those of holders that
//! have none nearer. Appliances of a site hear the same over the same routers, so that a cover has one entry for all holders of
//! one route; and it does not know how long networks are, but how much shorter than the longest, so that all networks of one
//! origin have one cover. A look-up waits for memory, and the less there is the less it waits.

use super::{Attributes, HolderName, SiteClass, chunked::Chunked, intern::Interner};
use foldhash::fast::FixedState;
use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

/// Position of a holder in [`RouteTable::holders`](super::RouteTable::holders).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(pub u32);

/// The best route for a client of some holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Whose: number of a group of holders.
    pub(crate) group: u32,
    pub(super) attributes: u32,
    /// Length of their longest match.
    pub prefix_len: u8,
    /// Class of the route.
    pub class: SiteClass,
    /// Length of the AS path, at most 255.
    pub path_len: u8,
    /// Number of lower MEDs that the same neighbour gives to others for this client, at most 255.
    pub med_rank: u8,
}

/// One holder's route to one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub holder: Holder,
    pub attributes: u32,
}

/// Who covers a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cover {
    /// Number of the run of candidates.
    pub run: u32,
    /// Length of the longest network among theirs.
    pub longest: u8,
}

impl Cover {
    /// The run without candidates.
    pub const NOBODY: Self = Self { run: 0, longest: 0 };
}

/// The candidates of a cover, best route first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Covering<'a> {
    /// Their `prefix_len` is how much shorter their network is than the longest.
    run: &'a [Candidate],
    longest: u8,
}

impl<'a> Covering<'a> {
    /// They, one after the other.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = Candidate> + use<'a> {
        self.run.iter().map(move |c| Candidate {
            prefix_len: self.longest - c.prefix_len,
            ..*c
        })
    }
}

/// The covers of a table: runs of candidates, each after a head whose `attributes` is their number. Number 0 is the
/// empty one. Covers are added and never changed; what is no longer in use goes when all are made anew.
#[derive(Debug)]
pub struct Coverings {
    runs: Chunked<Candidate>,
    /// Hash of a run → its number. Of two runs with one hash only the first is found again.
    known: HashMap<u64, u32, FixedState>,
    hasher: FixedState,
    groups: Chunked<Arc<[Holder]>>,
    known_groups: HashMap<Arc<[Holder]>, u32, FixedState>,
    /// What has been put together since the last publication.
    made: HashMap<(u32, u8, u32, u8), u32, FixedState>,
}

const HEAD: Candidate = Candidate {
    group: u32::MAX,
    attributes: 0,
    prefix_len: 0,
    class: SiteClass::Transit,
    path_len: 0,
    med_rank: 0,
};

/// Most different routes to one client, so that a run fits a chunk; the worst routes are left out beyond it.
pub const MAX_COVERING: usize = super::chunked::CHUNK - 1;

/// The members of a cover.
pub fn members(runs: &Chunked<Candidate>, Cover { run, longest }: Cover) -> Covering<'_> {
    let run = runs.rest(run);
    Covering {
        run: &run[1..=run[0].attributes as usize],
        longest,
    }
}

/// What a cover is made from.
pub struct Parts<'a> {
    pub sets: &'a Interner<[Route]>,
    pub attributes: &'a Interner<Attributes>,
    pub holders: &'a [HolderName],
}

impl Coverings {
    /// The empty cover alone.
    pub fn new() -> Self {
        let mut runs = Chunked::default();
        runs.push(HEAD);
        Self {
            runs,
            known: HashMap::default(),
            hasher: FixedState::default(),
            groups: Chunked::default(),
            known_groups: HashMap::default(),
            made: HashMap::default(),
        }
    }
    /// A copy for a table: covers and groups of holders. Numbers of sets may mean others from now on.
    pub fn publish(&mut self) -> (Chunked<Candidate>, Chunked<Arc<[Holder]>>) {
        self.made.clear();
        self.made.shrink_to(1 << 16);
        (self.runs.clone(), self.groups.clone())
    }
    /// Candidates stored, used or not.
    pub fn stored(&self) -> usize {
        self.runs.next() as usize
    }

    /// The cover of a network of `len` bits with routes `set`, inside what `around` covers.
    pub fn cover(&mut self, parts: &Parts, set: u32, len: u8, around: Cover) -> Cover {
        let key = (set, len, around.run, around.longest);
        let cover = |run| Cover { run, longest: len };
        if let Some(made) = self.made.get(&key) {
            return cover(*made);
        }
        let routes = parts.sets.get(set);
        let name = |holder: Holder| &parts.holders[holder.0 as usize];
        let mut of_holders: Vec<(u32, u8, Holder)> =
            routes.iter().map(|r| (r.attributes, len, r.holder)).collect();
        for outer in members(&self.runs, around).iter() {
            let group = self.groups.get(outer.group).iter();
            let others = group.filter(|h| routes.binary_search_by_key(*h, |r| r.holder).is_err());
            of_holders.extend(others.map(|h| (outer.attributes, outer.prefix_len, *h)));
        }
        let route = |(attributes, len, _): &(u32, u8, Holder)| (*attributes, *len);
        of_holders.sort_unstable_by(|a, b| route(a).cmp(&route(b)).then_with(|| name(a.2).cmp(name(b.2))));
        let mut run: Vec<Candidate> = of_holders
            .chunk_by(|a, b| route(a) == route(b))
            .map(|same| self.candidate(parts, same))
            .collect();
        rank_meds(parts, &mut run);
        let first = |c: &Candidate| name(self.groups.get(c.group)[0]);
        run.sort_unstable_by(|a, b| a.route_order(b).then_with(|| first(a).cmp(first(b))));
        run.truncate(MAX_COVERING);
        for c in &mut run {
            c.prefix_len = len - c.prefix_len;
        }
        run.insert(
            0,
            Candidate {
                attributes: run.len() as u32,
                ..HEAD
            },
        );
        let number = self.intern(&run);
        self.made.insert(key, number);
        cover(number)
    }

    /// Of holders with one and the same route.
    fn candidate(&mut self, parts: &Parts, same: &[(u32, u8, Holder)]) -> Candidate {
        let (number, prefix_len, _) = same[0];
        let attributes = parts.attributes.get(number);
        Candidate {
            group: self.group(same.iter().map(|(.., holder)| *holder).collect()),
            attributes: number,
            prefix_len,
            class: attributes.class,
            path_len: attributes.as_path_len.min(255) as u8,
            med_rank: 0,
        }
    }

    fn group(&mut self, holders: Arc<[Holder]>) -> u32 {
        if let Some(known) = self.known_groups.get(&holders) {
            return *known;
        }
        let number = self.groups.next();
        self.groups.push(Arc::clone(&holders));
        self.known_groups.insert(holders, number);
        number
    }

    fn intern(&mut self, run: &[Candidate]) -> u32 {
        let hash = self.hasher.hash_one(run);
        if let Some(known) = self.known.get(&hash)
            && self.runs.rest(*known).starts_with(run)
        {
            return *known;
        }
        let number = self.runs.push_run(run, &HEAD);
        self.known.entry(hash).or_insert(number);
        number
    }
}

/// MEDs compare within one neighbour only. Counting the lower ones of the neighbour gives each route a rank that any two
/// routes can be compared by, so that the order is total and does not hang on who else is well just now.
fn rank_meds(parts: &Parts, run: &mut [Candidate]) {
    let neighbour_and_med = |c: &Candidate| {
        let attributes: &Arc<Attributes> = parts.attributes.get(c.attributes);
        (attributes.neighbour_as, attributes.med.unwrap_or(0))
    };
    let mut all: Vec<_> = run.iter().map(neighbour_and_med).collect();
    all.sort_unstable();
    all.dedup();
    for c in run {
        let (neighbour, med) = neighbour_and_med(c);
        let before = |key| all.partition_point(|k| *k < key);
        let lower = before((neighbour, med)) - before((neighbour, 0));
        c.med_rank = lower.min(255) as u8;
    }
}

impl Candidate {
    /// Order of routes by what the network says alone.
    pub fn route_order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |c: &Self| (c.class, u8::MAX - c.prefix_len, c.path_len, c.med_rank);
        key(self).cmp(&key(other))
    }
}
