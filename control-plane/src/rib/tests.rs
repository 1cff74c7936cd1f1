//! Routes by batches: numbers, whole tables, changes since a generation, and the check of sites.

use super::*;
use cdn_types::{SiteId, api::v1::routes::PeeringClass};
use proptest::prelude::*;

const FIRST: u64 = 1000;

fn id(name: &str) -> OcaId {
    OcaId::new(name).unwrap()
}

fn attributes(len: u32) -> RouteAttributes {
    RouteAttributes {
        class: PeeringClass::Private,
        as_path_len: len,
        neighbor_as: 64500,
        origin_as: Some(64500 + len),
        med: None,
        communities: vec![],
        large_communities: vec![],
    }
}

fn prefix(n: u32) -> IpNet {
    format!("11.{}.{}.0/24", n >> 8 & 255, n & 255).parse().unwrap()
}

/// A batch that announces these prefixes with this path length.
fn batch(number: u64, len: u32, prefixes: &[u32]) -> RouteBatch {
    let group = RouteGroup {
        attributes: attributes(len),
        prefixes: prefixes.iter().map(|n| prefix(*n)).collect(),
    };
    RouteBatch {
        boot: "b".into(),
        number,
        reset: false,
        complete: false,
        announced: vec![group],
        withdrawn: vec![],
    }
}

fn whole(number: u64, len: u32, prefixes: &[u32]) -> RouteBatch {
    RouteBatch {
        reset: true,
        complete: true,
        ..batch(number, len, prefixes)
    }
}

fn withdrawal(number: u64, prefixes: &[u32]) -> RouteBatch {
    RouteBatch {
        announced: vec![],
        withdrawn: prefixes.iter().map(|n| prefix(*n)).collect(),
        ..batch(number, 1, &[])
    }
}

/// What a reader that follows the changes knows.
#[derive(Default)]
struct Reader {
    generation: u64,
    routes: BTreeMap<(OcaId, IpNet), u32>,
}

impl Reader {
    fn follow(&mut self, rib: &Rib) -> bool {
        let changes = rib.changes(self.generation);
        if changes.reset {
            self.routes.clear();
        }
        for one in changes.appliances {
            for group in one.announced {
                let of = |p: IpNet| ((one.appliance.clone(), p), group.attributes.as_path_len);
                self.routes.extend(group.prefixes.into_iter().map(of));
            }
            for prefix in one.withdrawn {
                self.routes.remove(&(one.appliance.clone(), prefix));
            }
        }
        self.generation = changes.generation;
        changes.reset
    }
}

#[test]
fn batches_are_taken_in_order_and_once() {
    let (mut rib, a) = (Rib::new(FIRST), id("a"));
    let take = |rib: &mut Rib, batch| {
        let (answer, taken) = rib.take(&a, batch);
        (answer.next, taken)
    };
    assert_eq!(
        take(&mut rib, batch(1, 1, &[1])),
        (0, Taken::Gap),
        "nothing is known of the boot"
    );
    assert_eq!(take(&mut rib, whole(2, 1, &[1])), (3, Taken::New));
    assert_eq!(take(&mut rib, batch(3, 1, &[2])), (4, Taken::New));
    let before = rib.generation();
    assert_eq!(take(&mut rib, withdrawal(3, &[1])), (4, Taken::Repeated));
    assert_eq!(
        take(&mut rib, whole(2, 1, &[])),
        (4, Taken::Repeated),
        "a late one"
    );
    assert_eq!(take(&mut rib, batch(5, 1, &[9])), (4, Taken::Gap));
    assert_eq!((rib.generation(), rib.len()), (before, 2));
    let other = RouteBatch {
        boot: "c".into(),
        ..batch(4, 1, &[3])
    };
    assert_eq!(take(&mut rib, other), (0, Taken::Gap));
}

#[test]
fn a_whole_table_replaces_the_one_before_only_at_its_end() {
    let (mut rib, a, mut reader) = (Rib::new(FIRST), id("a"), Reader::default());
    rib.take(&a, whole(1, 1, &[1, 2, 3]));
    assert!(reader.follow(&rib));
    let begin = RouteBatch {
        complete: false,
        boot: "c".into(),
        ..whole(1, 1, &[1])
    };
    rib.take(&a, begin);
    assert_eq!(
        rib.changes(reader.generation).appliances,
        [],
        "what is told again is no change"
    );
    assert_eq!(rib.len(), 3);
    let end = RouteBatch {
        reset: false,
        boot: "c".into(),
        ..whole(2, 5, &[2])
    };
    rib.take(&a, end);
    assert!(!reader.follow(&rib));
    let known: Vec<_> = reader.routes.iter().map(|((_, p), len)| (*p, *len)).collect();
    assert_eq!(known, [(prefix(1), 1), (prefix(2), 5)]);
}

#[test]
fn a_generation_that_is_too_old_or_from_elsewhere_gets_everything() {
    let (mut rib, a) = (Rib::new(FIRST), id("a"));
    rib.take(&a, whole(1, 1, &[1]));
    let now = rib.generation();
    for (since, reset) in [
        (0, true),
        (FIRST - 1, true),
        (FIRST, false),
        (now, false),
        (now + 1, true),
    ] {
        assert_eq!(rib.changes(since).reset, reset, "{since}");
    }
    let many: Vec<u32> = (0..5000).collect();
    for number in 2..=2 + (limits::ROUTE_CHANGES / many.len()) as u64 {
        rib.take(&a, batch(number, number as u32, &many));
    }
    assert!(rib.log.len() <= limits::ROUTE_CHANGES);
    assert!(rib.changes(now).reset && !rib.changes(rib.generation() - 1).reset);
}

#[test]
fn equal_attributes_are_kept_once_over_all_appliances() {
    let mut rib = Rib::new(FIRST);
    for name in ["a", "b", "c"] {
        rib.take(&id(name), whole(1, 7, &[1, 2, 3]));
    }
    assert_eq!((rib.len(), rib.attributes.len()), (9, 1));
}

#[test]
fn appliances_of_a_site_that_hear_different_prefixes_are_found() {
    let mut rib = Rib::new(FIRST);
    rib.take(&id("a"), whole(1, 1, &[1, 2, 3]));
    rib.take(&id("b"), whole(1, 2, &[1, 3]));
    rib.take(&id("c"), whole(1, 1, &[1]));
    let site = SiteId::new("s").unwrap();
    let check = |names: &[&str]| rib.check(&site, &names.iter().map(|n| id(n)).collect::<Vec<_>>());
    assert_eq!(check(&["a", "silent"]), None);
    let found = check(&["a", "b", "silent"]).unwrap();
    assert!(!found.consistent && found.prefixes == 3);
    let missing: Vec<_> = found
        .appliances
        .iter()
        .map(|c| (c.missing, c.examples.clone()))
        .collect();
    assert_eq!(missing, [(0, vec![]), (1, vec![prefix(2)])]);
    assert!(check(&["c", "c"]).unwrap().consistent);
}

proptest! {
    /// A reader that asks now and then knows what the table says, whatever came between.
    #[test]
    fn following_the_changes_gives_the_table(
        steps in prop::collection::vec((0..2usize, 0..4u8, prop::collection::vec(0..12u32, 0..5), 1..4u32), 1..40)
    ) {
        let (mut rib, mut reader) = (Rib::new(FIRST), Reader::default());
        let names = [id("a"), id("b")];
        let mut next = [1, 1];
        for (who, kind, prefixes, len) in steps {
            let number = next[who];
            let one = match kind {
                0 => whole(number, len, &prefixes),
                1 => withdrawal(number, &prefixes),
                _ => batch(number, len, &prefixes),
            };
            let (answer, _) = rib.take(&names[who], one);
            next[who] = answer.next.max(1);
            if len == 1 {
                reader.follow(&rib);
            }
        }
        reader.follow(&rib);
        let mut table = BTreeMap::new();
        for (name, heard) in rib.ids.iter().zip(&rib.heard) {
            for (prefix, route) in &heard.routes {
                table.insert((name.clone(), *prefix), route.attributes.as_path_len);
            }
        }
        prop_assert_eq!(reader.routes, table);
    }
}

/// Prints the memory of four appliances with 100,000 prefixes each.
#[test]
#[ignore = "it measures; it asserts nothing about memory"]
fn memory_of_four_tables() {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find(|l| l.starts_with("VmRSS")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let before = resident();
    let mut rib = Rib::new(FIRST);
    for name in ["a", "b", "c", "d"] {
        for number in 1..=20 {
            let prefixes: Vec<u32> = (0..5000).collect();
            let mut one = whole(number, number as u32, &[]);
            (one.reset, one.complete) = (number == 1, number == 20);
            let base = (number as u32 - 1) * 5000;
            let list = prefixes.iter().map(|n| {
                let n = base + n;
                let text = format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255);
                text.parse::<IpNet>().unwrap()
            });
            let list: Vec<IpNet> = list.collect();
            one.announced = list
                .chunks(25)
                .enumerate()
                .map(|(i, prefixes)| RouteGroup {
                    attributes: attributes(base + i as u32),
                    prefixes: prefixes.to_vec(),
                })
                .collect();
            rib.take(&id(name), one);
        }
    }
    println!(
        "{} routes, {} sets of attributes: {} MiB",
        rib.len(),
        rib.attributes.len(),
        resident() - before
    );
    let started = std::time::Instant::now();
    let body = serde_json::to_vec(&rib.changes(0)).unwrap();
    println!(
        "everything: {} MiB of JSON in {:?}",
        body.len() >> 20,
        started.elapsed()
    );
}
