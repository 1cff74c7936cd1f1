//! The table of all neighbours: which route is best, what makes a prefix changed, what a lost session leaves.

use super::*;
use crate::bgp::attributes::{AsPath, Segment};

const LOCAL: u32 = 64999;

fn rib() -> Rib {
    let neighbor = |asn, class| Neighbor { asn, class };
    let neighbors = vec![
        neighbor(64500, PeeringClass::Private),
        neighbor(64501, PeeringClass::Transit),
        neighbor(64500, PeeringClass::Private),
    ];
    Rib::new(LOCAL, Filter::default(), neighbors)
}

fn attributes(path: &[u32], med: Option<u32>) -> PathAttributes {
    PathAttributes {
        as_path: AsPath(vec![Segment::Sequence(path.to_vec())]),
        med,
        ..PathAttributes::default()
    }
}

fn nlri(prefix: &str) -> Nlri {
    Nlri {
        prefix: prefix.parse().unwrap(),
        path: 0,
    }
}

fn changed(rib: &mut Rib) -> Vec<String> {
    rib.take_changed(100).iter().map(ToString::to_string).collect()
}

#[test]
fn class_then_path_then_med_decide() {
    let (mut rib, n) = (rib(), nlri("8.8.8.0/24"));
    rib.announce(1, &[n], &attributes(&[64501], None));
    let best = |rib: &Rib| rib.best(&n.prefix).map(|a| (a.class, a.as_path_len, a.med));
    assert_eq!(best(&rib), Some((PeeringClass::Transit, 1, None)));
    rib.announce(0, &[n], &attributes(&[64500, 1, 2], Some(7)));
    assert_eq!(best(&rib), Some((PeeringClass::Private, 3, Some(7))));
    rib.announce(2, &[n], &attributes(&[64500, 1, 2], Some(6)));
    assert_eq!(best(&rib), Some((PeeringClass::Private, 3, Some(6))));
    rib.announce(0, &[n], &attributes(&[64500, 2], Some(9)));
    assert_eq!(best(&rib), Some((PeeringClass::Private, 2, Some(9))));
    for from in [0, 2, 1] {
        rib.withdraw(from, &[n]);
    }
    assert_eq!((best(&rib), rib.len()), (None, 0));
}

#[test]
fn only_a_change_of_the_best_route_makes_a_prefix_changed() {
    let (mut rib, n) = (rib(), nlri("8.8.8.0/24"));
    rib.announce(0, &[n], &attributes(&[64500], None));
    assert_eq!(changed(&mut rib), ["8.8.8.0/24"]);
    rib.announce(0, &[n], &attributes(&[64500], None)); // the same again
    rib.announce(1, &[n], &attributes(&[64501], None)); // a worse one
    rib.withdraw(1, &[n]);
    rib.withdraw(1, &[n]); // nobody has it
    assert!(!rib.has_changed());
    rib.withdraw(0, &[n]);
    assert_eq!(changed(&mut rib), ["8.8.8.0/24"]);
}

#[test]
fn refused_routes_are_listed_with_their_reason_and_count_for_the_limit() {
    let mut rib = rib();
    let list = ["10.0.0.0/8", "8.8.8.0/30", "8.8.8.0/24", "0.0.0.0/0"].map(nlri);
    rib.announce(0, &list, &attributes(&[64500], None));
    let reasons: Vec<_> = rib.refused(0).map(|(_, r)| r.name()).collect();
    assert_eq!(reasons, ["default_route", "over_specific", "bogon"]);
    assert_eq!(
        (rib.received(0), rib.counted(0, Family::V4), rib.len()),
        (4, 1, 1)
    );
    rib.withdraw(0, &list[..2]);
    assert_eq!(rib.received(0), 2);
}

#[test]
fn a_route_that_comes_back_with_the_own_as_is_no_longer_one() {
    let (mut rib, n) = (rib(), nlri("8.8.8.0/24"));
    rib.announce(0, &[n], &attributes(&[64500], None));
    rib.announce(0, &[n], &attributes(&[64500, LOCAL, 3], None));
    assert!(rib.best(&n.prefix).is_none());
    assert_eq!(rib.refused(0).next().unwrap().1, Reason::AsPathLoop);
    rib.announce(0, &[n], &attributes(&[64500], None));
    assert!(rib.best(&n.prefix).is_some() && rib.refused(0).next().is_none());
}

#[test]
fn a_lost_session_takes_its_routes_along_and_leaves_those_of_others() {
    let mut rib = rib();
    let (a, b) = (nlri("8.8.8.0/24"), nlri("2400::/12"));
    rib.announce(0, &[a, b], &attributes(&[64500], None));
    rib.announce(1, &[a], &attributes(&[64501], None));
    changed(&mut rib);
    rib.lose(0, Families::default());
    assert_eq!(rib.best(&a.prefix).unwrap().class, PeeringClass::Transit);
    assert!(rib.best(&b.prefix).is_none());
    assert_eq!(changed(&mut rib), ["8.8.8.0/24", "2400::/12"]);
    assert_eq!((rib.received(0), rib.received(1)), (0, 1));
}

#[test]
fn stale_routes_count_until_they_are_told_anew_or_dropped() {
    let mut rib = rib();
    let (a, b, c) = (nlri("8.8.8.0/24"), nlri("9.9.9.0/24"), nlri("2400::/12"));
    rib.announce(0, &[a, b, c], &attributes(&[64500], None));
    changed(&mut rib);
    rib.lose(0, Families { v4: true, v6: false });
    assert_eq!(changed(&mut rib), ["2400::/12"]);
    rib.announce(0, &[a], &attributes(&[64500], None));
    rib.drop_stale(0, Family::V4);
    assert_eq!(changed(&mut rib), ["9.9.9.0/24"]);
    assert_eq!(rib.counted(0, Family::V4), 1);
}

#[test]
fn several_paths_of_one_neighbour_are_several_routes() {
    let mut rib = rib();
    let path = |path| Nlri {
        path,
        ..nlri("8.8.8.0/24")
    };
    rib.announce(0, &[path(1)], &attributes(&[64500, 1], None));
    rib.announce(0, &[path(2)], &attributes(&[64500], None));
    assert_eq!(rib.best(&path(1).prefix).unwrap().as_path_len, 1);
    rib.withdraw(0, &[path(2)]);
    assert_eq!(rib.best(&path(1).prefix).unwrap().as_path_len, 2);
    assert_eq!(rib.received(0), 1);
}

#[test]
fn equal_attributes_are_kept_once() {
    let mut rib = rib();
    for i in 0..2000u32 {
        let prefix = format!("11.{}.{}.0/24", i / 256, i % 256);
        rib.announce(0, &[nlri(&prefix)], &attributes(&[64500, i % 10], None));
    }
    assert_eq!((rib.len(), rib.attribute_sets()), (2000, 10));
}
