//! The steering list against the wire rules, over the life of a session.

use super::{
    fixture::{fleet, with_state},
    manifests::read_hls,
    program::Program,
};
use cdn_types::{BitsPerSecond, api::v1::ApplianceState};
use reqwest::header;
use serde_json::Value;

pub struct Session {
    pub uri: String,
    pub declared: Vec<String>,
}

pub async fn begin(p: &Program) -> Session {
    let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    let (declared, uri, _) = read_hls(&text);
    Session { uri, declared }
}

pub async fn poll(p: &Program, session: &Session, query: &str) -> (Vec<String>, u64) {
    let response = p
        .client
        .get(format!("{}{query}", session.uri))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let list: Value = response.json().await.unwrap();
    let order: Vec<String> = serde_json::from_value(list["PATHWAY-PRIORITY"].clone()).unwrap();
    assert!(order.iter().all(|id| session.declared.contains(id)), "{order:?}");
    let mut unique = order.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), order.len(), "no duplicates");
    (order, list["TTL"].as_u64().unwrap())
}

#[tokio::test]
async fn the_steering_list_keeps_the_wire_rules() {
    let p = Program::offline(&fleet(), &["--public-url", "http://127.0.0.1:1"]).await;
    let mut session = begin(&p).await;
    assert!(session.uri.starts_with("http://127.0.0.1:1/v1/steer/"));
    let reload = session.uri.clone();
    session.uri = session.uri.replace("http://127.0.0.1:1", &p.url);
    for query in [
        "",
        "?_HLS_pathway=%22lon-1%22&_HLS_throughput=1",
        "?_DASH_pathway=\"lon-1,lon-2\"&_DASH_throughput=1,",
        "?_HLS_pathway=%ff&x",
    ] {
        let response = p
            .client
            .get(format!("{}{query}", session.uri))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{query}");
        let headers = response.headers();
        assert_eq!(
            headers[header::CONTENT_TYPE],
            "application/vnd.apple.steering-list"
        );
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(
            headers[header::ACCESS_CONTROL_EXPOSE_HEADERS]
                .to_str()
                .unwrap()
                .contains("Retry-After")
        );
        let list: Value = response.json().await.unwrap();
        assert_eq!(list["VERSION"], 1);
        assert!((13..=15).contains(&list["TTL"].as_u64().expect("an integer")));
        assert_eq!(list["RELOAD-URI"], reload, "absolute, nothing echoed");
        assert_eq!(list["PATHWAY-PRIORITY"].as_array().unwrap().len(), 4);
        assert_eq!(list.as_object().unwrap().len(), 4, "nothing else");
    }
}

#[tokio::test]
async fn a_new_session_keeps_its_manifest_s_order() {
    let p = Program::offline(&fleet(), &[]).await;
    let session = begin(&p).await;
    assert_eq!(poll(&p, &session, "").await.0, session.declared);
}

#[tokio::test]
async fn sessions_leave_a_draining_appliance_and_poll_faster() {
    let start = fleet();
    let p = Program::offline(&start, &[]).await;
    let session = begin(&p).await;
    let first = session.declared[0].clone();
    let query = format!("?_HLS_pathway={first}");
    p.replace(&with_state(&start, &first, ApplianceState::Draining))
        .await;
    let (order, ttl) = poll(&p, &session, &query).await;
    assert_eq!(order, session.declared[1..], "the rest keeps its order");
    assert_eq!(ttl, 4);
    let text = p.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("steering_moves_total 1"));
}

#[tokio::test]
async fn a_session_is_not_moved_between_equals() {
    let mut fleet = fleet();
    let p = Program::offline(&fleet, &[]).await;
    let session = begin(&p).await;
    let (first, second) = (&session.declared[0], &session.declared[1]);
    let mut load = |id: &str, megabits: u64| {
        let appliance = fleet.appliances.iter_mut().find(|a| a.id.as_str() == id);
        appliance.unwrap().load.egress = BitsPerSecond(megabits * 1_000_000);
        fleet.generation += 1;
        fleet.clone()
    };
    let at = |id: &str| format!("?_HLS_pathway={id}&_HLS_throughput=5000000");
    assert_eq!(&poll(&p, &session, &at(first)).await.0[0], first);
    p.replace(&load(first, 900)).await;
    assert_eq!(
        &poll(&p, &session, &at(first)).await.0[0],
        second,
        "two steps fuller: relieve it"
    );
    p.replace(&load(first, 0)).await;
    assert_eq!(
        &poll(&p, &session, &at(second)).await.0[0],
        second,
        "it was sent there: leave it"
    );
    assert_eq!(
        &poll(&p, &session, "").await.0[0],
        first,
        "of two equals the first"
    );
    p.replace(&load(second, 900)).await;
    assert_eq!(
        &poll(&p, &session, &at(second)).await.0[0],
        first,
        "relieve that one too"
    );
}

#[tokio::test]
async fn at_least_two_declared_pathways_are_always_named() {
    let start = fleet();
    let p = Program::offline(&start, &[]).await;
    let session = begin(&p).await;
    let mut bad = start.clone();
    bad.generation += 1;
    for (appliance, state) in bad.appliances.iter_mut().zip([
        ApplianceState::Lost,
        ApplianceState::Draining,
        ApplianceState::Lost,
    ]) {
        appliance.state = state;
    }
    p.replace(&bad).await;
    assert_eq!(
        poll(&p, &session, "").await.0,
        ["origin", "lon-2"],
        "the one that drains still answers"
    );
    let mut gone = bad.clone();
    gone.generation += 1;
    gone.appliances.clear();
    p.replace(&gone).await;
    let (order, _) = poll(&p, &session, "").await;
    assert_eq!((order.len(), order[0].as_str()), (2, "origin"));
    gone.generation += 1;
    gone.titles.clear();
    p.replace(&gone).await;
    assert_eq!(
        poll(&p, &session, "").await.0,
        session.declared,
        "never 404 for a session of ours"
    );
}

#[tokio::test]
async fn appliances_that_are_not_declared_are_not_named() {
    let mut start = fleet();
    let par = start.appliances.remove(2);
    let p = Program::offline(&start, &[]).await;
    let session = begin(&p).await;
    start.appliances.push(par);
    start.generation += 1;
    p.replace(&start).await;
    assert_eq!(poll(&p, &session, "").await.0, session.declared);
}

#[tokio::test]
async fn a_session_outlives_its_service_when_the_key_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "a secret of more than 16 bytes\n").unwrap();
    let args = ["--session-key", key.to_str().unwrap()];
    let p = Program::offline(&fleet(), &args).await;
    let session = begin(&p).await;
    let token = session.uri.rsplit('/').next().unwrap().to_owned();
    p.stop().await;
    let p = Program::offline(&fleet(), &args).await;
    assert_eq!(p.get(&format!("/v1/steer/{token}")).await.status(), 200);
    let other = Program::offline(&fleet(), &[]).await;
    assert_eq!(other.get(&format!("/v1/steer/{token}")).await.status(), 403);
}
