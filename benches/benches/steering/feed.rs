//! A made-up internet: networks of the lengths that the real table has, in runs as they are allocated, each with an
//! origin AS, heard by two sites of five appliances.

use cdn_types::OcaId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};
use steering_core::routes::{Attributes, Community, Origin, RouteBatch, SiteClass};

/// Appliances of one site; all hear the same.
pub const SIBLINGS: usize = 5;
/// Share of prefix lengths in the IPv4 table of 2026, in thousandths, and in the IPv6 table.
const V4_LENGTHS: &[(u8, u64)] = &[
    (24, 610),
    (23, 100),
    (22, 110),
    (21, 50),
    (20, 45),
    (19, 30),
    (18, 30),
    (16, 5),
];
const V6_LENGTHS: &[(u8, u64)] = &[
    (48, 480),
    (44, 110),
    (40, 100),
    (36, 60),
    (32, 190),
    (29, 40),
    (56, 10),
    (64, 10),
];

/// A generator that is the same everywhere (SplitMix64).
#[derive(Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn pick(&mut self, table: &[(u8, u64)]) -> u8 {
        let mut at = self.below(table.iter().map(|(_, w)| w).sum());
        for (len, weight) in table {
            if at < *weight {
                return *len;
            }
            at -= weight;
        }
        table[0].0
    }
}

pub struct Feed {
    /// Network and number of its origin AS.
    pub networks: Vec<(IpNet, u32)>,
    pub sites: usize,
    /// For each site the networks that it hears.
    heard: Vec<Vec<u32>>,
}

impl Feed {
    /// A million IPv4 and 200,000 IPv6 networks and 200 sites, divided.
    pub fn new(divisor: usize) -> Self {
        Self::with_sites(divisor, (200 / divisor).max(4))
    }

    /// The same with any number of sites from two on.
    pub fn with_sites(divisor: usize, sites: usize) -> Self {
        let mut random = Numbers(1);
        let (v4, v6) = (1_000_000 / divisor, 200_000 / divisor);
        let mut networks = std::collections::BTreeMap::new();
        let mut origin = 0;
        while networks.len() < v4 {
            // Blocks of 64 /24 side by side, as they are allocated; networks shorter than that contain neighbours.
            let block = (1 << 24) + u64::from(origin) * (64 << 8) * 2;
            for _ in 0..1 + random.below(20) {
                let len = random.pick(V4_LENGTHS);
                let address = Ipv4Addr::from((block + (random.below(64) << 8)) as u32);
                let net = Ipv4Net::new(address, len).expect("a length up to 32").trunc();
                networks.insert(IpNet::from(net), origin);
            }
            origin += 1;
        }
        let first = origin;
        while networks.len() < v4 + v6 {
            let nth = u128::from(origin - first);
            let top = [0x2001, 0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00][(nth % 6) as usize];
            let block = top << 112 | (nth / 6) << 99;
            for _ in 0..1 + random.below(20) {
                let len = random.pick(V6_LENGTHS);
                let address = Ipv6Addr::from(block | u128::from(random.below(1 << 16)) << 80);
                let net = Ipv6Net::new(address, len).expect("a length up to 128").trunc();
                networks.insert(IpNet::from(net), origin);
            }
            origin += 1;
        }
        let mut networks: Vec<_> = networks.into_iter().collect();
        networks.sort_unstable_by_key(|(_, origin)| *origin);
        let mut heard = vec![Vec::new(); sites];
        for (at, (_, origin)) in networks.iter().enumerate() {
            for site in heard_at(*origin, sites) {
                heard[site].push(at as u32);
            }
        }
        Self {
            networks,
            sites,
            heard,
        }
    }

    pub fn appliances(&self) -> usize {
        self.sites * SIBLINGS
    }
    pub fn appliance(n: usize) -> OcaId {
        OcaId::new(format!("oca-{n:05}")).expect("a valid id")
    }

    /// All routes of one appliance: those of its site.
    pub fn batch(&self, appliance: usize) -> RouteBatch {
        let site = appliance / SIBLINGS;
        let mut batch = RouteBatch::default();
        let mut last = None;
        for (net, origin) in self.heard[site].iter().map(|at| self.networks[*at as usize]) {
            if last != Some(origin) {
                batch.attributes.push(attributes(site, origin));
                last = Some(origin);
            }
            batch.changes.push((net, Some(batch.attributes.len() as u32 - 1)));
        }
        batch
    }

    /// Clients all over the networks.
    pub fn clients(&self, count: usize) -> Vec<std::net::IpAddr> {
        let mut random = Numbers(7);
        let mut client = || match self.networks[random.below(self.networks.len() as u64) as usize].0 {
            IpNet::V4(net) => {
                let host = random.next() as u32 & u32::MAX.checked_shr(net.prefix_len().into()).unwrap_or(0);
                Ipv4Addr::from(u32::from(net.network()) | host).into()
            }
            IpNet::V6(net) => {
                let host = u128::from(random.next()) & u128::MAX >> net.prefix_len();
                Ipv6Addr::from(u128::from(net.network()) | host).into()
            }
        };
        (0..count).map(|_| client()).collect()
    }
}

/// The two sites that hear an origin's networks.
fn heard_at(origin: u32, sites: usize) -> [usize; 2] {
    let mut random = Numbers(u64::from(origin));
    let first = random.below(sites as u64);
    let second = (first + 1 + random.below(sites as u64 - 1)) % sites as u64;
    [first as usize, second as usize]
}

fn attributes(site: usize, origin: u32) -> Attributes {
    let mut random = Numbers(u64::from(origin) << 16 | site as u64);
    Attributes {
        class: SiteClass::ALL[random.below(4) as usize],
        origin: Origin::Bgp,
        as_path_len: 1 + random.below(5) as u16,
        neighbour_as: Some(64_512 + (site * 4) as u32 + random.below(4) as u32),
        origin_as: Some(100_000 + origin),
        med: Some(random.below(3) as u32 * 10),
        communities: [Community::Standard(64_512, random.below(8) as u16)].into(),
    }
}
