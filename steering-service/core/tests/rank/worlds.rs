//! What holds for every fleet with routes, rules and hot titles.

use super::{
    keys::{World, film},
    properties::fleet,
    routes::attributes,
};
use cdn_types::{BitsPerSecond, Bytes, OcaId, api::v1::ApplianceState};
use proptest::prelude::*;
use std::{collections::HashSet, net::IpAddr};
use steering_core::{
    Options, Ranking, Tier, explain,
    footprint::footprints,
    policy::{Action, Rule, Whom},
    rank,
    routes::{Candidate, HolderName, SiteClass},
};

#[derive(Debug, Clone)]
struct Route(usize, u8, SiteClass, u16, u32, u32);

#[derive(Debug, Clone)]
struct RawRule(Whom, Action, usize);

fn route() -> impl Strategy<Value = Route> {
    let class = proptest::sample::select(SiteClass::ALL.to_vec());
    (0..16usize, 8..25u8, class, 0..4u16, 0..3u32, 0..3u32)
        .prop_map(|(a, len, class, path, neighbour, med)| Route(a, len, class, path, neighbour, med))
}

fn rule() -> impl Strategy<Value = RawRule> {
    let whom = prop_oneof![
        Just(Whom::Asn(64500)),
        (8..20u8).prop_map(|len| Whom::Prefix(
            ipnet::IpNet::new(IpAddr::from([10, 1, 7, 0]), len)
                .unwrap()
                .trunc()
        )),
    ];
    let action = prop_oneof![
        3 => (-3..4i16).prop_map(Action::Prefer),
        1 => Just(Action::Pin),
        1 => Just(Action::Block),
    ];
    (whom, action, 0..16usize).prop_map(|(whom, action, target)| RawRule(whom, action, target))
}

prop_compose! {
    fn world()(
        fleet in fleet(),
        routes in proptest::collection::vec(route(), 0..24),
        rules in proptest::collection::vec(rule(), 0..5),
        demand in prop_oneof![Just(0u64), Just(1000)],
    ) -> (cdn_types::api::v1::FleetSnapshot, Vec<Route>, Vec<RawRule>) {
        let mut fleet = fleet;
        fleet.titles[0].demand = Bytes(demand);
        (fleet, routes, rules)
    }
}

type Made = (cdn_types::api::v1::FleetSnapshot, Vec<Route>, Vec<RawRule>);

fn make((fleet, routes, rules): &Made) -> World {
    let mut w = World::new(fleet.clone());
    for Route(at, len, class, path, neighbour, med) in routes {
        let net = format!("10.1.7.0/{len}");
        w.route(
            &format!("a{at}"),
            &net,
            attributes(*class, *path, *neighbour, *med),
        );
    }
    w.policy.rules = rules
        .iter()
        .map(|RawRule(whom, action, target)| Rule {
            whom: *whom,
            action: *action,
            target: HolderName::Appliance(OcaId::new(format!("a{target}")).unwrap()),
        })
        .collect();
    w
}

fn client() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        Just(IpAddr::from([10, 1, 7, 1])),
        (0..4u8, 6..9u8).prop_map(|(s, n)| IpAddr::from([10, s, n, 1])),
    ]
}

fn ranked(made: &Made, client: IpAddr, options: &Options) -> (Vec<OcaId>, Ranking) {
    let index = make(made).index();
    let r = rank(&index, client, &film(), options).unwrap();
    (
        r.entries
            .iter()
            .map(|e| index.appliance(e.appliance).id.clone())
            .collect(),
        r,
    )
}

fn all() -> Options<'static> {
    super::keys::all()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn routed_worlds_rank_everybody_once_and_the_dropped_never(w in world(), c in client()) {
        let (ids, r) = ranked(&w, c, &all());
        let unique: HashSet<_> = ids.iter().collect();
        prop_assert_eq!(unique.len(), ids.len());
        prop_assert_eq!(ids.len() + r.dropped.len(), w.0.appliances.len());
        prop_assert!(r.dropped.iter().all(|d| !d.reasons.is_empty() && r.entries.iter().all(|e| e.appliance != d.appliance)));
        prop_assert!(r.site.is_some() || r.entries.iter().all(|e| e.tier == Tier::Elsewhere));
        prop_assert_eq!(&ranked(&w, c, &all()).0, &ids);
    }

    #[test]
    fn in_routed_worlds_a_short_list_is_the_beginning_and_orders_do_not_hang_on_the_feed(w in world(), c in client(), limit in 0..5usize) {
        let (whole, _) = ranked(&w, c, &all());
        let (short, _) = ranked(&w, c, &Options { limit, ..Options::default() });
        prop_assert_eq!(&short[..], &whole[..limit.min(whole.len())]);
        let mut turned = w.clone();
        turned.0.appliances.reverse();
        turned.0.sites.reverse();
        // Of two routes of one appliance to one network the later counts, so only different ones may change places.
        turned.1.dedup_by_key(|r| (r.0, r.1));
        let straight = (w.0.clone(), turned.1.clone(), w.2.clone());
        let distinct: HashSet<_> = turned.1.iter().map(|r| (r.0, r.1)).collect();
        if distinct.len() == turned.1.len() {
            turned.1.reverse();
        }
        prop_assert_eq!(ranked(&turned, c, &all()).0, ranked(&straight, c, &all()).0);
    }

    #[test]
    fn in_routed_worlds_losing_one_only_takes_it_out(w in world(), c in client(), which in any::<prop::sample::Index>()) {
        let (before, _) = ranked(&w, c, &all());
        prop_assume!(!before.is_empty());
        let lost = which.get(&before);
        let mut fewer = w.clone();
        for a in fewer.0.appliances.iter_mut().filter(|a| a.id == *lost) {
            a.state = ApplianceState::Lost;
        }
        let wanted: Vec<_> = before.iter().filter(|id| *id != lost).cloned().collect();
        prop_assert_eq!(ranked(&fewer, c, &all()).0, wanted);
    }

    #[test]
    fn in_routed_worlds_removing_what_is_not_ranked_changes_nothing(w in world(), c in client()) {
        let mut w = w;
        w.0.titles[0].demand = Bytes(0); // a hot title is dealt out among all siblings that hold it
        let (before, _) = ranked(&w, c, &all());
        let mut fewer = w.clone();
        fewer.0.appliances.retain(|a| before.contains(&a.id));
        let (after, r) = ranked(&fewer, c, &all());
        // The client's own site, which orders those without a route, may have gone with the appliance whose route named it.
        if ranked(&w, c, &all()).1.site == r.site {
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn in_routed_worlds_healthier_or_emptier_never_ranks_lower(w in world(), c in client(), which in any::<prop::sample::Index>(), less in 0..=100u64) {
        prop_assume!(!w.0.appliances.is_empty());
        let i = which.index(w.0.appliances.len());
        let id = w.0.appliances[i].id.clone();
        let mut better = w.clone();
        better.0.appliances[i].state = ApplianceState::Serving;
        better.0.appliances[i].load.egress = BitsPerSecond(w.0.appliances[i].load.egress.0 * less / 100);
        let place = |list: &[OcaId]| list.iter().position(|x| *x == id).unwrap_or(usize::MAX);
        prop_assert!(place(&ranked(&better, c, &all()).0) <= place(&ranked(&w, c, &all()).0));
    }

    #[test]
    fn every_explanation_has_the_route_that_decided(w in world(), c in client()) {
        let index = make(&w).index();
        let r = rank(&index, c, &film(), &all()).unwrap();
        let why = explain(&index, c, &r);
        for (why, e) in why.ranked.iter().zip(&r.entries) {
            prop_assert_eq!(why.route.is_some(), e.tier <= Tier::Routed);
            prop_assert!(why.route.as_ref().is_none_or(|route| route.prefix.contains(&c)));
        }
        prop_assert_eq!(why.steps.last().unwrap().left, r.entries.len());
    }

    #[test]
    fn footprints_cut_all_addresses_among_the_sites_as_rankings_do(w in world(), near in any::<u16>()) {
        let index = make(&w).index();
        let sites = footprints(&index);
        let networks: Vec<_> = sites.iter().flat_map(|(site, nets)| nets.iter().map(move |n| (*site, *n))).collect();
        let promised = |ip: IpAddr| {
            let mut by = networks.iter().filter(|(_, n)| n.contains(&ip)).map(|(site, _)| *site);
            let first = by.next();
            assert!(by.next().is_none(), "{ip} is promised twice");
            first
        };
        let probes = [IpAddr::from((0x0a01_0700u32 ^ u32::from(near)).to_be_bytes())];
        let edges = networks.iter().flat_map(|(_, n)| [n.network(), n.broadcast()]);
        for ip in edges.chain(probes) {
            let in_fleet = |holder: &HolderName| match holder {
                HolderName::Site(id) => index.site_ix(id).is_some(),
                HolderName::Appliance(id) => index.appliance_ix(id).is_some(),
            };
            let known = |c: &Candidate| index.routes().holders_of(c).any(in_fleet);
            let best = index.routes().covering(ip).iter().find(known);
            let offered = best.is_some_and(|c| c.class != SiteClass::Transit);
            let own = index.site_of(ip).map(|(site, _)| site).filter(|_| offered);
            prop_assert_eq!(promised(ip), own, "{}", ip);
        }
    }
}
