//! The serving half as one value: binds the listeners, loads the certificate, opens the access log, starts one worker
//! a core, and waits for them at the end. Whatever can fail does so here, before the first viewer.

use crate::{
    access_log::{AccessLog, AccessLogTarget},
    drain::Drain,
    limits::Limits,
    listen,
    metrics::Metrics,
    namespace::Namespace,
    quic::{self, Congestion, NoSuite, Quic},
    tls::{Acceptors, TlsError},
    traffic::Traffic,
    worker::{self, Seed, Shared},
};
use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};
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

/// The HTTP/3 socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuicConfig {
    /// Address; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// Certificate chain, PEM, leaf first. Not read if there is HTTPS: its identity is used.
    pub cert: PathBuf,
    /// Private key, PEM, likewise.
    pub key: PathBuf,
    /// How connections find their rate.
    pub congestion: Congestion,
}

/// What to serve on, checked but not yet touched.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address of the plain HTTP/1.1 listener; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// HTTPS with HTTP/1.1 and HTTP/2.
    pub tls: Option<TlsConfig>,
    /// HTTP/3.
    pub quic: Option<QuicConfig>,
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
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The certificate or its key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate's configuration.
    #[error(transparent)]
    Quic(#[from] NoSuite),
    /// The access log.
    #[error("cannot open the access log {path}", path = path.display())]
    AccessLog {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A thread.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
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
    quic: Option<SocketAddr>,
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
        let ServerConfig {
            listen,
            tls,
            quic,
            workers,
            limits,
            access_log,
            metrics,
        } = config;
        let workers = workers.max(1);
        if traffic.workers() < workers {
            return Err(StartError::Counters {
                workers,
                counters: traffic.workers(),
            });
        }
        let plain = bind(listen, workers)?;
        let secure = tls.map(|tls| secure(&tls, workers)).transpose()?;
        let listen = address(&plain)?;
        let tls = secure
            .as_ref()
            .map(|(listeners, _)| address(listeners))
            .transpose()?;
        let acceptors = secure.as_ref().map(|(_, acceptors)| acceptors);
        let datagrams = quic
            .map(|quic| datagrams(&quic, acceptors, workers, &limits))
            .transpose()?;
        let quic = datagrams.as_ref().map(|(sockets, _)| sockets[0].local_addr());
        let quic = quic.transpose().map_err(StartError::Worker)?;
        let log = AccessLog::open(&access_log, &metrics)
            .map_err(|(path, source)| StartError::AccessLog { path, source })?;
        let (cut, cut_rx) = watch::channel(false);
        let (done_tx, done) = mpsc::channel(1);
        observe(&metrics, &traffic);
        let shared = Shared {
            limits,
            metrics,
            namespace,
            traffic,
            alternative: quic.map(|addr| format!("h3=\":{}\"; ma=86400", addr.port()).into()),
            drain,
            cut: cut_rx,
            done: done_tx,
        };
        let threads = spawn_all(plain, secure, datagrams, &log, &shared)?;
        Ok(Self {
            listen,
            tls,
            quic,
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

    /// Address of the HTTP/3 sockets.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        self.quic
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
        drain.end();
        self.log.close();
        in_time
    }
}

fn spawn_all(
    plain: Vec<TcpListener>,
    secure: Option<(Vec<TcpListener>, Acceptors)>,
    datagrams: Option<(Vec<UdpSocket>, Quic)>,
    log: &AccessLog,
    shared: &Shared,
) -> Result<Vec<thread::JoinHandle<()>>, StartError> {
    let cores = worker::cores(plain.len());
    let (secure, acceptors) = secure.unzip();
    let mut secure = secure.unwrap_or_default().into_iter();
    let (sockets, quic) = datagrams.unzip();
    let mut sockets = sockets.unwrap_or_default().into_iter();
    let start = |(index, plain)| {
        let seed = Seed {
            index,
            core: cores.get(index).copied(),
            plain,
            secure: secure.next().zip(acceptors.clone()),
            quic: sockets.next().zip(quic.clone()),
            log: log.sender(),
            shared: shared.clone(),
        };
        worker::spawn(seed).map_err(StartError::Worker)
    };
    plain.into_iter().enumerate().map(start).collect()
}

fn secure(config: &TlsConfig, workers: usize) -> Result<(Vec<TcpListener>, Acceptors), StartError> {
    let acceptors = Acceptors::load(&config.cert, &config.key)?;
    Ok((bind(config.listen, workers)?, acceptors))
}

/// HTTP/3's sockets in the order of their workers, and what their endpoints share.
fn datagrams(
    config: &QuicConfig,
    acceptors: Option<&Acceptors>,
    workers: usize,
    limits: &Limits,
) -> Result<(Vec<UdpSocket>, Quic), StartError> {
    let own = match acceptors {
        Some(acceptors) => acceptors.clone(),
        None => Acceptors::load(&config.cert, &config.key)?,
    };
    let quic = Quic::new(own.full.config(), config.congestion, limits)?;
    let addr = config.listen;
    let sockets = quic::sockets(addr, workers.min(quic::WORKERS))
        .map_err(|source| StartError::Listen { addr, source })?;
    Ok((sockets, quic))
}

fn address(listeners: &[TcpListener]) -> Result<SocketAddr, StartError> {
    listeners[0].local_addr().map_err(StartError::Worker)
}

fn bind(addr: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, StartError> {
    listen::listeners(addr, workers).map_err(|source| StartError::Listen { addr, source })
}

fn observe(metrics: &Metrics, traffic: &Arc<Traffic>) {
    let traffic = Arc::clone(traffic);
    metrics.on_scrape(move |m| {
        m.gauge("oca_connections", &[])
            .set(traffic.totals().connections as f64);
    });
}
