//! Demand: counted by appliances, imported, summed; and what the operator's page makes of it.

use crate::harness::{Control, count, digests, report};
use cdn_types::{
    Bytes, Hour, RegionId, SiteId, TitleId,
    api::v1::{DemandRow, Imported, Overview, SteeringCount, SteeringOutcome, SteeringReport},
    time::Timestamp,
};

#[tokio::test]
async fn demand_is_summed_by_hour_region_and_object() {
    let control = Control::start();
    let film = control.title("film", "bytes").await;
    let object = digests(&film)[2];
    control.site("ams", "nl", "127.0.0.0/8").await;
    control.site("rtm", "nl", "10.0.0.0/8").await;
    control.site("lon", "uk", "11.0.0.0/8").await;
    let hour = Hour::of(Timestamp::now());
    for (id, site, bytes) in [("a1", "ams", 10), ("a2", "rtm", 20), ("a3", "lon", 40)] {
        let token = control.join(id, site).await;
        // The counts of a boot are absolute: the first is part of the second; a new boot starts anew.
        for (boot, seq, bytes) in [("b", 1, bytes), ("b", 2, 2 * bytes), ("c", 1, bytes)] {
            let mut said = report(boot, seq, &[]);
            said.demand = vec![count(hour, object, 1, bytes)];
            control.report(id, &token, &said).await;
        }
    }
    let row = |hour, region: &str, requests, bytes| DemandRow {
        hour,
        region: RegionId::new(region).unwrap(),
        object,
        requests,
        bytes: Bytes(bytes),
    };
    let history = vec![row(hour, "nl", 5, 1000), row(Hour(hour.0 - 500), "nl", 7, 700)];
    for _ in 0..2 {
        let imported: Imported = control.post("/v1/demand", &control.admin, &history).await.to();
        assert_eq!(imported.rows, 2, "the same rows replace themselves");
    }
    let rows: Vec<DemandRow> = control
        .get(&format!("/v1/demand?from={hour}&to={}", Hour(hour.0 + 1)))
        .await
        .to();
    assert_eq!(rows, [row(hour, "nl", 9, 1090), row(hour, "uk", 2, 120)]);
    let rows: Vec<DemandRow> = control
        .get(&format!("/v1/demand?from={}&to={hour}", Hour(hour.0 - 500)))
        .await
        .to();
    assert_eq!(rows, [row(Hour(hour.0 - 500), "nl", 7, 700)]);
    let backwards = control
        .get(&format!("/v1/demand?from={}&to={hour}", Hour(hour.0 + 1)))
        .await;
    assert_eq!(backwards.problem(400), "bad_query");
}

#[tokio::test]
async fn the_overview_shows_a_day() {
    let control = Control::with(&["--steering-url", "http://127.0.0.1:9000/"]);
    let (film, short) = (
        control.title("film", "bytes").await,
        control.title("short", "other").await,
    );
    control.site("ams", "nl", "127.0.0.0/8").await;
    let token = control.join("a1", "ams").await;
    let hour = Hour::of(Timestamp::now());
    let mut said = report("b", 1, &[]);
    said.demand = vec![
        count(hour, digests(&film)[2], 1, 10),
        count(hour, digests(&film)[0], 1, 5),
        count(Hour(hour.0 - 2), digests(&short)[2], 1, 100),
    ];
    control.report("a1", &token, &said).await;
    let service = control.token(cdn_types::api::v1::Role::Service).await;
    let mut decisions = SteeringReport {
        boot: "s".into(),
        counts: [(SteeringOutcome::Hit, 3), (SteeringOutcome::NoSite, 1)]
            .map(|(outcome, sessions)| SteeringCount {
                hour,
                site: (outcome == SteeringOutcome::Hit).then(|| SiteId::new("ams").unwrap()),
                title: TitleId::new("film").unwrap(),
                outcome,
                sessions,
            })
            .to_vec(),
    };
    control
        .post("/v1/steering/report", &service, &decisions)
        .await
        .is(204);
    decisions.counts[0].sessions = 8;
    control
        .post("/v1/steering/report", &service, &decisions)
        .await
        .is(204);

    let overview: Overview = control.get("/v1/overview").await.to();
    assert_eq!((overview.titles, overview.objects), (2, 6));
    assert_eq!((overview.hours.len(), overview.hours[23].hour), (24, hour));
    assert_eq!(
        (overview.hours[23].bytes, overview.hours[21].bytes),
        (Bytes(15), Bytes(100))
    );
    let top: Vec<_> = overview
        .top_titles
        .iter()
        .map(|t| (t.name.as_str(), t.bytes.0))
        .collect();
    assert_eq!(top, [("The short", 100), ("The film", 15)]);
    let outcomes: Vec<_> = overview.outcomes.iter().map(|o| o.sessions).collect();
    assert_eq!(outcomes, [8, 0, 0, 1], "hit, content miss, health miss, no site");
    assert_eq!(overview.steering_url.as_deref(), Some("http://127.0.0.1:9000"));
    assert!(overview.appliances[0].holds.is_empty() && overview.plan.is_none());
}
