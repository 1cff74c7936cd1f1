//! Appliances that die or fail viewers, and what the running service makes of it. What is probed and killed are real
//! processes with real sockets: this program itself answers at `/healthz`.

use super::{
    feedback::{EXPLAIN, of},
    fixture::{self, fleet},
    program::{PATIENCE, Program, command, sample},
    steering::{Session, begin, poll},
};
use cdn_types::api::v1::FleetSnapshot;
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A process that answers where viewers would ask.
pub struct Appliance(Child);

impl Appliance {
    /// On an address of the network 127.x, which is put into the snapshot.
    async fn start(dir: &Path, fleet: &mut FleetSnapshot, id: &str) -> Self {
        let snapshot = dir.join("elsewhere.json");
        fixture::write(&snapshot, &fixture::fleet());
        let args = ["--snapshot", snapshot.to_str().unwrap(), "--log", "warn"];
        let mut child = command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap();
        let ready: Value = serde_json::from_str(&line.unwrap().unwrap()).unwrap();
        let view = fleet.appliances.iter_mut().find(|a| a.id.as_str() == id);
        view.unwrap().base_url = format!("http://{}", ready["listen"].as_str().unwrap());
        Self(child)
    }

    pub async fn kill(&mut self) {
        let pid = self.0.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-KILL", &pid]).status().await;
        assert!(kill.unwrap().success());
        self.0.wait().await.unwrap();
    }
}

/// The service over three appliances that run.
pub async fn with_appliances(args: &[&str]) -> (Program, Vec<(String, Appliance)>) {
    let (dir, mut fleet) = (tempfile::tempdir().unwrap(), fleet());
    let mut running = Vec::new();
    for id in ["lon-1", "lon-2", "par-1"] {
        let appliance = Appliance::start(dir.path(), &mut fleet, id).await;
        running.push((id.to_owned(), appliance));
    }
    fixture::write(&dir.path().join("fleet.json"), &fleet);
    let snapshot = dir.path().join("fleet.json").to_str().unwrap().to_owned();
    let p = Program::start(dir, &[&["--snapshot", &snapshot], args].concat()).await;
    (p, running)
}

pub async fn metric(p: &Program, name: &str) -> f64 {
    let text = p.get("/metrics").await.text().await.unwrap();
    sample(&text, name).unwrap_or(0.0)
}

pub async fn until_metric(p: &Program, name: &str, pleases: impl Fn(f64) -> bool) {
    let began = Instant::now();
    loop {
        let found = metric(p, name).await;
        if pleases(found) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{name} is {found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until feedback has been taken in so many times more, ten times a second.
pub async fn rounds(p: &Program, more: f64) {
    let name = "steering_feedback_rounds_total";
    let before = metric(p, name).await;
    until_metric(p, name, |n| n >= before + more).await;
}

#[tokio::test]
async fn a_killed_appliance_is_off_the_first_place_within_five_seconds() {
    let (p, mut running) = with_appliances(&["--probe-path", "/healthz"]).await;
    until_metric(&p, r#"steering_probes_total{outcome="answered"}"#, |n| n >= 3.0).await;
    let session = begin(&p).await;
    let first = session.declared[0].clone();
    let query = format!("?_HLS_pathway={first}");
    assert_eq!(poll(&p, &session, &query).await.0[0], first);
    let victim = running.iter_mut().find(|(id, _)| *id == first);
    victim.unwrap().1.kill().await;
    let killed = Instant::now();
    while poll(&p, &session, &query).await.0[0] == first {
        assert!(killed.elapsed() < Duration::from_secs(5), "still first");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("off the first place {:?} after kill -9", killed.elapsed());
    assert_eq!(poll(&p, &session, "").await.0.len(), 3, "the others are offered");
    let answer = p.json(EXPLAIN).await;
    let dropped = answer["explain"]["dropped"].as_array().unwrap();
    let dropped = dropped.iter().find(|d| d["appliance"] == first).unwrap();
    assert_eq!(
        dropped["reasons"],
        json!([{ "reason": "failing", "by": "probes" }])
    );
    assert_eq!(metric(&p, r#"steering_circuits{state="open"}"#).await, 1.0);
    assert_eq!(
        metric(&p, r#"steering_circuit_openings_total{by="probes"}"#).await,
        1.0
    );
}

#[tokio::test]
async fn if_all_of_a_site_are_silent_the_site_is_kept_and_it_is_said() {
    let (p, mut running) = with_appliances(&["--probe-path", "/healthz"]).await;
    let session = begin(&p).await;
    for (_, appliance) in &mut running {
        appliance.kill().await;
    }
    until_metric(&p, "steering_distrusted_sites", |n| n == 2.0).await;
    until_metric(&p, r#"steering_probes_total{outcome="failed"}"#, |n| n >= 40.0).await;
    assert_eq!(metric(&p, r#"steering_circuits{state="open"}"#).await, 0.0);
    assert_eq!(metric(&p, r#"steering_circuits{state="distrusted"}"#).await, 3.0);
    assert_eq!(poll(&p, &session, "").await.0, session.declared);
    let answer = p.json(EXPLAIN).await;
    assert_eq!(answer["explain"]["distrusted"], json!(["lon", "par"]));
    let wanted = json!({ "state": "distrusted", "by": "probes" });
    assert_eq!(of(&answer, "lon-1")["circuit"], wanted);
}

/// Polls as a viewer of some network.
pub async fn poll_from(p: &Program, session: &Session, network: usize, query: &str) -> Vec<String> {
    let request = p.client.get(format!("{}{query}", session.uri));
    let request = request.header("x-forwarded-for", format!("127.5.{network}.9"));
    let list: Value = request.send().await.unwrap().json().await.unwrap();
    serde_json::from_value(list["PATHWAY-PRIORITY"].clone()).unwrap()
}

#[tokio::test]
async fn sessions_that_flee_take_an_appliance_out_and_a_share_tries_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let (snapshot, policy) = (dir.path().join("fleet.json"), dir.path().join("policy.toml"));
    fixture::write(&snapshot, &fleet());
    let text = "version = 1\n[circuit]\nback_off_seconds = 1\ntrial_seconds = 3\ntrial_permille = 300\n";
    std::fs::write(&policy, text).unwrap();
    let files = [
        "--snapshot",
        snapshot.to_str().unwrap(),
        "--policy",
        policy.to_str().unwrap(),
    ];
    let args = [&files, &["--trusted-proxy", "127.0.0.0/8", "--ttl", "4"][..]].concat();
    let p = Program::start(dir, &args).await;
    let mut sessions = Vec::new();
    for _ in 0..12 {
        sessions.push(begin(&p).await);
    }
    let (first, second) = (&sessions[0].declared[0], &sessions[0].declared[1]);
    for (n, session) in sessions.iter().enumerate() {
        poll_from(&p, session, n, &format!("?_HLS_pathway={first}")).await;
    }
    assert_eq!(metric(&p, "steering_failovers_total").await, 0.0);
    // Their TTL over, all of them say that they are elsewhere now, again and again; each counts once.
    let began = Instant::now();
    while metric(&p, "steering_failovers_total").await < 12.0 {
        assert!(began.elapsed() < PATIENCE);
        for (n, session) in sessions.iter().enumerate() {
            let order = poll_from(&p, session, n, &format!("?_HLS_pathway={second}")).await;
            assert_eq!(&order[0], second, "is left where it fled to");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until_metric(&p, r#"steering_circuit_openings_total{by="players"}"#, |n| {
        n == 1.0
    })
    .await;
    until_metric(&p, r#"steering_circuits{state="trial"}"#, |n| n == 1.0).await;
    let mut tries = 0;
    for _ in 0..20 {
        tries += usize::from(begin(&p).await.declared[0] == *first);
    }
    assert!(tries < 20, "not all at once");
    until_metric(&p, r#"steering_circuits{state="trial"}"#, |n| n == 0.0).await;
    assert_eq!(begin(&p).await.declared[0], *first, "back for all");
    assert_eq!(metric(&p, "steering_failovers_total").await, 12.0);
}
