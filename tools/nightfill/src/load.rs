//! `nightfill load`: the bulk client. Asks one server for objects, or parts of them, over HTTP/1.1, 2 or 3, as fast as it goes or
//! as slow as viewers do, and says what came: throughput, times, errors by kind. It is built to cost little, since it shares a machine
//! with what it measures: plain bodies are dropped in the kernel, records are opened in place, packets are not copied.
//!
//! A response that ends short, has another length than asked for, or (with `--verify`) a byte other than the local file is an
//! error of its own kind; the exit status tells of any.

mod choice;
mod dial;
mod exchange;
mod fault;
mod fields;
mod h1;
mod h2;
mod h3;
mod live;
mod pace;
mod report;
mod setup;
mod tally;
mod tls;
mod trust;
mod wire;
mod worker;

pub use report::{Percentiles, Report};

use anyhow::{Context, ensure};
use clap::builder::RangedU64ValueParser;
use live::LiveLine;
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use report::Totals;
use serde::Serialize;
use setup::Setup;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use tally::{Live, Results};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{interval, sleep},
};
use worker::Shared;

/// Length of a run for which neither duration nor number is given.
const SECONDS: f64 = 10.0;

/// Version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
pub enum Http {
    /// HTTP/1.1.
    #[value(name = "1")]
    #[serde(rename = "1")]
    One,
    /// HTTP/2.
    #[value(name = "2")]
    #[serde(rename = "2")]
    Two,
    /// HTTP/3.
    #[value(name = "3")]
    #[serde(rename = "3")]
    Three,
}

impl Http {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::One => b"http/1.1",
            Self::Two => b"h2",
            Self::Three => b"h3",
        }
    }
}

/// Arguments of `load`.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    /// Objects to ask for, all of one server; the first is the most popular.
    #[arg(value_name = "URL", required_unless_present = "base")]
    pub urls: Vec<String>,
    /// Address that the lines of --paths are below.
    #[arg(long, value_name = "URL", requires = "paths")]
    pub base: Option<String>,
    /// File with a path a line, the most popular first.
    #[arg(long, value_name = "FILE", requires = "base")]
    pub paths: Option<PathBuf>,
    /// Version of HTTP.
    #[arg(long, value_enum, default_value = "1")]
    pub http: Http,
    /// Connections at a time.
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub connections: usize,
    /// Requests at a time on each connection (HTTP/2 and 3).
    #[arg(short = 'm', long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub streams: usize,
    /// Seconds to run; 10 if --requests is not given either.
    #[arg(long, value_name = "S", value_parser = crate::cli::positive)]
    pub duration: Option<f64>,
    /// Requests to make, failed ones included.
    #[arg(long, value_name = "N", conflicts_with = "idle")]
    pub requests: Option<u64>,
    /// Asks for random parts of this many bytes, aligned to them, instead of whole objects.
    #[arg(long, value_name = "BYTES", value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    pub range: Option<u64>,
    /// Asks for every part once, in a scattered order, and ends when none is left.
    #[arg(long, requires = "range", conflicts_with_all = ["requests", "idle", "zipf"])]
    pub sweep: bool,
    /// Exponent of popularity: the n-th object is asked for n^-S times as often as the first.
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    pub zipf: f64,
    /// Bits a second that each connection reads at most: slow readers.
    #[arg(long, value_name = "BITS", value_parser = RangedU64ValueParser::<u64>::new().range(8..))]
    pub rate: Option<u64>,
    /// Opens the connections, makes one small request on each, and holds them for --duration.
    #[arg(long)]
    pub idle: bool,
    /// Compares every byte with the files below --tree.
    #[arg(long, requires = "tree")]
    pub verify: bool,
    /// Folder whose files are what the server serves, at the same paths.
    #[arg(long, value_name = "DIR")]
    pub tree: Option<PathBuf>,
    /// Accepts any certificate.
    #[arg(long)]
    pub insecure: bool,
    /// PEM file of the certificates that vouch for the server's.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/ssl/certs/ca-certificates.crt"
    )]
    pub ca: PathBuf,
    /// Most seconds that one request may take.
    #[arg(long, value_name = "S", value_parser = crate::cli::positive)]
    pub timeout: Option<f64>,
    /// Bytes after which each HTTP/3 connection moves to another local port, once.
    #[arg(long, value_name = "BYTES")]
    pub rebind_after: Option<u64>,
    /// Writes the report as JSON to a file, or instead of the table to standard output (`-`).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Cores that the threads run on, e.g. `1` or `2,3`.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Threads; one a core of --cores, else one a core of the machine.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    pub threads: Option<usize>,
    /// Seed of what is asked for.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Runs `load` and prints its report; the exit status is 1 if anything failed.
pub async fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let report = measure(args).await?;
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        if to_stdout {
            println!("{json}");
        } else {
            std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    if !to_stdout {
        print!("{report}");
    }
    Ok(if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `load`; Ctrl-C ends it early.
pub async fn measure(args: &LoadArgs) -> anyhow::Result<Report> {
    let mut setup = Setup::new(args).await?;
    dial::raise_descriptor_limit(args.connections)?;
    if setup.needs_sizes() {
        setup = with_sizes(args, setup).await?;
    }
    let (stop, stopped) = watch::channel(false);
    let live = Arc::new(Live::default());
    let shared = Arc::new(Shared::new(setup, args.requests, Arc::clone(&live), stopped));
    let began = Instant::now();
    let mut threads = start(args, &shared);
    let results = tokio::select! {
        results = &mut threads => Some(results),
        end = until_the_end(args, &live) => { end?; None }
    };
    let seconds = began.elapsed().as_secs_f64();
    let bytes = live.bytes.load(Relaxed);
    stop.send_replace(true);
    let results = match results {
        Some(results) => results,
        None => threads.await,
    };
    let totals = Totals {
        http: args.http,
        seconds,
        client_cpu_seconds: cpu_seconds()?,
        requests: live.requests.load(Relaxed),
        bytes,
    };
    Ok(Report::new(totals, results.context("a thread ended early")??))
}

/// The same setup with every object's size, as the server says.
async fn with_sizes(args: &LoadArgs, setup: Setup) -> anyhow::Result<Setup> {
    let probe = Arc::new(Shared::new(setup, None, Arc::default(), watch::channel(false).1));
    let sizes = spawn_blocking(move || worker::sizes(probe)).await??;
    let mut setup = Setup::new(args).await?;
    for (target, size) in setup.targets.iter_mut().zip(sizes) {
        target.size = Some(size);
    }
    Ok(setup)
}

/// Starts all threads; they end with the work or the word to stop.
fn start(args: &LoadArgs, shared: &Arc<Shared>) -> JoinHandle<anyhow::Result<Results>> {
    let wanted = args.threads.unwrap_or_else(|| match args.cores.len() {
        0 => thread::available_parallelism().map_or(1, Into::into),
        cores => cores,
    });
    let threads = wanted.min(args.connections);
    let handles: Vec<_> = (0..threads)
        .map(|number| {
            let core = (!args.cores.is_empty()).then(|| args.cores[number % args.cores.len()]);
            let shared = Arc::clone(shared);
            thread::spawn(move || worker::run(shared, number, threads, core))
        })
        .collect();
    spawn_blocking(move || {
        let mut all = Results::default();
        for handle in handles {
            let results = handle.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            all.add(results?);
        }
        ensure!(threads > 0, "no connections");
        Ok(all)
    })
}

/// Draws the live line until the time is over or somebody presses Ctrl-C.
async fn until_the_end(args: &LoadArgs, live: &Live) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut line = LiveLine::new();
    let mut redraw = interval(live::EVERY);
    let over = time_over(args, live);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = redraw.tick() => line.draw(live),
        }
    }
}

/// Waits as long as a run takes; idle connections count from when all are open.
async fn time_over(args: &LoadArgs, live: &Live) {
    if args.idle {
        let settled = || live.idle.load(Relaxed) + live.errors.load(Relaxed);
        while settled() < args.connections as u64 {
            sleep(Duration::from_millis(20)).await;
        }
        eprintln!("{} connections are open", live.idle.load(Relaxed));
    }
    match (args.duration, args.requests) {
        (Some(seconds), _) => sleep(Duration::from_secs_f64(seconds)).await,
        (None, None) => sleep(Duration::from_secs_f64(SECONDS)).await,
        (None, Some(_)) => std::future::pending().await,
    }
}

fn cpu_seconds() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}
