//! What the simulator must show before anything it says is worth reading.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use fleet_sim::nights::{Setup, simulate};

/// An appliance holds twenty titles and can fill two in a night.
fn setup() -> Setup {
    Setup {
        titles: 200,
        appliances: 4,
        nights: 6,
        regions: 2,
        storage: 0.2,
        fill: 0.108,
        sessions: 4_000.0,
        churn: 0.25,
        launches: 0.1,
        seed: 1,
        first: "2026-11-23".parse().unwrap(),
    }
}

#[test]
fn a_seed_gives_the_same_nights() {
    let first = simulate(&setup()).unwrap();
    assert_eq!(simulate(&setup()).unwrap(), first);
    let other = simulate(&Setup { seed: 2, ..setup() }).unwrap();
    assert_ne!(other.nights, first.nights);
}

#[test]
fn the_forecast_beats_no_knowledge_and_a_reactive_cache_within_the_fill_cap() {
    for seed in [1, 2, 3] {
        let setup = Setup { seed, ..setup() };
        let outcome = simulate(&setup).unwrap();
        let all = &outcome.all;
        let (forecast, oracle) = (all.forecast.hit_share, all.oracle.hit_share);
        assert!(forecast > 1.5 * all.blind.hit_share, "{all:?}");
        assert!(forecast > all.lru_hit_share, "{all:?}");
        assert!(oracle > forecast && forecast > 0.85 * oracle, "{all:?}");
        for night in &outcome.nights {
            assert!(
                night.forecast.churn <= setup.fill && night.oracle.churn <= setup.fill,
                "{night:?}"
            );
        }
    }
}

#[test]
fn on_steady_demand_the_forecast_is_as_good_as_the_oracle_and_moves_next_to_nothing() {
    let steady = Setup {
        churn: 0.0,
        launches: 0.0,
        ..setup()
    };
    let all = simulate(&steady).unwrap().all;
    assert!(all.forecast.hit_share > 0.98 * all.oracle.hit_share, "{all:?}");
    assert!(all.forecast.churn < steady.fill / 5.0, "{all:?}");
}
