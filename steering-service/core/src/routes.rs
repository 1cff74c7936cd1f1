//! Which appliances announce the networks that a client is in, and how.
//!
//! One table for IPv4 and IPv6, for routes that appliances hear (BGP) and for networks that a site simply has
//! ([`Origin::Coverage`]). The longest match counts *for each holder*: where one appliance announces a /24 and another
//! the /16 around it, both are candidates, with their own prefix lengths.
//!
//! A [`RouteTable`] never changes. A [`RouteBuilder`] takes batches of changes and publishes a new table, which shares
//! with the one before what the changes have not touched. A look-up finds a range of addresses, and for each range
//! stands ready who covers it: the work of the longest match for each holder is done when the table is made, since
//! tables are made a few times a minute and asked a million times a second. Figures: docs/decisions/steering-index.md.

mod builder;
mod chunked;
mod covering;
mod family;
mod front;
mod intern;
mod ranges;
mod runs;
mod wire;

pub use builder::{Applied, Covered, MAX_PREFIXES, RouteBatch, RouteBuilder, RouteError};
pub(crate) use covering::Holder;
pub use runs::{Candidate, Covering};

use cdn_types::{OcaId, SiteId};
use chunked::Chunked;
use front::Front;
use ranges::Ranges;
use runs::Runs;
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, sync::Arc};

/// How a network is reached over a route. Better is less: nearer to the viewer, and cheaper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteClass {
    /// Within the viewer's own network.
    Embedded,
    /// Over a private interconnection with it.
    Private,
    /// Over an internet exchange.
    Exchange,
    /// Over somebody who is paid for it.
    Transit,
}

impl SiteClass {
    /// All, best first.
    pub const ALL: [Self; 4] = [Self::Embedded, Self::Private, Self::Exchange, Self::Transit];
}

/// Who says that a network is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A router, to an appliance.
    Bgp,
    /// The operator: a site's networks, or a coverage file.
    Coverage,
}

/// A community of a route, for people to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Community {
    /// RFC 1997.
    Standard(u16, u16),
    /// RFC 8092.
    Large(u32, u32, u32),
}

impl std::fmt::Display for Community {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Standard(a, b) => write!(f, "{a}:{b}"),
            Self::Large(a, b, c) => write!(f, "{a}:{b}:{c}"),
        }
    }
}

/// What a route says beside its network.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// How the network is reached.
    pub class: SiteClass,
    /// Who says so.
    pub origin: Origin,
    /// Number of autonomous systems on the way (RFC 4271 §9.1.2.2 a). 255 and more count alike.
    pub as_path_len: u16,
    /// The autonomous system that announced it to the appliance.
    pub neighbour_as: Option<u32>,
    /// The autonomous system at the other end: the viewer's.
    pub origin_as: Option<u32>,
    /// Multi-exit discriminator; absent counts as 0 (RFC 4271 §9.1.2.2 c).
    pub med: Option<u32>,
    /// Communities, in the order received.
    pub communities: Box<[Community]>,
}

impl Attributes {
    /// What a site's own network has.
    pub fn coverage() -> Self {
        Self {
            class: SiteClass::Embedded,
            origin: Origin::Coverage,
            as_path_len: 0,
            neighbour_as: None,
            origin_as: None,
            med: None,
            communities: Box::default(),
        }
    }
}

/// Who has a route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolderName {
    /// All appliances of a site: its networks.
    Site(SiteId),
    /// One appliance: what it hears.
    Appliance(OcaId),
}

/// All routes at one moment.
#[derive(Debug, Clone)]
pub struct RouteTable {
    v4: Arc<Ranges<u32>>,
    /// Of `v4`.
    front: Arc<Front>,
    v6: Arc<Ranges<u128>>,
    runs: Runs,
    groups: Chunked<Arc<[Holder]>>,
    attributes: Chunked<Option<Arc<Attributes>>>,
    holders: Arc<Vec<HolderName>>,
    prefixes: usize,
}

impl RouteTable {
    /// Who covers an address, each holder once with its longest match, holders of one route together, best route first:
    /// class, prefix length, AS path length, MED within one neighbour, name of the first holder.
    pub fn covering(&self, client: IpAddr) -> Covering<'_> {
        let cover = match client.to_canonical() {
            IpAddr::V4(a) => {
                let a = u32::from(a);
                self.front.find(a).unwrap_or_else(|| self.v4.find(a))
            }
            IpAddr::V6(a) => self.v6.find(u128::from(a)),
        };
        self.runs.of(cover)
    }
    /// Length of the largest network around an address that lies within one range, so that all of it is covered alike.
    pub fn scope(&self, client: IpAddr) -> u8 {
        match client.to_canonical() {
            IpAddr::V4(a) => self.v4.scope(u32::from(a)),
            IpAddr::V6(a) => self.v6.scope(u128::from(a)),
        }
    }
    /// All addresses, IPv4 first, as ranges: first address, last address, who covers them.
    pub fn ranges(&self) -> impl Iterator<Item = (IpAddr, IpAddr, Covering<'_>)> {
        let v4 = self.v4.iter().map(|(a, b, cover)| (u32_ip(a), u32_ip(b), cover));
        let v6 = self
            .v6
            .iter()
            .map(|(a, b, cover)| (u128_ip(a), u128_ip(b), cover));
        v4.chain(v6).map(|(a, b, cover)| (a, b, self.runs.of(cover)))
    }
    /// A candidate's attributes.
    pub fn attributes(&self, candidate: &Candidate) -> &Attributes {
        self.attributes
            .get(self.runs.attributes(candidate))
            .as_ref()
            .expect("a table's candidates point into its own attributes")
    }
    /// Whose route a candidate is, by name.
    pub fn holders_of(&self, candidate: &Candidate) -> impl Iterator<Item = &HolderName> {
        let group = self.groups.get(candidate.group).iter();
        group.map(|holder| &self.holders[holder.0 as usize])
    }
    /// The names of all holders; a [`Holder`] is a position here.
    pub(crate) fn holders(&self) -> &[HolderName] {
        &self.holders
    }
    /// The groups that candidates name, by number.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &[Holder]> {
        (0..self.groups.next()).map(|number| &**self.groups.get(number))
    }
    /// Number of different networks.
    pub fn prefix_count(&self) -> usize {
        self.prefixes
    }
    /// Number of ranges of addresses with the same cover, both families.
    pub fn range_count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

fn u32_ip(address: u32) -> IpAddr {
    IpAddr::V4(address.into())
}

fn u128_ip(address: u128) -> IpAddr {
    IpAddr::V6(address.into())
}
