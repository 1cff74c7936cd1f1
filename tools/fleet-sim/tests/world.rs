//! The synthetic service reproduces the public figures that it was fitted to, on seeds that it was not fitted on.
//!
//! Every tolerance is the deviation that single seeds show (twice their standard deviation over the seeds 101 to 120, divided by
//! the root of the number of seeds here) plus what is left between their mean and the public figure.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use fleet_sim::world::{
    World, WorldSetup,
    measure::{Measures, measure},
};

const SEEDS: [u64; 2] = [201, 202];

fn setup(seed: u64) -> WorldSetup {
    WorldSetup {
        seed,
        regions: 6,
        weeks: 26,
        sessions: 60_000.0,
        scale: 1.0,
        first: "2026-06-01".parse().unwrap(),
    }
}

/// The mean over seeds is near each public figure; prints what was measured.
fn near<const N: usize>(figures: [(&str, f64, f64); N], of: impl Fn(&Measures) -> [f64; N]) {
    let seen = SEEDS.map(|seed| of(&measure(&World::new(setup(seed)))));
    for (i, (name, public, tolerance)) in figures.into_iter().enumerate() {
        let seen = seen.map(|s| s[i]);
        let mean = seen.iter().sum::<f64>() / seen.len() as f64;
        println!("SIMULATED {name}: {seen:.3?}, mean {mean:.3}, public {public}");
        assert!(
            (mean - public).abs() <= tolerance,
            "{name}: {mean} is not {public} +- {tolerance}"
        );
    }
}

#[test]
fn four_tenths_of_a_list_change_every_week() {
    near([("weekly change", 0.40, 0.04)], |m| [m.weekly_change]);
}

#[test]
fn two_regions_share_as_much_as_two_countries() {
    near([("Jaccard index", 0.29, 0.04)], |m| [m.jaccard]);
}

#[test]
fn few_titles_make_most_hours() {
    // The top hundredth is a few dozen titles, and varies the most.
    let figures = [
        ("hours of the top 1 %", 0.24, 0.06),
        ("hours of the top 5 %", 0.52, 0.05),
        ("hours of the top 10 %", 0.68, 0.035),
        ("hours of the top 20 %", 0.83, 0.03),
    ];
    near(figures, |m| m.top);
}

#[test]
fn the_evening_peak_is_twice_the_mean() {
    near([("peak over mean", 1.95, 0.05)], |m| [m.peak_to_mean]);
}

#[test]
fn a_third_of_the_lists_demand_is_on_titles_never_seen() {
    let figures = [
        ("demand on titles new to the region", 0.37, 0.05),
        ("demand on titles new to all regions", 0.26, 0.05),
    ];
    near(figures, |m| [m.cold_here, m.cold_anywhere]);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let small = |seed| WorldSetup {
        scale: 0.1,
        weeks: 10,
        regions: 2,
        ..setup(seed)
    };
    let (one, two, other) = (World::new(small(1)), World::new(small(1)), World::new(small(2)));
    assert_eq!((&one.titles, &one.demand), (&two.titles, &two.demand));
    assert_ne!(one.demand, other.demand);
    // Nothing is drawn before it may be shown.
    for (day, region) in (0..one.demand.days).flat_map(|d| [(d, 0), (d, 1)]) {
        for (title, bytes) in one.titles.iter().zip(one.demand.of(day, region)) {
            let shown = title.shown[region].is_some_and(|from| from <= day as i64);
            assert!(shown || *bytes == 0.0);
        }
    }
}
