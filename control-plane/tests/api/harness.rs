//! Starts the program and talks to it; makes titles, sites, reports and plans to talk about.

use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, Hour, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{
        ApplianceState, ApplianceView, Capacity, DemandCount, FillStatus, FleetSnapshot, Health,
        InventoryUpdate, JoinAnswer, JoinRequest, JoinToken, Load, NewJoinToken, NewToken, Report,
        ReportAnswer, Role, Site, TitleRegistration, TokenAnswer,
    },
    plan::{AppliancePlan, FillSource, PLAN_FORMAT, Plan, PlanItem, SourceKind},
    time::Timestamp,
    title::{ObjectRole, TITLE_FORMAT, TitleManifest, TitleObject},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Method, header::HeaderMap};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Longest that anything here may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Control {
    child: Child,
    pub url: String,
    pub admin: String,
    pub client: Client,
    _dir: Option<TempDir>,
}

/// An answer: status, headers, JSON (null if the body is none).
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }
    pub fn to<T: DeserializeOwned>(self) -> T {
        let answer = self.is(200);
        serde_json::from_value(answer.body).unwrap()
    }
    pub fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().to_owned()
    }
    /// The problem's name, after checking that it is a whole problem of this status.
    pub fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status, "{}", self.body);
        for field in ["title", "detail"] {
            assert!(
                self.body[field].as_str().is_some_and(|t| !t.is_empty()),
                "{}",
                self.body
            );
        }
        let kind = self.body["type"].as_str().unwrap();
        kind.strip_prefix("urn:nightfill:").unwrap()
    }
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap()
    }
}

impl Control {
    /// A fresh one that reports every second.
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut control = Self::start_in(dir.path(), args);
        control._dir = Some(dir);
        control
    }

    pub fn start_in(data: &Path, args: &[&str]) -> Self {
        Self::start_env(data, args, &[])
    }

    pub fn start_env(data: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = Self::command(data, args);
        let mut child = command
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let ready: Value = serde_json::from_str(&line).expect("the first line is the ready line");
        assert_eq!(ready["ready"], "control-plane");
        Self {
            child,
            url: format!("http://{}", ready["listen"].as_str().unwrap()),
            admin: std::fs::read_to_string(data.join("admin.token"))
                .unwrap()
                .trim()
                .to_owned(),
            client: Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(LIMIT)
                .build()
                .unwrap(),
            _dir: None,
        }
    }

    pub fn command(data: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        let report_seconds = ["--report-seconds", "1"];
        let own = if args.contains(&"--report-seconds") {
            &[][..]
        } else {
            &report_seconds[..]
        };
        command.arg("serve").args(own).arg("--data").arg(data).args([
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn",
        ]);
        command.args(args);
        command
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self) -> ExitStatus {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < LIMIT, "it does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn call(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None, None).await
    }

    /// A GET with `If-None-Match`.
    pub async fn poll(&self, path: &str, etag: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.url));
        answer(request.header("If-None-Match", etag)).await
    }

    pub async fn put(&self, path: &str, body: &impl Serialize) -> Answer {
        let body = serde_json::to_value(body).unwrap();
        self.call(Method::PUT, path, Some(&self.admin), Some(body)).await
    }

    pub async fn post(&self, path: &str, token: &str, body: &impl Serialize) -> Answer {
        let body = serde_json::to_value(body).unwrap();
        self.call(Method::POST, path, Some(token), Some(body)).await
    }

    pub async fn token(&self, role: Role) -> String {
        let wanted = NewToken {
            role,
            name: "a test".into(),
        };
        self.post("/v1/tokens", &self.admin, &wanted)
            .await
            .to::<TokenAnswer>()
            .token
    }

    pub async fn site(&self, id: &str, region: &str, prefix: &str) -> Site {
        let site = site(id, region, prefix);
        self.put(&format!("/v1/sites/{id}"), &site).await.to()
    }

    pub async fn title(&self, id: &str, bytes: &str) -> TitleRegistration {
        let title = title(id, bytes);
        self.put(&format!("/v1/titles/{id}"), &title).await.is(200);
        title
    }

    pub async fn join_token(&self, appliance: &str, site: &str) -> String {
        let wanted = NewJoinToken {
            appliance: OcaId::new(appliance).unwrap(),
            site: SiteId::new(site).unwrap(),
            valid_seconds: None,
        };
        self.post("/v1/join-tokens", &self.admin, &wanted)
            .await
            .to::<JoinToken>()
            .token
    }

    /// Joins an appliance; the answer is its bearer token.
    pub async fn join(&self, appliance: &str, site: &str) -> String {
        let request = join_request(&self.join_token(appliance, site).await, appliance);
        self.post("/v1/join", "", &request).await.to::<JoinAnswer>().token
    }

    pub async fn report(&self, appliance: &str, token: &str, report: &Report) -> ReportAnswer {
        self.post(&format!("/v1/appliances/{appliance}/report"), token, report)
            .await
            .to()
    }

    pub async fn fleet(&self) -> FleetSnapshot {
        self.get("/v1/fleet").await.to()
    }

    pub async fn appliance(&self, id: &str) -> ApplianceView {
        let all: Vec<ApplianceView> = self.get("/v1/appliances").await.to();
        all.into_iter().find(|a| a.id.as_str() == id).unwrap()
    }

    /// Waits until the appliance is in this state.
    pub async fn until_state(&self, id: &str, state: ApplianceState) {
        let started = Instant::now();
        while self.appliance(id).await.state != state {
            assert!(started.elapsed() < LIMIT, "{id} does not become {state:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or(Value::Null),
    }
}

pub fn site(id: &str, region: &str, prefix: &str) -> Site {
    Site {
        id: SiteId::new(id).unwrap(),
        region: RegionId::new(region).unwrap(),
        prefixes: vec![prefix.parse().unwrap()],
        window: FillWindow::new("02:00", "14:00", "Europe/Amsterdam").unwrap(),
    }
}

pub fn title_object(path: &str, role: ObjectRole, body: &str) -> TitleObject {
    TitleObject {
        path: path.into(),
        role,
        rendition: None,
        media_type: "video/mp4".into(),
        size: Bytes(body.len() as u64),
        digest: ObjectDigest::of(body.as_bytes()),
        blocks: vec![ObjectDigest::of(body.as_bytes())],
    }
}

/// A title of two manifests and one rendition whose bytes are `bytes`.
pub fn title(id: &str, bytes: &str) -> TitleRegistration {
    let (hls, dash) = (
        format!("#EXTM3U {id} {bytes}"),
        format!("<MPD>{id} {bytes}</MPD>"),
    );
    TitleRegistration {
        manifest: TitleManifest {
            format: TITLE_FORMAT,
            id: TitleId::new(id).unwrap(),
            name: format!("The {id}"),
            duration_ms: 60_000,
            hls: "index.m3u8".into(),
            dash: "manifest.mpd".into(),
            renditions: vec![],
            objects: vec![
                title_object("index.m3u8", ObjectRole::Manifest, &hls),
                title_object("manifest.mpd", ObjectRole::Manifest, &dash),
                title_object("v720.mp4", ObjectRole::Media, bytes),
            ],
        },
        hls,
        dash,
    }
}

pub fn digests(title: &TitleRegistration) -> Vec<ObjectDigest> {
    title.manifest.objects.iter().map(|o| o.digest).collect()
}

pub fn capacity() -> Capacity {
    Capacity {
        storage: Bytes(1_000_000_000),
        egress: BitsPerSecond(1_000_000_000),
        fill_rate: BitsPerSecond(100_000_000),
    }
}

pub fn join_request(token: &str, appliance: &str) -> JoinRequest {
    JoinRequest {
        token: token.into(),
        appliance: OcaId::new(appliance).unwrap(),
        base_url: "http://127.0.0.2:8080".into(),
        profile: "laptop".into(),
        capacity: capacity(),
    }
}

/// A report of an appliance that is well and holds exactly `held`.
pub fn report(boot: &str, seq: u64, held: &[ObjectDigest]) -> Report {
    Report {
        boot: boot.into(),
        seq,
        at: Timestamp::now(),
        base_url: "http://127.0.0.2:8080".into(),
        capacity: capacity(),
        health: Health {
            serving: true,
            ..Health::default()
        },
        load: Load::default(),
        plan: None,
        fill: FillStatus::default(),
        inventory: InventoryUpdate {
            generation: seq,
            base: None,
            added: held.to_vec(),
            removed: vec![],
        },
        demand: vec![],
    }
}

pub fn count(hour: Hour, object: ObjectDigest, requests: u64, bytes: u64) -> DemandCount {
    DemandCount {
        hour,
        object,
        requests,
        bytes: Bytes(bytes),
    }
}

/// A plan that gives every object of `titles` to `appliance`.
pub fn plan(number: u64, appliance: &str, titles: &[&TitleRegistration]) -> Plan {
    let items = titles.iter().flat_map(|title| {
        let m = &title.manifest;
        m.objects.iter().map(|o| PlanItem {
            digest: o.digest,
            size: o.size,
            title: m.id.clone(),
            path: format!("{}/{}", m.public_prefix(), o.path),
            media_type: o.media_type.clone(),
            from: vec![0],
            expected: Bytes(1),
            kept: false,
        })
    });
    Plan {
        format: PLAN_FORMAT,
        number: PlanNumber(number),
        date: "2026-11-24".parse().unwrap(),
        seed: 1,
        inputs: ObjectDigest::of(b"inputs"),
        appliances: vec![AppliancePlan {
            appliance: OcaId::new(appliance).unwrap(),
            site: SiteId::new("ams").unwrap(),
            region: RegionId::new("nl").unwrap(),
            window: FillWindow::always(),
            fill_rate: BitsPerSecond(1_000_000),
            sources: vec![FillSource {
                kind: SourceKind::Origin,
                appliance: None,
                base_url: "http://127.0.0.1:1".into(),
            }],
            items: items.collect(),
            drops: vec![],
        }],
    }
}
