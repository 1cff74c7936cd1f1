//! How fast viewers of a network were served by each appliance, as far as they said.
//!
//! For each network (/24 of IPv4, /48 of IPv6) and appliance there is a histogram of steps a factor of two apart, whose
//! weights halve every [`HALF_LIFE_SECONDS`]; the estimate is its median. A median does not follow the one viewer behind
//! a bad wireless link, coarse steps do not follow noise, and old evenings fade. Time is an argument.

pub mod told;

use crate::rendezvous::Seed;
use cdn_types::{
    OcaId,
    viewers::{Network, STEPS},
};
use foldhash::fast::FixedState;
use std::{collections::HashMap, net::IpAddr};

pub use cdn_types::viewers::{from, step};

/// Seconds in which what was measured loses half its weight.
pub const HALF_LIFE_SECONDS: f64 = 1800.0;
/// Weight below which nothing is claimed: fewer fresh samples than this say little.
pub const LEAST_WEIGHT: f32 = 3.0;
/// Seconds between two searches for networks to forget, however many samples ask for room.
const SWEEP_SECONDS: f64 = 60.0;
/// Appliances that are followed for one network: more than a list names.
const PER_NETWORK: usize = 16;

#[derive(Debug, Clone)]
struct Estimate {
    appliance: Seed,
    weights: [f32; STEPS],
    /// When the weights were last brought up to date.
    at: f64,
}

impl Estimate {
    fn fade(&mut self, now: f64) {
        let factor = faded(now - self.at) as f32;
        for weight in &mut self.weights {
            *weight *= factor;
        }
        self.at = self.at.max(now);
    }
    fn weight(&self) -> f32 {
        self.weights.iter().sum()
    }
    fn median(&self) -> Option<u8> {
        let whole = self.weight();
        if whole < LEAST_WEIGHT {
            return None;
        }
        let mut below = 0.0;
        let half = |weight: &f32| {
            below += weight;
            below * 2.0 >= whole
        };
        self.weights.iter().position(half).map(|step| step as u8)
    }
}

/// What is left of a weight of 1 after so many seconds.
pub fn faded(seconds: f64) -> f64 {
    0.5f64.powf(seconds.max(0.0) / HALF_LIFE_SECONDS)
}

/// Takes samples in, within a limit of networks.
#[derive(Debug)]
pub struct Throughput {
    networks: HashMap<Network, Vec<Estimate>, FixedState>,
    limit: usize,
    /// When all were last looked through for faded ones.
    swept: f64,
}

impl Throughput {
    /// For at most so many networks; about 150 bytes for each pair of network and appliance.
    pub fn new(limit: usize) -> Self {
        Self {
            networks: HashMap::default(),
            limit,
            swept: f64::NEG_INFINITY,
        }
    }

    /// A client's throughput from an appliance, at `now` in seconds on any clock that does not go back.
    pub fn sample(&mut self, client: IpAddr, appliance: &OcaId, bits_per_second: u64, now: f64) {
        self.samples(Network::of(client), appliance, step(bits_per_second), 1.0, now);
    }

    /// A step of throughput that clients of a network had, with the weight of so many samples; see [`faded`] for older ones.
    pub fn samples(&mut self, network: Network, appliance: &OcaId, step: u8, weight: f64, now: f64) {
        if self.networks.len() >= self.limit && !self.networks.contains_key(&network) {
            if now - self.swept >= SWEEP_SECONDS {
                self.forget_faded(now);
            }
            if self.networks.len() >= self.limit {
                return; // all are fresh: a sample more of a new network is worth less than any of them
            }
        }
        let appliance = Seed::of("appliance", appliance.as_str());
        let list = self.networks.entry(network).or_default();
        let at = match list.iter().position(|e| e.appliance == appliance) {
            Some(at) => at,
            None => place(list, appliance, now),
        };
        list[at].fade(now);
        list[at].weights[usize::from(step).min(STEPS - 1)] += weight as f32;
    }

    /// What is known at `now`, for rankings.
    pub fn measured(&mut self, now: f64) -> Measured {
        self.forget_faded(now);
        let known = |(network, list): (&Network, &Vec<Estimate>)| {
            let steps: Box<[_]> = list
                .iter()
                .filter_map(|e| Some((e.appliance, e.median()?)))
                .collect();
            (!steps.is_empty()).then_some((*network, steps))
        };
        Measured {
            networks: self.networks.iter().filter_map(known).collect(),
        }
    }

    /// Number of networks followed.
    pub fn len(&self) -> usize {
        self.networks.len()
    }
    /// Whether nothing is followed.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    fn forget_faded(&mut self, now: f64) {
        self.swept = now;
        self.networks.retain(|_, list| {
            list.iter_mut().for_each(|e| e.fade(now));
            list.retain(|e| e.weight() >= 0.5);
            !list.is_empty()
        });
    }
}

/// A place for an appliance: a new one, or that of the one with the least weight.
fn place(list: &mut Vec<Estimate>, appliance: Seed, now: f64) -> usize {
    let fresh = Estimate {
        appliance,
        weights: [0.0; STEPS],
        at: now,
    };
    if list.len() < PER_NETWORK {
        list.push(fresh);
        return list.len() - 1;
    }
    list.iter_mut().for_each(|e| e.fade(now));
    let lightest = (0..list.len()).min_by(|a, b| list[*a].weight().total_cmp(&list[*b].weight()));
    let at = lightest.expect("the list is full");
    list[at] = fresh;
    at
}

/// Throughput at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    networks: HashMap<Network, Box<[(Seed, u8)]>, FixedState>,
}

impl Measured {
    /// Steps of the appliances that served a client's network; those not named are not known.
    pub(crate) fn of(&self, client: IpAddr) -> &[(Seed, u8)] {
        if self.networks.is_empty() {
            return &[];
        }
        self.networks.get(&Network::of(client)).map_or(&[], |list| list)
    }
    /// The step of one appliance for a client's network.
    pub(crate) fn step(&self, client: IpAddr, appliance: Seed) -> Option<u8> {
        let found = self.of(client).iter().find(|(seed, _)| *seed == appliance);
        found.map(|(_, step)| *step)
    }
    /// Number of networks of which something is known.
    pub fn len(&self) -> usize {
        self.networks.len()
    }
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oca(n: u32) -> OcaId {
        OcaId::new(format!("oca-{n}")).unwrap()
    }
    fn client(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(n << 8 | 7).into()
    }
    fn known(t: &mut Throughput, now: f64) -> Vec<u8> {
        t.measured(now)
            .of(client(1))
            .iter()
            .map(|(_, step)| *step)
            .collect()
    }

    #[test]
    fn the_median_withstands_a_few_and_follows_the_many() {
        let mut t = Throughput::new(10);
        t.sample(client(1), &oca(1), 20_000_000, 0.0);
        assert!(known(&mut t, 0.0).is_empty(), "one sample says little");
        for _ in 0..10 {
            t.sample(client(1), &oca(1), 20_000_000, 0.0);
        }
        for _ in 0..4 {
            t.sample(client(1), &oca(1), 100_000, 1.0);
        }
        assert_eq!(known(&mut t, 1.0), [step(20_000_000)]);
        for _ in 0..10 {
            t.sample(client(1), &oca(1), 2_000_000, 2.0 * HALF_LIFE_SECONDS);
        }
        assert_eq!(
            known(&mut t, 2.0 * HALF_LIFE_SECONDS),
            [step(2_000_000)],
            "the old has faded"
        );
        assert!(known(&mut t, 20.0 * HALF_LIFE_SECONDS).is_empty());
        assert!(t.is_empty(), "what has faded takes no memory");
    }

    #[test]
    fn a_report_of_many_weighs_as_much_as_many_reports_did_then() {
        let network = Network::of(client(1));
        let mut t = Throughput::new(10);
        let (fast, slow) = (step(20_000_000), step(2_000_000));
        t.samples(network, &oca(1), fast, 4.0, HALF_LIFE_SECONDS);
        for _ in 0..3 {
            t.sample(client(1), &oca(1), 2_000_000, HALF_LIFE_SECONDS);
        }
        assert_eq!(known(&mut t, HALF_LIFE_SECONDS), [fast]);
        let mut t = Throughput::new(10);
        t.samples(
            network,
            &oca(1),
            fast,
            4.0 * faded(HALF_LIFE_SECONDS),
            HALF_LIFE_SECONDS,
        );
        for _ in 0..3 {
            t.sample(client(1), &oca(1), 2_000_000, HALF_LIFE_SECONDS);
        }
        assert_eq!(known(&mut t, HALF_LIFE_SECONDS), [slow]);
        t.samples(network, &oca(1), u8::MAX, 1.0, HALF_LIFE_SECONDS); // another release's step
    }

    #[test]
    fn networks_and_appliances_are_bounded() {
        let mut t = Throughput::new(3);
        for n in 0..100 {
            t.sample(client(n), &oca(1), 1, 0.0);
            t.sample(client(1), &oca(n), 1, 0.0);
        }
        assert_eq!(t.len(), 3);
        assert_eq!(t.networks[&Network::of(client(1))].len(), PER_NETWORK);
        t.sample(client(200), &oca(1), 1, 10.0 * HALF_LIFE_SECONDS);
        assert_eq!(t.len(), 1, "faded ones make room");
    }
}
