//! What appliances see of their viewers: told, handed on, and forgotten.

use crate::harness::{Control, report};
use cdn_types::{
    api::v1::viewers::{
        BATCH_SESSIONS, NetworkThroughput, Sightings, ViewerBatch, ViewerBatchAnswer, ViewerNews,
    },
    viewers::{Network, SessionHash, SidHash},
};
use serde_json::json;
use std::time::{Duration, Instant};

fn session(sid: &str) -> SessionHash {
    SidHash::of(sid).unwrap().within(network())
}

fn network() -> Network {
    Network::of("192.0.2.7".parse().unwrap())
}

fn batch(boot: &str, number: u64, sids: &[&str]) -> ViewerBatch {
    ViewerBatch {
        boot: boot.into(),
        number,
        seen: Sightings {
            throughputs: vec![NetworkThroughput {
                network: network(),
                steps: vec![(5, 2)],
                enough: 1,
            }],
            began: vec![],
            arrived: sids.iter().map(|sid| session(sid)).collect(),
        },
    }
}

async fn tell(control: &Control, id: &str, token: &str, batch: &ViewerBatch) -> bool {
    let path = format!("/v1/appliances/{id}/viewers");
    let answer: ViewerBatchAnswer = control.post(&path, token, batch).await.to();
    answer.taken
}

async fn news(control: &Control, since: u64) -> ViewerNews {
    control.get(&format!("/v1/viewers?since={since}")).await.to()
}

fn arrived(news: &ViewerNews) -> Vec<(&str, SessionHash)> {
    let one = |r: &'_ cdn_types::api::v1::viewers::ViewerReport| r.seen.arrived.clone();
    let of = |r| one(r).into_iter().map(move |s| (r.appliance.as_str(), s));
    news.reports.iter().flat_map(of).collect()
}

#[tokio::test]
async fn steering_hears_what_appliances_see_at_once_and_once() {
    let control = Control::start();
    control.site("ams", "nl", "192.0.2.0/24").await;
    let [a, b] = [control.join("a", "ams").await, control.join("b", "ams").await];
    let nothing = news(&control, 0).await;
    assert!(nothing.reports.is_empty() && !nothing.missed);
    assert!(tell(&control, "a", &a, &batch("x", 1, &["s1"])).await);
    assert!(
        !tell(&control, "a", &a, &batch("x", 1, &["s1"])).await,
        "told twice"
    );
    assert!(tell(&control, "b", &b, &batch("y", 9, &["s2"])).await);
    let first = news(&control, nothing.generation).await;
    assert_eq!(arrived(&first), [("a", session("s1")), ("b", session("s2"))]);
    assert_eq!(first.reports[0].seen, batch("x", 1, &["s1"]).seen);
    let none = control
        .get(&format!("/v1/viewers?since={}", first.generation))
        .await;
    assert_eq!(none.status, 304);

    let path = format!("/v1/viewers?wait=30&since={}", first.generation);
    let telling = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let told = Instant::now();
        assert!(
            tell(&control, "a", &a, &batch("x", 3, &["s3"])).await,
            "2 is lost"
        );
        told
    };
    let (waited, told) = tokio::join!(control.get(&path), telling);
    println!(
        "an arrival reached the long poll {:?} after it was told",
        told.elapsed()
    );
    assert!(
        told.elapsed() < Duration::from_secs(15),
        "long before the wait is over"
    );
    let waited: ViewerNews = waited.to();
    assert_eq!(arrived(&waited), [("a", session("s3"))]);
    assert_eq!(
        arrived(&news(&control, 0).await).len(),
        3,
        "who begins gets the last minute"
    );
}

#[tokio::test]
async fn what_was_seen_ends_with_the_process_and_who_follows_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    control.site("ams", "nl", "192.0.2.0/24").await;
    let a = control.join("a", "ams").await;
    assert!(tell(&control, "a", &a, &batch("x", 7, &["s1"])).await);
    let before = news(&control, 0).await;
    control.kill();
    let control = Control::start_in(dir.path(), &[]);
    let after = news(&control, before.generation).await;
    assert!(after.missed && after.reports.is_empty());
    assert!(after.generation > before.generation);
    assert!(tell(&control, "a", &a, &batch("x", 8, &["s2"])).await);
    let next = news(&control, after.generation).await;
    assert_eq!((arrived(&next), next.missed), (vec![("a", session("s2"))], false));
}

#[tokio::test]
async fn viewers_are_told_of_by_their_appliance_within_limits() {
    let control = Control::start();
    control.site("ams", "nl", "192.0.2.0/24").await;
    let [a, b] = [control.join("a", "ams").await, control.join("b", "ams").await];
    let path = "/v1/appliances/a/viewers";
    let one = batch("x", 1, &["s"]);
    assert_eq!(control.post(path, &b, &one).await.problem(403), "forbidden");
    let unknown = control
        .post("/v1/appliances/nobody/viewers", &control.admin, &one)
        .await;
    assert_eq!(unknown.problem(404), "not_found");
    let mut many = one.clone();
    many.seen.began = vec![session("s"); BATCH_SESSIONS + 1];
    let refused = control.post(path, &a, &many).await;
    assert_eq!(refused.problem(422), "too_many");
    assert!(refused.detail().contains("began"), "{}", refused.detail());
    for (seen, named) in [
        (json!({ "arrived": ["xyz"] }), "seen.arrived[0]"),
        (
            json!({ "throughputs": [{ "network": "192.0.2.0/23" }] }),
            "seen.throughputs[0]",
        ),
    ] {
        let body = json!({ "boot": "x", "number": 2, "seen": seen });
        let refused = control.post(path, &a, &body).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
        assert!(refused.detail().contains(named), "{}", refused.detail());
    }
    control.report("a", &a, &report("x", 1, &[])).await;
    control.report("a", &a, &report("z", 1, &[])).await;
    assert!(tell(&control, "a", &a, &batch("z", 1, &["s"])).await);
    assert!(!tell(&control, "a", &a, &one).await, "of a former run");
    let text = control.client.get(format!("{}/metrics", control.url));
    let text = text.send().await.unwrap().text().await.unwrap();
    for line in [
        r#"nightfill_control_viewer_batches_total{result="taken"} 1"#,
        r#"nightfill_control_viewer_batches_total{result="former"} 1"#,
        "nightfill_control_viewer_items 2",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
