//! What inventories become, and what wakes steering.

use super::*;
use crate::store::{ReportRow, Status};
use cdn_types::{
    BitsPerSecond,
    api::v1::{Capacity, Health, InventoryUpdate},
    time::Timestamp,
};
use proptest::prelude::*;
use std::collections::BTreeSet as Set;

fn row(boot: &str, seq: u64, change: &InventoryChange) -> ApplianceRow {
    ApplianceRow {
        id: OcaId::new("a").unwrap(),
        site: SiteId::new("s").unwrap(),
        base_url: "http://a".into(),
        profile: "laptop".into(),
        capacity: Capacity {
            storage: Bytes(1),
            egress: BitsPerSecond(1000),
            fill_rate: BitsPerSecond(1),
        },
        drain: false,
        lost: false,
        report: Some(ReportRow {
            boot: boot.into(),
            seq,
            at: Timestamp::UNIX_EPOCH,
            status: Status {
                health: Health {
                    serving: true,
                    ..Health::default()
                },
                ..Status::default()
            },
            inventory: change.generation,
            resync: change.resync,
        }),
    }
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::new(1);
    let mut first = row("b", 0, &InventoryChange::default());
    first.report = None;
    fleet.restore(first, &[], Duration::ZERO);
    fleet
}

fn object(n: u8) -> ObjectDigest {
    ObjectDigest::of(&[n])
}

fn held(fleet: &Fleet) -> Set<ObjectDigest> {
    let snapshot = fleet.snapshot(Timestamp::UNIX_EPOCH, "");
    let holds = &snapshot.appliances[0].holds;
    assert!(holds.is_sorted());
    holds.iter().map(|i| snapshot.objects[*i as usize]).collect()
}

fn send(fleet: &mut Fleet, seq: u64, update: &InventoryUpdate) -> bool {
    let id = OcaId::new("a").unwrap();
    let change = fleet.inventory_change(&id, "b", update);
    fleet.report(row("b", seq, &change), &change, Duration::ZERO);
    change.resync
}

proptest! {
    /// An appliance gains and loses objects; each report it sends may get lost. Whenever the control plane is content
    /// it holds exactly what the appliance does, and it never believes in an object that a report took away.
    #[test]
    fn inventories_agree_whenever_no_resync_is_wanted(
        steps in proptest::collection::vec((0u8..12, any::<bool>(), any::<bool>()), 1..60)
    ) {
        let mut fleet = fleet();
        let mut truth: Set<u8> = Set::new();
        let (mut told, mut told_at): (Set<u8>, Option<u64>) = (Set::new(), None);
        for (seq, (n, gain, arrives)) in (1u64..).zip(steps) {
            if gain { truth.insert(n); } else { truth.remove(&n); }
            let digests = |set: Vec<u8>| set.into_iter().map(object).collect::<Vec<_>>();
            // It sends deltas from what it last sent, whether or not that arrived: the worst that it may do.
            let update = InventoryUpdate {
                generation: seq,
                base: told_at,
                added: digests(truth.difference(&told).copied().collect()),
                removed: digests(told.difference(&truth).copied().collect()),
            };
            told.clone_from(&truth);
            told_at = Some(seq);
            if !arrives { continue; }
            let lost: Vec<_> = update.removed.clone();
            if send(&mut fleet, seq, &update) {
                let now = held(&fleet);
                prop_assert!(lost.iter().all(|d| !now.contains(d)));
                told.clear();
                told_at = None;
            } else {
                prop_assert_eq!(held(&fleet), truth.iter().copied().map(object).collect::<Set<_>>());
            }
        }
    }
}

#[test]
fn a_report_without_news_keeps_the_generation() {
    let mut fleet = fleet();
    let whole = InventoryUpdate {
        generation: 1,
        base: None,
        added: vec![object(1)],
        removed: vec![],
    };
    send(&mut fleet, 1, &whole);
    let generation = fleet.generation();
    send(&mut fleet, 2, &whole);
    assert_eq!(fleet.generation(), generation);
    fleet.set_drain(&OcaId::new("a").unwrap(), true);
    assert_eq!(fleet.generation(), generation + 1);
    fleet.set_drain(&OcaId::new("a").unwrap(), true);
    assert_eq!(fleet.generation(), generation + 1);
}

#[test]
fn entries_that_nobody_uses_are_dropped_from_the_dictionary() {
    let mut fleet = fleet();
    let many = |from: u32| InventoryUpdate {
        generation: u64::from(from),
        base: None,
        added: (from..from + 3000)
            .map(|n| ObjectDigest::of(&n.to_le_bytes()))
            .collect(),
        removed: vec![],
    };
    for (seq, from) in [(1, 0), (2, 10_000), (3, 20_000), (4, 30_000)] {
        send(&mut fleet, seq, &many(from));
        let wanted: Set<_> = many(from).added.into_iter().collect();
        assert_eq!(held(&fleet), wanted);
    }
    assert!(fleet.snapshot(Timestamp::UNIX_EPOCH, "").objects.len() <= 6000);
}

#[test]
fn overdue_are_those_who_reported_once_and_not_lately() {
    let mut fleet = fleet();
    let (long, patience) = (Duration::from_secs(100), Duration::from_secs(30));
    assert!(fleet.overdue(long, patience).is_empty(), "it has never reported");
    let update = InventoryUpdate {
        generation: 1,
        base: None,
        added: vec![],
        removed: vec![],
    };
    send(&mut fleet, 1, &update);
    assert!(fleet.overdue(patience, patience).is_empty());
    let overdue = fleet.overdue(long, patience);
    assert_eq!(overdue.len(), 1);
    fleet.set_lost(&overdue[0]);
    assert!(fleet.overdue(long, patience).is_empty());
}

#[test]
fn steering_is_told_what_was_drawn_of_a_title_when_that_has_changed() {
    let mut fleet = fleet();
    let title = TitleRow {
        id: TitleId::new("film").unwrap(),
        version: "1".into(),
        name: "Film".into(),
        duration_ms: 1,
        hls_path: "master.m3u8".into(),
        dash_path: "manifest.mpd".into(),
        hls: String::new(),
        dash: String::new(),
    };
    let known = |n: u8| KnownObject {
        title: title.id.clone(),
        version: title.version.clone(),
        current: true,
        path: format!("{n}.mp4"),
        digest: object(n),
        size: Bytes(1),
    };
    fleet.put_title(title.clone(), &[known(1), known(2)]);
    let demand = |fleet: &Fleet| fleet.snapshot(Timestamp::UNIX_EPOCH, "").titles[0].demand;
    assert_eq!(demand(&fleet), Bytes(0));
    let drawn = [
        (object(1), Bytes(5)),
        (object(2), Bytes(7)),
        (object(9), Bytes(1)),
    ];
    let before = fleet.generation();
    fleet.set_demand(&drawn);
    assert_eq!((demand(&fleet), fleet.generation()), (Bytes(12), before + 1));
    fleet.set_demand(&drawn);
    assert_eq!(fleet.generation(), before + 1, "nothing new wakes nobody");
}
