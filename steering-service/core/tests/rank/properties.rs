//! What holds for every fleet, client and title.

use super::{
    fixture::{GBPS, appliance, site, title},
    keys::{CLIENT, World, film},
    routes::attributes,
};
use cdn_types::{
    BitsPerSecond, ObjectDigest, OcaId, TitleId,
    api::v1::{ApplianceState, FleetSnapshot},
};
use proptest::prelude::*;
use std::{collections::HashSet, net::IpAddr};
use steering_core::{ApplianceIx, Index, Options, Policy, Ranking, policy::MedRule, rank, routes::SiteClass};

const OBJECTS: u32 = 6;

fn state() -> impl Strategy<Value = ApplianceState> {
    use ApplianceState::{Draining, Joined, Lost, Serving, Unhealthy};
    prop_oneof![8 => Just(Serving), 1 => Just(Draining), 1 => Just(Unhealthy), 1 => Just(Lost), 1 => Just(Joined)]
}

prop_compose! {
    /// Up to six sites in three regions, less than `most` appliances with any state, load, capacity and inventory.
    fn fleet_of(most: usize)(
        regions in proptest::collection::vec(0..3u8, 1..6),
        appliances in proptest::collection::vec((0..100usize, state(), 0..=105u64, prop_oneof![Just(0), Just(10), 1..200u64], 0u32..1 << OBJECTS, any::<bool>()), 0..most),
        required in 1u32..1 << OBJECTS,
    ) -> FleetSnapshot {
        let bits = |mask: u32| (0..OBJECTS).filter(move |b| mask >> b & 1 == 1).collect::<Vec<_>>();
        let sites: Vec<_> = regions
            .iter()
            .enumerate()
            .map(|(i, r)| site(&format!("s{i}"), &format!("r{r}"), &[&format!("10.{i}.0.0/16"), &format!("10.{i}.7.0/24")]))
            .collect();
        let appliances = appliances
            .into_iter()
            .enumerate()
            .map(|(i, (at, state, percent, gbps, holds, whole))| {
                let holds = if whole { u32::MAX } else { holds };
                let mut a = appliance(&format!("a{i}"), sites[at % sites.len()].id.as_str(), &bits(holds));
                a.state = state;
                a.capacity.egress = BitsPerSecond(gbps * GBPS);
                a.load.egress = BitsPerSecond(gbps * GBPS / 100 * percent);
                a
            })
            .collect();
        FleetSnapshot {
            objects: (0..OBJECTS as u8).map(|i| ObjectDigest::of(&[i])).collect(),
            titles: vec![title("film", &bits(required))],
            ..FleetSnapshot::of(sites, appliances)
        }
    }
}

pub fn fleet() -> impl Strategy<Value = FleetSnapshot> {
    fleet_of(16)
}

fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => (0..7u8, 6..9u8).prop_map(|(s, n)| IpAddr::from([10, s, n, 1])),
        1 => any::<IpAddr>(),
    ]
}

fn run(snapshot: &FleetSnapshot, client: IpAddr, options: &Options) -> (Index, Ranking) {
    let index = Index::build(snapshot).unwrap();
    let ranking = rank(&index, client, &TitleId::new("film").unwrap(), options).unwrap();
    (index, ranking)
}

fn order(snapshot: &FleetSnapshot, client: IpAddr) -> Vec<OcaId> {
    let options = Options {
        limit: usize::MAX,
        complete: true,
        ..Options::default()
    };
    let (index, ranking) = run(snapshot, client, &options);
    ranking
        .entries
        .iter()
        .map(|e| index.appliance(e.appliance).id.clone())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn same_inputs_same_list_whatever_the_order_of_the_snapshot(f in fleet(), c in client()) {
        let mut turned = f.clone();
        turned.appliances.reverse();
        turned.sites.reverse();
        prop_assert_eq!(order(&f, c), order(&f, c));
        prop_assert_eq!(order(&f, c), order(&turned, c));
    }

    #[test]
    fn of_large_fleets_too_a_short_list_is_the_beginning_wherever_the_session_is(
        f in fleet_of(120), c in client(), at in any::<prop::sample::Index>(), playing: bool, limit in 0..9usize
    ) {
        prop_assume!(!f.appliances.is_empty());
        let current = playing.then(|| ApplianceIx(at.index(f.appliances.len()) as u32));
        let short = Options { limit, current, ..Options::default() };
        let (_, whole) = run(&f, c, &Options { complete: true, limit: usize::MAX, ..short });
        let (_, r) = run(&f, c, &short);
        prop_assert_eq!(&r.entries[..], &whole.entries[..limit.min(whole.entries.len())]);
    }

    #[test]
    fn everybody_is_ranked_or_dropped_once_and_nobody_both(f in fleet(), c in client()) {
        let options = Options { limit: usize::MAX, complete: true, ..Options::default() };
        let (_, r) = run(&f, c, &options);
        let ranked: HashSet<_> = r.entries.iter().map(|e| e.appliance).collect();
        let dropped: HashSet<_> = r.dropped.iter().map(|d| d.appliance).collect();
        prop_assert_eq!(ranked.len(), r.entries.len());
        prop_assert_eq!(dropped.len(), r.dropped.len());
        prop_assert!(ranked.is_disjoint(&dropped));
        prop_assert_eq!(ranked.len() + dropped.len(), f.appliances.len());
        prop_assert!(r.dropped.iter().all(|d| !d.reasons.is_empty()));
    }

    #[test]
    fn a_short_list_is_the_beginning_of_the_complete_one(f in fleet(), c in client(), limit in 0..5usize) {
        let (index, r) = run(&f, c, &Options { limit, ..Options::default() });
        let short: Vec<_> = r.entries.iter().map(|e| index.appliance(e.appliance).id.clone()).collect();
        let whole = order(&f, c);
        prop_assert_eq!(&short[..], &whole[..limit.min(whole.len())]);
    }

    /// What is behind enough better routes is not looked at; that must not be seen, whatever the policy.
    #[test]
    fn a_short_list_by_routes_is_the_beginning_of_the_complete_one(
        f in fleet(),
        routes in prop::collection::vec((any::<prop::sample::Index>(), 0..4usize, 0..4usize, 0..2u16, 1..3u32, 0..2u32), 0..40),
        class_order in prop::sample::select(vec![[0, 1, 2, 3], [3, 2, 1, 0], [0, 0, 1, 1]]),
        med in prop::sample::select(vec![MedRule::SameNeighbour, MedRule::Always, MedRule::Never]),
        limit in 0..5usize,
        session in (any::<bool>(), any::<prop::sample::Index>()),
        only in prop::option::of(prop::collection::vec(any::<prop::sample::Index>(), 1..6)),
    ) {
        prop_assume!(!f.appliances.is_empty());
        let pick = |index: prop::sample::Index| index.index(f.appliances.len());
        let mut world = World::new(f.clone());
        world.policy = Policy { class_order, med, ..Policy::default() };
        for (at, class, net, path, neighbour, med) in routes {
            let net = ["100.0.0.0/8", "100.64.0.0/16", "100.64.9.0/24", "100.64.9.9/32"][net];
            let with = attributes(SiteClass::ALL[class], path, neighbour, med);
            world.route(f.appliances[pick(at)].id.as_str(), net, with);
        }
        let index = world.index();
        let known = |at: prop::sample::Index| index.appliance_ix(&f.appliances[pick(at)].id).unwrap();
        let current = session.0.then(|| known(session.1));
        let only: Option<Vec<_>> = only.map(|only| only.into_iter().map(known).chain(current).collect());
        let list = |limit, complete| {
            let only = only.as_deref();
            let options = Options { limit, complete, only, current, ..Options::default() };
            let entries = rank(&index, CLIENT.parse().unwrap(), &film(), &options).unwrap().entries;
            entries.into_iter().map(|e| (e.appliance, e.key, e.kept)).collect::<Vec<_>>()
        };
        let whole = list(usize::MAX, true);
        prop_assert_eq!(&list(limit, false)[..], &whole[..limit.min(whole.len())]);
    }

    #[test]
    fn removing_what_is_not_ranked_changes_nothing(f in fleet(), c in client()) {
        let before = order(&f, c);
        let mut fewer = f.clone();
        fewer.appliances.retain(|a| before.contains(&a.id));
        prop_assert_eq!(order(&fewer, c), before);
    }

    #[test]
    fn losing_one_only_takes_it_out(f in fleet(), c in client(), which in any::<prop::sample::Index>()) {
        let before = order(&f, c);
        prop_assume!(!before.is_empty());
        let lost = which.get(&before);
        let mut fewer = f.clone();
        for a in &mut fewer.appliances {
            if a.id == *lost {
                a.state = ApplianceState::Lost;
            }
        }
        let wanted: Vec<_> = before.iter().filter(|id| *id != lost).cloned().collect();
        prop_assert_eq!(order(&fewer, c), wanted);
    }

    #[test]
    fn healthier_or_emptier_never_ranks_lower(f in fleet(), c in client(), which in any::<prop::sample::Index>(), less in 0..=100u64) {
        prop_assume!(!f.appliances.is_empty());
        let i = which.index(f.appliances.len());
        let id = f.appliances[i].id.clone();
        let mut better = f.clone();
        better.appliances[i].state = ApplianceState::Serving;
        better.appliances[i].load.egress = BitsPerSecond(f.appliances[i].load.egress.0 * less / 100);
        let place = |list: Vec<OcaId>| list.iter().position(|x| *x == id).unwrap_or(usize::MAX);
        prop_assert!(place(order(&better, c)) <= place(order(&f, c)));
    }

    #[test]
    fn a_kept_session_changes_only_the_first_place(f in fleet(), c in client(), which in any::<prop::sample::Index>()) {
        prop_assume!(!f.appliances.is_empty());
        let index = Index::build(&f).unwrap();
        let current = index.appliance_ix(&f.appliances[which.index(f.appliances.len())].id);
        let (index, r) = run(&f, c, &Options { limit: usize::MAX, current, ..Options::default() });
        let kept: Vec<_> = r.entries.iter().map(|e| index.appliance(e.appliance).id.clone()).collect();
        let mut without = order(&f, c);
        if let Some(first) = r.entries.first().filter(|e| e.kept) {
            prop_assert_eq!(Some(first.appliance), current);
            let id = &index.appliance(first.appliance).id;
            without.retain(|x| x != id);
            prop_assert_eq!(&kept[1..], &without[..]);
        } else {
            prop_assert_eq!(kept, without);
        }
    }
}

/// Siblings of equal weight: each has its share of the titles, and only the lost one's titles move.
#[test]
fn losing_a_sibling_moves_only_its_share() {
    let appliances = (0..8).map(|i| appliance(&format!("a{i}"), "s", &[0]));
    let mut fleet = FleetSnapshot {
        objects: vec![ObjectDigest::of(b"o")],
        titles: (0..4000).map(|i| title(&format!("t{i}"), &[0])).collect(),
        ..FleetSnapshot::of(vec![site("s", "r", &["10.0.0.0/8"])], appliances.collect())
    };
    let firsts = |f: &FleetSnapshot| {
        let index = Index::build(f).unwrap();
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = |t: &TitleId| rank(&index, client, t, &Options::default()).unwrap().entries[0].appliance;
        f.titles
            .iter()
            .map(|t| index.appliance(first(&t.id)).id.clone())
            .collect::<Vec<_>>()
    };
    let before = firsts(&fleet);
    for a in &fleet.appliances {
        let share = before.iter().filter(|id| **id == a.id).count();
        assert!((400..600).contains(&share), "{} has {share} of 4000", a.id);
    }
    fleet.appliances[3].state = ApplianceState::Lost;
    let lost = fleet.appliances[3].id.clone();
    for (before, after) in before.iter().zip(firsts(&fleet)) {
        assert!(*before == lost || *before == after);
        assert_ne!(after, lost);
    }
}
