//! Circuits in virtual time: noise, failure, recovery, a broken view of our own, and what rankings make of them.

use super::{
    fixture::{appliance, fleet, site},
    keys::{World, all, policy},
};
use cdn_types::{
    OcaId, SiteId,
    api::v1::{ApplianceState, FleetSnapshot},
};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use steering_core::{
    DropReason, Options, Policy,
    circuit::{
        Signal, Verdict,
        fleet::{Circuits, Verdicts, Word},
    },
    explain,
    fleet::FleetIndex,
    policy::circuit::CircuitPolicy,
};

/// Seconds between two rounds.
const ROUND: f64 = 0.1;
/// What sessions say of each appliance in a second, while it gets all of its own.
const WORDS: f64 = 20.0;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Appliances that fail a share of viewers and probes, and the circuits that watch them.
struct Sim {
    index: FleetIndex,
    policy: CircuitPolicy,
    circuits: Circuits,
    verdicts: Verdicts,
    dice: Dice,
    now: f64,
    players: bool,
    probes: bool,
}

impl Sim {
    fn new(fleet: &FleetSnapshot, seed: u64) -> Self {
        let index = FleetIndex::build(fleet).unwrap();
        let policy = CircuitPolicy::default();
        let mut circuits = Circuits::default();
        circuits.follow(&index, &policy, 0.0);
        Self {
            index,
            policy,
            circuits,
            verdicts: Verdicts::default(),
            dice: Dice(seed),
            now: 0.0,
            players: true,
            probes: true,
        }
    }

    fn verdict(&self, id: &str) -> Verdict {
        let ix = self.index.appliance_ix(&id.parse().unwrap()).unwrap();
        self.verdicts.of(self.index.appliance(ix))
    }

    /// One round, with the share of failures of each appliance.
    fn round(&mut self, failing: impl Fn(&str) -> f64) {
        self.now += ROUND;
        let mut words = Vec::new();
        for (_, a) in self.index.appliances().filter(|_| self.players) {
            let share = match self.verdicts.of(a) {
                Verdict::Open { .. } => 0.0,
                Verdict::Trial { permille, .. } => f64::from(permille) / 1000.0,
                Verdict::Closed | Verdict::Distrusted { .. } => 1.0,
            };
            // Two a round at most, each by chance.
            for _ in 0..2 {
                if self.dice.roll() < share * WORDS * ROUND / 2.0 {
                    words.push(Word {
                        client: client((self.dice.roll() * 65536.0) as u32),
                        appliance: a.id.clone(),
                        served: self.dice.roll() >= failing(a.id.as_str()),
                    });
                }
            }
        }
        self.circuits.words(&self.policy, &words, self.now);
        if self.probes {
            for id in self.circuits.due(&self.policy, self.now) {
                let answered = self.dice.roll() >= failing(id.as_str());
                self.circuits.probed(&self.policy, &id, answered, self.now);
            }
        }
        self.verdicts = self.circuits.verdicts(&self.policy, self.now);
    }

    fn seconds(&mut self, seconds: f64, failing: impl Fn(&str) -> f64) {
        for _ in 0..(seconds / ROUND).round() as u32 {
            self.round(&failing);
        }
    }

    /// Seconds until an appliance is out.
    fn until_open(&mut self, id: &str, failing: impl Fn(&str) -> f64) -> f64 {
        let began = self.now;
        while !matches!(self.verdict(id), Verdict::Open { .. }) {
            assert!(self.now - began < 60.0, "{id} is still {:?}", self.verdict(id));
            self.round(&failing);
        }
        self.now - began
    }

    fn openings(&self) -> u64 {
        Signal::ALL.iter().map(|s| self.circuits.openings(*s)).sum()
    }
}

fn client(network: u32) -> IpAddr {
    Ipv4Addr::from(network << 8 | 9).into()
}

fn only<'a>(bad: &'a str, share: f64) -> impl Fn(&str) -> f64 + 'a {
    move |id| if id == bad { share } else { 0.01 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn noise_of_one_to_five_percent_never_takes_anybody_out(seed: u64, noise in 0.01..0.05f64) {
        let mut sim = Sim::new(&fleet(), seed);
        for _ in 0..18_000 {
            sim.round(|_| noise);
            prop_assert!(sim.verdicts == Verdicts::default(), "at {} s", sim.now);
        }
        prop_assert_eq!(sim.openings(), 0);
    }

    #[test]
    fn who_fails_half_of_its_viewers_is_out_within_five_seconds(seed: u64, before in 0.0..120.0f64) {
        let mut sim = Sim::new(&fleet(), seed);
        sim.seconds(before, |_| 0.02);
        let took = sim.until_open("lon-2", only("lon-2", 0.5));
        prop_assert!(took <= 5.0, "{} s", took);
        prop_assert_eq!(sim.openings(), 1, "and nobody else");
    }

    #[test]
    fn one_that_fails_for_an_hour_is_tried_seldom_and_comes_back_when_it_is_well(seed: u64, share in 0.4..1.0f64) {
        let mut sim = Sim::new(&fleet(), seed);
        sim.probes = false; // it answers probes well enough; only players see it
        sim.seconds(3600.0, only("lon-2", share));
        prop_assert!(sim.openings() <= 20, "{} times", sim.openings());
        let began = sim.now;
        while sim.verdict("lon-2") != Verdict::Closed {
            prop_assert!(sim.now - began < 300.0 + 3.0 * 10.0 + 30.0, "{:?}", sim.verdict("lon-2"));
            sim.round(|_| 0.01);
        }
    }

    #[test]
    fn one_that_comes_and_goes_does_not_flap(seed: u64, period in 2.0..400.0f64) {
        let mut sim = Sim::new(&fleet(), seed);
        for _ in 0..36_000 {
            let down = ((sim.now / period) as u64).is_multiple_of(2);
            sim.round(only("lon-2", if down { 0.8 } else { 0.0 }));
        }
        prop_assert!(sim.openings() <= 20, "{} times in an hour, every {} s", sim.openings(), period);
    }
}

#[test]
fn probes_alone_find_a_dead_appliance_within_three_seconds() {
    for seed in 0..50 {
        let mut sim = Sim::new(&fleet(), seed);
        sim.players = false;
        sim.seconds(30.0 + 0.1 * seed as f64, |_| 0.0);
        let took = sim.until_open("man-1", only("man-1", 1.0));
        assert!(took <= 3.0, "{took} s");
    }
}

#[test]
fn if_most_of_a_site_seems_to_fail_it_is_our_view_that_is_broken() {
    let mut sim = Sim::new(&fleet(), 1);
    sim.players = false;
    let london = |id: &str| if id.starts_with("lon") { 1.0 } else { 0.0 };
    for _ in 0..6000 {
        sim.round(london);
        let out = sim.verdicts.iter().any(|v| matches!(v, Verdict::Open { .. }));
        assert!(!out, "at {} s", sim.now);
    }
    assert_eq!(sim.verdicts.distrusted, [SiteId::new("lon").unwrap()]);
    let by = Signal::Probes;
    assert_eq!(sim.verdict("lon-1"), Verdict::Distrusted { by });
    sim.seconds(60.0, |_| 0.0);
    assert_eq!(sim.verdicts, Verdicts::default(), "trusted again");
    sim.seconds(5.0, only("lon-1", 1.0));
    assert_eq!(
        sim.verdict("lon-1"),
        Verdict::Open { by },
        "one of three is believed"
    );
    // The only one of its site is believed too, unless the whole fleet seems to fail.
    let mut sim = Sim::new(&fleet(), 1);
    sim.seconds(5.0, only("par-1", 1.0));
    assert!(matches!(sim.verdict("par-1"), Verdict::Open { .. }));
    let mut sim = Sim::new(&fleet(), 1);
    sim.seconds(10.0, |_| 1.0);
    assert_eq!(sim.verdicts.distrusted.len(), 3);
    assert!(matches!(sim.verdict("par-1"), Verdict::Distrusted { .. }));
}

#[test]
fn one_network_of_viewers_does_not_decide_against_many() {
    let mut sim = Sim::new(&fleet(), 1);
    let word = |n: u32, served| Word {
        client: client(n),
        appliance: "lon-1".parse().unwrap(),
        served,
    };
    for round in 0..600 {
        let now = f64::from(round) * ROUND;
        let mut words = vec![word(7, false); 1000];
        words.extend((0..12).map(|n| word(100 + n, true)));
        sim.circuits.words(&sim.policy, &words, now);
        assert_eq!(sim.circuits.verdicts(&sim.policy, now), Verdicts::default());
    }
}

/// Nobody else is there to contradict, for an hour, with many sessions or a few.
#[test]
fn one_network_alone_never_takes_out_an_idle_appliance_and_three_do_at_once() {
    for sessions in [1, 1000] {
        let mut sim = Sim::new(&fleet(), 1);
        let told = |n| Word {
            client: client(n),
            appliance: "lon-1".parse().unwrap(),
            served: false,
        };
        let mut said = |networks: &[u32], round: u32| {
            let now = f64::from(round) * ROUND;
            let words: Vec<_> = networks.iter().flat_map(|n| vec![told(*n); sessions]).collect();
            sim.circuits.words(&sim.policy, &words, now);
            sim.circuits.verdicts(&sim.policy, now)
        };
        for round in 0..36_000 {
            assert_eq!(said(&[7], round), Verdicts::default(), "{round}");
        }
        let out = (36_000..36_050).find(|round| said(&[8, 9, 10], *round) != Verdicts::default());
        assert!(out.is_some_and(|round| round < 36_000 + 5), "{out:?}");
    }
}

#[test]
fn what_the_control_plane_says_counts_too() {
    let mut world = fleet();
    let (taken, late) = ("2026-11-23T14:00:00Z", "2026-11-23T13:59:00Z");
    world.taken_at = taken.parse().unwrap();
    world.appliances[0].last_report = Some(late.parse().unwrap());
    world.appliances[1].last_report = Some(taken.parse().unwrap());
    let mut sim = Sim::new(&world, 1);
    let bad = |sim: &mut Sim, id: &str, times: usize| {
        for _ in 0..times {
            sim.circuits
                .probed(&sim.policy, &id.parse().unwrap(), false, sim.now);
        }
        sim.verdicts = sim.circuits.verdicts(&sim.policy, sim.now);
        sim.verdict(id)
    };
    let by = Signal::Probes;
    assert_eq!(
        bad(&mut sim, "lon-1", 5),
        Verdict::Open { by },
        "its report is late"
    );
    assert_eq!(bad(&mut sim, "lon-2", 4), Verdict::Closed);
    // Lost by the control plane, then back: it may be tried at once, whatever the back-off.
    for (state, wanted) in [
        (ApplianceState::Lost, Verdict::Closed),
        (ApplianceState::Serving, Verdict::Trial { permille: 50, by }),
    ] {
        sim.now += ROUND;
        world.appliances[0].state = state;
        let index = FleetIndex::build(&world).unwrap();
        sim.circuits.follow(&index, &sim.policy, sim.now);
        sim.verdicts = sim.circuits.verdicts(&sim.policy, sim.now);
        assert_eq!(sim.verdict("lon-1"), wanted, "{state:?}");
    }
}

/// Verdicts as circuits come to them when one appliance fails.
fn failed(world: &FleetSnapshot, id: &str, seconds_later: f64) -> Verdicts {
    let mut sim = Sim::new(world, 3);
    sim.probes = false;
    sim.until_open(id, only(id, 1.0));
    sim.players = false;
    sim.seconds(seconds_later, |_| 0.0);
    sim.verdicts
}

#[test]
fn rankings_leave_out_what_fails_and_let_a_share_of_sessions_try() {
    let mut world = World::new(fleet());
    world.circuits = failed(&world.fleet, "lon-1", 1.0);
    let client = "192.0.2.1".parse().unwrap();
    let film = super::keys::film();
    let index = world.index();
    let open = steering_core::rank(&index, client, &film, &all()).unwrap();
    let why = explain(&index, client, &open);
    let dropped = why
        .dropped
        .iter()
        .find(|d| d.appliance.as_str() == "lon-1")
        .unwrap();
    assert_eq!(dropped.reasons, [DropReason::Failing { by: Signal::Players }]);
    assert!(why.steps.iter().any(|s| s.step == "failing" && s.left == 4));
    world.circuits = failed(&world.fleet, "lon-1", 12.0);
    let index = world.index();
    let ix = index.appliance_ix(&"lon-1".parse::<OcaId>().unwrap()).unwrap();
    let tries = (0..10_000u64).filter(|session| {
        let session = session.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let options = Options {
            session: Some(session),
            ..all()
        };
        let ranking = steering_core::rank(&index, client, &film, &options).unwrap();
        let ranked = ranking.entries.iter().any(|e| e.appliance == ix);
        let refused = ranking.dropped.iter().any(|d| d.appliance == ix);
        assert!(ranked != refused);
        ranked
    });
    let tries = tries.count();
    assert!((400..600).contains(&tries), "{tries} of 10000 for a twentieth");
}

#[test]
fn a_policy_tells_its_circuits_numbers_or_what_is_wrong_with_them() {
    let read = |text: &str| policy(&format!("version = 1\n[circuit]\n{text}"));
    let good = read("evidence = 12\nback_off_seconds = 5\nenabled = false").unwrap();
    let wanted = CircuitPolicy {
        enabled: false,
        evidence: 12.0,
        back_off: 5.0,
        ..CircuitPolicy::default()
    };
    assert_eq!(
        good,
        Policy {
            version: 1,
            circuit: wanted,
            ..Policy::default()
        }
    );
    for (text, wanted) in [
        ("evidence = 1", "`circuit.evidence` is 1; give 3 to 100"),
        ("evidence = nan", "`circuit.evidence` is NaN"),
        (
            "noise_permille = 0",
            "`circuit.noise_permille` is 0; give 1 to 998",
        ),
        (
            "noise_permille = 500",
            "`circuit` has noise 500 and failing 500; noise_permille must be less",
        ),
        ("back_off_seconds = 0.5", "`circuit.back_off_seconds` is 0.5"),
        (
            "back_off_seconds = 301",
            "`circuit.longest_back_off_seconds` is 300; give at least back_off_seconds",
        ),
        ("trial_permille = 1001", "`circuit.trial_permille` is 1001"),
        ("distrust_permille = 0", "`circuit.distrust_permille` is 0"),
        ("probe_seconds = 0.1", "`circuit.probe_seconds` is 0.1"),
        ("backoff = 1", "unknown field `backoff`"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(wanted), "{text}\ngave: {error}");
    }
}

#[test]
fn ten_thousand_appliances_are_probed_at_a_bounded_pace() {
    let mut world = fleet();
    world.sites.push(site("big", "north", &[]));
    let more = (0..10_000).map(|n| appliance(&format!("big-{n}"), "big", &[0, 1]));
    world.appliances.extend(more);
    let mut sim = Sim::new(&world, 1);
    let mut asked = 0;
    for round in 0..300 {
        asked += sim.circuits.due(&sim.policy, f64::from(round) * ROUND).len();
    }
    assert!(asked <= 10_005 + 30 * 500, "{asked} in 30 s");
    assert!(asked >= 10_005, "each at least once: {asked}");
}
