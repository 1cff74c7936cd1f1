//! What players report, and how it comes back in rankings.

use super::{
    fixture::fleet,
    program::{PATIENCE, Program, sample},
    steering::{Session, begin, poll},
};
use serde_json::Value;
use std::time::{Duration, Instant};

pub const EXPLAIN: &str = "/v1/rank?asset=film&client=127.0.0.9&explain=1";

/// How often players' reports had an outcome.
async fn reports(p: &Program, outcome: &str) -> f64 {
    let text = p.get("/metrics").await.text().await.unwrap();
    let name = format!(r#"steering_player_reports_total{{outcome="{outcome}"}}"#);
    sample(&text, &name).unwrap_or(0.0)
}

/// Polls until the session's TTL is over and its report counts.
pub async fn report(p: &Program, session: &Session, query: &str) {
    let (began, before) = (Instant::now(), reports(p, "taken").await);
    while reports(p, "taken").await == before {
        assert!(began.elapsed() < PATIENCE, "{query} is not taken");
        poll(p, session, query).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub fn of<'a>(answer: &'a Value, appliance: &str) -> &'a Value {
    let ranked = answer["explain"]["ranked"].as_array().unwrap();
    ranked.iter().find(|e| e["appliance"] == appliance).unwrap()
}

#[tokio::test]
async fn throughput_that_players_report_reorders_their_network_alone() {
    let p = Program::offline(&fleet(), &["--ttl", "4"]).await;
    let mut sessions = Vec::new();
    for _ in 0..5 {
        sessions.push(begin(&p).await);
    }
    let first = sessions[0].declared[0].clone();
    let query = format!("?_HLS_pathway=%22{first}%22&_HLS_throughput=1200000");
    for session in &sessions {
        poll(&p, session, &query).await;
    }
    assert_eq!(
        reports(&p, "taken").await,
        0.0,
        "too early: a player's first guess"
    );
    for session in &sessions {
        report(&p, session, &query).await;
    }
    let answer = p
        .until(EXPLAIN, |a| a["explain"]["ranked"][0]["appliance"] != first)
        .await;
    let slow = of(&answer, &first);
    assert_eq!(
        (&slow["throughput_from"], &slow["throughput_short"]),
        (&1_000_000.into(), &4.into())
    );
    assert_eq!(slow["lost_at"], "throughput");
    let other = p.json("/v1/rank?asset=film&client=127.0.1.9&explain=1").await;
    assert_eq!(other["explain"]["ranked"][0]["appliance"], first, "another /24");
    assert_eq!(of(&other, &first)["throughput_from"], Value::Null);
    let text = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(sample(&text, "steering_throughput_networks"), Some(1.0));
    let new = begin(&p).await;
    assert_ne!(new.declared[0], first, "a new session begins elsewhere");
}

#[tokio::test]
async fn a_session_counts_once_in_its_ttl_and_for_its_own_pathways() {
    let p = Program::offline(&fleet(), &["--ttl", "300"]).await;
    let session = begin(&p).await;
    let first = &session.declared[0];
    report(
        &p,
        &session,
        &format!("?_HLS_pathway={first}&_HLS_throughput=1000"),
    )
    .await;
    let early = reports(&p, "early").await;
    for _ in 0..50 {
        poll(
            &p,
            &session,
            &format!("?_HLS_pathway={first}&_HLS_throughput=1000"),
        )
        .await;
    }
    assert_eq!(reports(&p, "taken").await, 1.0, "its TTL is not over");
    assert_eq!(reports(&p, "early").await, early + 50.0);
    for bad in ["-1", "0", "x", "1e9", "1,2", "99999999999999999999"] {
        poll(
            &p,
            &session,
            &format!("?_HLS_pathway={first}&_HLS_throughput={bad}"),
        )
        .await;
    }
    assert_eq!(reports(&p, "bad").await, 6.0);
    poll(&p, &session, "?_DASH_pathway=%22nobody%22&_DASH_throughput=5").await;
    assert_eq!(reports(&p, "undeclared").await, 1.0);
}

#[tokio::test]
async fn more_polls_than_meant_are_asked_to_come_less_often() {
    let p = Program::offline(&fleet(), &["--polls-per-second", "5"]).await;
    let session = begin(&p).await;
    assert!((13..=15).contains(&poll(&p, &session, "").await.1));
    let began = Instant::now();
    while poll(&p, &session, "").await.1 < 60 {
        assert!(
            began.elapsed() < PATIENCE,
            "hundreds of polls a second are more than five"
        );
    }
}

#[tokio::test]
async fn a_session_is_not_sent_back_to_where_it_has_fled_from() {
    let p = Program::offline(&fleet(), &["--ttl", "300"]).await;
    let session = begin(&p).await;
    let [first, second, third] = [0, 1, 2].map(|at| session.declared[at].clone());
    let at = |place: &str| format!("?_HLS_pathway={place}");
    assert_eq!(poll(&p, &session, &at(&first)).await.0[0], first);
    for _ in 0..3 {
        let list = poll(&p, &session, &at(&third)).await.0;
        assert_eq!(
            (list.first(), list.last()),
            (Some(&second), Some(&first)),
            "it was sent to the first and is at the third"
        );
    }
    let other = begin(&p).await;
    assert_eq!(other.declared[0], first, "one session's word is not the fleet's");
}
