//! What an operator may decide about rankings, as data.
//!
//! The order of the keys is fixed ([`crate::key`]); a policy says how site classes are ordered, where the steps of load
//! lie, when a session is left where it is, which appliances are preferred, avoided, pinned or blocked for whom, and
//! where a title may be watched. A policy that exists is valid: it is made from a [`RawPolicy`](raw::RawPolicy) (one
//! TOML file), and the first thing wrong with that is told with its key and the mend.

pub mod circuit;
pub mod experiment;
pub mod raw;
pub mod rules;

use crate::{
    rank::Headroom,
    routes::{HolderName, SiteClass},
};
use cdn_types::{SiteId, TitleId};
use circuit::CircuitPolicy;
use experiment::Experiment;
use ipnet::IpNet;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// A country by ISO 3166-1 alpha-2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl FromStr for Country {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err("a country has two letters, as DE or GB"),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(self.0[0]), char::from(self.0[1]))
    }
}

impl Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A place on the earth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Location {
    latitude: f64,
    longitude: f64,
}

/// Radius of the earth as a ball, in km.
const EARTH_KM: f64 = 6371.0;

impl Location {
    /// In degrees, north and east positive; none outside -90 to 90 and -180 to 180.
    pub fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let fits = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        fits.then_some(Self { latitude, longitude })
    }
    /// Great-circle distance in km, by the haversine formula.
    pub fn distance_km(self, other: Self) -> f64 {
        let (a, b) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half = |x: f64| (x / 2.0).sin().powi(2);
        let turned = (other.longitude - self.longitude).to_radians();
        let h = half(b - a) + a.cos() * b.cos() * half(turned);
        2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
    }
}

/// Where the steps of load lie, in thousandths of capacity; rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadroomSteps {
    /// Below it an appliance is free.
    pub busy_from: u32,
    /// Below it an appliance is busy, from it on tight.
    pub tight_from: u32,
    /// From it on an appliance gets no new viewers.
    pub full_from: u32,
}

impl HeadroomSteps {
    /// The step of a load.
    pub fn step(&self, load_permille: u32) -> Headroom {
        match load_permille {
            p if p < self.busy_from => Headroom::Free,
            p if p < self.tight_from => Headroom::Busy,
            p if p < self.full_from => Headroom::Tight,
            _ => Headroom::Full,
        }
    }
}

/// Between whose routes MED decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MedRule {
    /// Routes of one neighbouring AS.
    #[default]
    SameNeighbour,
    /// All routes.
    Always,
    /// None.
    Never,
}

/// Which clients a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Those in a network.
    Prefix(IpNet),
    /// Those whose best route ends in an autonomous system.
    Asn(u32),
    /// Those in a country.
    Country(Country),
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Adds to the preference; negative avoids.
    Prefer(i16),
    /// Puts it before all others.
    Pin,
    /// Never sends these clients there.
    Block,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For whom.
    pub whom: Whom,
    /// What.
    pub action: Action,
    /// With which appliances.
    pub target: HolderName,
}

/// Where a title may be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Licence {
    /// In these countries; not where the country is not known.
    Only(BTreeSet<Country>),
    /// Everywhere but in these.
    Except(BTreeSet<Country>),
}

impl Licence {
    /// Whether it allows a country.
    pub fn allows(&self, country: Option<Country>) -> bool {
        match self {
            Self::Only(countries) => country.is_some_and(|c| countries.contains(&c)),
            Self::Except(countries) => country.is_none_or(|c| !countries.contains(&c)),
        }
    }
}

/// The policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Told in metrics and explanations; 0 is the policy as shipped.
    pub version: u64,
    /// Place of each site class, in the order of [`SiteClass::ALL`]; equal places count alike.
    pub class_order: [u8; 4],
    /// Steps of load.
    pub headroom: HeadroomSteps,
    /// A session stays where it is while that is at most so many steps (of load, of throughput) worse than the best.
    pub hysteresis_steps: u8,
    /// Entries that an answer has if there are so many, the origin counted.
    pub minimum_entries: usize,
    /// What MED decides.
    pub med: MedRule,
    /// Throughput in bit/s from which on appliances count alike.
    pub enough_throughput: u64,
    /// When an appliance that fails viewers is taken out.
    pub circuit: CircuitPolicy,
    /// Rules; those that match add up.
    pub rules: Vec<Rule>,
    /// Titles that may not be watched everywhere.
    pub licences: BTreeMap<TitleId, Licence>,
    /// Where sites are.
    pub locations: BTreeMap<SiteId, Location>,
    /// Experiments.
    pub experiments: Vec<Experiment>,
}

impl Default for Policy {
    fn default() -> Self {
        use crate::rank::{BUSY_BELOW_PERMILLE, FREE_BELOW_PERMILLE, FULL_FROM_PERMILLE};
        Self {
            version: 0,
            class_order: [0, 1, 2, 3],
            headroom: HeadroomSteps {
                busy_from: FREE_BELOW_PERMILLE,
                tight_from: BUSY_BELOW_PERMILLE,
                full_from: FULL_FROM_PERMILLE,
            },
            hysteresis_steps: 1,
            minimum_entries: 2,
            med: MedRule::default(),
            enough_throughput: 25_000_000,
            circuit: CircuitPolicy::default(),
            rules: Vec::new(),
            licences: BTreeMap::new(),
            locations: BTreeMap::new(),
            experiments: Vec::new(),
        }
    }
}

impl Policy {
    /// Place of a class.
    pub fn class_place(&self, class: SiteClass) -> u8 {
        self.class_order[class as usize]
    }
    /// Whether keys order routes as [`RouteTable::covering`](crate::routes::RouteTable::covering) does.
    pub fn keeps_route_order(&self) -> bool {
        self.med != MedRule::Always && self.class_order.is_sorted_by(|a, b| a < b)
    }
    /// A session's arm in each experiment.
    pub fn arms<'a>(&'a self, session: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.experiments
            .iter()
            .map(|e| (e.name.as_str(), e.arm(session).name.as_str()))
    }
}
