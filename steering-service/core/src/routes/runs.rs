//! The covers of a table, as they lie in memory: one behind the other, each a run of eight bytes a candidate. What a route says beyond its
//! place in the order stands elsewhere: rankings ask for it seldom, and wait for what they read.

use super::{SiteClass, chunked::Chunked};

/// Who covers a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cover {
    /// Where the run of candidates begins.
    pub run: u32,
    /// Length of the longest network among theirs.
    pub longest: u8,
}

impl Cover {
    /// The one without candidates.
    pub const NOBODY: Self = Self { run: 0, longest: 0 };
}

/// The best route for a client of some holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Whose: number of a group of holders.
    pub(crate) group: u32,
    /// Which of all candidates of a table.
    pub(super) place: u32,
    /// Length of their longest match.
    pub prefix_len: u8,
    /// Class of the route.
    pub class: SiteClass,
    /// Length of the AS path, at most 255.
    pub path_len: u8,
    /// Number of lower MEDs that the same neighbour gives to others for this client, at most 255.
    pub med_rank: u8,
}

impl Candidate {
    /// Order of routes by what the network says alone.
    pub fn route_order(&self, other: &Self) -> std::cmp::Ordering {
        let key = |c: &Self| (c.class, u8::MAX - c.prefix_len, c.path_len, c.med_rank);
        key(self).cmp(&key(other))
    }
}

/// A candidate in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Way {
    /// Number of the group, doubled, and one more for the last of its run.
    group_and_last: u32,
    /// How much shorter its network is than the longest of the run.
    shorter: u8,
    class: SiteClass,
    path_len: u8,
    med_rank: u8,
}

const _: () = assert!(size_of::<Way>() == 8);

impl Way {
    /// Of the empty run.
    const NOBODY: Self = Self {
        group_and_last: u32::MAX,
        shorter: 0,
        class: SiteClass::Transit,
        path_len: 0,
        med_rank: 0,
    };

    fn is_last(self) -> bool {
        self.group_and_last % 2 == 1
    }
}

/// A run as it is written: of each candidate how clients are reached, and the number of its attributes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Written {
    ways: Vec<Way>,
    attributes: Vec<u32>,
}

impl Written {
    /// From candidates with the numbers of their attributes, one or more; `longest` is the length of the longest network among theirs.
    pub fn new(candidates: &[(Candidate, u32)], longest: u8) -> Self {
        let last = candidates.len() - 1;
        let way = |(at, (c, _)): (usize, &(Candidate, u32))| Way {
            group_and_last: c.group * 2 + u32::from(at == last),
            shorter: longest - c.prefix_len,
            class: c.class,
            path_len: c.path_len,
            med_rank: c.med_rank,
        };
        Self {
            ways: candidates.iter().enumerate().map(way).collect(),
            attributes: candidates.iter().map(|(_, number)| *number).collect(),
        }
    }
}

/// Most different routes to one client; the worst are left out beyond it.
pub const MAX_RUN: usize = 1 << 16;

/// All runs. They are added and never changed.
#[derive(Debug, Clone)]
pub struct Runs {
    /// In one piece, so that a table's copy is found at once.
    ways: Vec<Way>,
    /// Number of each candidate's attributes.
    attributes: Chunked<u32>,
}

impl Runs {
    /// None yet. Number 0 stays that of the empty run.
    pub fn new() -> Self {
        let mut attributes = Chunked::default();
        attributes.push(u32::MAX);
        Self {
            ways: vec![Way::NOBODY],
            attributes,
        }
    }
    /// Adds a run; where it begins.
    pub fn add(&mut self, run: &Written) -> u32 {
        let at = self.ways.len() as u32;
        self.ways.extend_from_slice(&run.ways);
        run.attributes
            .iter()
            .for_each(|number| self.attributes.push(*number));
        at
    }
    /// Whether a run is there.
    pub fn is(&self, at: u32, run: &Written) -> bool {
        let attributes = (at..).zip(&run.attributes);
        self.ways[at as usize..].starts_with(&run.ways)
            && attributes
                .into_iter()
                .all(|(at, number)| self.attributes.get(at) == number)
    }
    /// The candidates of a cover.
    pub fn of(&self, cover: Cover) -> Covering<'_> {
        Covering {
            runs: self,
            cover,
            first: self.ways[cover.run as usize],
        }
    }
    /// Number of a candidate's attributes.
    pub fn attributes(&self, candidate: &Candidate) -> u32 {
        *self.attributes.get(candidate.place)
    }
    /// Candidates in all runs, used or not.
    pub fn stored(&self) -> usize {
        self.ways.len()
    }
}

/// The candidates of a cover, best route first. To make one is to have begun to read it, and does not wait for it.
#[derive(Debug, Clone, Copy)]
pub struct Covering<'a> {
    runs: &'a Runs,
    cover: Cover,
    first: Way,
}

impl<'a> Covering<'a> {
    /// They, one after the other.
    pub fn iter(self) -> impl Iterator<Item = Candidate> + use<'a> {
        let Cover { run, longest } = self.cover;
        let mut rest = (self.cover != Cover::NOBODY).then_some((self.first, run));
        std::iter::from_fn(move || {
            let (way, place) = rest?;
            rest = (!way.is_last()).then(|| (self.runs.ways[place as usize + 1], place + 1));
            Some(Candidate {
                group: way.group_and_last / 2,
                place,
                prefix_len: longest - way.shorter,
                class: way.class,
                path_len: way.path_len,
                med_rank: way.med_rank,
            })
        })
    }
    /// Whether another cover of the same table has the same candidates.
    pub fn is_like(&self, other: &Self) -> bool {
        let of = |c: Candidate| (c.group, c.prefix_len, self.runs.attributes(&c));
        self.iter().map(of).eq(other.iter().map(of))
    }
}
