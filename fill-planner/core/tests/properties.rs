//! What holds for every plan, on random small worlds.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "support/world.rs"]
mod world;

use cdn_types::{
    Bytes, Hour, ObjectDigest, OcaId,
    api::v1::{ApplianceState, DemandRow},
    plan::{Plan, SourceKind},
};
use fill_core::place::{Refusal, Spread};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use world::{Dice, Shape, World, appliance};

/// Enough room and fill for everything.
const AMPLE: Shape = Shape {
    seed: 1,
    titles: 40,
    sites: 1,
    per_site: 3,
    storage_percent: 1_000,
    fill_percent: 1_000_000,
    days: 14,
};

fn shapes() -> impl Strategy<Value = Shape> {
    (
        any::<u64>(),
        1..40u64,
        1..4u64,
        1..5u64,
        0..120u64,
        0..150u64,
        0..20i64,
    )
        .prop_map(
            |(seed, titles, sites, per_site, storage_percent, fill_percent, days)| Shape {
                seed,
                titles,
                sites,
                per_site,
                storage_percent,
                // A rate of whole bit/s cannot express less than 10,800 bytes a window.
                fill_percent,
                days,
            },
        )
}

/// Failures are kept as tests of their own, not in a file.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn json(plan: &Plan) -> String {
    serde_json::to_string(plan).unwrap()
}

/// Objects of each appliance that the plan adds.
fn added(plan: &Plan) -> BTreeMap<OcaId, u64> {
    let part =
        |p: &cdn_types::plan::AppliancePlan| p.items.iter().filter(|i| !i.kept).map(|i| i.size.0).sum();
    plan.appliances
        .iter()
        .map(|p| (p.appliance.clone(), part(p)))
        .collect()
}

/// Bytes filled in the two nights after `first`: the first makes room for the second.
fn two_nights(world: &World, first: &Plan) -> u64 {
    let mut world = world.clone();
    let second = world.plan_after(Some(first)).plan;
    world.execute(&second);
    let third = world.plan_after(Some(&second)).plan;
    added(&second).values().chain(added(&third).values()).sum()
}

fn check_limits(world: &World, plan: &Plan) -> Result<(), TestCaseError> {
    prop_assert_eq!(plan.check(), Ok(()));
    let added = added(plan);
    for part in &plan.appliances {
        let view = world
            .fleet
            .appliances
            .iter()
            .find(|a| a.id == part.appliance)
            .unwrap();
        let stored: u64 = part.items.iter().map(|i| i.size.0).sum();
        prop_assert!(
            stored <= view.capacity.storage.0,
            "{} over storage",
            part.appliance
        );
        // Until all that comes is held, nothing goes.
        let held: u64 = view
            .holds
            .iter()
            .map(|h| world.catalogue.objects[*h as usize].size.0)
            .sum();
        let beside = held + added[&part.appliance];
        prop_assert!(
            beside <= view.capacity.storage.0 || added[&part.appliance] == 0,
            "no room beside"
        );
        let cap = part.fill_rate.bytes_in(part.window.seconds());
        prop_assert!(added[&part.appliance] <= cap.0, "{} over fill", part.appliance);
        for item in &part.items {
            let kinds: Vec<_> = item
                .from
                .iter()
                .map(|s| part.sources[usize::from(*s)].kind)
                .collect();
            prop_assert_eq!(kinds.last(), Some(&SourceKind::Origin));
            prop_assert!(
                kinds.is_sorted() && kinds.iter().filter(|k| **k == SourceKind::Origin).count() == 1
            );
            let own = item
                .from
                .iter()
                .any(|s| part.sources[usize::from(*s)].appliance.as_ref() == Some(&part.appliance));
            prop_assert!(!own, "{} is its own source", part.appliance);
        }
        check_whole_titles(world, part)?;
    }
    Ok(())
}

/// A title is planned whole or not at all, and what goes is what was held and is not listed.
fn check_whole_titles(world: &World, part: &cdn_types::plan::AppliancePlan) -> Result<(), TestCaseError> {
    let listed: BTreeSet<_> = part.items.iter().map(|i| i.digest).collect();
    let titles: BTreeSet<_> = part.items.iter().map(|i| &i.title).collect();
    for object in world
        .catalogue
        .objects
        .iter()
        .filter(|o| titles.contains(&o.title))
    {
        prop_assert!(listed.contains(&object.digest), "{} is incomplete", object.title);
    }
    let view = world
        .fleet
        .appliances
        .iter()
        .find(|a| a.id == part.appliance)
        .unwrap();
    let held: BTreeSet<_> = view
        .holds
        .iter()
        .map(|h| world.fleet.objects[*h as usize])
        .collect();
    let dropped: BTreeSet<_> = part.drops.iter().map(|d| d.digest).collect();
    prop_assert_eq!(
        dropped,
        held.difference(&listed).copied().collect::<BTreeSet<_>>()
    );
    for item in &part.items {
        prop_assert_eq!(item.kept, held.contains(&item.digest));
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn never_over_storage_or_fill_and_origin_is_last(shape in shapes()) {
        let mut world = World::new(shape);
        let first = world.plan().plan;
        check_limits(&world, &first)?;
        // A second night starts from held contents and other demand.
        world.execute(&first);
        world.demand = World::new(Shape { seed: shape.seed ^ 7, ..shape }).demand
            .into_iter()
            .filter(|r| r.bytes.0 % 3 != 0)
            .collect();
        check_limits(&world, &world.plan_after(Some(&first)).plan)?;
    }

    #[test]
    fn same_inputs_give_the_same_bytes_in_any_order(shape in shapes(), order in any::<u64>()) {
        let mut world = World::new(shape);
        let before = world.plan();
        world.execute(&before.plan);
        let first = world.plan();
        world.shuffle(order);
        let second = world.plan();
        prop_assert_eq!(json(&first.plan), json(&second.plan));
        prop_assert_eq!(first.report, second.report);
    }

    #[test]
    fn how_the_work_is_spread_does_not_matter(shape in shapes()) {
        /// From the last to the first, on a thread of its own each.
        struct Backwards;
        impl Spread for Backwards {
            fn each<T: Send>(&self, n: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
                let mut done: Vec<T> = (0..n)
                    .rev()
                    .map(|n| std::thread::scope(|s| s.spawn(|| work(n)).join().unwrap()))
                    .collect();
                done.reverse();
                done
            }
        }
        let world = World::new(shape);
        let (one, other) = (world.plan(), world.plan_spread(&Backwards));
        prop_assert_eq!(json(&one.plan), json(&other.plan));
        prop_assert_eq!(one.report, other.report);
    }

    #[test]
    fn the_future_cannot_be_seen(shape in shapes(), future in any::<u64>()) {
        let mut world = World::new(shape);
        let before = world.plan();
        let mut dice = Dice::new(future);
        let objects: Vec<ObjectDigest> = world.catalogue.objects.iter().map(|o| o.digest).collect();
        for _ in 0..50 {
            let object = objects[dice.roll(objects.len() as u64) as usize];
            world.demand.push(DemandRow {
                hour: Hour(Hour::start_of(world.date).0 + dice.roll(24 * 30) as i64),
                region: "r0".parse().unwrap(),
                object,
                requests: 1,
                bytes: Bytes(dice.roll(1 << 40)),
            });
        }
        world.shuffle(future);
        let after = world.plan();
        prop_assert_eq!(json(&before.plan), json(&after.plan));
        prop_assert_eq!(before.report, after.report);
    }

    #[test]
    fn unchanged_demand_moves_nothing_on_the_second_night(shape in shapes()) {
        let shape = Shape { fill_percent: 1_000_000, ..shape };
        let mut world = World::new(shape);
        let first = world.plan().plan;
        world.execute(&first);
        let second = world.plan_after(Some(&first)).plan;
        prop_assert!(added(&second).values().all(|b| *b == 0), "{:?}", added(&second));
        prop_assert!(second.appliances.iter().all(|p| p.drops.is_empty()));
    }

    #[test]
    fn trembling_demand_moves_little_where_real_change_moves_much(seed in any::<u64>()) {
        let shape = Shape { seed, titles: 60, storage_percent: 20, ..AMPLE };
        let mut world = World::new(shape);
        let first = world.plan().plan;
        world.execute(&first);
        let steady = world.demand.clone();
        let mut dice = Dice::new(seed);
        for row in &mut world.demand {
            row.bytes.0 = row.bytes.0 * (95 + dice.roll(11)) / 100;
        }
        let trembling = two_nights(&world, &first);
        // Reversed: the least drawn becomes the most drawn.
        let most = steady.iter().map(|r| r.bytes.0).max().unwrap();
        world.demand = steady;
        for row in &mut world.demand {
            row.bytes.0 = most - row.bytes.0 + 1;
        }
        let changed = two_nights(&world, &first);
        prop_assert!(changed > 0);
        prop_assert!(trembling * 4 <= changed, "{trembling} of {changed}");
    }

    #[test]
    fn everything_is_held_where_everything_fits(shape in shapes()) {
        let shape = Shape { storage_percent: 200, fill_percent: 1_000_000, ..shape };
        let world = World::new(shape);
        let planned = world.plan();
        for site in &planned.report.sites {
            prop_assert_eq!(&site.left_out, &vec![]);
            prop_assert!(site.hit_share.is_none_or(|h| h > 0.999_999));
        }
    }
}

proptest! {
    #![proptest_config(cases(8))] // Large worlds: a few are enough.

    #[test]
    fn an_appliance_more_moves_its_share_of_bytes(seed in any::<u64>(), n in 2..6u64) {
        // Titles of one size, plenty of them, and room for one copy of each: the figure is then not one of luck.
        let shape = Shape { seed, titles: 1_000, per_site: n, ..AMPLE };
        let mut world = World::new(shape);
        for object in &mut world.catalogue.objects {
            object.size = Bytes(5_000);
        }
        // Nothing is hot, so every title has one copy.
        world.demand.clear();
        let first = world.plan().plan;
        let site_bytes: u64 = first.appliances.iter().flat_map(|p| &p.items).map(|i| i.size.0).sum();
        world.execute(&first);
        let mut newcomer = appliance(0, n, shape, site_bytes);
        newcomer.capacity = world.fleet.appliances[0].capacity;
        world.fleet.appliances.push(newcomer);
        let second = world.plan_after(Some(&first)).plan;
        let moved: u64 = added(&second).values().sum();
        let share = moved as f64 / site_bytes as f64;
        let fair = 1.0 / (n + 1) as f64;
        prop_assert!(share <= 1.2 * fair, "{share} of {fair}");
        prop_assert!(share >= 0.8 * fair, "{share} of {fair}: the newcomer would idle");
        let newcomer = second.appliances.last().unwrap();
        prop_assert_eq!(added(&second)[&newcomer.appliance], moved);
    }
}

#[test]
fn hot_titles_get_a_second_copy_and_cold_ones_do_not() {
    let world = World::new(AMPLE);
    let plan = world.plan().plan;
    let mut copies: BTreeMap<_, (usize, u64)> = BTreeMap::new();
    for item in plan.appliances.iter().flat_map(|p| &p.items) {
        let (count, expected) = copies.entry((&item.title, &item.path)).or_default();
        *count += 1;
        *expected += item.expected.0;
    }
    let of = |wanted: usize| -> u64 { copies.values().filter(|c| c.0 == wanted).map(|c| c.1).sum() };
    let all: u64 = copies.values().map(|c| c.1).sum();
    let twice = of(2) as f64 / all as f64;
    assert!((0.8..0.97).contains(&twice), "{twice}");
    assert_eq!(of(1) + of(2), all);
}

#[test]
fn a_title_that_outgrows_one_appliance_gets_as_many_as_its_peak_needs() {
    let mut world = World::new(Shape { per_site: 6, ..AMPLE });
    // The peak of the most drawn title needs a quarter of three and a half appliances' egress.
    let hot = world.catalogue.objects[0].digest;
    let day = 0.25 * 3.5 * 1e9 / 2.0 / 8.0 * 86_400.0;
    for row in world.demand.iter_mut().filter(|r| r.object == hot) {
        row.bytes = Bytes(day as u64);
    }
    let plan = world.plan().plan;
    let holders = plan
        .appliances
        .iter()
        .filter(|p| p.items.iter().any(|i| i.digest == hot));
    assert_eq!(holders.count(), 4);
}

#[test]
fn a_full_appliance_swaps_in_two_nights() {
    // One appliance, three titles of one size, room for two, and the third becomes the most drawn.
    let mut world = World::new(Shape {
        titles: 3,
        per_site: 1,
        ..AMPLE
    });
    world.catalogue.objects.sort_by(|a, b| a.path.cmp(&b.path));
    world.catalogue.objects.dedup_by(|a, b| a.title == b.title);
    let objects = world.catalogue.objects.clone();
    world
        .catalogue
        .objects
        .iter_mut()
        .for_each(|o| o.size = Bytes(1_000));
    world.fleet.appliances[0].capacity.storage = Bytes(2_000);
    let drawn = |bytes: [u64; 3]| -> Vec<DemandRow> {
        let row = |(o, b): (&cdn_types::api::v1::CatalogueObject, u64)| DemandRow {
            hour: Hour(Hour::start_of("2026-11-23".parse().unwrap()).0 - 4),
            region: "r0".parse().unwrap(),
            object: o.digest,
            requests: 1,
            bytes: Bytes(b),
        };
        objects.iter().zip(bytes).map(row).collect()
    };
    let titles = |plan: &Plan| -> BTreeSet<String> {
        plan.appliances[0]
            .items
            .iter()
            .map(|i| i.title.to_string())
            .collect()
    };
    let names = |indices: &[usize]| -> BTreeSet<String> {
        indices.iter().map(|i| objects[*i].title.to_string()).collect()
    };
    world.demand = drawn([3_000, 2_000, 1]);
    let first = world.plan().plan;
    assert_eq!(titles(&first), names(&[0, 1]));
    world.execute(&first);
    world.demand = drawn([3_000, 2_000, 9_000]);
    let second = world.plan_after(Some(&first));
    assert_eq!(titles(&second.plan), names(&[0]), "room is made");
    assert!(
        second.report.sites[0]
            .left_out
            .iter()
            .any(|l| l.reason == Refusal::RoomTomorrow)
    );
    world.execute(&second.plan);
    let third = world.plan_after(Some(&second.plan)).plan;
    assert_eq!(titles(&third), names(&[0, 2]));
    world.execute(&third);
    assert_eq!(
        titles(&world.plan_after(Some(&third)).plan),
        names(&[0, 2]),
        "and that stays"
    );
}

#[test]
fn a_lost_appliance_gets_no_part_and_is_nobodys_source() {
    let mut world = World::new(Shape { per_site: 2, ..AMPLE });
    let first = world.plan().plan;
    world.execute(&first);
    world.fleet.appliances[0].state = ApplianceState::Lost;
    world.fleet.appliances[0].holds = (0..world.fleet.objects.len() as u32).collect();
    let planned = world.plan_after(Some(&first));
    let lost = &world.fleet.appliances[0].id;
    assert!(planned.plan.part(lost).is_none());
    let sources = planned.plan.appliances.iter().flat_map(|p| &p.sources);
    assert!(sources.into_iter().all(|s| s.appliance.as_ref() != Some(lost)));
    assert!(
        planned
            .report
            .warnings
            .iter()
            .any(|w| w.contains("oca-0-0 gets no part"))
    );
    // Its titles are somewhere else tomorrow.
    assert!(planned.report.sites[0].left_out.is_empty());
}

#[test]
fn peers_come_before_other_sites_and_one_master_fetches_from_afar() {
    let mut world = World::new(Shape {
        sites: 3,
        per_site: 3,
        ..AMPLE
    });
    let first = world.plan().plan;
    // Site 0 is empty, the others hold what they were given. Sites 0 and 2 are of one region.
    world.execute(&first);
    for appliance in world
        .fleet
        .appliances
        .iter_mut()
        .filter(|a| a.site.as_str() == "site0")
    {
        appliance.holds.clear();
    }
    let plan = world.plan().plan;
    let region = |id: &OcaId| plan.part(id).unwrap().region.clone();
    let (mut masters, mut followers) = (BTreeMap::new(), 0);
    for part in plan.appliances.iter().filter(|p| p.site.as_str() == "site0") {
        // What is copied from a master of the same night is filled after what is fetched from afar.
        let first = |i: &cdn_types::plan::PlanItem| part.sources[usize::from(i.from[0])].kind;
        let follows = |i: &cdn_types::plan::PlanItem| !i.kept && first(i) == SourceKind::Peer;
        assert!(part.items.iter().map(follows).is_sorted());
        for item in &part.items {
            let sources: Vec<_> = item.from.iter().map(|i| &part.sources[usize::from(*i)]).collect();
            if sources[0].kind == SourceKind::Peer {
                followers += 1;
            } else {
                *masters.entry(item.digest).or_insert(0) += 1;
            }
            let far: Vec<_> = sources.iter().filter(|s| s.kind == SourceKind::Site).collect();
            let near: Vec<_> = far
                .iter()
                .map(|s| region(s.appliance.as_ref().unwrap()) != part.region)
                .collect();
            assert!(!far.is_empty() && near.is_sorted(), "the same region comes first");
        }
    }
    assert!(followers > 0);
    assert!(masters.values().all(|m| *m == 1), "one master a title and site");
}

#[test]
fn objects_that_left_the_catalogue_are_dropped_and_named() {
    let mut world = World::new(AMPLE);
    let first = world.plan().plan;
    world.execute(&first);
    let gone = world.catalogue.objects[0].title.clone();
    world.catalogue.objects.retain(|o| o.title != gone);
    let planned = world.plan_after(Some(&first));
    let drops: Vec<_> = planned.plan.appliances.iter().flat_map(|p| &p.drops).collect();
    assert!(
        !drops.is_empty() && drops.iter().all(|d| d.size.0 > 0),
        "sizes are known from the plan before"
    );
    let reports = planned
        .report
        .sites
        .iter()
        .flat_map(|s| &s.appliances)
        .flat_map(|a| &a.titles);
    let because: BTreeSet<_> = reports
        .filter(|t| t.title.is_none())
        .map(|t| t.because.as_str())
        .collect();
    assert_eq!(
        because.into_iter().collect::<Vec<_>>(),
        ["the catalogue no longer has these objects"]
    );
    assert!(
        planned
            .report
            .warnings
            .iter()
            .any(|w| w.contains("catalogue does not have"))
    );
}

#[test]
fn no_and_little_history_still_fill() {
    for days in [0, 1] {
        let world = World::new(Shape {
            days,
            storage_percent: 60,
            ..AMPLE
        });
        let planned = world.plan();
        let items = planned.plan.appliances.iter().map(|p| p.items.len());
        assert!(items.min() > Some(0), "{days} days");
        assert_eq!(
            planned.report.warnings.is_empty(),
            days == 1,
            "{:?}",
            planned.report.warnings
        );
    }
}

#[test]
fn a_stale_number_is_refused() {
    let mut world = World::new(AMPLE);
    world.number = 7;
    let first = world.plan().plan;
    let history = fill_core::History::before(world.date, &world.demand);
    let again = fill_core::plan(
        &fill_core::Inputs {
            number: first.number,
            seed: 1,
            history: &history,
            catalogue: &world.catalogue,
            fleet: &world.fleet,
            previous: Some(&first),
            rules: fill_core::Rules::default(),
            policy: &fill_core::Policy::default(),
        },
        &fill_core::SeasonalNaive,
    );
    assert!(again.unwrap_err().to_string().contains("number 7 is not above"));
}
