//! Life with a control plane, and without it.

use super::{
    fixture::{fleet, with_state},
    manifests::read_hls,
    program::{PATIENCE, Program, sample},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cdn_types::api::v1::{
    ApplianceState, FleetSnapshot, SteeringOutcome, SteeringReport,
    routes::{ApplianceRoutes, RouteChanges},
    viewers::{Sightings, ViewerNews, ViewerReport},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// A control plane that knows four calls: fleet, routes and news of viewers by long poll, and reports.
pub struct Control {
    pub url: String,
    pub fleet: watch::Sender<FleetSnapshot>,
    pub routes: watch::Sender<Told>,
    pub viewers: watch::Sender<Vec<ViewerReport>>,
    reports: watch::Receiver<Vec<(String, SteeringReport)>>,
    pub task: JoinHandle<()>,
}

/// All routes, and how they came to be.
#[derive(Clone, Default)]
pub struct Told {
    pub generation: u64,
    /// What whoever asks from before `log_from` is told.
    pub whole: Vec<ApplianceRoutes>,
    pub log_from: u64,
    /// One change a generation, beginning after `log_from`.
    pub log: Vec<ApplianceRoutes>,
    /// Answers with routes so far.
    pub answers: u64,
}

impl Told {
    pub fn change(&mut self, change: ApplianceRoutes) {
        self.generation += 1;
        self.log.push(change);
    }

    fn since(&self, since: u64) -> RouteChanges {
        let reset = !(self.log_from..=self.generation).contains(&since);
        let appliances = match reset {
            true => self.whole.clone(),
            false => self.log[(since - self.log_from) as usize..].to_vec(),
        };
        RouteChanges {
            generation: self.generation,
            reset,
            appliances,
        }
    }
}

#[derive(Clone)]
struct Known {
    fleet: watch::Receiver<FleetSnapshot>,
    routes: watch::Sender<Told>,
    viewers: watch::Sender<Vec<ViewerReport>>,
    reports: Arc<watch::Sender<Vec<(String, SteeringReport)>>>,
}

impl Control {
    pub async fn start(fleet: FleetSnapshot) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, fleet, Told::default())
    }

    pub fn on(listener: TcpListener, fleet: FleetSnapshot, told: Told) -> Self {
        let (fleet, receiver) = watch::channel(fleet);
        let routes = watch::Sender::new(told);
        let viewers = watch::Sender::default();
        let (sender, reports) = watch::channel(Vec::new());
        let known = Known {
            fleet: receiver,
            routes: routes.clone(),
            viewers: viewers.clone(),
            reports: Arc::new(sender),
        };
        let router = Router::new()
            .route("/v1/fleet", get(get_fleet))
            .route("/v1/routes", get(get_routes))
            .route("/v1/viewers", get(get_viewers))
            .route("/v1/steering/report", post(take_report))
            .with_state(known);
        Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            fleet,
            routes,
            viewers,
            reports,
            task: tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }),
        }
    }
}

impl Control {
    /// An appliance tells what it has just seen.
    pub fn see(&self, appliance: &str, seen: Sightings) {
        let report = ViewerReport {
            appliance: appliance.parse().unwrap(),
            age_ms: 0,
            seen,
        };
        self.viewers.send_modify(|told| told.push(report));
    }
}

/// Generations are how many reports there are; whoever has heard of more follows a former run.
async fn get_viewers(State(known): State<Known>, Query(query): Query<HashMap<String, u64>>) -> Response {
    let since = query["since"] as usize;
    let wait = Duration::from_secs(query["wait"].min(2));
    let mut receiver = known.viewers.subscribe();
    let news = receiver.wait_for(|told| told.len() != since);
    let Ok(Ok(told)) = tokio::time::timeout(wait, news).await else {
        return StatusCode::NOT_MODIFIED.into_response();
    };
    let missed = since > told.len();
    let news = ViewerNews {
        generation: told.len() as u64,
        missed,
        reports: told[if missed { 0 } else { since }..].to_vec(),
    };
    Json(news).into_response()
}

async fn get_fleet(
    State(known): State<Known>,
    Query(query): Query<HashMap<String, u64>>,
    headers: HeaderMap,
) -> Response {
    let etag = |fleet: &FleetSnapshot| format!("\"{}\"", fleet.generation);
    let known_tag = headers
        .get(header::IF_NONE_MATCH)
        .map(|t| t.to_str().unwrap().to_owned());
    let mut receiver = known.fleet.clone();
    let wait = Duration::from_secs(query["wait"].min(2)); // short, so that tests see 304 too
    let news = receiver.wait_for(|f| Some(etag(f)) != known_tag);
    match tokio::time::timeout(wait, news).await {
        Ok(Ok(fleet)) => ([(header::ETAG, etag(&fleet))], Json(fleet.clone())).into_response(),
        _ => StatusCode::NOT_MODIFIED.into_response(),
    }
}

async fn get_routes(State(known): State<Known>, Query(query): Query<HashMap<String, u64>>) -> Response {
    let since = query["since"];
    let wait = Duration::from_secs(query["wait"].min(2));
    let mut receiver = known.routes.subscribe();
    let news = receiver.wait_for(|told| told.generation != since);
    let Ok(Ok(changes)) =
        tokio::time::timeout(wait, async { news.await.map(|told| told.since(since)) }).await
    else {
        return StatusCode::NOT_MODIFIED.into_response();
    };
    known.routes.send_modify(|told| told.answers += 1);
    Json(changes).into_response()
}

async fn take_report(
    State(known): State<Known>,
    headers: HeaderMap,
    Json(report): Json<SteeringReport>,
) -> StatusCode {
    let bearer = headers[header::AUTHORIZATION].to_str().unwrap().to_owned();
    known.reports.send_modify(|all| all.push((bearer, report)));
    StatusCode::NO_CONTENT
}

async fn first_for_london(p: &Program) -> String {
    let text = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    read_hls(&text).0[0].clone()
}

#[tokio::test]
async fn changes_arrive_by_long_poll() {
    let control = Control::start(fleet()).await;
    let p = Program::start(tempfile::tempdir().unwrap(), &["--control", &control.url]).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    let first = first_for_london(&p).await;
    control
        .fleet
        .send_replace(with_state(&fleet(), &first, ApplianceState::Unhealthy));
    p.until("/readyz", |r| r["generation"] == 2).await;
    assert_ne!(first_for_london(&p).await, first);
}

#[tokio::test]
async fn not_ready_until_a_snapshot_comes() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let p = Program::start(
        tempfile::tempdir().unwrap(),
        &["--control", &format!("http://{address}")],
    )
    .await;
    for path in [
        "/readyz",
        "/v1/rank?asset=film",
        "/v1/play/film/master.m3u8",
        "/v1/go/film/x",
    ] {
        let response = p.get(path).await;
        assert_eq!(response.status(), 503, "{path}");
        assert!(response.headers().contains_key(header::RETRY_AFTER.as_str()));
    }
    assert_eq!(p.get("/healthz").await.status(), 200);
    assert!(p.stop().await.0.success());
}

#[tokio::test]
async fn control_plane_away_steering_goes_on_and_says_so() {
    let control = Control::start(fleet()).await;
    let p = Program::start(tempfile::tempdir().unwrap(), &["--control", &control.url]).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    let first = first_for_london(&p).await;
    control.task.abort();
    let away = async {
        loop {
            let text = p.get("/metrics").await.text().await.unwrap();
            let stale = sample(&text, "steering_snapshot_stale_seconds").unwrap();
            if sample(&text, "steering_control_connected") == Some(0.0) && stale > 1.0 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let text = tokio::time::timeout(PATIENCE, away)
        .await
        .expect("noticed in time");
    assert!(sample(&text, r#"steering_snapshot_errors_total{kind="unreachable"}"#).unwrap() >= 1.0);
    assert_eq!(first_for_london(&p).await, first);
    let answer = p.json("/v1/rank?asset=film&explain=1").await;
    assert!(answer["stale_seconds"].as_f64().unwrap() > 1.0, "{answer}");
    assert_eq!(
        p.get("/readyz").await.status(),
        200,
        "a stale fleet is better than none"
    );
}

#[tokio::test]
async fn a_refused_snapshot_leaves_the_last_one_in_use() {
    let control = Control::start(fleet()).await;
    let p = Program::start(tempfile::tempdir().unwrap(), &["--control", &control.url]).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    let mut bad = fleet();
    bad.generation = 2;
    bad.appliances[0].holds = vec![99];
    control.fleet.send_replace(bad);
    let refused = async {
        while !p
            .get("/metrics")
            .await
            .text()
            .await
            .unwrap()
            .contains(r#"{kind="refused"} 1"#)
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("refused in time");
    assert_eq!(p.json("/readyz").await["generation"], 1);
    let mut good = fleet();
    good.generation = 3;
    control.fleet.send_replace(good);
    p.until("/readyz", |r| r["generation"] == 3).await;
}

#[tokio::test]
async fn the_cache_carries_the_fleet_over_a_restart() {
    let control = Control::start(fleet()).await;
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache.json").to_str().unwrap().to_owned();
    let args = ["--control", &control.url, "--cache", &cache];
    let p = Program::start(dir, &args).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    let mut second = fleet();
    second.generation = 2;
    control.fleet.send_replace(second);
    p.until("/readyz", |r| r["generation"] == 2).await;
    let (status, dir) = p.stop().await;
    assert!(status.success());
    control.task.abort();
    let p = Program::start(dir, &args).await;
    let ready = p.json("/readyz").await;
    assert_eq!(ready["generation"], 2);
    assert!(
        ready["stale_seconds"].as_f64().unwrap() > 1.0,
        "as old as the snapshot says"
    );
    assert_eq!(p.get("/v1/play/film/master.m3u8").await.status(), 200);
}

#[tokio::test]
async fn decisions_are_reported_with_the_service_token() {
    let mut control = Control::start(fleet()).await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let token = token.to_str().unwrap().to_owned();
    let p = Program::start(dir, &["--control", &control.url, "--token", &token]).await;
    p.until("/readyz", |r| r["generation"] == 1).await;
    for title in ["film", "film", "rare"] {
        p.get(&format!("/v1/play/{title}/master.m3u8")).await;
    }
    let reports = tokio::time::timeout(PATIENCE, control.reports.wait_for(|r| !r.is_empty())).await;
    let (bearer, report) = reports.expect("reported in time").unwrap()[0].clone();
    assert_eq!(bearer, "Bearer secret");
    let mut counts: Vec<_> = report
        .counts
        .iter()
        .map(|c| (c.title.as_str(), c.outcome, c.sessions))
        .collect();
    counts.sort();
    assert_eq!(
        counts,
        [
            ("film", SteeringOutcome::Hit, 2),
            ("rare", SteeringOutcome::ContentMiss, 1)
        ]
    );
    assert!(
        report
            .counts
            .iter()
            .all(|c| c.site.as_ref().unwrap().as_str() == "lon")
    );
}
