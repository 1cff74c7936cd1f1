//! `oca-server run` and `oca-server check`: the composition of an appliance. Serving comes first and needs nobody:
//! what the folder holds is offered before the control plane was asked for anything, and goes on when it is away.

use crate::{
    access_log::AccessLogTarget,
    admin::{self, AdminState, Readiness},
    bgp::{Listeners, Speaker, publish},
    config::{Config, Problem},
    control::{Control, Identity, join::Joining},
    drain::Drain,
    drive_watch::DriveWatch,
    fill::{FillContext, FillHold, Filler, Shown, fetch::Fetcher},
    handover::Handed,
    limits::Limits,
    machine,
    metrics::Metrics,
    plan_watch::{PlanWatch, Plans},
    report::{Facts, Presence, Reporter, conditions::Conditions},
    serve,
    server::{EncryptedConfig, Server, ServerConfig},
    signals,
    signing::Signing,
    store::{self, Budget, Store, keeper::Keeper},
    traffic::Traffic,
    upgrade::{self, Own, Program, Times, Upgrader, Upgrades, Writer},
    viewers::{Viewers, publish::Publisher},
};
use anyhow::{Context, anyhow, bail};
use cdn_types::{
    Bytes,
    api::v1::{Capacity, JoinRequest},
};
use clap::Args;
use oca_core::{
    budget::Budgets,
    placement::{Placement, placement},
};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// Threads of the runtime that fills, reports and answers the operator. Workers have threads of their own.
const CONTROL_THREADS: usize = 2;
/// Longest time to finish what runs after SIGTERM.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Longest time for a new process to get ready in an upgrade.
const UPGRADE_TIME: Duration = Duration::from_secs(60);
/// Longest wait for work on the disk at the end.
const DISK_TIME: Duration = Duration::from_secs(5);

/// Arguments of `run` and `check`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The appliance's configuration (TOML; docs/formats/appliance-config.md)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// File for the id of the process that serves, for `oca-server upgrade --pid-file`
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
}

/// What a checked configuration comes to on this machine.
#[derive(Debug)]
struct Settled {
    config: Config,
    profile: String,
    workers: usize,
    placement: Placement,
    budgets: Budgets,
    capacity: Capacity,
    /// What will not work as written, and does not keep it from starting.
    warnings: Vec<Problem>,
}

/// Says what is wrong with a configuration, or what it comes to.
///
/// # Errors
/// When the file cannot be read or has problems, which are printed one a line before.
pub fn check(args: &ConfigArgs) -> anyhow::Result<()> {
    let settled = match read(&args.config)? {
        Ok(settled) => settled,
        Err(problems) => {
            for problem in &problems {
                eprintln!("{}", problem.in_file(&args.config));
            }
            let s = if problems.len() == 1 { "" } else { "s" };
            bail!("{}: {} problem{s}", args.config.display(), problems.len());
        }
    };
    for warning in &settled.warnings {
        eprintln!("warning: {}", warning.in_file(&args.config));
    }
    let (c, b, k) = (&settled.config, &settled.budgets, &settled.capacity);
    println!("ok: {}", args.config.display());
    for (name, value) in [
        ("appliance", c.id.to_string()),
        ("control", c.control.clone()),
        ("root", c.root.display().to_string()),
        ("drives", drive_list(c)),
        ("profile", settled.profile.clone()),
        ("workers", settled.workers.to_string()),
        ("placement", settled.placement.to_string()),
        (
            "storage",
            format!("{}, leaving {} of the file system free", k.storage, c.min_free),
        ),
        ("egress", k.egress.to_string()),
        (
            "fill_rate",
            format!("{} by {} requests at once", k.fill_rate, c.fill_parallel),
        ),
        ("connections", b.connections.to_string()),
        ("open files", format!("{} a worker", b.open_files_per_worker)),
        ("ram_hot", b.ram_hot.to_string()),
    ] {
        println!("  {name:<12} {value}");
    }
    Ok(())
}

fn drive_list(config: &Config) -> String {
    let drives: Vec<_> = config.drives.iter().map(|d| d.display().to_string()).collect();
    if drives.is_empty() {
        "the root".to_owned()
    } else {
        drives.join(", ")
    }
}

/// Runs the appliance until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let file = &args.config.config;
    let settled = read(file)?.map_err(|problems| {
        let more = match problems.len() {
            1 => String::new(),
            n => format!(
                " (and {} more: oca-server check --config {})",
                n - 1,
                file.display()
            ),
        };
        anyhow!("{}{more}", problems[0].in_file(file))
    })?;
    for warning in &settled.warnings {
        tracing::warn!("{}", warning.in_file(file));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()?;
    let result = runtime.block_on(start_and_serve(settled, args.pid_file.as_deref()));
    runtime.shutdown_timeout(DISK_TIME);
    result
}

/// Reads, checks and settles a configuration; touches nothing but what it reads.
fn read(file: &Path) -> anyhow::Result<Result<Settled, Vec<Problem>>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let folder = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(Config::parse(&text, folder).and_then(settle))
}

fn settle(config: Config) -> Result<Settled, Vec<Problem>> {
    let problems = config.probe();
    if !problems.is_empty() {
        return Err(problems);
    }
    let profile = config.hardware().map_err(|p| vec![p])?;
    let cores = machine::default_workers().min(profile.cores as usize);
    let workers = config.workers.unwrap_or(cores);
    let budgets = oca_core::budget::budgets(&profile, machine::measure(workers))
        .map_err(|e| vec![config.problem("profile", e.to_string())])?;
    let room = disk_room(&config)?;
    let capacity = Capacity {
        // What the operator says counts; what a profile says, as far as the drives of this machine go.
        storage: config.storage.unwrap_or(profile.storage().min(room)),
        egress: config.egress.unwrap_or(profile.safe_egress),
        fill_rate: config.fill_rate.unwrap_or(budgets.fill_rate),
    };
    let too_much = capacity.storage > room;
    let warning = || {
        let what = format!(
            "{} is more than the file system of root or drives holds ({room}): the fill stops when it is full",
            capacity.storage
        );
        config.problem("storage", what)
    };
    Ok(Settled {
        warnings: too_much.then(warning).into_iter().collect(),
        placement: placement(&profile, &machine::topology(), workers),
        profile: profile.name,
        workers,
        budgets,
        capacity,
        config,
    })
}

/// What the file systems of the drives, or of the root without drives, have room for, whatever the profile says.
fn disk_room(config: &Config) -> Result<Bytes, Vec<Problem>> {
    let (key, folders) = match config.drives.as_slice() {
        [] => ("root", std::slice::from_ref(&config.root)),
        drives => ("drives", drives),
    };
    let (mut room, mut total) = (0u64, Bytes(0));
    for folder in folders {
        let there = folder.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        match store::layout::total_space(there) {
            Ok(bytes) => {
                total.0 = total.0.saturating_add(bytes.0);
                room = room.saturating_add(bytes.0.saturating_sub(config.min_free.0));
            }
            Err(_) if key == "drives" => {} // the store says what is wrong with it, and goes on without it
            Err(e) => {
                let what = format!("cannot look at {}: {e}", there.display());
                return Err(vec![config.problem(key, what)]);
            }
        }
    }
    if room == 0 {
        let what = format!("the file system of {key} has {total} in all: nothing would be left to fill");
        return Err(vec![config.problem("min_free", what)]);
    }
    Ok(Bytes(room))
}

/// The running parts that know each other.
struct Appliance {
    config: Config,
    profile: String,
    control: Control,
    conditions: Conditions,
    metrics: Arc<Metrics>,
    drain: Drain,
    store: Arc<Store>,
    traffic: Arc<Traffic>,
    viewers: Arc<Viewers>,
    plans: Plans,
    fetched: Arc<AtomicU64>,
    fetcher: Fetcher,
    presence: Presence,
    hold: FillHold,
    bgp: Option<Arc<Speaker>>,
}

/// The half that writes: the fill, and the lock that says whose the folder is.
struct FolderWriter {
    store: Arc<Store>,
    hold: FillHold,
}

impl Writer for FolderWriter {
    async fn pause(&mut self) {
        self.hold.pause().await;
        self.store.let_go();
    }

    async fn resume(&mut self) {
        if let Err(error) = self.store.take_again() {
            tracing::error!(%error, "the folder cannot be taken again: nothing is filled until a restart");
            return;
        }
        self.hold.resume();
    }
}

async fn start_and_serve(settled: Settled, pid_file: Option<&Path>) -> anyhow::Result<()> {
    let program = Program::of_this_process()?;
    let mut handed = Handed::from_environment()?;
    let mut channel = handed.channel()?;
    let drain = Drain::default();
    signals::stop_on_signals(drain.clone())?;
    let (upgrades, inbox) = upgrade::channel();
    signals::upgrade_on_signal(upgrades.clone())?;
    let config = settled.config.clone();
    let budget = Budget {
        storage: settled.capacity.storage,
        min_free: config.min_free,
    };
    if let Some(channel) = &mut channel {
        channel.ask_for_store().await;
    }
    let store = Arc::new(Store::open_with_drives(
        &config.root,
        &config.drives,
        budget,
        settled.workers,
    )?);
    let identity = Identity::load(&store.layout().identity(), &config.id)
        .with_context(|| store.layout().identity().display().to_string())?;
    if identity.is_none() && config.join_token.is_none() {
        bail!(
            "{} has not joined yet: give join_token or join_token_file",
            config.id
        );
    }
    let metrics = Arc::new(Metrics::new());
    let traffic = Arc::new(Traffic::new(settled.workers));
    let namespace = store.clone();
    let ram_hot = settled.budgets.ram_hot;
    let keeper = Arc::new(Keeper::new(
        store.clone(),
        ram_hot,
        metrics.clone(),
        drain.clone(),
    ));
    let keeping = tokio::spawn(keeper.run());
    let signing = config
        .signing
        .clone()
        .map(Signing::load)
        .transpose()?
        .map(Arc::new);
    let viewers = Arc::new(Viewers::new(settled.workers));
    let mut server = Server::start(
        ServerConfig {
            viewers: Some(viewers.clone()),
            ..server_config(&settled, signing.clone(), metrics.clone())
        },
        &mut handed,
        namespace,
        traffic.clone(),
        drain.clone(),
    )?;
    let presence = Presence {
        base_url: config
            .base_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", server.listen_addr())),
        capacity: settled.capacity,
        report_seconds: config.report_seconds,
    };
    let listener = config.admin_listen.map(|addr| {
        let bound = admin::bind(addr, &mut handed);
        bound.with_context(|| format!("admin_listen {addr}"))
    });
    let listener = listener.transpose()?;
    let speaking = config.bgp.as_ref();
    let speaking = speaking.map(|b| Listeners::bind(b, &mut handed)).transpose()?;
    handed.close_rest();
    let bound = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let heard = speaking.as_ref().map(Listeners::addresses).transpose()?;
    let ready = serve::Ready::of(&server, bound).with_bgp(heard).line();
    let plans = Plans::load(store.layout(), &config.id)?;
    let hold = FillHold::default();
    let writer = FolderWriter {
        store: store.clone(),
        hold: hold.clone(),
    };
    let mut appliance = Appliance {
        bgp: None,
        control: Control::new(config.control.clone())?,
        conditions: Conditions::default(),
        plans,
        hold,
        fetched: Arc::default(),
        fetcher: Fetcher::new(config.fill_parallel, signing)?,
        profile: settled.profile,
        metrics: metrics.clone(),
        drain: drain.clone(),
        store,
        traffic,
        viewers,
        presence,
        config,
    };
    serve::take_over(channel, &ready, &metrics).await;
    if let Some((listeners, config)) = speaking.zip(appliance.config.bgp.clone()) {
        let speaker = Speaker::start(config, listeners, metrics.clone(), server.held(), &drain)?;
        appliance.bgp = Some(speaker);
    }
    if let Some(listener) = listener {
        appliance.start_admin(listener, upgrades, &server)?;
    }
    serve::announce(&ready, pid_file, drain.clone())?;
    server.begin();
    let tasks = appliance.spawn(identity)?;
    let times = Times {
        limit: UPGRADE_TIME,
        drain: DRAIN_TIME,
    };
    let upgrading = Own::of(&mut server).map(|own| {
        let upgrader = Upgrader::new(program, own, drain.clone(), metrics, writer, times);
        upgrader.start_on(inbox)
    });
    serve::say_goodbye(drain.clone());
    server.join(&drain, DRAIN_TIME).await;
    if let Some(upgrading) = upgrading.filter(|_| drain.is_handed_over()) {
        upgrading.finish().await;
    }
    let _ = tokio::time::timeout(DISK_TIME, keeping).await;
    for task in tasks {
        let _ = tokio::time::timeout(DISK_TIME, task).await; // it ends with the process in any case
    }
    Ok(())
}

fn server_config(settled: &Settled, signing: Option<Arc<Signing>>, metrics: Arc<Metrics>) -> ServerConfig {
    let config = &settled.config;
    ServerConfig {
        listen: config.listen,
        encrypted: config.encrypted.clone().map(|e| EncryptedConfig {
            tickets: Some(config.root.join("tickets.key")),
            ..e
        }),
        name: config.id.as_str().into(),
        workers: settled.workers,
        placement: settled.placement.clone(),
        limits: Limits::from_budgets(&settled.budgets),
        signing,
        access_log: AccessLogTarget::parse(&config.access_log),
        metrics,
        viewers: None,
    }
}

impl Appliance {
    fn start_admin(&self, listener: TcpListener, upgrades: Upgrades, server: &Server) -> std::io::Result<()> {
        let store = self.store.clone();
        self.metrics.on_scrape(move |m| {
            m.gauge("oca_store_objects", &[])
                .set(store.inventory().1.len() as f64);
            m.gauge("oca_store_bytes", &[]).set(store.used().0 as f64);
        });
        let conditions = self.conditions.clone();
        let state = AdminState {
            metrics: self.metrics.clone(),
            drain: self.drain.clone(),
            readiness: Arc::new(move || Readiness {
                ready: true,
                conditions: conditions.list(),
            }),
            upgrades,
            bgp: self.bgp.clone(),
        };
        admin::start(listener, state, server.held())
    }

    /// Starts filling from the kept plan at once, and the rest as soon as there is an identity.
    fn spawn(self, identity: Option<Identity>) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let (filler, shown) = Filler::new(FillContext {
            store: self.store.clone(),
            control: self.control.clone(),
            fetcher: self.fetcher.clone(),
            conditions: self.conditions.clone(),
            metrics: self.metrics.clone(),
            fetched: self.fetched.clone(),
            parallel: self.config.fill_parallel,
            rate: self.presence.capacity.fill_rate,
            hold: self.hold.clone(),
        });
        let (plans, drain) = (self.plans.clone(), self.drain.clone());
        let fill = tokio::spawn(async move { filler.run(&plans, drain).await });
        let boot = boot_name()?;
        let watch = DriveWatch {
            store: self.store.clone(),
            conditions: self.conditions.clone(),
            metrics: self.metrics.clone(),
            stall: self.config.drive_stall,
        };
        let drives = tokio::spawn(watch.run(self.drain.clone()));
        let fleet = tokio::spawn(self.take_part(identity, shown, boot));
        Ok(vec![fill, fleet, drives])
    }

    /// Joins if need be, then follows plans and reports.
    async fn take_part(self, identity: Option<Identity>, fill: watch::Receiver<Shown>, boot: String) {
        let identity = match identity {
            Some(identity) => Some(identity),
            None => self.join().await,
        };
        let Some(identity) = identity else {
            return;
        };
        let watch = PlanWatch {
            control: self.control.clone(),
            identity: identity.clone(),
            layout: self.store.layout().clone(),
            plans: self.plans,
            conditions: self.conditions.clone(),
            metrics: self.metrics.clone(),
        };
        let facts = Facts {
            store: self.store,
            traffic: self.traffic,
            fill,
            fetched: self.fetched,
            conditions: self.conditions,
            drain: self.drain.clone(),
            metrics: self.metrics.clone(),
        };
        let publisher = Publisher {
            viewers: self.viewers,
            control: self.control.clone(),
            identity: identity.clone(),
            boot: boot.clone(),
            metrics: self.metrics,
        };
        tokio::spawn(publisher.run(self.drain.clone()));
        if let Some(speaker) = self.bgp {
            let (control, drain) = (self.control.clone(), self.drain.clone());
            tokio::spawn(publish::run(
                speaker,
                control,
                identity.clone(),
                boot.clone(),
                drain,
            ));
        }
        let reporter = Reporter::new(self.control, identity, self.presence, facts, boot);
        tokio::join!(watch.run(self.drain), reporter.run());
    }

    async fn join(&self) -> Option<Identity> {
        let joining = Joining {
            control: self.control.clone(),
            secret: self.config.join_token.clone()?,
            request: JoinRequest {
                token: String::new(),
                appliance: self.config.id.clone(),
                base_url: self.presence.base_url.clone(),
                profile: self.profile.clone(),
                capacity: self.presence.capacity,
            },
            conditions: self.conditions.clone(),
            metrics: self.metrics.clone(),
        };
        joining.run(&self.store.layout().identity(), &self.drain).await
    }
}

/// A random name of this run.
fn boot_name() -> anyhow::Result<String> {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).map_err(|e| anyhow!("no random numbers: {e}"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}
