//! The decision log of the real program: what is in it, and what a kill leaves of it.

use super::{
    fixture::fleet,
    manifests::read_hls,
    program::{PATIENCE, Program, sample},
};
use std::{path::Path, time::Instant};
use steering_service::decisions::{
    reader::LogReader,
    record::{Decision, Door},
};

/// Reads the log again and again until it has so many decisions.
async fn decisions(dir: &Path, count: usize) -> Vec<Decision> {
    let began = Instant::now();
    loop {
        let read: Vec<_> = LogReader::open(dir).unwrap().map(Result::unwrap).collect();
        if read.len() >= count {
            assert_eq!(read.len(), count);
            return read;
        }
        assert!(began.elapsed() < PATIENCE, "{} of {count}", read.len());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_decision_is_logged_with_what_was_asked_and_answered() {
    let log = tempfile::tempdir().unwrap();
    let p = Program::offline(&fleet(), &["--decision-log", log.path().to_str().unwrap()]).await;
    let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    let (declared, uri, _) = read_hls(&text);
    let query = format!("?_HLS_pathway={}&_HLS_throughput=7000000", declared[0]);
    p.client.get(format!("{uri}{query}")).send().await.unwrap();
    p.get("/v1/go/film/v720.m3u8").await;
    p.get("/v1/rank?asset=film&client=203.0.113.77").await;
    p.get("/v1/rank?asset=film&client=203.0.113.77&explain=1").await;
    p.get("/v1/play/none/master.m3u8").await;
    let log = decisions(log.path(), 4).await;
    let doors: Vec<_> = log.iter().map(|d| d.door).collect();
    assert_eq!(
        doors,
        [Door::Play, Door::Steer, Door::Go, Door::Rank],
        "no question of operators, no error"
    );
    assert_eq!(log[0].answered, declared);
    assert!(log[0].session.is_some());
    assert_eq!(log[1].session, log[0].session);
    assert_eq!(
        log[1]
            .declared
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        declared
    );
    assert_eq!(log[1].used, [(declared[0].clone(), Some(7_000_000))]);
    assert_eq!(log[1].answered, declared);
    assert_eq!(log[0].network.to_string(), "127.0.0.0/24");
    assert_eq!(log[3].network.to_string(), "203.0.113.0/24");
    assert_eq!(
        (log[3].generation, log[3].policy, log[3].title.as_str()),
        (1, 0, "film")
    );
    let metrics = p.get("/metrics").await.text().await.unwrap();
    assert_eq!(
        sample(&metrics, r#"steering_decisions_logged_total{outcome="written"}"#),
        Some(4.0)
    );
}

#[tokio::test]
async fn a_killed_service_leaves_a_readable_log_and_a_stopped_one_a_whole_one() {
    let log = tempfile::tempdir().unwrap();
    let args = ["--decision-log", log.path().to_str().unwrap()];
    let p = Program::offline(&fleet(), &args).await;
    for _ in 0..20 {
        p.get("/v1/go/film/v720.m3u8").await;
    }
    decisions(log.path(), 20).await;
    let pid = p.pid();
    let killed = std::process::Command::new("kill")
        .args(["-KILL", &pid])
        .status()
        .unwrap();
    assert!(killed.success());
    p.ended().await;
    let p = Program::offline(&fleet(), &args).await;
    for _ in 0..5 {
        p.get("/v1/go/film/v720.m3u8").await;
    }
    assert!(p.stop().await.0.success());
    let read: Result<Vec<_>, _> = LogReader::open(log.path()).unwrap().collect();
    assert_eq!(
        read.unwrap().len(),
        25,
        "without a wait: a stop writes what is queued"
    );
    assert_eq!(std::fs::read_dir(log.path()).unwrap().count(), 2);
}
