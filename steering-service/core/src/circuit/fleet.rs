//! The circuits of a whole fleet: who is probed when, and when what is seen is not believed.
//!
//! Where more than a share of a site's appliances looks bad at once, it is more likely that we see badly (this service's
//! own way to the site is broken) than that all of them fail: the site's circuits then do not count. The one appliance of
//! a site is judged with the whole fleet. So that all of a site are seen alike, siblings of a doubtful one are probed as
//! often as it.

use super::{Circuit, Seen, Signal, Verdict};
use crate::{
    fleet::{Appliance, FleetIndex},
    policy::circuit::CircuitPolicy,
    rendezvous::Seed,
};
use cdn_types::{OcaId, SiteId, api::v1::ApplianceState, viewers::Network};
use foldhash::fast::FixedState;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

/// How many times more often a doubtful appliance is probed.
const HURRY: f64 = 10.0;
/// Most probes a second of all appliances, while none is doubtful.
const PROBES_PER_SECOND: f64 = 500.0;
/// Most that one network of viewers counts for an appliance in one round, in observations: many good words of one
/// network shall not cover the bad ones of others.
const ROUND_WEIGHT: f64 = 2.0;
/// Part of a failure below which it is forgotten that a network has told it.
const FORGOTTEN: f64 = 0.05;

#[derive(Debug)]
struct Member {
    circuit: Circuit,
    seed: Seed,
    site: SiteId,
    /// The control plane sends it viewers.
    serving: bool,
    /// It has not been heard of lately.
    late: bool,
    next_probe: f64,
}

/// One session's word on where it was sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// Who says it.
    pub client: IpAddr,
    /// Of which appliance.
    pub appliance: OcaId,
    /// It served the session; else the session fled.
    pub served: bool,
}

/// Failures that a network has told of an appliance; they fade as evidence does, so that what breaks a network's own way,
/// or lies from there, never outweighs what it may.
#[derive(Debug, Clone, Copy)]
struct Told {
    failures: f64,
    at: f64,
}

impl Told {
    fn faded(self, now: f64) -> f64 {
        self.failures * super::faded(now - self.at)
    }
}

/// All circuits.
#[derive(Debug, Default)]
pub struct Circuits {
    members: BTreeMap<OcaId, Member>,
    /// Failures that each network was believed of late.
    told: BTreeMap<(OcaId, Network), Told>,
    /// Times that a circuit was opened, by signal.
    openings: [u64; 2],
}

/// What all circuits say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdicts {
    /// Those that are not closed.
    pub(crate) verdicts: HashMap<Seed, Verdict, FixedState>,
    /// Sites whose circuits are not believed, by id.
    pub distrusted: Vec<SiteId>,
}

impl Verdicts {
    /// Of one appliance.
    pub fn of(&self, appliance: &Appliance) -> Verdict {
        self.verdicts.get(&appliance.seed).copied().unwrap_or_default()
    }
    /// Those that are not closed.
    pub fn iter(&self) -> impl Iterator<Item = Verdict> {
        self.verdicts.values().copied()
    }
}

impl Circuits {
    /// Takes over who is in the fleet, and what the control plane says of them.
    pub fn follow(&mut self, fleet: &FleetIndex, policy: &CircuitPolicy, now: f64) {
        self.members.retain(|id, _| fleet.appliance_ix(id).is_some());
        let count = fleet.appliance_count().max(1) as f64;
        for (_, appliance) in fleet.appliances() {
            let site = &fleet.site(appliance.site).id;
            let new = || Member {
                circuit: Circuit::new(now),
                seed: appliance.seed,
                site: site.clone(),
                serving: false,
                late: false,
                // Spread over the interval.
                next_probe: now + policy.probe * f64::from(appliance.order) / count,
            };
            let member = self.members.entry(appliance.id.clone()).or_insert_with(new);
            let serving = appliance.state == ApplianceState::Serving && appliance.unusable.is_none();
            if serving && !member.serving {
                member.circuit.returned(now);
            }
            member.serving = serving;
            member.late = appliance.report_age.is_some_and(|age| age > policy.late_report);
            member.site.clone_from(site);
        }
    }

    /// Takes in what sessions say, all since the last time.
    pub fn words(&mut self, policy: &CircuitPolicy, words: &[Word], now: f64) {
        let mut by_network: BTreeMap<(&OcaId, Network), Seen> = BTreeMap::new();
        for word in words {
            let key = (&word.appliance, Network::of(word.client));
            let seen = by_network.entry(key).or_default();
            match word.served {
                true => seen.successes += 1.0,
                false => seen.failures += 1.0,
            }
        }
        let mut by_appliance: BTreeMap<&OcaId, Seen> = BTreeMap::new();
        for ((appliance, network), seen) in by_network {
            let scale = (ROUND_WEIGHT / (seen.failures + seen.successes)).min(1.0);
            let sum = by_appliance.entry(appliance).or_default();
            sum.successes += seen.successes * scale;
            if seen.failures > 0.0 {
                let key = (appliance.clone(), network);
                sum.failures += self.believed(policy, key, seen.failures * scale, now);
            }
        }
        self.told.retain(|_, told| told.faded(now) > FORGOTTEN);
        for (appliance, seen) in by_appliance {
            self.observe(policy, appliance, Signal::Players, seen, now);
        }
    }

    /// How many of a network's failures count.
    fn believed(&mut self, policy: &CircuitPolicy, key: (OcaId, Network), failures: f64, now: f64) -> f64 {
        let before = self.told.get(&key).map_or(0.0, |told| told.faded(now));
        let believed = failures.min((policy.network_failures - before).max(0.0));
        let failures = before + believed;
        self.told.insert(key, Told { failures, at: now });
        believed
    }

    /// Takes in what a probe found.
    pub fn probed(&mut self, policy: &CircuitPolicy, appliance: &OcaId, answered: bool, now: f64) {
        let successes = f64::from(u8::from(answered));
        let seen = Seen {
            failures: 1.0 - successes,
            successes,
        };
        self.observe(policy, appliance, Signal::Probes, seen, now);
    }

    fn observe(&mut self, policy: &CircuitPolicy, appliance: &OcaId, signal: Signal, seen: Seen, now: f64) {
        let Some(member) = self.members.get_mut(appliance).filter(|m| m.serving) else {
            return;
        };
        let late = member.late;
        if member.circuit.observe(policy, signal, seen, late, now) {
            self.openings[signal as usize] += 1;
        }
    }

    /// Appliances to probe now.
    pub fn due(&mut self, policy: &CircuitPolicy, now: f64) -> Vec<OcaId> {
        let serving = self.members.values().filter(|m| m.serving);
        let pace = policy
            .probe
            .max(serving.clone().count() as f64 / PROBES_PER_SECOND);
        let doubted: BTreeSet<SiteId> = serving
            .filter(|m| m.circuit.doubted())
            .map(|m| m.site.clone())
            .collect();
        let mut due = Vec::new();
        for (id, member) in self.members.iter_mut().filter(|(_, m)| m.serving) {
            let pace = match doubted.contains(&member.site) {
                true => pace / HURRY,
                false => pace,
            };
            member.next_probe = member.next_probe.min(now + pace);
            if now >= member.next_probe {
                member.next_probe = now + pace;
                due.push(id.clone());
            }
        }
        due
    }

    /// What the circuits say at `now`.
    pub fn verdicts(&mut self, policy: &CircuitPolicy, now: f64) -> Verdicts {
        let mut found = Verdicts::default();
        if !policy.enabled {
            return found;
        }
        for member in self.members.values_mut() {
            member.circuit.advance(policy, now);
        }
        let serving = self.members.values().filter(|m| m.serving);
        let doubts: Vec<_> = serving.map(|m| (m, m.circuit.suspicious(policy))).collect();
        let distrusted = distrusted(policy, &doubts);
        for (member, doubt) in &doubts {
            let verdict = match (member.circuit.verdict(), doubt) {
                (_, Some(by)) if distrusted.contains(&member.site) => Verdict::Distrusted { by: *by },
                (verdict, _) => verdict,
            };
            if verdict != Verdict::Closed {
                found.verdicts.insert(member.seed, verdict);
            }
        }
        found.distrusted = distrusted.into_iter().cloned().collect();
        found
    }

    /// Times that a circuit was opened on a signal.
    pub fn openings(&self, signal: Signal) -> u64 {
        self.openings[signal as usize]
    }
}

/// Sites of which too many look bad.
fn distrusted<'a>(policy: &CircuitPolicy, doubts: &[(&'a Member, Option<Signal>)]) -> BTreeSet<&'a SiteId> {
    let too_many = |(all, bad): (u32, u32)| all > 1 && bad * 1000 > all * policy.distrust_permille;
    let mut sites: BTreeMap<&SiteId, (u32, u32)> = BTreeMap::new();
    let mut whole = (0, 0);
    for (member, doubt) in doubts {
        let bad = u32::from(doubt.is_some());
        let site = sites.entry(&member.site).or_default();
        *site = (site.0 + 1, site.1 + bad);
        whole = (whole.0 + 1, whole.1 + bad);
    }
    let broken = |counts: (u32, u32)| match counts {
        (1, bad) => bad > 0 && too_many(whole),
        counts => too_many(counts),
    };
    let broken = sites.into_iter().filter(|(_, counts)| broken(*counts));
    broken.map(|(site, _)| site).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_forgotten_once_what_they_told_has_faded() {
        let (mut circuits, policy) = (Circuits::default(), CircuitPolicy::default());
        let word = |n: u16| {
            let [a, b] = n.to_be_bytes();
            Word {
                client: [10, a, b, 9].into(),
                appliance: OcaId::new("par-1").unwrap(),
                served: false,
            }
        };
        let words: Vec<_> = (0..1000).map(word).collect();
        circuits.words(&policy, &words, 0.0);
        // A failure has faded to a twentieth after 4.3 minutes.
        circuits.words(&policy, &[], 255.0);
        assert_eq!(circuits.told.len(), 1000);
        circuits.words(&policy, &[], 265.0);
        assert_eq!(circuits.told.len(), 0);
    }
}
