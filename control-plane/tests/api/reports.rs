//! Reports: sent twice, out of order, as deltas, and not at all.

use crate::harness::{Control, count, digests, report};
use cdn_types::{
    Hour, ObjectDigest,
    api::v1::{ApplianceState, InventoryUpdate},
    time::Timestamp,
};

async fn fleet_of_one() -> (Control, String, Vec<ObjectDigest>) {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    (control, token, digests(&film))
}

#[tokio::test]
async fn reports_are_idempotent_and_older_ones_are_ignored() {
    let (control, token, objects) = fleet_of_one().await;
    let first = report("b", 1, &objects[..1]);
    let second = report("b", 2, &objects);
    let answer = control.report("a1", &token, &second).await;
    assert_eq!(control.report("a1", &token, &second).await, answer);
    control.report("a1", &token, &first).await;
    assert_eq!(
        control.appliance("a1").await.held,
        3,
        "the older report is ignored"
    );

    // A new boot counts from one again; the boot before it is over.
    control.report("a1", &token, &report("c", 1, &objects[..1])).await;
    assert_eq!(control.appliance("a1").await.held, 1);
    control.report("a1", &token, &report("b", 9, &objects)).await;
    assert_eq!(control.appliance("a1").await.held, 1, "the boot before is over");
}

#[tokio::test]
async fn inventory_deltas_apply_or_ask_for_all() {
    let (control, token, objects) = fleet_of_one().await;
    let delta = |seq, base, generation, added: &[ObjectDigest], removed: &[ObjectDigest]| {
        let mut report = report("b", seq, &[]);
        report.inventory = InventoryUpdate {
            generation,
            base: Some(base),
            added: added.to_vec(),
            removed: removed.to_vec(),
        };
        report
    };
    let held = async || {
        let fleet = control.fleet().await;
        let held: Vec<_> = fleet.appliances[0]
            .holds
            .iter()
            .map(|i| fleet.objects[*i as usize])
            .collect();
        held
    };
    // A delta before any inventory.
    assert!(
        control
            .report("a1", &token, &delta(1, 0, 1, &objects[..1], &[]))
            .await
            .resync_inventory
    );
    assert_eq!(held().await, []);
    // The whole.
    let mut whole = report("b", 2, &objects[..2]);
    whole.inventory.generation = 10;
    assert!(!control.report("a1", &token, &whole).await.resync_inventory);
    // A delta that fits.
    let fits = delta(3, 10, 12, &objects[2..], &objects[..1]);
    assert!(!control.report("a1", &token, &fits).await.resync_inventory);
    let mut now = held().await;
    now.sort();
    let mut wanted = objects[1..].to_vec();
    wanted.sort();
    assert_eq!(now, wanted);
    // One that starts elsewhere: its losses are true all the same, its gains wait for the whole.
    let gap = delta(4, 11, 13, &objects[..1], &objects[1..2]);
    assert!(control.report("a1", &token, &gap).await.resync_inventory);
    assert_eq!(held().await, objects[2..]);
    // The request stands until the whole comes, for a delta that would have fitted before too.
    assert!(
        control
            .report("a1", &token, &delta(5, 12, 13, &[], &[]))
            .await
            .resync_inventory
    );
    let mut whole = report("b", 6, &objects);
    whole.inventory.generation = 13;
    assert!(!control.report("a1", &token, &whole).await.resync_inventory);
    assert_eq!(held().await.len(), 3);
    // Another boot's generations are not comparable.
    let mut other = delta(1, 13, 14, &[], &[]);
    other.boot = "c".into();
    assert!(control.report("a1", &token, &other).await.resync_inventory);
}

#[tokio::test]
async fn an_appliance_that_misses_its_reports_is_lost_until_it_reports() {
    let (control, token, objects) = fleet_of_one().await;
    control.report("a1", &token, &report("b", 1, &objects)).await;
    let etag = control.get("/v1/fleet").await.etag();
    let woken = control.poll("/v1/fleet?wait=50", &etag).await.is(200);
    assert_eq!(
        woken.body["appliances"][0]["state"], "lost",
        "three reports of one second are missed"
    );
    control.report("a1", &token, &report("b", 2, &objects)).await;
    assert_eq!(control.appliance("a1").await.state, ApplianceState::Serving);
}

#[tokio::test]
async fn what_an_appliance_says_of_itself_decides_its_state() {
    let (control, token, _) = fleet_of_one().await;
    for (seq, serving, draining, state) in [
        (1, true, false, ApplianceState::Serving),
        (2, false, false, ApplianceState::Unhealthy),
        (3, true, true, ApplianceState::Draining),
        (4, false, true, ApplianceState::Draining),
    ] {
        let mut report = report("b", seq, &[]);
        report.health.serving = serving;
        report.health.draining = draining;
        control.report("a1", &token, &report).await;
        assert_eq!(control.appliance("a1").await.state, state);
    }
}

#[tokio::test]
async fn impossible_counts_are_left_out_and_counted() {
    let (control, token, objects) = fleet_of_one().await;
    let now = Hour::of(Timestamp::now());
    let mut said = report("b", 1, &objects);
    said.demand = vec![
        count(now, objects[0], 1, 100),
        count(now, ObjectDigest::of(b"unheard of"), 1, 100),
        count(Hour(now.0 - 1000), objects[0], 1, 100),
        count(Hour(now.0 + 1000), objects[0], 1, 100),
    ];
    said.health.conditions = vec![
        cdn_types::api::v1::Condition {
            kind: "long".into(),
            detail: "x".repeat(100_000),
        };
        100
    ];
    control.report("a1", &token, &said).await;
    let metrics = control
        .client
        .get(format!("{}/metrics", control.url))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for (result, n) in [
        ("taken", 1),
        ("unknown_object", 1),
        ("hour_out_of_range", 2),
        ("above_limit", 0),
    ] {
        let line = format!("nightfill_control_demand_counts_total{{result=\"{result}\"}} {n}");
        assert!(metrics.contains(&line), "{line}\n{metrics}");
    }
    let view = control.appliance("a1").await;
    assert_eq!(
        (view.conditions.len(), view.conditions[0].detail.len()),
        (64, 1024)
    );
}
