//! Wires the program together: data directory, database, registry, origin, listener, janitor, signals.

use crate::{
    config::{Config, TokenArgs},
    limits,
    metrics::Metrics,
    origin::Origin,
    registry::Registry,
    rib::SharedRib,
    routes,
    secret::Secret,
    server,
    store::{Store, TokenRow},
    viewers::SharedViewers,
};
use anyhow::Context;
use bytes::Bytes;
use cdn_types::{
    Hour,
    api::v1::{REPORT_SECONDS, Role},
    time::Timestamp,
};
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, watch},
};

/// The program as its handlers see it.
pub type Shared = Arc<App>;

/// Everything that a request may need.
pub struct App {
    registry: Arc<Registry>,
    rib: SharedRib,
    viewers: SharedViewers,
    origin: Origin,
    metrics: Arc<Metrics>,
    steering_url: Option<String>,
    boot: String,
    openapi: Bytes,
    stop: watch::Receiver<bool>,
    polls: Semaphore,
    /// The fleet snapshot as it was sent last, with its generation.
    snapshot: Mutex<Option<(u64, Bytes)>>,
}

impl App {
    /// The fleet.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
    /// The routes that appliances hear.
    pub fn rib(&self) -> &SharedRib {
        &self.rib
    }
    /// What appliances saw of their viewers.
    pub fn viewers(&self) -> &SharedViewers {
        &self.viewers
    }
    /// The database, for reading.
    pub fn store(&self) -> &Store {
        self.registry.store()
    }
    /// The origin store.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
    /// Where steering is reached, if told.
    pub fn steering_url(&self) -> Option<&str> {
        self.steering_url.as_deref()
    }
    /// The API document as JSON.
    pub fn openapi(&self) -> Bytes {
        self.openapi.clone()
    }
    /// Turns true when the program is to end.
    pub fn stop(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }
    /// Places for requests that wait.
    pub fn polls(&self) -> &Semaphore {
        &self.polls
    }

    /// The snapshot of the present generation, with its `ETag`: the same bytes for the same tag, made once.
    pub fn snapshot(&self) -> (String, Bytes) {
        let mut cached = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let fleet = self.registry.fleet();
        let generation = fleet.generation();
        let tag = format!("\"{}-{generation}\"", self.boot);
        if let Some((_, body)) = cached.as_ref().filter(|(of, _)| *of == generation) {
            return (tag, body.clone());
        }
        let snapshot = fleet.snapshot(Timestamp::now(), &self.origin.info().url);
        drop(fleet);
        let body = Bytes::from(serde_json::to_vec(&snapshot).expect("wire types have no failing serializer"));
        self.metrics
            .set("nightfill_control_fleet_snapshot_bytes", &[], body.len() as u64);
        *cached = Some((generation, body.clone()));
        (tag, body)
    }
}

/// Serves until SIGTERM or SIGINT.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    make_dir(&config.data)?;
    let _lock = lock(&config.data)?;
    let store = open_store(&config.data).await?;
    first_admin(&store, &config.data).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let listen = listener.local_addr()?;
    let public_url = config.public_url.clone().unwrap_or(format!("http://{listen}"));
    let origin = Origin::build(&config, &public_url)?;
    if !origin.is_served() {
        tracing::warn!(
            store = origin.info().store,
            "nobody serves the origin store: name its server with --origin-url"
        );
    }
    let metrics = Arc::new(Metrics::default());
    let now = Timestamp::now();
    // Generations grow over restarts: they start at the clock, and no fleet changes a thousand times a second.
    let first_generation = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let registry = Registry::open(
        store.clone(),
        Arc::clone(&metrics),
        config.report_seconds,
        first_generation,
    )
    .await?;
    let (stopper, stop) = watch::channel(false);
    let (router, document) = routes::router();
    let app = Arc::new(App {
        registry: Arc::clone(&registry),
        rib: SharedRib::new(first_generation),
        viewers: SharedViewers::new(first_generation),
        origin,
        metrics,
        steering_url: config.steering_url,
        boot: format!("{:x}", getrandom::u64().context("no randomness")?),
        openapi: document.to_json().context("the API document is JSON")?.into(),
        stop: stop.clone(),
        polls: Semaphore::new(limits::LONG_POLLS),
        snapshot: Mutex::new(None),
    });
    let router = routes::finish(router, Arc::clone(&app), config.players);
    let janitor = tokio::spawn(janitor(registry, config.report_seconds));
    println!(r#"{{"ready":"control-plane","listen":"{listen}"}}"#);
    tracing::info!(%listen, data = %config.data.display(), "serving");
    tokio::spawn(async move {
        until_told_to_end().await;
        stopper.send_replace(true);
    });
    server::serve(listener, router, stop).await;
    janitor.abort();
    store.close().await;
    tracing::info!("ended");
    Ok(())
}

/// Makes an API token in the database of `--data`.
pub async fn make_token(args: &TokenArgs) -> anyhow::Result<String> {
    // A token in a database that no server reads would look good and be refused everywhere.
    anyhow::ensure!(
        args.data.join("control.db").is_file(),
        "--data {}: there is no control.db; give the directory that `control-plane serve` was started with",
        args.data.display()
    );
    let store = open_store(&args.data).await?;
    let token = add_token(&store, args.role.into(), &args.name).await?;
    store.close().await;
    Ok(token)
}

async fn add_token(store: &Store, role: Role, name: &str) -> anyhow::Result<String> {
    let secret = Secret::random().context("no randomness from the operating system")?;
    let row = TokenRow {
        role,
        name: name.to_owned(),
        appliance: None,
    };
    store.add_token(&secret.hash(), &row, Timestamp::now()).await?;
    Ok(secret.expose())
}

async fn open_store(data: &Path) -> anyhow::Result<Store> {
    let file = data.join("control.db");
    Store::open(&file)
        .await
        .with_context(|| format!("cannot open {}", file.display()))
}

/// Only the owner may look into the data directory: whoever reads the database learns who reports what.
fn make_dir(dir: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(dir)
        .with_context(|| format!("cannot make the data directory {}", dir.display()))
}

/// Two servers over one database would each keep its own fleet in memory.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("serve.lock");
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another control plane serves {}; end it first", data.display())
        }
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}

async fn first_admin(store: &Store, data: &Path) -> anyhow::Result<()> {
    if store.has_admin().await? {
        return Ok(());
    }
    let path = data.join("admin.token");
    let token = add_token(store, Role::Admin, "first start").await?;
    let write = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(token.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    tracing::warn!(file = %path.display(), "first start: the admin token was written to this file, readable by its owner only");
    Ok(())
}

/// Finds lost appliances twice a report interval; once an hour tells steering what is drawn and forgets what is too old.
async fn janitor(registry: Arc<Registry>, report_seconds: u64) {
    let mut tick = tokio::time::interval(Duration::from_millis(report_seconds.min(REPORT_SECONDS) * 500));
    let mut pruned = None;
    loop {
        tick.tick().await;
        if let Err(e) = registry.find_lost().await {
            tracing::error!(error = %e, "cannot note lost appliances");
        }
        let hour = Hour::of(Timestamp::now());
        if pruned == Some(hour) {
            continue;
        }
        pruned = Some(hour);
        if let Err(e) = registry.store().prune(hour, limits::KEEP_HOURS).await {
            tracing::error!(error = %e, "cannot forget old demand");
        }
        if let Err(e) = registry.note_demand(hour).await {
            tracing::error!(error = %e, "cannot tell steering what was drawn");
        }
        if let Err(e) = registry.forget_versions().await {
            tracing::error!(error = %e, "cannot forget old versions of titles");
        }
    }
}

async fn until_told_to_end() {
    let listen = |kind| signal(kind).expect("the runtime's signal driver is on");
    let (mut term, mut int) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
