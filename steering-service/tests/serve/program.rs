//! Starts and stops the program, and asks it.

use super::fixture;
use cdn_types::api::v1::FleetSnapshot;
use reqwest::{Client, Response, redirect::Policy};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// Longest wait for anything in a test: generous, for busy machines.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Program {
    child: Child,
    pub url: String,
    /// Where it answers DNS, if it does.
    pub dns: Option<SocketAddr>,
    pub client: Client,
    pub dir: TempDir,
}

/// A client that follows nothing by itself.
pub fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(Policy::none())
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steering-service"));
    command
        .arg("serve")
        .args(["--listen", "127.0.0.1:0"])
        .args(args)
        .kill_on_drop(true);
    command
}

impl Program {
    /// With `args`, and a folder for its files.
    pub async fn start(dir: TempDir, args: &[&str]) -> Self {
        Self::run(dir, command(args)).await
    }

    /// The same by a command of one's own.
    pub async fn run(dir: TempDir, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line())
            .await
            .expect("ready in time")
            .unwrap();
        let ready: Value = serde_json::from_str(&line.expect("a first line")).unwrap();
        assert_eq!(ready["ready"], "steering-service");
        Self {
            child,
            url: format!("http://{}", ready["listen"].as_str().unwrap()),
            dns: ready["dns"].as_str().map(|a| a.parse().unwrap()),
            client: client(),
            dir,
        }
    }

    /// Over a snapshot file.
    pub async fn offline(fleet: &FleetSnapshot, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.json");
        fixture::write(&path, fleet);
        Self::start(dir, &[&["--snapshot", path.to_str().unwrap()], args].concat()).await
    }

    pub fn pid(&self) -> String {
        self.child.id().expect("it runs").to_string()
    }

    pub fn snapshot_file(&self) -> PathBuf {
        self.dir.path().join("fleet.json")
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap()
    }

    pub async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Replaces the snapshot file and waits until it is in use.
    pub async fn replace(&self, fleet: &FleetSnapshot) {
        fixture::write(&self.snapshot_file(), fleet);
        self.until("/readyz", |ready| ready["generation"] == fleet.generation)
            .await;
    }

    /// Asks again and again until the answer pleases.
    pub async fn until(&self, path: &str, pleases: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(path).await.json().await.unwrap_or(Value::Null);
            if pleases(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{path} still answers {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end of a program that was killed.
    pub async fn ended(mut self) {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("ends in time").unwrap();
    }

    /// SIGTERM, and what it ends with.
    pub async fn stop(mut self) -> (ExitStatus, TempDir) {
        let pid = self.pid();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .await
                .unwrap()
                .success()
        );
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .expect("ends in time")
            .unwrap();
        (status, self.dir)
    }
}

/// One sample of `/metrics`, by its name with labels.
pub fn sample(metrics: &str, name: &str) -> Option<f64> {
    metrics
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
