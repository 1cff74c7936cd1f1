//! Copies follow uncertainty: of two titles that are expected to draw the same, the one that may draw far more gets more of them.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "support/world.rs"]
mod world;

use cdn_types::{ObjectDigest, PlanNumber, RegionId};
use fill_core::{Forecast, Given, History, Inputs, Policy, Rules};
use std::collections::BTreeSet;
use world::{Shape, World, title_id};

/// Appliances that a title is planned for, when it is expected to draw `expected` bytes and `most` in one day of ten.
fn copies(expected: f64, most: f64) -> usize {
    let world = World::new(Shape {
        seed: 1,
        titles: 6,
        sites: 1,
        per_site: 6,
        storage_percent: 200,
        fill_percent: 1_000_000,
        days: 0,
    });
    let region = RegionId::new("r0").unwrap();
    let mut forecast = Forecast::default();
    let of_title = |t: u64| {
        let objects = world.catalogue.objects.iter();
        objects.filter(move |o| o.title == title_id(t)).map(|o| o.digest)
    };
    let files: Vec<ObjectDigest> = of_title(0).collect();
    for object in &files {
        let part = 1.0 / files.len() as f64;
        forecast.set_doubted(
            &region,
            *object,
            expected * part,
            [0.5, 1.0, most / expected].map(|q| q * expected * part),
        );
    }
    // Others draw as much together, so that the title is not the whole site.
    for object in (1..6).flat_map(of_title) {
        forecast.set(&region, object, expected / 10.0);
    }
    let planned = fill_core::plan(
        &Inputs {
            number: PlanNumber(1),
            seed: 1,
            history: &History::before(world.date, &[]),
            catalogue: &world.catalogue,
            fleet: &world.fleet,
            previous: None,
            rules: Rules::default(),
            policy: &Policy::default(),
        },
        &Given {
            name: "given".into(),
            forecast,
            basis: None,
        },
    )
    .unwrap();
    let parts = planned.plan.appliances.iter();
    let holders: BTreeSet<_> = parts
        .filter(|p| p.items.iter().any(|i| i.title == title_id(0)))
        .map(|p| &p.appliance)
        .collect();
    holders.len()
}

#[test]
fn what_may_draw_more_gets_more_copies() {
    // One copy carries a quarter of a gigabit a second: the peak of a day of 1.35 TB.
    let (sure, doubted, surely_more) = (copies(1e12, 1e12), copies(1e12, 5e12), copies(5e12, 5e12));
    assert!(sure <= 2 && doubted >= 4, "{sure} {doubted}");
    assert_eq!(doubted, surely_more);
}
