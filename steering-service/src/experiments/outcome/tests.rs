//! Intervals over logs that are made up.

use super::*;
use crate::decisions::record::tests::decision;

/// A session of an arm that polls three times; `flees` after the first.
fn session(outcomes: &mut Outcomes, id: u64, arm: &str, bps: u64, flees: bool) {
    for poll in 0..3 {
        let mut next = decision(1);
        next.session = Some(SessionId(id));
        next.arms = Exposure::from([("x".to_owned(), arm.to_owned())]);
        next.answered = vec!["a".into(), "b".into()];
        let at = if flees && poll == 2 { "b" } else { "a" };
        next.used = vec![(at.into(), Some(bps))];
        outcomes.decision(&next);
    }
}

/// So many sessions in each arm; those of `new` have `times` the throughput.
fn outcomes(seed: u64, count: u64, times: f64) -> Outcomes {
    let random = Random::new(seed);
    let mut outcomes = Outcomes::default();
    for n in 0..count * 2 {
        let (arm, times) = if n % 2 == 0 {
            ("as-is", 1.0)
        } else {
            ("new", times)
        };
        let bps = (1e6 + (random.next() % 20_000_000) as f64) * times;
        session(
            &mut outcomes,
            random.next(),
            arm,
            bps as u64,
            random.next().is_multiple_of(10),
        );
    }
    outcomes
}

fn difference(outcomes: &Outcomes, measure: usize) -> Interval {
    outcomes.report(Some("as-is"), 1).arms[1].measures[measure]
        .difference
        .unwrap()
}

#[test]
fn arms_are_compared_with_the_control_over_sessions() {
    let mut outcomes = outcomes(7, 600, 1.5);
    let lines = |sid: &str, query: &str| -> AccessLine {
        serde_json::from_value(serde_json::json!({"sid": sid, "cmcd": {"query": query}})).unwrap()
    };
    let ids: Vec<_> = outcomes.sessions.keys().copied().collect();
    for id in &ids {
        for n in 0..4 {
            outcomes.access(&lines(&id.to_string(), if n == 0 { "bs" } else { "br=1" }));
        }
    }
    outcomes.access(&lines("none of ours", "bs"));
    let report = outcomes.report(Some("as-is"), 1);
    assert_eq!((report.sessions, report.crossed), (1200, 0));
    assert_eq!((report.joined_requests, report.unjoined_requests), (4800, 1));
    let names: Vec<_> = report
        .arms
        .iter()
        .map(|a| (a.arm.as_str(), a.control, a.sessions))
        .collect();
    assert_eq!(names, [("as-is", true, 600), ("new", false, 600)]);
    let measures = &report.arms[1].measures;
    let faster = measures[0].difference.unwrap();
    assert!(
        faster.low > 3e6 && faster.low < 5.5e6 && faster.high > 5.5e6 && faster.high < 8e6,
        "{faster:?}"
    );
    let fleeing = measures[1].arm.unwrap();
    assert!(
        fleeing.low < 0.1 && 0.1 < fleeing.high && fleeing.high < 0.15,
        "{fleeing:?}"
    );
    assert_eq!(
        measures[2].arm.unwrap(),
        Interval {
            value: 0.25,
            low: 0.25,
            high: 0.25
        }
    );
    assert_eq!(report.arms[0].measures[0].difference, None);
    assert_eq!(report, outcomes.report(Some("as-is"), 1), "seeded");
    assert_ne!(report, outcomes.report(Some("as-is"), 2));
}

#[test]
fn an_interval_holds_the_truth_in_about_95_of_100() {
    let holds = |count: u64| {
        let between = |i: Interval| i.low <= 0.0 && 0.0 <= i.high;
        (0..100)
            .filter(|seed| between(difference(&outcomes(*seed, count, 1.0), 0)))
            .count()
    };
    let small = holds(150);
    assert!((88..=99).contains(&small), "{small}");
}

#[test]
fn many_sessions_are_drawn_in_groups_with_the_same_width() {
    let width = |i: Interval| i.high - i.low;
    let (some, many) = (
        difference(&outcomes(1, 1000, 1.0), 0),
        difference(&outcomes(1, 16_000, 1.0), 0),
    );
    let ratio = width(some) / width(many);
    assert!(
        (3.4..4.6).contains(&ratio),
        "16 times the sessions, a quarter of the width: {ratio}"
    );
}

#[test]
fn sessions_in_two_arms_and_what_is_not_known_are_left_out() {
    let mut outcomes = Outcomes::default();
    session(&mut outcomes, 1, "as-is", 5, false);
    session(&mut outcomes, 2, "new", 5, false);
    session(&mut outcomes, 2, "as-is", 5, false);
    let mut silent = decision(3);
    silent.session = Some(SessionId(3));
    silent.arms = Exposure::from([("x".to_owned(), "as-is".to_owned())]);
    silent.used.clear();
    outcomes.decision(&silent);
    let report = outcomes.report(None, 1);
    assert_eq!((report.sessions, report.crossed, report.arms.len()), (3, 1, 1));
    let known: Vec<_> = report.arms[0].measures.iter().map(|m| m.sessions).collect();
    assert_eq!((report.arms[0].sessions, known), (2, vec![1, 1, 0]));
    assert_eq!(report.arms[0].measures[2].arm, None);
}

#[test]
fn requests_are_joined_by_the_players_own_id() {
    let mut outcomes = Outcomes::default();
    let mut begins = |id: u64, arm: &str, player: &str| {
        let mut first = decision(1);
        (first.session, first.player_id) = (Some(SessionId(id)), Some(player.to_owned()));
        first.arms = Exposure::from([("x".to_owned(), arm.to_owned())]);
        outcomes.decision(&first);
    };
    begins(1, "as-is", "6e2f-b550");
    begins(2, "new", "again");
    begins(3, "new", "again");
    begins(4, "as-is", "shared");
    begins(5, "new", "shared");
    for sid in ["6e2f-b550", "again", "again", "shared", "0000000000000005"] {
        outcomes.access(
            &serde_json::from_value(serde_json::json!({"sid": sid, "cmcd": {"query": "bs"}})).unwrap(),
        );
    }
    let requests = |id| outcomes.sessions[&SessionId(id)].requests;
    assert_eq!([1, 2, 3, 4, 5].map(requests), [1.0, 0.0, 2.0, 0.0, 1.0]);
    assert_eq!((outcomes.joined, outcomes.unjoined), (4, 1));
}
