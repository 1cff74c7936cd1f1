//! One run of the client, `nightfill load`, pinned to core 1.

use crate::server::Server;
use anyhow::{Context, ensure};
use nightfill::local::program::binary;
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

/// Core that the client runs on.
const CORE: &str = "1";
/// A client that used more of its core than this was what limited the server's throughput.
pub(crate) const BUSY: f64 = 0.95;
/// Cores that neighbours may use before figures are in doubt.
pub(crate) const DISTURBED: f64 = 0.1;

/// What to ask for, as arguments of `nightfill load`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    args: Vec<String>,
    namespace: Option<String>,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    report: Value,
}

/// A run under way.
pub(crate) struct RunningLoad(Child);

impl Load {
    /// Objects of a server, with more arguments in one text.
    pub(crate) fn new(server: &Server, tls: bool, paths: &[&str], more: &str) -> Self {
        let urls: Vec<_> = paths.iter().map(|p| server.url(tls, p)).collect();
        Self::of(&urls, more)
    }

    /// Addresses, with more arguments in one text.
    pub(crate) fn of(urls: &[String], more: &str) -> Self {
        let mut args: Vec<_> = more.split_whitespace().map(str::to_owned).collect();
        args.extend_from_slice(urls);
        Self {
            args,
            namespace: None,
        }
    }

    /// The same in a network namespace.
    pub(crate) fn inside(mut self, namespace: Option<&str>) -> Self {
        self.namespace = namespace.map(str::to_owned);
        self
    }

    /// Runs it for so many seconds; failed requests fail it.
    pub(crate) fn run(&self, seconds: u64) -> anyhow::Result<Outcome> {
        self.start(seconds)?.end()
    }

    /// Starts it.
    pub(crate) fn start(&self, seconds: u64) -> anyhow::Result<RunningLoad> {
        let program = binary("nightfill")?;
        let mut command = match &self.namespace {
            None => Command::new(&program),
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(&program);
                command
            }
        };
        let child = command
            .args(["load", "--insecure", "--json", "-", "--cores", CORE, "--duration"])
            .arg(seconds.to_string())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Ok(RunningLoad(child.context("cannot start nightfill load")?))
    }
}

impl RunningLoad {
    /// Waits for a line on its standard error.
    pub(crate) fn said(&mut self) -> anyhow::Result<String> {
        let errors = self.0.stderr.as_mut().context("read already")?;
        let mut line = String::new();
        BufReader::with_capacity(1, errors).read_line(&mut line)?;
        Ok(line)
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> anyhow::Result<Outcome> {
        let mut text = String::new();
        let mut out = self.0.stdout.take().context("read already")?;
        out.read_to_string(&mut text)?;
        let mut said = String::new();
        if let Some(errors) = self.0.stderr.as_mut() {
            errors.read_to_string(&mut said)?;
        }
        let status = self.0.wait()?;
        ensure!(!text.is_empty(), "nightfill load ({status}): {}", said.trim());
        let report: Value = serde_json::from_str(&text)?;
        ensure!(status.success(), "nightfill load: {}", report["first_errors"]);
        Ok(Outcome { report })
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Outcome {
    fn number(&self, name: &str) -> f64 {
        self.report[name].as_f64().unwrap_or(0.0)
    }
    /// Body bytes in GB.
    pub(crate) fn gigabytes(&self) -> f64 {
        self.number("bytes") / 1e9
    }
    /// Body bytes in MB a second.
    pub(crate) fn megabytes_a_second(&self) -> f64 {
        self.number("bytes_per_second") / 1e6
    }
    /// Requests that ended well.
    pub(crate) fn requests(&self) -> f64 {
        self.number("requests")
    }
    /// Processor time of the client.
    pub(crate) fn client_cpu_seconds(&self) -> f64 {
        self.number("client_cpu_seconds")
    }
    /// Share of its core that the client used.
    pub(crate) fn client_share(&self) -> f64 {
        self.client_cpu_seconds() / self.number("seconds").max(f64::EPSILON)
    }
    /// 99 % of first bytes came within so many milliseconds.
    pub(crate) fn first_byte_p99(&self) -> f64 {
        self.report["first_byte"]["p99"].as_f64().unwrap_or(0.0) / 1e3
    }
}
