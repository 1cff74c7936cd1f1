//! `oca-server serve`: a directory tree by path, nothing else needed. Also how benchmarks and conformance suites reach
//! the send path, so its surface is kept stable.

use crate::{
    access_log::AccessLogTarget,
    admin::{self, AdminState, Readiness},
    drain::Drain,
    handover::{Channel, Handed},
    limits::Limits,
    machine,
    metrics::Metrics,
    namespace::directory::Directory,
    notify,
    quic::Congestion,
    server::{EncryptedConfig, QuicConfig, Server, ServerConfig},
    signals,
    signing::{Signing, SigningConfig, SigningError},
    tls::identity::PairFiles,
    traffic::Traffic,
    upgrade::{self, Own, Program, ReadOnly, Times, Upgrader},
};
use anyhow::{Context, bail};
use clap::{ArgGroup, Args};
use oca_core::placement::placement;
use serde::Serialize;
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Arguments of `serve`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("encrypted").multiple(true).args(["tls_listen", "quic_listen"])))]
pub struct ServeArgs {
    /// Directory to serve; names starting with a dot do not exist
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// Address for HTTP, e.g. 127.0.0.1:8080; port 0 = any free one
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Address for HTTPS (HTTP/1.1 and HTTP/2)
    #[arg(long, value_name = "ADDR", requires_all = ["cert", "key"])]
    pub tls_listen: Option<SocketAddr>,
    /// Certificate chain (PEM, leaf first); several for several names, each with its --key in the same order
    #[arg(long, value_name = "PEM", requires = "encrypted")]
    pub cert: Vec<PathBuf>,
    /// Private key (PEM)
    #[arg(long, value_name = "PEM", requires = "encrypted")]
    pub key: Vec<PathBuf>,
    /// File for the keys of session tickets, so that sessions are resumed after a restart
    #[arg(long, value_name = "FILE", requires = "encrypted")]
    pub ticket_keys: Option<PathBuf>,
    /// Whether the kernel seals TLS records where it can
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub kernel_tls: KernelTls,
    /// Address for HTTP/3 (UDP); HTTPS over TCP then tells of it (Alt-Svc)
    #[arg(long, value_name = "ADDR", requires_all = ["cert", "key"])]
    pub quic_listen: Option<SocketAddr>,
    /// Congestion control of HTTP/3
    #[arg(long, value_enum, value_name = "C", default_value_t)]
    pub quic_congestion: Congestion,
    /// Worker threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Address for /metrics, /healthz, /readyz, POST /v1/drain and /v1/upgrade; keep it away from viewers
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
    /// Hardware profile that budgets are computed from: a built-in name or a file
    #[arg(long, value_name = "P", default_value = "laptop")]
    pub profile: String,
    /// Access log: a file, - for standard output, or off
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub access_log: String,
    /// Longest time to finish what runs after SIGTERM
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub drain_seconds: u64,
    /// Longest time for a new process to get ready in an upgrade
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub upgrade_seconds: u64,
    /// File for the id of the process that serves, for `oca-server upgrade --pid-file`
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    #[command(flatten)]
    signing: SigningArgs,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Who seals TLS records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelTls {
    /// The kernel where it can, else this process
    Auto,
    /// This process
    Off,
}

/// Signed addresses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signed addresses")]
struct SigningArgs {
    /// Issuers' keys (JSON, docs/formats/signing-keys.md): asks for tokens by RFC 9246 or CTA-5007; read again on change
    #[arg(long, value_name = "FILE")]
    signing_keys: Option<PathBuf>,
    /// Name of the query parameter, path parameter and cookie with the token
    #[arg(long, value_name = "NAME", default_value = url_signing::DEFAULT_ATTRIBUTE, value_parser = attribute)]
    signing_attribute: String,
    /// Name that tokens with an audience must name
    #[arg(long, value_name = "NAME", requires = "signing_keys")]
    signing_audience: Option<String>,
    /// Beginning of a path that asks for a token; may be repeated
    #[arg(long = "signing-path", value_name = "PATH", default_value = "/")]
    signing_paths: Vec<String>,
}

fn attribute(name: &str) -> Result<String, url_signing::ParameterError> {
    url_signing::check_attribute(name).map(|()| name.to_owned())
}

impl SigningArgs {
    fn load(&self) -> Result<Option<Arc<Signing>>, SigningError> {
        let config = |keys| SigningConfig {
            keys,
            attribute: self.signing_attribute.clone(),
            audience: self.signing_audience.clone(),
            paths: self.signing_paths.clone(),
            fill_issuer: None,
        };
        let signing = self.signing_keys.clone().map(config).map(Signing::load);
        Ok(signing.transpose()?.map(Arc::new))
    }
}

/// Limits that tests and unusual networks change.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Most connections at once [default: by the profile]
    #[arg(long, value_name = "N")]
    max_connections: Option<usize>,
    /// Longest time for a TLS handshake
    #[arg(long, value_name = "SECONDS")]
    handshake_seconds: Option<u64>,
    /// Longest time for a request's head
    #[arg(long, value_name = "SECONDS")]
    header_seconds: Option<u64>,
    /// Longest wait for the next request
    #[arg(long, value_name = "SECONDS")]
    idle_seconds: Option<u64>,
    /// Time in which a client must take 64 KiB of a response, or the rest
    #[arg(long, value_name = "SECONDS")]
    slow_read_seconds: Option<u64>,
    /// QUIC handshakes of a worker at once above which clients must prove their address
    #[arg(long, value_name = "N")]
    unproven_handshakes: Option<usize>,
}

impl LimitArgs {
    fn apply(&self, mut limits: Limits) -> Limits {
        let set = |target: &mut Duration, seconds: Option<u64>| {
            if let Some(seconds) = seconds {
                *target = Duration::from_secs(seconds);
            }
        };
        set(&mut limits.header_time, self.header_seconds);
        set(&mut limits.handshake_time, self.handshake_seconds);
        set(&mut limits.idle_time, self.idle_seconds);
        set(&mut limits.slow_read, self.slow_read_seconds);
        limits.connections = self.max_connections.unwrap_or(limits.connections);
        limits.unproven_handshakes = self.unproven_handshakes.unwrap_or(limits.unproven_handshakes);
        limits
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = config(args)?;
    let root = Directory::open(&args.root)
        .with_context(|| format!("cannot serve --root {}", args.root.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args, config, root))
}

fn config(args: &ServeArgs) -> anyhow::Result<ServerConfig> {
    let workers = args.workers.map_or_else(machine::default_workers, usize::from);
    let profile = machine::profile(&args.profile).context("--profile")?;
    let budgets = oca_core::budget::budgets(&profile, machine::measure(workers))?;
    if args.cert.len() != args.key.len() {
        bail!(
            "{} --cert and {} --key: give one key for each certificate",
            args.cert.len(),
            args.key.len()
        );
    }
    let pairs = args.cert.iter().zip(&args.key).map(|(cert, key)| PairFiles {
        cert: cert.clone(),
        key: key.clone(),
    });
    let encrypted = (!args.cert.is_empty()).then(|| EncryptedConfig {
        tls_listen: args.tls_listen,
        quic: args.quic_listen.map(|listen| QuicConfig {
            listen,
            congestion: args.quic_congestion,
        }),
        pairs: pairs.collect(),
        tickets: args.ticket_keys.clone(),
        kernel: args.kernel_tls == KernelTls::Auto,
    });
    Ok(ServerConfig {
        listen: args.listen,
        encrypted,
        name: machine::name(),
        workers,
        placement: placement(&profile, &machine::topology(), workers),
        limits: args.limits.apply(Limits::from_budgets(&budgets)),
        signing: args.signing.load()?,
        access_log: AccessLogTarget::parse(&args.access_log),
        metrics: Arc::new(Metrics::new()),
        viewers: None, // there is nobody to tell
    })
}

async fn serve(args: &ServeArgs, config: ServerConfig, root: Directory) -> anyhow::Result<()> {
    let program = Program::of_this_process()?;
    let mut handed = Handed::from_environment()?;
    let drain = Drain::default();
    signals::stop_on_signals(drain.clone())?;
    let (upgrades, inbox) = upgrade::channel();
    signals::upgrade_on_signal(upgrades.clone())?;
    let traffic = Arc::new(Traffic::new(config.workers));
    let state = AdminState {
        metrics: Arc::clone(&config.metrics),
        drain: drain.clone(),
        readiness: Arc::new(|| Readiness {
            ready: true,
            conditions: Vec::new(),
        }),
        upgrades,
        bgp: None,
    };
    let metrics = Arc::clone(&config.metrics);
    let listener = args
        .admin_listen
        .map(|addr| admin::bind(addr, &mut handed).with_context(|| format!("--admin-listen {addr}")))
        .transpose()?;
    let admin = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let mut server = Server::start(config, &mut handed, Arc::new(root), traffic, drain.clone())?;
    handed.close_rest();
    let ready = Ready::of(&server, admin).line();
    take_over(handed.channel()?, &ready, &metrics).await;
    if let Some(listener) = listener {
        admin::start(listener, state, server.held())?;
    }
    announce(&ready, args.pid_file.as_deref(), drain.clone())?;
    server.begin();
    let times = Times {
        limit: Duration::from_secs(args.upgrade_seconds),
        drain: Duration::from_secs(args.drain_seconds),
    };
    let upgrading = Own::of(&mut server).map(|own| {
        let upgrader = Upgrader::new(program, own, drain.clone(), metrics, ReadOnly, times);
        upgrader.start_on(inbox)
    });
    say_goodbye(drain.clone());
    server.join(&drain, times.drain).await;
    if let Some(upgrading) = upgrading.filter(|_| drain.is_handed_over()) {
        upgrading.finish().await;
    }
    Ok(())
}

/// Waits until this process alone serves: at once if there is no other.
pub(crate) async fn take_over(channel: Option<Channel>, ready: &str, metrics: &Metrics) {
    if let Some(channel) = channel {
        channel.take_over(ready).await;
        metrics.counter("oca_upgrades_total", &["taken_over"]).inc();
    }
}

/// Tells the service manager when this process ends without a successor.
pub(crate) fn say_goodbye(drain: Drain) {
    tokio::spawn(async move {
        drain.stopped().await;
        if !drain.is_handed_over() {
            notify::stopping();
        }
    });
}

/// The ready line.
#[derive(Serialize)]
pub(crate) struct Ready {
    ready: &'static str,
    listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quic: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bgp: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bmp: Option<SocketAddr>,
}

impl Ready {
    /// Where a server can be reached.
    pub(crate) fn of(server: &Server, admin: Option<SocketAddr>) -> Self {
        Self {
            ready: "oca-server",
            listen: server.listen_addr(),
            tls: server.tls_addr(),
            quic: server.quic_addr(),
            admin,
            bgp: None,
            bmp: None,
        }
    }

    /// Adds where BGP neighbours connect, and routers that tell by BMP.
    pub(crate) fn with_bgp(self, bgp: Option<(SocketAddr, Option<SocketAddr>)>) -> Self {
        let (bgp, bmp) = bgp.unzip();
        let bmp = bmp.flatten();
        Self { bgp, bmp, ..self }
    }

    pub(crate) fn line(&self) -> String {
        serde_json::to_string(self).expect("text and addresses are JSON")
    }
}

/// Tells everybody that this process serves: the first line on standard output, before any access-log line can follow,
/// the service manager, and the pid file.
pub(crate) fn announce(ready: &str, pid_file: Option<&Path>, drain: Drain) -> anyhow::Result<()> {
    if let Some(file) = pid_file {
        upgrade::write_pid_file(file)?;
    }
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{ready}").and_then(|()| out.flush()); // nobody reads it: serve all the same
    notify::ready();
    notify::keep_watchdog_quiet(drain);
    Ok(())
}
