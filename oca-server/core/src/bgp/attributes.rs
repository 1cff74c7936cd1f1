//! Path attributes on the wire, and what is wrong with them by RFC 7606: which fault costs only the attribute, which the
//! routes of its UPDATE ("treat-as-withdraw"). An appliance needs few attributes; of the others it checks what RFC 7606
//! §7 wants checked and forgets them.

use std::collections::BTreeSet;

/// What kind of attribute a code is, for RFC 4271's flags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Category {
    WellKnown,
    OptionalTransitive,
    OptionalNonTransitive,
    Unknown,
}

/// Codes of RFC 4271, 1997, 4456, 4760, 4360, 6793, 8092.
mod code {
    pub const ORIGIN: u8 = 1;
    pub const AS_PATH: u8 = 2;
    pub const NEXT_HOP: u8 = 3;
    pub const MED: u8 = 4;
    pub const LOCAL_PREF: u8 = 5;
    pub const ATOMIC_AGGREGATE: u8 = 6;
    pub const AGGREGATOR: u8 = 7;
    pub const COMMUNITIES: u8 = 8;
    pub const ORIGINATOR_ID: u8 = 9;
    pub const CLUSTER_LIST: u8 = 10;
    pub const MP_REACH: u8 = 14;
    pub const MP_UNREACH: u8 = 15;
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    pub const AS4_PATH: u8 = 17;
    pub const AS4_AGGREGATOR: u8 = 18;
    pub const LARGE_COMMUNITIES: u8 = 32;
}

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED_LENGTH: u8 = 0x10;

/// A segment of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// ASes in order.
    Sequence(Vec<u32>),
    /// ASes without order.
    Set(Vec<u32>),
    /// Of a confederation (RFC 5065): no AS of the Internet.
    Confederation(Vec<u32>),
}

/// An AS path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsPath(pub Vec<Segment>);

impl AsPath {
    /// Its length by RFC 4271 §9.1.2.2: a set counts as one AS, a confederation as none.
    pub fn len(&self) -> u32 {
        let of = |segment: &Segment| match segment {
            Segment::Sequence(list) => list.len(),
            Segment::Set(_) => 1,
            Segment::Confederation(_) => 0,
        };
        u32::try_from(self.0.iter().map(of).sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Whether it has no AS.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The AS that the route comes from.
    pub fn first(&self) -> Option<u32> {
        let mut outside = self.0.iter().filter(|s| !matches!(s, Segment::Confederation(_)));
        match outside.next()? {
            Segment::Sequence(list) => list.first().copied(),
            _ => None,
        }
    }

    /// The AS that announced the route at first.
    pub fn origin(&self) -> Option<u32> {
        match self.0.last()? {
            Segment::Sequence(list) => list.last().copied(),
            _ => None,
        }
    }

    /// Whether an AS is in it.
    pub fn has(&self, asn: u32) -> bool {
        self.0.iter().any(|segment| match segment {
            Segment::Sequence(list) | Segment::Set(list) | Segment::Confederation(list) => {
                list.contains(&asn)
            }
        })
    }

    /// The true path of what a speaker with ASes of two octets sent (RFC 6793 §4.2.3): the newest part of the AS_PATH,
    /// and the AS4_PATH behind it. An AS4_PATH that is longer was left over and is ignored.
    fn merged(self, four: &Self) -> Self {
        let Some(mut lead) = self.len().checked_sub(four.len()) else {
            return self;
        };
        let mut segments = Vec::new();
        for segment in self.0 {
            match segment {
                Segment::Sequence(mut list) if lead > 0 => {
                    list.truncate(lead as usize);
                    lead -= list.len() as u32;
                    segments.push(Segment::Sequence(list));
                }
                Segment::Set(list) if lead > 0 => {
                    lead -= 1;
                    segments.push(Segment::Set(list));
                }
                Segment::Confederation(list) => segments.push(Segment::Confederation(list)),
                _ => break,
            }
        }
        segments.extend(four.0.iter().cloned());
        Self(segments)
    }
}

/// What is kept of an UPDATE's attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathAttributes {
    /// The path.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities, rising, each once.
    pub communities: Vec<u32>,
    /// Large communities, rising, each once.
    pub large_communities: Vec<[u32; 3]>,
}

/// All that was read of an attribute section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section<'a> {
    pub attributes: PathAttributes,
    /// Value of MP_REACH_NLRI.
    pub reach: Option<&'a [u8]>,
    /// Value of MP_UNREACH_NLRI.
    pub unreach: Option<&'a [u8]>,
    /// Whether there is any attribute at all.
    pub any: bool,
    /// The first fault that costs the routes.
    pub malformed: Option<Fault>,
    /// Attributes that were left out.
    pub discarded: u32,
    has_origin: bool,
    has_as_path: bool,
    has_next_hop: bool,
}

/// A fault by which routes are treated as withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Code of the attribute; 0 = the section as a whole.
    pub attribute: u8,
    /// What is wrong.
    pub what: &'static str,
}

/// MP_REACH_NLRI or MP_UNREACH_NLRI stands there twice: the session ends (RFC 7606 §3 g).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Twice;

/// How the octets are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// AS numbers have four octets.
    pub as4: bool,
    /// The neighbour is of the own AS.
    pub internal: bool,
}

impl<'a> Section<'a> {
    /// Reads the attributes of an UPDATE.
    pub fn read(octets: &'a [u8], reading: Reading) -> Result<Self, Twice> {
        Self::read_by(octets, reading, conflicts)
    }

    /// Reads the attributes of a route in a dump (RFC 6396 §4.3.4): AS numbers have four octets, MP_REACH_NLRI is a next hop alone, and
    /// flags, which a table has no use for, say nothing (BIRD 2 leaves those out that it has set itself).
    pub fn read_dumped(octets: &'a [u8]) -> Result<Self, Twice> {
        let reading = Reading {
            as4: true,
            internal: true, // LOCAL_PREF and the like are in a router's own table
        };
        Self::read_by(octets, reading, |_, _| false)
    }

    fn read_by(mut octets: &'a [u8], reading: Reading, conflicts: fn(u8, u8) -> bool) -> Result<Self, Twice> {
        let mut section = Self {
            any: !octets.is_empty(),
            ..Self::default()
        };
        let (mut seen, mut four) = (BTreeSet::new(), None);
        while !octets.is_empty() {
            let Some((flags, code, value, rest)) = split(octets) else {
                // RFC 7606 §4: the routes are found all the same, by the section's own length.
                section.fault(0, "an attribute's length leads beyond the attributes");
                break;
            };
            octets = rest;
            if !seen.insert(code) {
                if matches!(code, code::MP_REACH | code::MP_UNREACH) {
                    return Err(Twice);
                }
                section.discarded += 1; // §3 g: the first one counts
                continue;
            }
            if conflicts(flags, code) {
                section.fault(code, "its flags are not those of its kind");
            }
            match code {
                code::MP_REACH => section.reach = Some(value),
                code::MP_UNREACH => section.unreach = Some(value),
                code::AS4_PATH if reading.as4 => section.discarded += 1, // RFC 6793 §4.1
                code::AS4_PATH => match as_path(value, true) {
                    Some(path) => four = Some(path),
                    None => section.discarded += 1, // RFC 6793 §6
                },
                _ => section.take(code, flags, value, reading),
            }
        }
        if let Some(four) = four {
            let path = std::mem::take(&mut section.attributes.as_path);
            section.attributes.as_path = path.merged(&four);
        }
        Ok(section)
    }

    fn take(&mut self, code: u8, flags: u8, value: &[u8], reading: Reading) {
        let Reading { as4, internal } = reading;
        match code {
            code::ORIGIN => {
                self.has_origin = true;
                if !matches!(value, [0..=2]) {
                    self.fault(code, "it is not IGP, EGP or INCOMPLETE");
                }
            }
            code::AS_PATH => {
                self.has_as_path = true;
                match as_path(value, as4) {
                    Some(path) => self.attributes.as_path = path,
                    None => self.fault(code, "its segments do not fit"),
                }
            }
            code::NEXT_HOP => {
                self.has_next_hop = true;
                self.length(code, value.len() == 4);
            }
            code::MED => match value.try_into() {
                Ok(med) => self.attributes.med = Some(u32::from_be_bytes(med)),
                Err(_) => self.length(code, false),
            },
            code::LOCAL_PREF if internal => self.length(code, value.len() == 4),
            code::ORIGINATOR_ID if internal => self.length(code, value.len() == 4),
            code::CLUSTER_LIST if internal => self.length(code, multiple(value, 4)),
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST => self.discarded += 1,
            code::ATOMIC_AGGREGATE => self.discarded += u32::from(!value.is_empty()),
            code::AGGREGATOR => self.discarded += u32::from(value.len() != if as4 { 8 } else { 6 }),
            code::AS4_AGGREGATOR => self.discarded += u32::from(as4 || value.len() != 8),
            code::COMMUNITIES => {
                self.length(code, multiple(value, 4));
                self.attributes.communities = sorted(value.chunks_exact(4).map(word));
            }
            code::EXTENDED_COMMUNITIES => self.length(code, multiple(value, 8)),
            code::LARGE_COMMUNITIES => {
                self.length(code, multiple(value, 12));
                let large = |v: &[u8]| [word(&v[..4]), word(&v[4..8]), word(&v[8..])];
                self.attributes.large_communities = sorted(value.chunks_exact(12).map(large));
            }
            _ if flags & OPTIONAL == 0 => self.fault(code, "it is well-known by its flags, and unknown"),
            _ => {}
        }
    }

    /// What is missing for routes to be announced (RFC 7606 §3 d); `next_hop` = whether they need NEXT_HOP.
    pub fn missing(&self, next_hop: bool) -> Option<Fault> {
        let absent = |attribute| Fault {
            attribute,
            what: "it is missing",
        };
        if !self.has_origin {
            Some(absent(code::ORIGIN))
        } else if !self.has_as_path {
            Some(absent(code::AS_PATH))
        } else {
            (next_hop && !self.has_next_hop).then(|| absent(code::NEXT_HOP))
        }
    }

    fn length(&mut self, code: u8, fits: bool) {
        if !fits {
            self.fault(code, "its length is wrong");
        }
    }

    fn fault(&mut self, attribute: u8, what: &'static str) {
        self.malformed.get_or_insert(Fault { attribute, what });
    }
}

/// Flags, code and value of the first attribute, and what follows.
fn split(octets: &[u8]) -> Option<(u8, u8, &[u8], &[u8])> {
    let (&[flags, code], rest) = octets.split_first_chunk()?;
    let (len, rest) = if flags & EXTENDED_LENGTH != 0 {
        let (len, rest) = rest.split_first_chunk()?;
        (u16::from_be_bytes(*len).into(), rest)
    } else {
        let (len, rest) = rest.split_first()?;
        (usize::from(*len), rest)
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((flags, code, value, rest))
}

fn category(code: u8) -> Category {
    match code {
        code::ORIGIN | code::AS_PATH | code::NEXT_HOP | code::LOCAL_PREF | code::ATOMIC_AGGREGATE => {
            Category::WellKnown
        }
        code::MED | code::ORIGINATOR_ID | code::CLUSTER_LIST | code::MP_REACH | code::MP_UNREACH => {
            Category::OptionalNonTransitive
        }
        code::AGGREGATOR
        | code::COMMUNITIES
        | code::EXTENDED_COMMUNITIES
        | code::AS4_PATH
        | code::AS4_AGGREGATOR
        | code::LARGE_COMMUNITIES => Category::OptionalTransitive,
        _ => Category::Unknown,
    }
}

/// Whether the Optional and Transitive flags are not the kind's (RFC 7606 §3 c).
fn conflicts(flags: u8, code: u8) -> bool {
    let wanted = match category(code) {
        Category::WellKnown => TRANSITIVE,
        Category::OptionalTransitive => OPTIONAL | TRANSITIVE,
        Category::OptionalNonTransitive => OPTIONAL,
        Category::Unknown => return false,
    };
    flags & (OPTIONAL | TRANSITIVE) != wanted
}

/// A path of whole segments, none of them empty (RFC 7606 §7.2).
fn as_path(mut octets: &[u8], as4: bool) -> Option<AsPath> {
    let width = if as4 { 4 } else { 2 };
    let mut path = AsPath::default();
    while !octets.is_empty() {
        let (&[kind, count], rest) = octets.split_first_chunk()?;
        let (list, rest) = rest.split_at_checked(usize::from(count) * width)?;
        let list: Vec<u32> = list.chunks_exact(width).map(word).collect();
        path.0.push(match kind {
            _ if list.is_empty() => return None,
            1 => Segment::Set(list),
            2 => Segment::Sequence(list),
            3 | 4 => Segment::Confederation(list),
            _ => return None,
        });
        octets = rest;
    }
    Some(path)
}

/// A number of up to four octets.
fn word(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

/// Whether a value is a list of things of this size, and not empty (RFC 7606 §7.8).
fn multiple(value: &[u8], of: usize) -> bool {
    !value.is_empty() && value.len().is_multiple_of(of)
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.sort_unstable();
    list.dedup();
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(segments: &[Segment]) -> AsPath {
        AsPath(segments.to_vec())
    }

    #[test]
    fn a_paths_length_and_ends_are_those_of_rfc_4271() {
        use Segment::{Confederation, Sequence, Set};
        let p = path(&[Confederation(vec![65001]), Sequence(vec![1, 2]), Set(vec![3, 4])]);
        assert_eq!((p.len(), p.first(), p.origin()), (3, Some(1), None));
        assert!(p.has(4) && p.has(65001) && !p.has(5));
        let p = path(&[Sequence(vec![1, 2, 3])]);
        assert_eq!((p.len(), p.first(), p.origin()), (3, Some(1), Some(3)));
        assert!(AsPath::default().is_empty());
    }

    #[test]
    fn a_path_of_two_octets_is_completed_by_as4_path() {
        use Segment::Sequence;
        let trans = path(&[Sequence(vec![10, 23456, 23456])]);
        let four = path(&[Sequence(vec![70_000, 80_000])]);
        let whole = path(&[Sequence(vec![10]), Sequence(vec![70_000, 80_000])]);
        assert_eq!(trans.clone().merged(&four), whole);
        let longer = path(&[Sequence(vec![1, 2, 3, 4])]);
        assert_eq!(trans.clone().merged(&longer), trans);
    }
}
