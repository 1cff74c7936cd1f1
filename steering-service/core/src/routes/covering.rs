//! Who covers a range of addresses: the routes of its network and, of all networks around it, those of holders that
//! have none nearer. Appliances of a site hear the same over the same routers, so that a cover has one entry for all holders of
//! one route; and it does not know how long networks are, but how much shorter than the longest, so that all networks of one
//! origin have one cover. A look-up waits for memory, and the less there is the less it waits.

use super::{
    Attributes, HolderName,
    chunked::Chunked,
    intern::Interner,
    runs::{Candidate, Cover, MAX_RUN, Runs, Written},
};
use foldhash::fast::FixedState;
use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

/// Position of a holder in [`RouteTable::holders`](super::RouteTable::holders).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(pub u32);

/// One holder's route to one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub holder: Holder,
    pub attributes: u32,
}

/// The covers of a table. They are added and never changed; what is no longer in use goes when all are made anew.
#[derive(Debug)]
pub struct Coverings {
    runs: Runs,
    /// Hash of a run as it is written → where it begins. Of two runs with one hash only the first is found again.
    known: HashMap<u64, u32, FixedState>,
    hasher: FixedState,
    groups: Chunked<Arc<[Holder]>>,
    known_groups: HashMap<Arc<[Holder]>, u32, FixedState>,
    /// What has been put together last, and since the last publication.
    made: HashMap<(u32, u8, u32, u8), u32, FixedState>,
}

/// Covers that are remembered by what they were made from: networks of one origin lie side by side.
const MADE: usize = 1 << 16;

/// What a cover is made from.
pub struct Parts<'a> {
    pub sets: &'a Interner<[Route]>,
    pub attributes: &'a Interner<Attributes>,
    pub holders: &'a [HolderName],
}

impl Coverings {
    /// The empty cover alone.
    pub fn new() -> Self {
        Self {
            runs: Runs::new(),
            known: HashMap::default(),
            hasher: FixedState::default(),
            groups: Chunked::default(),
            known_groups: HashMap::default(),
            made: HashMap::default(),
        }
    }
    /// A copy for a table: covers and groups of holders. Numbers of sets may mean others from now on.
    pub fn publish(&mut self) -> (Runs, Chunked<Arc<[Holder]>>) {
        self.made.clear();
        (self.runs.clone(), self.groups.clone())
    }
    /// Candidates stored, used or not.
    pub fn stored(&self) -> usize {
        self.runs.stored()
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
        for outer in self.runs.of(around).iter() {
            let attributes = self.runs.attributes(&outer);
            let group = self.groups.get(outer.group).iter();
            let others = group.filter(|h| routes.binary_search_by_key(*h, |r| r.holder).is_err());
            of_holders.extend(others.map(|h| (attributes, outer.prefix_len, *h)));
        }
        let route = |(attributes, len, _): &(u32, u8, Holder)| (*attributes, *len);
        of_holders.sort_unstable_by(|a, b| route(a).cmp(&route(b)).then_with(|| name(a.2).cmp(name(b.2))));
        let mut run: Vec<(Candidate, u32)> = of_holders
            .chunk_by(|a, b| route(a) == route(b))
            .map(|same| self.candidate(parts, same))
            .collect();
        rank_meds(parts, &mut run);
        let first = |c: &Candidate| name(self.groups.get(c.group)[0]);
        run.sort_unstable_by(|(a, _), (b, _)| a.route_order(b).then_with(|| first(a).cmp(first(b))));
        run.truncate(MAX_RUN);
        let number = self.intern(&Written::new(&run, len));
        if self.made.len() == MADE {
            self.made.clear();
        }
        self.made.insert(key, number);
        cover(number)
    }

    /// Of holders with one and the same route, with the number of its attributes.
    fn candidate(&mut self, parts: &Parts, same: &[(u32, u8, Holder)]) -> (Candidate, u32) {
        let (number, prefix_len, _) = same[0];
        let attributes = parts.attributes.get(number);
        let candidate = Candidate {
            group: self.group(same.iter().map(|(.., holder)| *holder).collect()),
            place: 0, // once it has one
            prefix_len,
            class: attributes.class,
            path_len: attributes.as_path_len.min(255) as u8,
            med_rank: 0, // once all are known
        };
        (candidate, number)
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

    fn intern(&mut self, written: &Written) -> u32 {
        let hash = self.hasher.hash_one(written);
        if let Some(known) = self.known.get(&hash)
            && self.runs.is(*known, written)
        {
            return *known;
        }
        let number = self.runs.add(written);
        self.known.entry(hash).or_insert(number);
        number
    }
}

/// MEDs compare within one neighbour only. Counting the lower ones of the neighbour gives each route a rank that any two
/// routes can be compared by, so that the order is total and does not hang on who else is well just now.
fn rank_meds(parts: &Parts, run: &mut [(Candidate, u32)]) {
    let neighbour_and_med = |number: u32| {
        let attributes: &Arc<Attributes> = parts.attributes.get(number);
        (attributes.neighbour_as, attributes.med.unwrap_or(0))
    };
    let mut all: Vec<_> = run.iter().map(|(_, number)| neighbour_and_med(*number)).collect();
    all.sort_unstable();
    all.dedup();
    for (c, number) in run {
        let (neighbour, med) = neighbour_and_med(*number);
        let before = |key| all.partition_point(|k| *k < key);
        let lower = before((neighbour, med)) - before((neighbour, 0));
        c.med_rank = lower.min(255) as u8;
    }
}
