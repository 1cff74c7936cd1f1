//! An hour without the control plane: lived through by the service's own parts with a clock that is turned, and begun
//! with by the real program.

use super::{
    feedback::EXPLAIN,
    fixture::{self, fleet},
    manifests::read_hls,
    program::{Program, client, sample},
};
use cdn_types::{OcaId, TitleId, api::v1::FleetSnapshot, time::Timestamp};
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use steering_service::{
    app::Shared,
    decisions::DecisionLog,
    feedback::{Asked, Feedback, worker::Worker},
    fleet::FleetState,
    http::server,
    metrics::Metrics,
    poll_rate::PollRate,
    random::Random,
    report::Counts,
    session::{Session, SessionKey},
    steering_list::Poll,
};
use tokio::net::TcpListener;

const HOUR: f64 = 3600.0;

/// The service's doors and its worker, on a clock of its own.
struct Lived {
    url: String,
    client: Client,
    feedback: Arc<Feedback>,
    worker: Worker,
    /// Seconds since the last word of the control plane.
    now: f64,
    milliseconds: Arc<AtomicI64>,
    began: i64,
}

impl Lived {
    async fn with(snapshot: &FleetSnapshot) -> Self {
        let began = snapshot.taken_at.as_millisecond();
        let metrics = Arc::new(Metrics::new().unwrap());
        let fleet = Arc::new(FleetState::new(Arc::clone(&metrics)));
        let text = serde_json::to_vec(snapshot).unwrap();
        fleet.install(&text, |_| snapshot.taken_at).unwrap();
        let feedback = Arc::new(Feedback::new(Arc::clone(&metrics)));
        let worker = Worker::new(
            Arc::clone(&feedback),
            Arc::clone(&fleet),
            Arc::clone(&metrics),
            None,
        );
        let milliseconds = Arc::new(AtomicI64::new(began));
        let turned = Arc::clone(&milliseconds);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let decisions = DecisionLog::open(None, None, &fleet, Arc::clone(&metrics)).unwrap();
        let shared = Shared {
            fleet,
            key: SessionKey::new(&[7; 32]).unwrap(),
            metrics,
            counts: Arc::new(Counts::default()),
            random: Arc::new(Random::new(7)),
            public_url: None,
            listen,
            trusted_proxies: vec![],
            country_header: None,
            ttl: 20,
            feedback: Arc::clone(&feedback),
            poll_rate: PollRate::default(),
            polls_per_second: 1000,
            signer: None,
            cdni: None,
            decisions: Arc::new(decisions),
            running: Arc::default(),
            clock: Box::new(move || Timestamp::from_millisecond(turned.load(Ordering::Relaxed)).unwrap()),
        };
        tokio::spawn(server::serve(
            listener,
            vec![],
            Arc::new(shared),
            std::future::pending(),
        ));
        Self {
            url: format!("http://{listen}"),
            client: client(),
            feedback,
            worker,
            now: 0.0,
            milliseconds,
            began,
        }
    }

    /// Lives on for some seconds, while sessions report that they are where `on` says of each.
    fn live(&mut self, seconds: f64, on: impl Fn(u64) -> &'static str) {
        let until = self.now + seconds;
        while self.now < until {
            self.now += 0.1;
            let round = (self.now * 10.0).round() as u64;
            // 400 sessions, each every 20 s.
            for id in [round % 200, 200 + round % 200] {
                self.report(id, on(id));
            }
            self.worker.tick(self.now);
        }
        let passed = (self.now * 1000.0) as i64;
        self.milliseconds.store(self.began + passed, Ordering::Relaxed);
    }

    fn report(&self, id: u64, on: &str) {
        let pathways = ["lon-1", "lon-2", "par-1", "origin"];
        let session = Session {
            asset: TitleId::new("film").unwrap(),
            // Spread as random ids are.
            id: format!("{:016x}", (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            pathways: pathways.iter().map(|p| OcaId::new(*p).unwrap()).collect(),
        };
        let poll = Poll::parse(&format!("_HLS_pathway={on}&_HLS_throughput=40000000"));
        let asked = Asked {
            session: &session,
            client: std::net::Ipv4Addr::from(0x7f09_0009 + (id as u32 * 256)).into(),
            poll: &poll,
        };
        self.feedback.note(&asked, Some(on), 20, self.now);
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let answer = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.get(path).await.1).unwrap()
    }
}

fn order(answer: &Value) -> Vec<&str> {
    let ranked = answer["ranked"].as_array().unwrap();
    ranked.iter().map(|e| e["appliance"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_hour_without_the_control_plane_changes_no_answer_and_is_said() {
    let mut snapshot = fleet();
    for appliance in &mut snapshot.appliances {
        appliance.last_report = Some(snapshot.taken_at);
    }
    let mut lived = Lived::with(&snapshot).await;
    let before = lived.json(EXPLAIN).await;
    assert_eq!(before["stale_seconds"], 0.0);
    lived.live(HOUR, |id| if id % 2 == 0 { "lon-1" } else { "lon-2" });
    let after = lived.json(EXPLAIN).await;
    assert!(
        (after["stale_seconds"].as_f64().unwrap() - HOUR).abs() < 1.0,
        "{after}"
    );
    assert_eq!(
        after["explain"], before["explain"],
        "its appliances are not called late"
    );
    let (_, text) = lived.get("/metrics").await;
    assert!(sample(&text, "steering_snapshot_stale_seconds").unwrap() >= HOUR - 1.0);
    assert!(
        sample(&text, "steering_throughput_networks").unwrap() > 100.0,
        "players are still heard"
    );
    assert_eq!(lived.get("/readyz").await.0, 200);
    assert_eq!(lived.get("/v1/go/film/v720.mp4").await.0, 302);
    let (status, manifest) = lived.get("/v1/play/film/master.m3u8").await;
    let (declared, steering, _) = read_hls(&manifest);
    assert_eq!((status, declared.len()), (200, 4));
    let list: Value = lived
        .client
        .get(&steering)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["PATHWAY-PRIORITY"], json!(declared));
    // An appliance breaks down, and nobody is there to say so but its viewers.
    lived.live(10.0, |_| "lon-2");
    let broken = lived.json(EXPLAIN).await;
    assert_eq!(order(&broken)[0], "lon-2");
    assert!(!order(&broken).contains(&"lon-1"), "{broken}");
    assert!(broken["stale_seconds"].as_f64().unwrap() > HOUR);
}

#[tokio::test]
async fn a_start_from_an_hour_old_cache_answers_and_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let control = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache.json");
    let mut old = fleet();
    let now = Timestamp::now().as_millisecond();
    old.taken_at = Timestamp::from_millisecond(now - 3_600_000).unwrap();
    fixture::write(&cache, &old);
    let cache = cache.to_str().unwrap().to_owned();
    let p = Program::start(dir, &["--control", &control, "--cache", &cache]).await;
    let answer = p.json(EXPLAIN).await;
    assert!(answer["stale_seconds"].as_f64().unwrap() >= HOUR);
    assert_eq!(order(&answer).len(), 4);
    let text = p.get("/metrics").await.text().await.unwrap();
    assert!(sample(&text, "steering_snapshot_stale_seconds").unwrap() >= HOUR);
    let manifest = p.get("/v1/play/film/master.m3u8").await.text().await.unwrap();
    let (declared, steering, _) = read_hls(&manifest);
    let list: Value = p
        .client
        .get(&steering)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(list["PATHWAY-PRIORITY"], json!(declared));
}
