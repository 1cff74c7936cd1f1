//! What rankings knew of throughput and circuits, told by names and by what has changed: what a log keeps, and how it is
//! put together again.

use super::{Measured, Network};
use crate::{
    circuit::{Verdict, fleet::Verdicts},
    fleet::FleetIndex,
    rendezvous::Seed,
};
use cdn_types::OcaId;
use foldhash::fast::FixedState;
use ipnet::IpNet;
use std::collections::{BTreeMap, HashMap};

/// Steps of the appliances that are known to have served a network.
pub type Steps = BTreeMap<OcaId, u8>;

/// Names of appliances by their hashes. One that has left the fleet keeps its name: it may come back.
#[derive(Debug, Default)]
pub struct Names(HashMap<Seed, OcaId, FixedState>);

impl Names {
    /// Takes the names of a fleet in.
    pub fn learn(&mut self, fleet: &FleetIndex) {
        for (_, appliance) in fleet.appliances() {
            self.0
                .entry(appliance.seed)
                .or_insert_with(|| appliance.id.clone());
        }
    }
}

impl Measured {
    /// Networks of which something else is known than `before`, each with all that is known of it now; nothing, where it
    /// was forgotten. Appliances without a name are left out: they are in no fleet, and no ranking asks for them.
    pub fn changes<'a>(
        &'a self,
        before: &'a Self,
        names: &'a Names,
    ) -> impl Iterator<Item = (IpNet, Steps)> + 'a {
        let named = |list: &[(Seed, u8)]| {
            list.iter()
                .filter_map(|(seed, step)| Some((names.0.get(seed)?.clone(), *step)))
                .collect()
        };
        let now = self.networks.iter();
        let now = now.filter(|(network, list)| before.networks.get(network) != Some(*list));
        let gone = before
            .networks
            .keys()
            .filter(|network| !self.networks.contains_key(network));
        let gone = gone.map(|network| (IpNet::from(*network), Steps::new()));
        now.map(move |(network, list)| (IpNet::from(*network), named(list)))
            .chain(gone)
    }

    /// Puts in what is known of a network; nothing forgets it.
    pub fn set(&mut self, network: IpNet, steps: &Steps) {
        let network = Network::of(network.addr());
        if steps.is_empty() {
            self.networks.remove(&network);
            return;
        }
        let steps = steps
            .iter()
            .map(|(id, step)| (Seed::of("appliance", id.as_str()), *step));
        self.networks.insert(network, steps.collect());
    }
}

impl Verdicts {
    /// Appliances of which something else is said than `before`.
    pub fn changes<'a>(
        &'a self,
        before: &'a Self,
        names: &'a Names,
    ) -> impl Iterator<Item = (&'a OcaId, Verdict)> + 'a {
        let now = self.verdicts.iter().map(|(seed, verdict)| (seed, *verdict));
        let now = now.filter(|(seed, verdict)| before.verdicts.get(seed) != Some(verdict));
        let closed = before
            .verdicts
            .keys()
            .filter(|seed| !self.verdicts.contains_key(seed));
        let closed = closed.map(|seed| (seed, Verdict::Closed));
        now.chain(closed)
            .filter_map(|(seed, verdict)| Some((names.0.get(seed)?, verdict)))
    }

    /// Puts in what is said of an appliance.
    pub fn set(&mut self, appliance: &OcaId, verdict: Verdict) {
        let seed = Seed::of("appliance", appliance.as_str());
        match verdict {
            Verdict::Closed => self.verdicts.remove(&seed),
            verdict => self.verdicts.insert(seed, verdict),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{circuit::Signal, throughput::Throughput};
    use proptest::prelude::*;

    fn oca(n: u8) -> OcaId {
        OcaId::new(format!("oca-{n}")).unwrap()
    }
    fn names(count: u8) -> Names {
        let all = (0..count).map(|n| (Seed::of("appliance", oca(n).as_str()), oca(n)));
        Names(all.collect())
    }

    proptest! {
        /// Whatever happens to a table, its changes make of the one before the one after.
        #[test]
        fn changes_carry_a_table_to_the_next(rounds in proptest::collection::vec(
            proptest::collection::vec((0u32..6, 0u8..4, 0u64..50_000_000), 0..60), 1..5))
        {
            let names = names(4);
            let mut live = Throughput::new(8);
            let (mut before, mut copy) = (Measured::default(), Measured::default());
            for (round, samples) in rounds.iter().enumerate() {
                let now = round as f64 * 2400.0; // some fade away in between
                for (client, appliance, bps) in samples {
                    let client = if client % 2 == 0 {
                        std::net::IpAddr::from((client << 8).to_be_bytes())
                    } else {
                        std::net::IpAddr::from((u128::from(*client) << 100).to_be_bytes())
                    };
                    live.sample(client, &oca(*appliance), *bps, now);
                }
                let after = live.measured(now);
                for (network, steps) in after.changes(&before, &names) {
                    copy.set(network, &steps);
                }
                let sorted = |m: &Measured| {
                    let lists = m.networks.iter().map(|(n, list)| {
                        let mut list = list.to_vec();
                        list.sort_by_key(|(seed, _)| seed.0);
                        (*n, list)
                    });
                    lists.collect::<BTreeMap<_, _>>()
                };
                prop_assert_eq!(sorted(&copy), sorted(&after));
                prop_assert_eq!(after.changes(&after, &names).count(), 0);
                before = after;
            }
        }
    }

    #[test]
    fn changes_carry_verdicts_to_the_next() {
        let (by, names) = (Signal::Players, names(3));
        let mut copy = Verdicts::default();
        let mut before = Verdicts::default();
        for said in [
            vec![(0, Verdict::Open { by }), (1, Verdict::Distrusted { by })],
            vec![
                (0, Verdict::Trial { permille: 50, by }),
                (2, Verdict::Open { by }),
            ],
            vec![],
        ] {
            let mut after = Verdicts::default();
            for (n, verdict) in said {
                after.set(&oca(n), verdict);
            }
            for (id, verdict) in after.changes(&before, &names) {
                copy.set(id, verdict);
            }
            assert_eq!(copy, after);
            before = after;
        }
        let unnamed = Names::default();
        let mut open = Verdicts::default();
        open.set(&oca(0), Verdict::Open { by });
        assert_eq!(open.changes(&copy, &unnamed).count(), 0);
    }
}
