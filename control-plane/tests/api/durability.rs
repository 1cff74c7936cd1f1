//! What outlives the process, however it ends.

use crate::harness::{Control, count, digests, plan, report, title};
use cdn_types::{
    Bytes, Hour, PlanNumber,
    api::v1::{ApplianceState, DemandRow, Overview, PlanSummary, TitleSummary, TitleView},
    time::Timestamp,
};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    let film = control.title("film", "bytes").await;
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    control.join("a2", "ams").await;
    let unused = control.join_token("a3", "ams").await;
    let mut said = report("b", 1, &digests(&film));
    let hour = Hour::of(Timestamp::now());
    said.demand = vec![count(hour, digests(&film)[0], 2, 9)];
    said.plan = Some(PlanNumber(4));
    control.report("a1", &token, &said).await;
    control
        .post("/v1/plans", &control.admin, &plan(4, "a1", &[&film]))
        .await
        .is(200);
    control
        .post("/v1/plans/4/activate", &control.admin, &())
        .await
        .is(200);
    control
        .post("/v1/appliances/a2/drain", &control.admin, &())
        .await
        .is(200);
    let before = control.fleet().await;
    assert!(control.terminate().await.success());

    let control = Control::start_in(dir.path(), &[]);
    let after = control.fleet().await;
    assert!(
        after.generation > before.generation,
        "generations grow over restarts"
    );
    // What was drawn lately is told anew every hour, and at the start.
    let cold = |titles: &[TitleView]| -> Vec<TitleView> {
        let cold = |t: &TitleView| TitleView {
            demand: Bytes(0),
            ..t.clone()
        };
        titles.iter().map(cold).collect()
    };
    assert_eq!(
        (&after.sites, cold(&after.titles)),
        (&before.sites, cold(&before.titles))
    );
    assert_eq!(after.titles[0].demand, Bytes(9));
    assert_eq!(after.appliances, before.appliances);
    let answer = control.get("/v1/appliances/a1/plan").await.is(200);
    assert_eq!(answer.etag(), "\"plan-4\"");
    let stale = control
        .post("/v1/plans", &control.admin, &plan(4, "a1", &[&film]))
        .await;
    assert_eq!(stale.problem(409), "stale_plan");
    let rows: Vec<DemandRow> = control
        .get(&format!("/v1/demand?from={hour}&to={}", Hour(hour.0 + 1)))
        .await
        .to();
    assert_eq!((rows.len(), rows[0].bytes.0), (1, 9));
    // The same report again is still the same; a delta from the generation that was kept still fits.
    control.report("a1", &token, &said).await;
    let mut delta = report("b", 2, &[]);
    delta.inventory.base = Some(1);
    assert!(!control.report("a1", &token, &delta).await.resync_inventory);
    assert_eq!(control.appliance("a1").await.held, 3);
    let a3 = crate::harness::join_request(&unused, "a3");
    control.post("/v1/join", "", &a3).await.is(200);
}

#[tokio::test]
async fn who_was_lost_stays_lost_over_a_restart_and_others_get_a_term() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    control.site("ams", "nl", "127.0.0.0/8").await;
    let lost = control.join("lost", "ams").await;
    control.report("lost", &lost, &report("b", 1, &[])).await;
    control.until_state("lost", ApplianceState::Lost).await;
    let well = control.join("well", "ams").await;
    control.report("well", &well, &report("b", 1, &[])).await;
    control.kill();

    let control = Control::start_in(dir.path(), &["--report-seconds", "20"]);
    assert_eq!(control.appliance("lost").await.state, ApplianceState::Lost);
    assert_eq!(control.appliance("well").await.state, ApplianceState::Serving);
}

/// Titles and plans are written as fast as they go until the process is killed in their middle. After the restart
/// every title is whole, every answered write is there, and numbers go on.
#[tokio::test]
async fn kill_9_in_the_middle_of_writes_leaves_a_whole_state() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let control = Control::start_in(dir.path(), &[]);
        control.site("ams", "nl", "127.0.0.0/8").await;
        let (client, url, admin) = (control.client.clone(), control.url.clone(), control.admin.clone());
        let writer = tokio::spawn(async move {
            let mut answered = Vec::new();
            for n in 0.. {
                let id = format!("r{round}-{n}");
                let request = client.put(format!("{url}/v1/titles/{id}")).bearer_auth(&admin);
                match request.json(&title(&id, &id)).send().await {
                    Ok(response) if response.status().is_success() => answered.push(id),
                    _ => break,
                }
            }
            answered
        });
        let started = Instant::now();
        loop {
            let written: Vec<TitleSummary> = control.get("/v1/titles").await.to();
            if written
                .iter()
                .filter(|t| t.id.as_str().starts_with(&format!("r{round}")))
                .count()
                >= 5
            {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(60));
        }
        control.kill();
        let answered = writer.await.unwrap();
        assert!(answered.len() >= 4);

        let control = Control::start_in(dir.path(), &[]);
        let titles: Vec<TitleSummary> = control.get("/v1/titles").await.to();
        for title in &titles {
            assert_eq!(title.objects, 3, "{} is not whole", title.id);
        }
        for id in &answered {
            assert!(
                titles.iter().any(|t| t.id.as_str() == id),
                "{id} was answered and is gone"
            );
        }
        control.get("/readyz").await.is(200);
        control.kill();
    }
}

#[tokio::test]
async fn sigterm_ends_long_polls_and_exits_with_zero() {
    let control = Control::start();
    control.site("ams", "nl", "127.0.0.0/8").await;
    let etag = control.get("/v1/fleet").await.etag();
    let (client, url) = (control.client.clone(), control.url.clone());
    let poll = tokio::spawn(async move {
        let request = client.get(format!("{url}/v1/fleet?wait=60"));
        request
            .header("If-None-Match", etag)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    });
    // The poll counts as waiting once it is there.
    let started = Instant::now();
    loop {
        let response = control
            .client
            .get(format!("{}/metrics", control.url))
            .send()
            .await
            .unwrap();
        if response
            .text()
            .await
            .unwrap()
            .contains("nightfill_control_long_polls 1")
        {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    let started = Instant::now();
    assert!(control.terminate().await.success());
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "it did not wait for the poll's time"
    );
    assert_eq!(poll.await.unwrap(), 304, "the poll got an answer");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    let out = Control::command(dir.path(), &[]).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.starts_with("error: another control plane serves"), "{text}");
    let overview: Overview = control.get("/v1/overview").await.to();
    assert!(overview.plan.is_none());
    let plans: Vec<PlanSummary> = control.get("/v1/plans").await.to();
    assert!(plans.is_empty());
}

/// Callers hang up at every moment of a write. Memory (before the kill) and the database (after it) then still tell
/// the same.
#[tokio::test]
async fn callers_who_hang_up_leave_memory_and_database_agreed() {
    let dir = tempfile::tempdir().unwrap();
    let control = Control::start_in(dir.path(), &[]);
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    let film = control.title("film", "bytes").await;
    for n in 1..120u64 {
        let patience = Duration::from_micros(n * 53);
        let mut said = report("b", n, &digests(&film)[..(n % 4) as usize]);
        said.load.connections = n;
        let _ = tokio::time::timeout(patience, control.report("a1", &token, &said)).await;
        let drain = if n % 2 == 0 { "drain" } else { "undrain" };
        let path = format!("/v1/appliances/a1/{drain}");
        let _ = tokio::time::timeout(patience, control.post(&path, &control.admin, &())).await;
    }
    // Changes take turns: when this one is answered those before it have ended.
    control.site("lon", "uk", "10.0.0.0/8").await;
    let before = (
        control.appliance("a1").await,
        control.fleet().await.appliances[0].holds.len(),
    );
    assert!(before.0.load.connections > 0, "no report got through");
    control.kill();
    let control = Control::start_in(dir.path(), &[]);
    let after = (
        control.appliance("a1").await,
        control.fleet().await.appliances[0].holds.len(),
    );
    assert_eq!(after, before);
}
