//! One fleet from its first title to a drained appliance.

use crate::harness::{Control, digests, plan, report};
use cdn_types::{
    PlanNumber,
    api::v1::{ApplianceState, FleetSnapshot, PlanPart, PlanSummary, TitleSummary},
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn full_life() {
    let control = Control::start();
    let film = control.title("film", "the bytes of the film").await;
    let summaries: Vec<TitleSummary> = control.get("/v1/titles").await.to();
    assert_eq!(summaries[0].version, film.manifest.version());
    assert_eq!(
        (summaries[0].objects, summaries[0].size),
        (3, film.manifest.size())
    );
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    assert_eq!(control.appliance("a1").await.state, ApplianceState::Joined);

    control
        .report("a1", &token, &report("b", 1, &digests(&film)[..2]))
        .await;
    let fleet = control.fleet().await;
    assert_eq!(fleet.appliances[0].state, ApplianceState::Serving);
    let title = &fleet.titles[0];
    assert_eq!(
        (title.prefix.clone(), title.hls.clone()),
        (film.manifest.public_prefix(), film.hls.clone())
    );
    assert_eq!(title.objects.len(), 3);
    let held = &fleet.appliances[0].holds;
    assert!(held.is_sorted() && title.objects.is_sorted());
    let held: Vec<_> = held.iter().map(|i| fleet.objects[*i as usize]).collect();
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|d| digests(&film)[..2].contains(d)));

    let published: PlanSummary = control
        .post("/v1/plans", &control.admin, &plan(7, "a1", &[&film]))
        .await
        .to();
    assert_eq!(
        (published.number, published.active, published.items),
        (PlanNumber(7), false, 3)
    );
    let active: PlanSummary = control
        .post("/v1/plans/7/activate", &control.admin, &())
        .await
        .to();
    assert!(active.active);
    let answer = control.get("/v1/appliances/a1/plan?wait=5").await.is(200);
    assert_eq!(answer.etag(), "\"plan-7\"");
    let part: PlanPart = answer.to();
    assert_eq!(part.part.unwrap().items.len(), 3);

    let before = control.get("/v1/fleet").await;
    let (etag, wake) = (before.etag(), Instant::now());
    let (woken, drained) = tokio::join!(control.poll("/v1/fleet?wait=50", &etag), async {
        control.post("/v1/appliances/a1/drain", &control.admin, &()).await
    });
    assert!(
        wake.elapsed() < Duration::from_secs(30),
        "the drain wakes the long poll"
    );
    assert_eq!(drained.is(200).body["state"], "draining");
    assert_ne!(woken.etag(), etag);
    let woken: FleetSnapshot = woken.to();
    assert_eq!(woken.appliances[0].state, ApplianceState::Draining);
    assert!(
        control
            .report("a1", &token, &report("b", 2, &digests(&film)))
            .await
            .drain
    );
    control
        .post("/v1/appliances/a1/undrain", &control.admin, &())
        .await
        .is(200);
    assert!(
        !control
            .report("a1", &token, &report("b", 3, &digests(&film)))
            .await
            .drain
    );
    assert_eq!(control.appliance("a1").await.state, ApplianceState::Serving);
}

#[tokio::test]
async fn a_plan_poll_waits_and_wakes_at_once_on_activation() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.join("a1", "ams").await;
    // No plan is active: 304 when the time has passed.
    let started = Instant::now();
    let none = control.get("/v1/appliances/a1/plan?wait=1").await.is(304);
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(none.etag(), "\"plan-0\"");

    control
        .post("/v1/plans", &control.admin, &plan(1, "a1", &[&film]))
        .await
        .is(200);
    let started = Instant::now();
    let (woken, _) = tokio::join!(
        control.poll("/v1/appliances/a1/plan?wait=50", "\"plan-0\""),
        async { control.post("/v1/plans/1/activate", &control.admin, &()).await }
    );
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(woken.is(200).etag(), "\"plan-1\"");
    control.poll("/v1/appliances/a1/plan", "\"plan-1\"").await.is(304);
}

#[tokio::test]
async fn steering_is_not_woken_by_every_report() {
    let control = Control::start();
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    let mut said = report("b", 1, &[]);
    control.report("a1", &token, &said).await;
    let etag = control.get("/v1/fleet").await.etag();
    for (seq, egress, news) in [
        (2, 40_000_000, false),  // 4 % of 1 Gbit/s: below a step
        (3, 60_000_000, true),   // a step above what was told
        (4, 100_000_000, false), // less than a step above that
        (5, 0, true),
    ] {
        let etag = if news {
            etag.clone()
        } else {
            control.get("/v1/fleet").await.etag()
        };
        said.seq = seq;
        said.load.egress.0 = egress;
        control.report("a1", &token, &said).await;
        let status = control.poll("/v1/fleet", &etag).await.status;
        assert_eq!(status == 200, news, "egress {egress}");
    }
}
