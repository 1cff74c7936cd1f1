//! The route table against the plain meaning of "longest match for each holder".

use cdn_types::{OcaId, SiteId};
use ipnet::IpNet;
use proptest::prelude::*;
use std::{collections::BTreeMap, net::IpAddr};
use steering_core::routes::{
    Attributes, Candidate, Covered, HolderName, RouteBatch, RouteBuilder, RouteError, RouteTable, SiteClass,
};

pub fn attributes(class: SiteClass, path: u16, neighbour: u32, med: u32) -> Attributes {
    Attributes {
        class,
        as_path_len: path,
        neighbour_as: Some(neighbour),
        origin_as: Some(64500),
        med: Some(med),
        ..Attributes::coverage()
    }
}

pub fn announce(prefixes: &[&str], with: Attributes) -> RouteBatch {
    RouteBatch {
        attributes: vec![with],
        changes: prefixes.iter().map(|p| (p.parse().unwrap(), Some(0))).collect(),
        reset: false,
    }
}

fn withdraw(prefixes: &[&str]) -> RouteBatch {
    RouteBatch {
        changes: prefixes.iter().map(|p| (p.parse().unwrap(), None)).collect(),
        ..RouteBatch::default()
    }
}

fn oca(n: usize) -> OcaId {
    OcaId::new(format!("a{n}")).unwrap()
}

/// Name and length of each candidate, in order.
fn covering(table: &RouteTable, client: &str) -> Vec<(String, u8)> {
    let name = |holder: &HolderName| match holder {
        HolderName::Site(s) => s.to_string(),
        HolderName::Appliance(a) => a.to_string(),
    };
    let candidates = table.covering(client.parse().unwrap()).iter();
    let named = |c: Candidate| {
        let named = |holder| (name(holder), c.prefix_len);
        table.holders_of(&c).map(named).collect::<Vec<_>>()
    };
    candidates.flat_map(named).collect()
}

fn owned(list: &[(&str, u8)]) -> Vec<(String, u8)> {
    list.iter().map(|(n, l)| ((*n).to_owned(), *l)).collect()
}

#[test]
fn every_holders_own_longest_match_counts() {
    let mut b = RouteBuilder::new();
    let with = || attributes(SiteClass::Embedded, 1, 1, 0);
    b.apply(&oca(1), &announce(&["192.0.2.0/24", "2001:db8::/32"], with()))
        .unwrap();
    b.apply(&oca(2), &announce(&["192.0.0.0/16", "2001:db8::/48"], with()))
        .unwrap();
    let table = b.publish();
    assert_eq!(covering(&table, "192.0.2.9"), owned(&[("a1", 24), ("a2", 16)]));
    assert_eq!(
        covering(&table, "::ffff:192.0.2.9"),
        owned(&[("a1", 24), ("a2", 16)])
    );
    assert_eq!(covering(&table, "192.0.3.9"), owned(&[("a2", 16)]));
    assert_eq!(covering(&table, "2001:db8::1"), owned(&[("a2", 48), ("a1", 32)]));
    assert_eq!(covering(&table, "2001:db8:1::1"), owned(&[("a1", 32)]));
    assert_eq!(covering(&table, "192.1.0.0"), []);
    b.apply(&oca(1), &withdraw(&["192.0.2.0/24", "203.0.113.0/24"]))
        .unwrap();
    assert_eq!(covering(&b.publish(), "192.0.2.9"), owned(&[("a2", 16)]));
    assert_eq!(covering(&table, "192.0.2.9").len(), 2, "a table stays as it was");
    assert_eq!(b.forget(&oca(2)), 2);
    assert_eq!(b.publish().prefix_count(), 1);
}

#[test]
fn the_best_route_comes_first_and_meds_compare_within_a_neighbour() {
    let mut b = RouteBuilder::new();
    let net = &["192.0.2.0/24"];
    for (n, class, path, neighbour, med) in [
        (1, SiteClass::Transit, 1, 9, 0),
        (2, SiteClass::Private, 3, 9, 0),
        (3, SiteClass::Private, 2, 7, 50),
        (4, SiteClass::Private, 2, 7, 10),
        (5, SiteClass::Private, 2, 8, 99),
        (6, SiteClass::Exchange, 1, 9, 0),
    ] {
        b.apply(&oca(n), &announce(net, attributes(class, path, neighbour, med)))
            .unwrap();
    }
    let order: Vec<_> = covering(&b.publish(), "192.0.2.1")
        .into_iter()
        .map(|(n, _)| n)
        .collect();
    assert_eq!(order, ["a4", "a5", "a3", "a2", "a6", "a1"]);
}

#[test]
fn networks_of_sites_go_to_the_first_by_id_and_are_replaced_whole() {
    let covered = |list: &[(&str, &str)]| -> Vec<Covered> {
        let one = |(prefix, site): &(&str, &str)| Covered {
            prefix: prefix.parse().unwrap(),
            site: SiteId::new(*site).unwrap(),
        };
        list.iter().map(one).collect()
    };
    let mut b = RouteBuilder::new();
    let ignored = b.cover(covered(&[
        ("10.0.0.0/8", "par"),
        ("10.1.2.3/8", "lon"),
        ("10.0.0.0/16", "par"),
    ]));
    assert_eq!(ignored, covered(&[("10.0.0.0/8", "par")]));
    assert_eq!(
        b.covered_by("10.0.0.0/8".parse().unwrap()).unwrap().as_str(),
        "lon"
    );
    assert_eq!(
        covering(&b.publish(), "10.0.0.1"),
        owned(&[("par", 16), ("lon", 8)])
    );
    assert_eq!(b.cover(covered(&[("10.0.0.0/8", "par")])), []);
    assert_eq!(covering(&b.publish(), "10.0.0.1"), owned(&[("par", 8)]));
}

#[test]
fn a_batch_that_contradicts_itself_is_refused_whole() {
    let mut b = RouteBuilder::new();
    let mut batch = announce(
        &["10.0.0.0/8", "11.0.0.0/8"],
        attributes(SiteClass::Embedded, 1, 1, 0),
    );
    batch.changes[1].1 = Some(1);
    let error = b.apply(&oca(1), &batch).unwrap_err();
    assert!(
        matches!(error, RouteError::AttributeIndex { index: 1, .. }),
        "{error}"
    );
    assert_eq!(b.prefix_count(), 0);
}

/// A step of a table's life.
#[derive(Debug, Clone)]
enum Step {
    Change(usize, Vec<(IpNet, Option<u16>)>, bool),
    Forget(usize),
    Publish,
}

/// Few bits differ, so that networks contain each other.
fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (0..8u8, 0..4u8, 0..=32u8)
        .prop_map(|(a, b, len)| IpNet::new(IpAddr::from([a << 5, b << 6, b, a]), len).unwrap());
    let v6 = (0..8u16, 0..4u16, 0..=128u8)
        .prop_map(|(a, b, len)| IpNet::new(IpAddr::from([a << 13, b << 14, 0, a, 0, 0, 0, b]), len).unwrap());
    prop_oneof![v4, v6]
}

fn step() -> impl Strategy<Value = Step> {
    let change = (network(), proptest::option::weighted(0.7, 0..3u16));
    prop_oneof![
        6 => (0..4usize, proptest::collection::vec(change, 0..12), prop::bool::weighted(0.1))
            .prop_map(|(who, changes, reset)| Step::Change(who, changes, reset)),
        1 => (0..4usize).prop_map(Step::Forget),
        2 => Just(Step::Publish),
    ]
}

type Model = BTreeMap<(usize, IpNet), u16>;

fn play(b: &mut RouteBuilder, model: &mut Model, step: &Step) {
    match step {
        Step::Publish => {
            b.publish();
        }
        Step::Forget(who) => {
            b.forget(&oca(*who));
            model.retain(|(w, _), _| w != who);
        }
        Step::Change(who, changes, reset) => {
            if *reset {
                model.retain(|(w, _), _| w != who);
            }
            for (net, path) in changes {
                match path {
                    Some(path) => model.insert((*who, net.trunc()), *path),
                    None => model.remove(&(*who, net.trunc())),
                };
            }
            let batch = RouteBatch {
                attributes: (0..3)
                    .map(|path| attributes(SiteClass::Private, path, 1, 0))
                    .collect(),
                changes: changes
                    .iter()
                    .map(|(net, path)| (*net, path.map(u32::from)))
                    .collect(),
                reset: *reset,
            };
            b.apply(&oca(*who), &batch).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_history_of_batches_gives_the_longest_match_of_each_holder(
        steps in proptest::collection::vec(step(), 1..12),
        clients in proptest::collection::vec(network(), 1..12),
    ) {
        let (mut b, mut model) = (RouteBuilder::new(), Model::new());
        for step in &steps {
            play(&mut b, &mut model, step);
        }
        let table = b.publish();
        let networks: std::collections::BTreeSet<_> = model.keys().map(|(_, net)| *net).collect();
        prop_assert_eq!(table.prefix_count(), networks.len());
        // Both ends of every network, and some addresses besides.
        let ends = networks.iter().chain(&clients).flat_map(|net| [net.network(), net.broadcast()]);
        for client in ends {
            let mut wanted: BTreeMap<String, (u8, u16)> = BTreeMap::new();
            for ((who, net), path) in &model {
                let best = wanted.get(oca(*who).as_str()).map_or(0, |(len, _)| *len);
                if net.contains(&client.to_canonical()) && net.prefix_len() >= best {
                    wanted.insert(oca(*who).to_string(), (net.prefix_len(), *path));
                }
            }
            let mut found = BTreeMap::new();
            for c in table.covering(client).iter() {
                prop_assert_eq!(table.attributes(&c).as_path_len, u16::from(c.path_len));
                for holder in table.holders_of(&c) {
                    let HolderName::Appliance(id) = holder else { panic!("no sites") };
                    let twice = found.insert(id.to_string(), (c.prefix_len, table.attributes(&c).as_path_len));
                    prop_assert!(twice.is_none());
                }
            }
            prop_assert_eq!(found, wanted, "{}", client);
        }
    }
}
