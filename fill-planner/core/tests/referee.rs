//! Placement against the linear program: on random small fleets the plan's worth is compared with the optimum of the
//! relaxed problem, solved by another's solver. Titles are at most a twentieth of the smallest appliance, as in real
//! fleets, where it is a thousandth.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

#[path = "support/small_fleet.rs"]
mod small_fleet;

use fill_core::place::Score;
use small_fleet::{SmallFleet, optimum};

/// Fleets compared.
const FLEETS: u64 = 200;

#[test]
fn the_plan_is_near_the_optimum_and_the_bound_is_above_it() {
    let half = |odd: u64| {
        (0..FLEETS / 2)
            .map(move |n| compare(2 * n + odd))
            .collect::<Vec<_>>()
    };
    let all: Vec<[f64; 2]> = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        half(0).into_iter().chain(other.join().unwrap()).collect()
    });
    let of = |which: usize| {
        let mut list: Vec<f64> = all.iter().map(|shares| 100.0 * shares[which]).collect();
        list.sort_by(f64::total_cmp);
        (list[list.len() / 2], list[list.len() - 1])
    };
    let ((median, worst), (bound_median, bound_worst)) = (of(0), of(1));
    println!("gap to the optimum over {FLEETS} fleets: median {median:.3} %, worst {worst:.3} %");
    println!("bound above the optimum: median {bound_median:.3} %, worst {bound_worst:.3} %");
    assert!(median <= 1.0 && worst <= 3.0, "{median} {worst}");
    assert!(
        bound_median <= 0.5 && bound_worst <= 3.0,
        "{bound_median} {bound_worst}"
    );
}

/// How far a fleet's plan is below, and its bound above, the optimum.
fn compare(seed: u64) -> [f64; 2] {
    let (Score { worth, bound, .. }, best) = SmallFleet::new(seed).decide(|decided, problems| {
        small_fleet::check(decided, problems);
        (decided.placement.score, optimum(problems))
    });
    assert!(
        bound >= best * (1.0 - 1e-7),
        "fleet {seed}: bound {bound} below the optimum {best}"
    );
    assert!(
        worth <= bound * (1.0 + 1e-9),
        "fleet {seed}: worth {worth} above the bound {bound}"
    );
    [1.0 - worth / best, bound / best - 1.0]
}
