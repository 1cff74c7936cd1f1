//! Experiments in virtual time: a session a second, six polls of each, a look every ten seconds.

use super::*;
use crate::{
    policy::experiment::{Arm, Weights},
    rendezvous::Seed,
};

/// Two hours.
const SESSIONS: u64 = 7200;

fn experiment(rule: GuardRule) -> Experiment {
    let arm = |name: &str| Arm {
        name: name.to_owned(),
        share: 1,
        weights: Weights::default(),
    };
    Experiment {
        name: "x".into(),
        arms: vec![arm("as-is"), arm("new")],
        guard: Some(rule),
    }
}

fn rule(throughput: Option<f64>, failovers: Option<f64>) -> GuardRule {
    GuardRule {
        throughput_percent: throughput,
        failovers_percent: failovers,
        window_ms: 3_600_000,
        minimum_sessions: 200,
    }
}

/// Uniform in (0, 1).
fn uniform(seed: u64, session: u64, what: u64) -> f64 {
    let bits = Seed::of("guard", "test").with(seed).with(session).with(what).0;
    ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// When and how the new arm is stopped, if it is; it has `times` the throughput and `failing` of its sessions flee.
fn run(rule: GuardRule, seed: u64, times: f64, failing: f64) -> Option<(i64, Verdict)> {
    let experiment = experiment(rule);
    let mut guard = Guard::new(&experiment).unwrap();
    for session in 0..SESSIONS {
        let begin = session as i64 * 1000;
        let arm = experiment.arm(&format!("{seed}-{session}")).name.as_str();
        let (times, failing) = if arm == "new" {
            (times, failing)
        } else {
            (1.0, 0.05)
        };
        // Networks differ by far more than arms: log-normal, by Box and Muller.
        let radius = (-2.0 * uniform(seed, session, 0).ln()).sqrt();
        let normal = radius * (uniform(seed, session, 1) * std::f64::consts::TAU).cos();
        let bps = (times * (16.0 + 0.7 * normal).exp()) as u64;
        let flees = uniform(seed, session, 2) < failing;
        for poll in 0..6u64 {
            guard.observe(Observation {
                at: begin + poll as i64,
                session,
                arm,
                current: Some(if flees && poll == 3 { "b" } else { "a" }).filter(|_| poll > 0),
                throughput: Some(bps).filter(|_| poll > 0),
                first: "a",
            });
        }
        if session % 10 == 0
            && let Some(verdict) = guard.judge(begin).pop()
        {
            return Some((begin, verdict));
        }
    }
    None
}

#[test]
fn a_harmful_arm_is_stopped() {
    for seed in 0..20 {
        let (at, verdict) = run(rule(Some(10.0), Some(50.0)), seed, 0.6, 0.05).expect("40 % slower");
        assert_eq!((verdict.arm.as_str(), verdict.harm), ("new", Harm::Throughput));
        assert!(
            verdict.percent < verdict.bound && verdict.bound < -10.0,
            "{verdict:?}"
        );
        assert!(at < 1_800_000, "seed {seed}: {at}");
        let (at, verdict) =
            run(rule(Some(10.0), Some(50.0)), seed, 1.0, 0.25).expect("five times the failovers");
        assert_eq!(verdict.harm, Harm::Failovers);
        assert!(
            verdict.bound > 50.0 && at < 3_600_000,
            "seed {seed}: {at} {verdict:?}"
        );
    }
}

#[test]
fn an_equal_arm_is_stopped_in_five_of_a_hundred_at_most() {
    // The strictest rule there is, looked at 720 times.
    let strict = rule(Some(1.0), Some(1.0));
    let stopped = (0..100)
        .filter(|seed| run(strict, *seed, 1.0, 0.05).is_some())
        .count();
    assert!(stopped <= 5, "{stopped}");
}

#[test]
fn harm_within_what_the_rule_allows_is_borne() {
    let stopped = (0..20).filter(|seed| run(rule(Some(30.0), None), *seed, 0.8, 0.9).is_some());
    assert_eq!(
        stopped.count(),
        0,
        "20 % slower where 30 % are allowed, and failovers do not count"
    );
}

#[test]
fn a_verdict_is_told_once_and_an_old_session_forgotten() {
    let experiment = experiment(rule(Some(1.0), None));
    let mut guard = Guard::new(&experiment).unwrap();
    for session in 0..1000 {
        let arm = ["as-is", "new"][session as usize % 2];
        guard.observe(Observation {
            at: 0,
            session,
            arm,
            current: None,
            throughput: Some(if arm == "new" { 1000 } else { 9000 } + session),
            first: "a",
        });
    }
    assert_eq!(guard.judge(1).len(), 1);
    assert_eq!(guard.judge(2), []);
    guard.judge(3_600_001);
    assert!(guard.sessions.is_empty());
}
