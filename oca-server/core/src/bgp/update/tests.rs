//! UPDATEs good and bad: what RFC 7606 makes of each.

use super::*;

const RULES: Rules = Rules {
    reading: Reading {
        as4: true,
        internal: false,
    },
    add_path: Families { v4: false, v6: false },
};

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfc, 0];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 1];
const GOOD: &[&[u8]] = &[ORIGIN, AS_PATH, NEXT_HOP];
/// 192.0.2.0/24.
const PREFIX: &[u8] = &[24, 192, 0, 2];

fn body(withdrawn: &[u8], attributes: &[&[u8]], prefixes: &[u8]) -> Vec<u8> {
    let attributes = attributes.concat();
    let mut body = (withdrawn.len() as u16).to_be_bytes().to_vec();
    body.extend(withdrawn);
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    body.extend(prefixes);
    body
}

fn names(list: &[Nlri]) -> Vec<String> {
    list.iter().map(|n| n.prefix.to_string()).collect()
}

#[test]
fn a_route_is_read_with_what_is_kept_of_it() {
    let communities = &[0xc0, 8, 8, 0xfc, 0, 0, 2, 0xfc, 0, 0, 1][..];
    let large = &[0xc0, 32, 12, 0, 0, 0xfc, 0, 0, 0, 0, 1, 0, 0, 0, 2][..];
    let med = &[0x80, 4, 4, 0, 0, 0, 50][..];
    let unknown = &[0xc0, 99, 2, 1, 2][..];
    let all = [ORIGIN, AS_PATH, NEXT_HOP, med, communities, large, unknown];
    let update = read(&body(&[8, 10], &all, PREFIX), &RULES).unwrap();
    assert_eq!(names(&update.announced), ["192.0.2.0/24"]);
    assert_eq!(names(&update.withdrawn), ["10.0.0.0/8"]);
    let attributes = update.attributes;
    assert_eq!((attributes.as_path.len(), attributes.med), (1, Some(50)));
    assert_eq!(attributes.communities, [0xfc00_0001, 0xfc00_0002]);
    assert_eq!(attributes.large_communities, [[64512, 1, 2]]);
    assert_eq!((update.malformed, update.discarded), (None, 0));
}

#[test]
fn ipv6_routes_come_in_mp_reach_and_go_in_mp_unreach() {
    let prefixes = [
        "2001:db8::/32".parse().unwrap(),
        "2001:db8:1::/48".parse().unwrap(),
    ];
    let update = read(&announcement(&prefixes, &[64500, 64501], &[]), &RULES).unwrap();
    assert_eq!(names(&update.announced), ["2001:db8::/32", "2001:db8:1::/48"]);
    assert_eq!(update.attributes.as_path.origin(), Some(64501));
    let unreach = &[0x80, 15, 8, 0, 2, 1, 32, 0x20, 1, 0xd, 0xb8][..];
    let update = read(&body(&[], &[unreach], &[]), &RULES).unwrap();
    assert_eq!(names(&update.withdrawn), ["2001:db8::/32"]);
    assert_eq!(update.end_of_rib, None);
}

#[test]
fn the_end_of_a_table_is_an_empty_update_or_an_empty_mp_unreach() {
    let end = |body: &[u8]| read(body, &RULES).unwrap().end_of_rib;
    assert_eq!(end(&[0, 0, 0, 0]), Some(Family::V4));
    assert_eq!(end(&body(&[], &[&[0x80, 15, 3, 0, 2, 1]], &[])), Some(Family::V6));
    assert_eq!(end(&body(&[], &[&[0x80, 15, 3, 0, 2, 128]], &[])), None); // VPNs are another family
    assert_eq!(end(&body(&[], GOOD, &[])), None);
}

#[test]
fn path_identifiers_are_read_where_they_were_agreed_on() {
    let rules = Rules {
        add_path: Families { v4: true, v6: false },
        ..RULES
    };
    let prefixes = [&[0, 0, 0, 1][..], PREFIX, &[0, 0, 0, 2], PREFIX].concat();
    let update = read(&body(&[], GOOD, &prefixes), &rules).unwrap();
    let paths: Vec<_> = update.announced.iter().map(|n| n.path).collect();
    assert_eq!(paths, [1, 2]);
    let six = announcement(&["2001:db8::/32".parse().unwrap()], &[1], &[]);
    assert_eq!(read(&six, &rules).unwrap().announced[0].path, 0);
}

/// The attributes of an UPDATE, beside one IPv4 prefix, and the code of the one to blame.
#[test]
fn faults_in_attributes_cost_the_routes_of_the_update() {
    let cases: &[(u8, &[&[u8]])] = &[
        (1, &[&[0x40, 1, 1, 3], AS_PATH, NEXT_HOP]),    // no such origin
        (1, &[&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP]), // too long
        (1, &[&[0x40, 1, 0], AS_PATH, NEXT_HOP]),       // empty
        (1, &[&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP]),    // optional
        (1, &[AS_PATH, NEXT_HOP]),                      // missing
        (2, &[ORIGIN, NEXT_HOP]),                       // missing
        (2, &[ORIGIN, &[0x40, 2, 6, 9, 1, 0, 0, 0, 1], NEXT_HOP]), // no such segment
        (2, &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0, 1], NEXT_HOP]), // segment too long
        (2, &[ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP]),  // empty segment
        (2, &[ORIGIN, &[0x40, 2, 1, 2], NEXT_HOP]),     // half a segment
        (2, &[ORIGIN, &[0, 2, 0], NEXT_HOP]),           // not transitive
        (3, &[ORIGIN, AS_PATH, &[0x40, 3, 3, 10, 0, 0]]), // short
        (3, &[ORIGIN, AS_PATH]),                        // missing
        (4, &[ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 4, 3, 0, 0, 0]]), // short
        (4, &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 4, 4, 0, 0, 0, 0]]), // well-known
        (8, &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 0]]), // empty
        (8, &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 3, 0, 0, 0]]), // no multiple
        (16, &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 16, 4, 0, 0, 0, 0]]),
        (
            32,
            &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 32, 8, 0, 0, 0, 0, 0, 0, 0, 0]],
        ),
        (99, &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 99, 0]]), // well-known and unknown
        (0, &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 8, 9, 0]]), // longer than the rest
        (0, &[ORIGIN, AS_PATH, NEXT_HOP, &[0xd0, 8, 0]]),   // half a length
        (0, &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0]]),         // half a head
    ];
    for (attribute, attributes) in cases {
        let update = read(&body(&[], attributes, PREFIX), &RULES).unwrap();
        let blamed = update.malformed.map(|f| f.attribute);
        assert_eq!(blamed, Some(*attribute), "{attributes:?}");
        assert!(update.announced.is_empty(), "{attributes:?}");
        assert_eq!(names(&update.withdrawn), ["192.0.2.0/24"], "{attributes:?}");
    }
}

#[test]
fn some_faults_cost_only_the_attribute() {
    let cases: &[&[u8]] = &[
        &[0x40, 6, 1, 0],                 // ATOMIC_AGGREGATE with a value
        &[0xc0, 7, 6, 0, 1, 10, 0, 0, 1], // AGGREGATOR of two octets where four were agreed on
        &[0x40, 5, 4, 0, 0, 0, 1],        // LOCAL_PREF from outside
        &[0x40, 5, 1, 0],                 // even a wrong one
        &[0x80, 9, 1, 0],                 // ORIGINATOR_ID from outside
        &[0xc0, 17, 6, 2, 1, 0, 0, 0, 1], // AS4_PATH where none is due
        &[0x40, 1, 1, 9],                 // a second ORIGIN, and a wrong one
    ];
    for attribute in cases {
        let update = read(
            &body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, attribute], PREFIX),
            &RULES,
        )
        .unwrap();
        assert_eq!((update.malformed, update.discarded), (None, 1), "{attribute:?}");
        assert_eq!(names(&update.announced), ["192.0.2.0/24"], "{attribute:?}");
    }
    let internal = Rules {
        reading: Reading {
            as4: true,
            internal: true,
        },
        ..RULES
    };
    let bad = body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 5, 1, 0]], PREFIX);
    assert_eq!(read(&bad, &internal).unwrap().malformed.unwrap().attribute, 5);
}

#[test]
fn what_leaves_the_prefixes_unknown_ends_the_session() {
    let reach = |value: &[u8]| [&[0x80, 14, value.len() as u8], value].concat();
    let next_hop = [0; 16];
    let six =
        |next_hop: &[u8], rest: &[u8]| reach(&[&[0, 2, 1, next_hop.len() as u8], next_hop, rest].concat());
    let twice = [six(&next_hop, &[0]), six(&next_hop, &[0])].concat();
    let cases: &[(u8, Vec<u8>)] = &[
        (1, vec![]),
        (1, vec![0]),
        (1, vec![0, 5, 0, 0]),                      // withdrawn routes beyond the message
        (1, vec![0, 0, 0, 5, 0x40]),                // attributes beyond the message
        (10, body(&[33, 1, 2, 3, 4, 5], &[], &[])), // longer than an address
        (10, body(&[], GOOD, &[24, 192])),          // cut
        (10, body(&[], GOOD, &[129])),
        (9, body(&[], &[ORIGIN, AS_PATH, &reach(&[0, 2])], &[])),
        (9, body(&[], &[ORIGIN, AS_PATH, &six(&[0; 5], &[0])], &[])), // no address has five octets
        (9, body(&[], &[ORIGIN, AS_PATH, &reach(&[0, 2, 1, 16, 0])], &[])),
        (9, body(&[], &[ORIGIN, AS_PATH, &six(&next_hop, &[])], &[])), // the reserved octet is missing
        (10, body(&[], &[ORIGIN, AS_PATH, &six(&next_hop, &[0, 129])], &[])),
        (10, body(&[], &[&[0x80, 15, 4, 0, 2, 1, 64]], &[])),
        (9, body(&[], &[&[0x80, 15, 2, 0, 2]], &[])),
        (1, body(&[], &[ORIGIN, AS_PATH, &twice], &[])),
    ];
    for (subcode, octets) in cases {
        let notification = read(octets, &RULES).unwrap_err();
        assert_eq!(
            (notification.code, notification.subcode),
            (3, *subcode),
            "{octets:?}"
        );
    }
}

#[test]
fn other_families_are_passed_over() {
    let vpn = &[0x80, 14, 6, 0, 1, 128, 0, 0, 9][..];
    let update = read(&body(&[], &[ORIGIN, AS_PATH, vpn], &[]), &RULES).unwrap();
    assert!(update.announced.is_empty() && update.malformed.is_none());
}

#[test]
fn a_neighbour_of_two_octets_is_read_by_as4_path() {
    let rules = Rules {
        reading: Reading {
            as4: false,
            internal: false,
        },
        ..RULES
    };
    let two = &[0x40, 2, 6, 2, 2, 0xfc, 0, 0x5b, 0xa0][..];
    let four = &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70][..];
    let update = read(&body(&[], &[ORIGIN, two, NEXT_HOP, four], PREFIX), &rules).unwrap();
    let path = update.attributes.as_path;
    assert_eq!(
        (path.first(), path.origin(), path.len()),
        (Some(64512), Some(70_000), 2)
    );
}
