//! The serving half as one value: binds the listeners, loads the certificate, opens the access log, starts one worker
//! a core, and waits for them at the end. Whatever can fail does so here, before the first viewer.

use crate::{
    access_log::{AccessLog, AccessLogTarget},
    drain::Drain,
    limits::Limits,
    listen,
    metrics::Metrics,
    namespace::Namespace,
    tls::{self, TlsError},
    traffic::Traffic,
    worker::{self, Seed},
};
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, thread, time::Duration};
use tokio::sync::{mpsc, watch};

/// The HTTPS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Address; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// Certificate chain, PEM, leaf first.
    pub cert: PathBuf,
    /// Private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// What to serve on, checked but not yet touched.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address of the plain HTTP/1.1 listener; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// HTTPS with HTTP/1.1 and HTTP/2.
    pub tls: Option<TlsConfig>,
    /// Worker threads; at least 1, and as many as `traffic` was made for.
    pub workers: usize,
    /// What clients may use.
    pub limits: Limits,
    /// Where access-log lines go.
    pub access_log: AccessLogTarget,
    /// Where the send path counts.
    pub metrics: Arc<Metrics>,
}

/// Why serving could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, not ours, or forbidden.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The access log.
    #[error("cannot open the access log {path}: {source}", path = path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A thread.
    #[error("cannot start a worker: {0}")]
    Worker(io::Error),
    /// The counters do not fit the workers.
    #[error("{workers} workers need counters for as many, got {counters}")]
    Counters {
        /// Workers asked for.
        workers: usize,
        /// Counters given.
        counters: usize,
    },
}

/// A running server; see [`Server::join`] for its end.
#[derive(Debug)]
pub struct Server {
    listen: SocketAddr,
    tls: Option<SocketAddr>,
    threads: Vec<thread::JoinHandle<()>>,
    done: mpsc::Receiver<()>,
    cut: watch::Sender<bool>,
    log: AccessLog,
}

impl Server {
    /// Binds and starts. The workers run on threads of their own; no runtime is needed here.
    ///
    /// # Errors
    /// When an address cannot be bound, the certificate cannot be used or the access log cannot be opened.
    pub fn start(
        config: ServerConfig,
        namespace: Arc<dyn Namespace>,
        traffic: Arc<Traffic>,
        drain: Drain,
    ) -> Result<Self, StartError> {
        let workers = config.workers.max(1);
        if traffic.workers() < workers {
            return Err(StartError::Counters {
                workers,
                counters: traffic.workers(),
            });
        }
        let tls = config.tls.as_ref().map(|t| tls::Acceptors::load(&t.cert, &t.key));
        let tls = tls.transpose()?;
        let plain = bind(config.listen, workers)?;
        let secure = config.tls.as_ref().map(|t| bind(t.listen, workers)).transpose()?;
        let address = |l: &[std::net::TcpListener]| l[0].local_addr().map_err(StartError::Worker);
        let (listen, tls_addr) = (address(&plain)?, secure.as_deref().map(address).transpose()?);
        let log = AccessLog::open(&config.access_log, &config.metrics)
            .map_err(|(path, source)| StartError::AccessLog { path, source })?;
        let (cut, cut_rx) = watch::channel(false);
        let (done_tx, done) = mpsc::channel(1);
        let mut secure = secure.unwrap_or_default().into_iter();
        let mut threads = Vec::with_capacity(workers);
        let cores = worker::cores(workers);
        for (index, plain) in plain.into_iter().enumerate() {
            let seed = Seed {
                index,
                plain,
                secure: secure.next().zip(tls.clone()),
                limits: config.limits.clone(),
                log: log.sender(),
                metrics: Arc::clone(&config.metrics),
                namespace: Arc::clone(&namespace),
                traffic: Arc::clone(&traffic),
                drain: drain.clone(),
                cut: cut_rx.clone(),
                done: done_tx.clone(),
                core: cores.get(index).copied(),
            };
            threads.push(worker::spawn(seed).map_err(StartError::Worker)?);
        }
        observe(&config.metrics, &traffic);
        Ok(Self {
            listen,
            tls: tls_addr,
            threads,
            done,
            cut,
            log,
        })
    }

    /// Address of the plain listener, with the port that the kernel picked.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Address of the HTTPS listener.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// After `drain.stop()`: waits until every response that runs is finished, at most `limit`; resets what is left
    /// and writes out the access log. Returns whether all finished by themselves. Before `drain.stop()` it waits
    /// for it.
    pub async fn join(mut self, drain: &Drain, limit: Duration) -> bool {
        drain.stopped().await;
        let in_time = tokio::time::timeout(limit, self.done.recv()).await.is_ok();
        if !in_time {
            self.cut.send_replace(true);
            self.done.recv().await;
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a panic");
            }
        }
        self.log.close();
        in_time
    }
}

fn bind(addr: SocketAddr, workers: usize) -> Result<Vec<std::net::TcpListener>, StartError> {
    listen::listeners(addr, workers).map_err(|source| StartError::Listen { addr, source })
}

fn observe(metrics: &Metrics, traffic: &Arc<Traffic>) {
    let traffic = Arc::clone(traffic);
    metrics.on_scrape(move |m| {
        m.gauge("oca_connections", &[])
            .set(traffic.totals().connections as f64);
    });
}
