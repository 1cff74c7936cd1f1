//! Routes that appliances hear: told, asked for, checked, and forgotten with the process.

use crate::harness::{Control, report};
use cdn_types::api::v1::routes::{
    PeeringClass, RouteAttributes, RouteBatch, RouteBatchAnswer, RouteChanges, RouteGroup, SiteRouteCheck,
};
use std::time::{Duration, Instant};

fn batch(boot: &str, number: u64, prefixes: &[&str]) -> RouteBatch {
    let attributes = RouteAttributes {
        class: PeeringClass::Exchange,
        as_path_len: 2,
        neighbor_as: 64500,
        origin_as: Some(64501),
        med: Some(10),
        communities: vec![1],
        large_communities: vec![[1, 2, 3]],
    };
    RouteBatch {
        boot: boot.into(),
        number,
        reset: number == 1,
        complete: number == 1,
        announced: vec![RouteGroup {
            attributes,
            prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
        }],
        withdrawn: vec![],
    }
}

/// The tokens of appliances a and b of one site.
async fn two_appliances(control: &Control) -> [String; 2] {
    control.site("ams", "nl", "192.0.2.0/24").await;
    [control.join("a", "ams").await, control.join("b", "ams").await]
}

async fn tell(control: &Control, id: &str, token: &str, batch: &RouteBatch) -> u64 {
    let path = format!("/v1/appliances/{id}/routes");
    let answer: RouteBatchAnswer = control.post(&path, token, batch).await.to();
    answer.next
}

async fn changes(control: &Control, since: u64) -> RouteChanges {
    control.get(&format!("/v1/routes?since={since}")).await.to()
}

#[tokio::test]
async fn steering_follows_what_appliances_hear() {
    let control = Control::start();
    let [a, b] = two_appliances(&control).await;
    let nothing = changes(&control, 0).await;
    assert!(nothing.reset && nothing.appliances.is_empty());
    assert_eq!(
        tell(&control, "a", &a, &batch("x", 1, &["8.8.8.0/24", "2400::/12"])).await,
        2
    );
    let first = changes(&control, nothing.generation).await;
    assert!(!first.reset && first.appliances.len() == 1);
    assert_eq!(
        first.appliances[0].announced,
        batch("x", 1, &["8.8.8.0/24", "2400::/12"]).announced
    );
    let none = control
        .get(&format!("/v1/routes?since={}", first.generation))
        .await;
    assert_eq!(none.status, 304);

    let path = format!("/v1/routes?wait=30&since={}", first.generation);
    let waiting = control.get(&path);
    let withdrawal = RouteBatch {
        withdrawn: vec!["8.8.8.0/24".parse().unwrap()],
        announced: vec![],
        ..batch("x", 2, &[])
    };
    let telling = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let told = Instant::now();
        assert_eq!(tell(&control, "a", &a, &withdrawal).await, 3);
        told
    };
    let (news, told) = tokio::join!(waiting, telling);
    println!(
        "a withdrawal reached the long poll {:?} after it was told",
        told.elapsed()
    );
    let news: RouteChanges = news.to();
    assert_eq!(news.appliances[0].withdrawn, withdrawal.withdrawn);

    assert_eq!(
        tell(&control, "b", &b, &batch("y", 1, &["2400::/12", "9.9.9.0/24"])).await,
        2
    );
    let sites: Vec<SiteRouteCheck> = control.get("/v1/routes/check").await.to();
    assert!(!sites[0].consistent);
    let missing: Vec<_> = sites[0]
        .appliances
        .iter()
        .map(|c| (c.prefixes, c.missing))
        .collect();
    assert_eq!(missing, [(1, 1), (2, 0)]);
    let metrics = control.client.get(format!("{}/metrics", control.url));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("nightfill_control_routes 3"), "{metrics}");
}

#[tokio::test]
async fn lost_repeated_and_former_batches_are_answered_by_what_is_wanted() {
    let control = Control::start();
    let [a, _] = two_appliances(&control).await;
    assert_eq!(tell(&control, "a", &a, &batch("x", 5, &["8.8.8.0/24"])).await, 0);
    assert_eq!(tell(&control, "a", &a, &batch("x", 1, &["8.8.8.0/24"])).await, 2);
    assert_eq!(tell(&control, "a", &a, &batch("x", 1, &["9.9.9.0/24"])).await, 2);
    assert_eq!(tell(&control, "a", &a, &batch("x", 3, &["9.9.9.0/24"])).await, 2);
    control.report("a", &a, &report("x", 1, &[])).await;
    control.report("a", &a, &report("z", 1, &[])).await;
    assert_eq!(tell(&control, "a", &a, &batch("z", 1, &["9.9.9.0/24"])).await, 2);
    assert_eq!(tell(&control, "a", &a, &batch("x", 2, &["8.8.8.0/24"])).await, 0);
    let all = changes(&control, 0).await;
    let prefixes = &all.appliances[0].announced[0].prefixes;
    assert_eq!(prefixes[..], ["9.9.9.0/24".parse().unwrap()]);
}

#[tokio::test]
async fn routes_are_told_by_their_appliance_within_limits() {
    let control = Control::start();
    let [a, b] = two_appliances(&control).await;
    let path = "/v1/appliances/a/routes";
    let one = batch("x", 1, &["8.8.8.0/24"]);
    let refused = control.post(path, &b, &one).await;
    assert_eq!(refused.problem(403), "forbidden");
    let host_bits = batch("x", 1, &["8.8.8.1/24"]);
    let refused = control.post(path, &a, &host_bits).await;
    assert_eq!(refused.problem(422), "invalid");
    assert!(refused.detail().contains("8.8.8.0/24"), "{}", refused.detail());
    let many: Vec<String> = (0..5001)
        .map(|n| format!("11.{}.{}.0/24", n >> 8, n & 255))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let refused = control.post(path, &a, &batch("x", 1, &many)).await;
    assert_eq!(refused.problem(422), "too_many");
    let unknown = control
        .post("/v1/appliances/nobody/routes", &control.admin, &one)
        .await;
    assert_eq!(unknown.problem(404), "not_found");
}
