//! What a BGP neighbour may send: UPDATEs above all, and the messages that bgpkit reads.

use crate::bgp::codec;
use bgpkit_parser::{
    models::{AsnLength, AttributeValue, BgpMessage, BgpUpdateMessage, Safi},
    parser::bgp::parse_bgp_message,
};
use bytes::Bytes;
use cdn_types::api::v1::routes::PeeringClass;
use ipnet::IpNet;
use oca_core::bgp::{
    Families, Family,
    attributes::Reading,
    bmp,
    filter::Filter,
    frame,
    nlri::Nlri,
    rib::{Neighbor, Rib},
    update::{self, Rules, Update},
};
use std::collections::BTreeSet;

/// The body of an UPDATE, after an octet that says how the session reads it: what is taken keeps the table's books
/// right, and where bgpkit finds nothing wrong it finds the same prefixes. The same octets as a stream of BGP or BMP, an
/// OPEN and a NOTIFICATION harm nobody.
pub fn bgp_update(bytes: &[u8]) {
    let Some((how, body)) = bytes.split_first() else {
        return;
    };
    let bit = |n: u8| how >> n & 1 == 1;
    let rules = Rules {
        reading: Reading {
            as4: bit(0),
            internal: bit(1),
        },
        add_path: Families {
            v4: bit(2),
            v6: bit(3),
        },
    };
    let _ = codec::read_open(body);
    let _ = codec::read_notification(body);
    if let Ok(Some(len)) = bmp::first(body) {
        let _ = bmp::read(&body[..len]);
    }
    if let Ok(Some((_, len))) = frame::first(body) {
        assert!((frame::HEADER..=frame::MOST.min(body.len())).contains(&len));
    }
    let Ok(update) = update::read(body, &rules) else {
        return;
    };
    is_sound(&update, body.len(), rules.add_path);
    keeps_books(&update);
    if rules.add_path.is_empty() && body.len() < 4000 {
        agrees(&update, body, rules.reading.as4);
    }
}

fn is_sound(update: &Update, len: usize, add_path: Families) {
    let all = || update.announced.iter().chain(&update.withdrawn);
    assert!(all().count() <= len, "more prefixes than octets");
    for nlri in all() {
        assert_eq!(nlri.prefix, nlri.prefix.trunc());
        assert!(nlri.path == 0 || add_path.has(Family::of_prefix(&nlri.prefix)));
    }
    assert!(update.malformed.is_none() || update.announced.is_empty());
    assert!(update.end_of_rib.is_none() || all().next().is_none());
    assert!(update.attributes.communities.is_sorted());
}

/// Taken in, the routes are what the table counts; withdrawn, nothing is left.
fn keeps_books(update: &Update) {
    let neighbor = Neighbor {
        asn: 64500,
        class: PeeringClass::Exchange,
    };
    let mut rib = Rib::new(64999, Filter::default(), vec![neighbor]);
    rib.announce(0, &update.announced, &update.attributes);
    let distinct: BTreeSet<&Nlri> = update.announced.iter().collect();
    assert_eq!(rib.received(0), distinct.len());
    let counted: usize = Family::ALL.map(|family| rib.counted(0, family)).iter().sum();
    assert_eq!(counted + rib.refused(0).count(), distinct.len());
    rib.withdraw(0, &update.announced);
    assert!(rib.is_empty() && rib.received(0) == 0);
}

/// A default route is left out: bgpkit takes its octet for the begin of a path identifier.
fn agrees(update: &Update, body: &[u8], as4: bool) {
    let own: BTreeSet<IpNet> = update
        .announced
        .iter()
        .chain(&update.withdrawn)
        .map(|nlri| nlri.prefix)
        .collect();
    let length = if as4 { AsnLength::Bits32 } else { AsnLength::Bits16 };
    let mut octets = Bytes::from(frame::message(2, body));
    let Ok(BgpMessage::Update(theirs)) = parse_bgp_message(&mut octets, false, &length) else {
        return;
    };
    if own.iter().any(|p| p.prefix_len() == 0) || !theirs.attributes.validation_warnings().is_empty() {
        return;
    }
    assert_eq!(own, prefixes(&theirs), "bgpkit reads other prefixes");
}

fn prefixes(theirs: &BgpUpdateMessage) -> BTreeSet<IpNet> {
    let classic = theirs.announced_prefixes.iter().chain(&theirs.withdrawn_prefixes);
    let mut all: BTreeSet<IpNet> = classic.map(|p| p.prefix.trunc()).collect();
    for value in &theirs.attributes {
        if let AttributeValue::MpReachNlri(n) | AttributeValue::MpUnreachNlri(n) = value
            && n.safi == Safi::Unicast
        {
            all.extend(n.prefixes.iter().map(|p| p.prefix.trunc()));
        }
    }
    all
}
