//! A plan out of turn changes what it must and nothing else.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "support/world.rs"]
mod world;

use cdn_types::{
    Bytes, PlanNumber, TitleId,
    plan::{AppliancePlan, Plan, SourceKind},
};
use fill_core::urgent::{Urgent, UrgentError, Wanted, urgent};
use std::collections::{BTreeMap, BTreeSet};
use world::{Shape, World, title_id};

const SHAPE: Shape = Shape {
    seed: 1,
    titles: 30,
    sites: 3,
    per_site: 2,
    storage_percent: 25,
    fill_percent: 1_000_000,
    days: 14,
};

fn wanted(title: TitleId, expected: Option<u64>) -> Wanted {
    Wanted {
        title,
        regions: BTreeSet::new(),
        expected: expected.map(Bytes),
        number: PlanNumber(2),
    }
}

/// A world whose first plan is executed, and a title that one of its sites does not hold.
fn world(seed: u64) -> Option<(World, Plan, TitleId)> {
    let mut world = World::new(Shape { seed, ..SHAPE });
    let plan = world.plan().plan;
    world.execute(&plan);
    let missing = |title: &TitleId| {
        let has = |p: &AppliancePlan| p.items.iter().any(|i| i.title == *title);
        let sites: BTreeSet<_> = plan.appliances.iter().map(|p| &p.site).collect();
        sites
            .iter()
            .any(|s| !plan.appliances.iter().any(|p| p.site == **s && has(p)))
    };
    let title = (0..SHAPE.titles).map(title_id).find(missing)?;
    Some((world, plan, title))
}

fn titles(part: &AppliancePlan) -> BTreeMap<TitleId, u64> {
    let mut all = BTreeMap::new();
    for item in &part.items {
        *all.entry(item.title.clone()).or_default() += item.size.0;
    }
    all
}

#[test]
fn it_brings_the_title_to_every_site_and_moves_nothing_else() {
    let mut seen = 0;
    for seed in 0..40 {
        let Some((world, active, title)) = world(seed) else {
            continue;
        };
        seen += 1;
        let wanted = wanted(title.clone(), Some(u64::MAX >> 20));
        let Urgent { plan, report } = urgent(&active, &world.fleet, &world.catalogue, &wanted).unwrap();
        assert_eq!(plan.check(), Ok(()), "seed {seed}");
        assert_eq!((plan.number, plan.date), (PlanNumber(2), active.date));
        let storage = |part: &AppliancePlan| {
            let view = world.fleet.appliances.iter().find(|a| a.id == part.appliance);
            view.unwrap().capacity.storage.0
        };
        let mut sites: BTreeMap<_, usize> = BTreeMap::new();
        for (old, new) in active.appliances.iter().zip(&plan.appliances) {
            assert_eq!(old.appliance, new.appliance);
            let (before, after) = (titles(old), titles(new));
            assert!(after.values().sum::<u64>() <= storage(new), "seed {seed}");
            *sites.entry(new.site.clone()).or_default() += usize::from(after.contains_key(&title));
            for (other, size) in &before {
                assert!(after.get(other).is_none_or(|s| s == size), "whole or gone");
            }
            let come: Vec<_> = after.keys().filter(|t| !before.contains_key(*t)).collect();
            assert!(come.is_empty() || come == [&title], "seed {seed}: {come:?}");
            if after.len() == before.len() + 1 || come.is_empty() {
                continue;
            }
            // What goes was held, is dropped, and the origin is still each item's last resort.
            let gone: BTreeSet<_> = old
                .items
                .iter()
                .filter(|i| !after.contains_key(&i.title))
                .map(|i| i.digest)
                .collect();
            let drops: BTreeSet<_> = new.drops.iter().map(|d| d.digest).collect();
            assert!(gone.is_subset(&drops), "seed {seed}");
            for item in &new.items {
                let last = &new.sources[usize::from(*item.from.last().unwrap())];
                assert_eq!(last.kind, SourceKind::Origin);
            }
            assert_eq!(new.items[0].title, title, "it is filled first");
        }
        assert!(sites.values().all(|n| *n >= 1), "seed {seed}: {sites:?}");
        assert!(
            report
                .sites
                .iter()
                .flat_map(|s| &s.appliances)
                .any(|a| a.titles[0].because.contains("urgent"))
        );
        assert_eq!(
            urgent(&active, &world.fleet, &world.catalogue, &wanted)
                .unwrap()
                .plan,
            plan
        );
    }
    assert!(seen > 20, "{seen} worlds had a title to bring");
}

#[test]
fn what_is_worth_more_stays_and_what_cannot_be_is_said() {
    let (world, active, title) = (0..40).find_map(world).unwrap();
    let ask = |wanted: &Wanted| urgent(&active, &world.fleet, &world.catalogue, wanted).unwrap_err();
    // Nobody would draw it: nothing makes room for it where there is none.
    match urgent(
        &active,
        &world.fleet,
        &world.catalogue,
        &wanted(title.clone(), Some(0)),
    ) {
        Ok(Urgent { plan, .. }) => {
            for (old, new) in active.appliances.iter().zip(&plan.appliances) {
                assert!(
                    titles(old).keys().all(|t| titles(new).contains_key(t)),
                    "free room alone is used"
                );
            }
        }
        Err(error) => assert!(error.to_string().contains("no room"), "{error}"),
    }
    let nobody = TitleId::new("nobody").unwrap();
    assert_eq!(
        ask(&wanted(nobody.clone(), None)),
        UrgentError::UnknownTitle(nobody)
    );
    let mut stale = wanted(title.clone(), None);
    stale.number = PlanNumber(1);
    assert!(ask(&stale).to_string().contains("not above"));
    let mut elsewhere = wanted(title, None);
    elsewhere
        .regions
        .insert(cdn_types::RegionId::new("mars").unwrap());
    assert!(
        ask(&elsewhere)
            .to_string()
            .contains("no site is in region mars; the regions are r0")
    );
    let everywhere = active
        .appliances
        .iter()
        .map(titles)
        .reduce(|a, b| a.into_iter().filter(|(t, _)| b.contains_key(t)).collect());
    if let Some(title) = everywhere.unwrap().into_keys().next() {
        assert!(ask(&wanted(title, None)).to_string().contains("every site has"));
    }
}
