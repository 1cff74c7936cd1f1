//! The composition root: from a checked configuration to a running service, and back to nothing on SIGTERM.

use crate::{
    config::{Config, Source},
    decisions::{DecisionLog, DecisionLogError},
    dns,
    experiments::{Running, guard::Guards},
    feedback::{Feedback, probes::Prober, viewers::ViewerFeed, worker::Worker},
    fleet::{FleetState, cache, control, feed, file},
    http::{advertisement::Cdni, server},
    key_file::KeyFileError,
    metrics::Metrics,
    policy,
    poll_rate::PollRate,
    random::Random,
    report::{Counts, Reporter},
    session::{MIN_KEY_LEN, SessionKey},
    signing::Signer,
};
use axum::http::HeaderName;
use cdn_types::time::Timestamp;
use ipnet::IpNet;
use serde_json::json;
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinHandle,
};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The key file.
    #[error("--session-key {path}: {detail}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The token.
    #[error("--token {0}: neither a readable file nor an environment variable of that name")]
    Token(String),
    /// The policy file.
    #[error("--policy {0}")]
    Policy(policy::PolicyFileError),
    /// A key file.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The snapshot file.
    #[error("--snapshot {0}")]
    Snapshot(file::FileError),
    /// The address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The HTTP client.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// The metrics table.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The system's random numbers.
    #[error("no random numbers from the system: {0}")]
    Random(getrandom::Error),
    /// The decision log.
    #[error(transparent)]
    Decisions(#[from] DecisionLogError),
    /// Signals, standard output.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What time it is; the system's but where a test passes hours at once.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// What all requests share.
pub struct Shared {
    /// The fleet.
    pub fleet: Arc<FleetState>,
    /// Makes and checks session tokens.
    pub key: SessionKey,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Sessions by outcome.
    pub counts: Arc<Counts>,
    /// For jitter.
    pub random: Arc<Random>,
    /// Address that players use, if configured.
    pub public_url: Option<String>,
    /// Address that is listened on.
    pub listen: SocketAddr,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Where trusted proxies name the viewer's country.
    pub country_header: Option<HeaderName>,
    /// Seconds between two polls of a session.
    pub ttl: u32,
    /// What players say.
    pub feedback: Arc<Feedback>,
    /// How many of them poll.
    pub poll_rate: PollRate,
    /// Polls a second from which on TTLs get longer.
    pub polls_per_second: u32,
    /// Signs addresses, if they are signed.
    pub signer: Option<Arc<Signer>>,
    /// What other networks are told, if they are.
    pub cdni: Option<Arc<Cdni>>,
    /// For ages of what is known.
    pub clock: Clock,
    /// Where decisions go.
    pub decisions: Arc<DecisionLog>,
    /// Which arms of experiments run.
    pub running: Arc<Running>,
}

/// A service that is ready to be started.
pub struct App {
    config: Config,
    key: SessionKey,
    token: Option<String>,
    metrics: Arc<Metrics>,
    fleet: Arc<FleetState>,
    random: Arc<Random>,
    signer: Option<Arc<Signer>>,
    cdni: Option<Arc<Cdni>>,
    decisions: Arc<DecisionLog>,
    running: Arc<Running>,
}

impl App {
    /// Reads the files that the configuration names. With `--snapshot` a bad file ends it here; with `--cache` it is
    /// only reported, since the control plane will mend it.
    pub fn build(config: Config) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new()?);
        let fleet = Arc::new(FleetState::new(Arc::clone(&metrics)));
        if let Some(path) = &config.policy {
            fleet.set_policy(policy::read(path).map_err(StartError::Policy)?);
        }
        let token = match &config.source {
            Source::Control { token, cache, .. } => {
                if let Some(path) = cache {
                    load_cache(path, &fleet);
                }
                token.as_deref().map(read_token).transpose()?
            }
            Source::File(path) => {
                file::load(path, &fleet).map_err(StartError::Snapshot)?;
                None
            }
        };
        let signer = config.signing.clone().map(Signer::load).transpose()?;
        let cdni = config.cdni.clone().map(Cdni::load).transpose()?;
        let running = Arc::new(Running::default());
        let guards = Guards::new(Arc::clone(&fleet), Arc::clone(&running), Arc::clone(&metrics));
        let log = config.decisions.clone();
        let decisions = DecisionLog::open(log, Some(guards), &fleet, Arc::clone(&metrics))?;
        Ok(Self {
            signer: signer.map(Arc::new),
            cdni: cdni.map(Arc::new),
            decisions: Arc::new(decisions),
            running,
            key: session_key(config.session_key.as_deref())?,
            random: Arc::new(Random::new(getrandom::u64().map_err(StartError::Random)?)),
            config,
            token,
            metrics,
            fleet,
        })
    }

    /// Listens, says so on standard output, and serves until SIGTERM or SIGINT.
    pub async fn serve(self) -> Result<(), StartError> {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let wanted = self.config.listen;
        let listener = TcpListener::bind(wanted)
            .await
            .map_err(|e| StartError::Listen(wanted, e))?;
        let listen = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let feedback = Arc::new(Feedback::new(Arc::clone(&self.metrics)));
        let mut tasks = self.spawn_followers(&counts, &feedback)?;
        let prober = self.config.probe_path.clone().map(Prober::new).transpose()?;
        let worker = Worker::new(
            Arc::clone(&feedback),
            Arc::clone(&self.fleet),
            Arc::clone(&self.metrics),
            prober,
        );
        tasks.forever.push(tokio::spawn(worker.follow()));
        let mut ready = json!({ "ready": "steering-service", "listen": listen });
        if let Some(config) = self.config.dns {
            let wanted = config.listen;
            let cannot = |e| StartError::Listen(wanted, e);
            let (fleet, metrics) = (Arc::clone(&self.fleet), Arc::clone(&self.metrics));
            let decisions = Arc::clone(&self.decisions);
            let server = dns::server::Server::bind(config, fleet, metrics, decisions)
                .await
                .map_err(cannot)?;
            ready["dns"] = json!(server.local_addr()?);
            tasks.forever.push(tokio::spawn(server.serve()));
        }
        let shared = Arc::new(Shared {
            fleet: self.fleet,
            key: self.key,
            metrics: self.metrics,
            counts,
            random: self.random,
            public_url: self.config.public_url,
            listen,
            trusted_proxies: self.config.trusted_proxies,
            country_header: self.config.country_header,
            ttl: self.config.ttl,
            feedback,
            poll_rate: PollRate::default(),
            polls_per_second: self.config.polls_per_second,
            signer: self.signer,
            cdni: self.cdni,
            clock: Box::new(Timestamp::now),
            decisions: Arc::clone(&self.decisions),
            running: self.running,
        });
        println!("{ready}");
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        server::serve(listener, self.config.proxy_protocol, shared, stop).await;
        for task in tasks.forever {
            task.abort();
            let _ = task.await; // drops the sender of snapshot texts, which lets the cache finish
        }
        self.decisions.close().await; // once no door makes any more, DNS among them
        if let Some(cache) = tasks.cache {
            let _ = cache.await;
        }
        Ok(())
    }

    fn spawn_followers(&self, counts: &Arc<Counts>, feedback: &Arc<Feedback>) -> Result<Tasks, StartError> {
        let mut tasks = Tasks::default();
        let (fleet, metrics) = (Arc::clone(&self.fleet), Arc::clone(&self.metrics));
        // Taken over in any case: left alone, the signal would end the process.
        let mut hangup = signal(SignalKind::hangup())?;
        if let Some(path) = &self.config.policy {
            let (fleet, metrics) = (Arc::clone(&fleet), Arc::clone(&metrics));
            let following = policy::follow(path.clone(), hangup, fleet, metrics);
            tasks.forever.push(tokio::spawn(following));
        } else {
            tasks.forever.push(tokio::spawn(async move {
                while hangup.recv().await.is_some() {
                    tracing::warn!("SIGHUP: there is no policy to read again; start with --policy FILE");
                }
            }));
        }
        if let Some(signer) = self.signer.clone() {
            let metrics = Arc::clone(&metrics);
            let following = async move { signer.keys.follow(&metrics).await };
            tasks.forever.push(tokio::spawn(following));
        }
        if let Some(cdni) = self.cdni.clone() {
            let metrics = Arc::clone(&metrics);
            let following = async move { cdni.keys.follow(&metrics).await };
            tasks.forever.push(tokio::spawn(following));
        }
        match &self.config.source {
            Source::File(path) => {
                tasks
                    .forever
                    .push(tokio::spawn(file::follow(path.clone(), fleet, metrics)));
            }
            Source::Control { url, cache, .. } => {
                let client = control::client()?;
                let (texts, receiver) = watch::channel(None);
                if let Some(path) = cache {
                    let (path, metrics) = (path.clone(), Arc::clone(&metrics));
                    let shown = path.display().to_string();
                    tasks.cache = Some(tokio::spawn(cache::keep(path, receiver, move |error| {
                        metrics.snapshot_errors.with_label_values(&["cache"]).inc();
                        tracing::error!("--cache {shown}: {error}");
                    })));
                }
                self.spawn_reporter(&mut tasks, url, &client, counts)?;
                let feed = feed::RouteFeed {
                    client: client.clone(),
                    url: url.clone(),
                    state: Arc::clone(&fleet),
                    metrics: Arc::clone(&metrics),
                    random: Arc::clone(&self.random),
                };
                tasks.forever.push(tokio::spawn(feed.follow()));
                let viewers = ViewerFeed {
                    client: client.clone(),
                    url: url.clone(),
                    feedback: Arc::clone(feedback),
                    metrics: Arc::clone(&metrics),
                    random: Arc::clone(&self.random),
                };
                tasks.forever.push(tokio::spawn(viewers.follow()));
                let poller = control::Poller {
                    client,
                    url: url.clone(),
                    state: fleet,
                    metrics,
                    random: Arc::clone(&self.random),
                    texts,
                };
                tasks.forever.push(tokio::spawn(poller.follow()));
            }
        }
        Ok(tasks)
    }

    fn spawn_reporter(
        &self,
        tasks: &mut Tasks,
        url: &str,
        client: &reqwest::Client,
        counts: &Arc<Counts>,
    ) -> Result<(), StartError> {
        let Some(token) = self.token.clone() else {
            tracing::info!("no --token: decisions are counted in /metrics only");
            return Ok(());
        };
        let reporter = Reporter {
            client: client.clone(),
            url: url.to_owned(),
            token,
            boot: format!("{:016x}", getrandom::u64().map_err(StartError::Random)?),
            counts: Arc::clone(counts),
            metrics: Arc::clone(&self.metrics),
        };
        tasks.forever.push(tokio::spawn(reporter.follow()));
        Ok(())
    }
}

#[derive(Default)]
struct Tasks {
    forever: Vec<JoinHandle<()>>,
    cache: Option<JoinHandle<()>>,
}

fn load_cache(path: &Path, fleet: &FleetState) {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => {
            tracing::warn!("--cache {}: {error}", path.display());
            return;
        }
    };
    match fleet.install(&text, |fleet| fleet.index.taken_at) {
        Ok(fleet) => tracing::info!(
            generation = fleet.index.generation,
            "started from the cached snapshot"
        ),
        Err(error) => tracing::warn!("--cache {}: {error}", path.display()),
    }
}

fn read_token(file_or_env: &str) -> Result<String, StartError> {
    let text = std::fs::read_to_string(file_or_env).or_else(|_| std::env::var(file_or_env));
    match text.as_deref().map(str::trim) {
        Ok(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(StartError::Token(file_or_env.to_owned())),
    }
}

fn session_key(path: Option<&Path>) -> Result<SessionKey, StartError> {
    let Some(path) = path else {
        let mut secret = [0u8; 32];
        getrandom::fill(&mut secret).map_err(StartError::Random)?;
        tracing::info!("no --session-key: sessions are not known to other replicas, nor after a restart");
        return Ok(SessionKey::new(&secret).expect("32 bytes are enough"));
    };
    let wrong = |detail: String| StartError::Key {
        path: path.to_owned(),
        detail,
    };
    let text = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    SessionKey::new(text.trim_ascii())
        .ok_or_else(|| wrong(format!("the key must have at least {MIN_KEY_LEN} bytes")))
}
