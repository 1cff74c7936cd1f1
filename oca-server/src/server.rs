//! The serving half as one value: binds the listeners, loads the certificate, opens the access log, starts one worker
//! a core, and waits for them at the end. Whatever can fail does so here, before the first viewer.

use crate::{
    access_log::{AccessLog, AccessLogTarget},
    drain::Drain,
    handover::{Handed, Held, Links, Role},
    limits::Limits,
    listen,
    metrics::Metrics,
    namespace::Namespace,
    quic::{self, Congestion, FromNewerEnds, Generations, NoSuite, Quic},
    signing::{self, Signing},
    tls::{
        Tls,
        identity::{PairFiles, TlsError},
        watch,
    },
    traffic::Traffic,
    viewers::Viewers,
    worker::{self, Seed, Shared, Turn},
};
use oca_core::placement::Placement;
use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::{self, mpsc};

/// HTTPS and HTTP/3, which have one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedConfig {
    /// Address of HTTPS over TCP; port 0 = the kernel picks.
    pub tls_listen: Option<SocketAddr>,
    /// HTTP/3.
    pub quic: Option<QuicConfig>,
    /// Certificates and their keys; the first is shown where no name fits.
    pub pairs: Vec<PairFiles>,
    /// Where the keys of session tickets are kept; absent = tickets end with the process.
    pub tickets: Option<PathBuf>,
    /// Whether the kernel may seal records, if it can.
    pub kernel: bool,
}

/// The HTTP/3 socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuicConfig {
    /// Address; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// How connections find their rate.
    pub congestion: Congestion,
}

/// What to serve on, checked but not yet touched.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Address of the plain HTTP/1.1 listener; port 0 = the kernel picks.
    pub listen: SocketAddr,
    /// HTTPS with HTTP/1.1 and HTTP/2, and HTTP/3.
    pub encrypted: Option<EncryptedConfig>,
    /// The appliance's name, as players are told it (`CMSD-Dynamic`).
    pub name: Arc<str>,
    /// Worker threads; at least 1, and as many as `traffic` was made for.
    pub workers: usize,
    /// Where they run.
    pub placement: Placement,
    /// What clients may use.
    pub limits: Limits,
    /// Whose tokens are asked for, if any are.
    pub signing: Option<Arc<Signing>>,
    /// Where access-log lines go.
    pub access_log: AccessLogTarget,
    /// Where the send path counts.
    pub metrics: Arc<Metrics>,
    /// Whom workers tell of sessions, if anybody.
    pub viewers: Option<Arc<Viewers>>,
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
    cut: sync::watch::Sender<bool>,
    begin: sync::watch::Sender<bool>,
    busy: Option<mpsc::Receiver<()>>,
    held: Held,
    generation: u8,
    from_newer: FromNewerEnds,
    log: AccessLog,
    _watch: Option<watch::Watch>,
    _keys_watch: Option<signing::watch::Watch>,
}

impl Server {
    /// Takes from `handed` what there is, binds the rest, and starts; clients are taken from [`begin`](Self::begin) on. The
    /// workers run on threads of their own; no runtime is needed here.
    ///
    /// # Errors
    /// When an address cannot be bound, the certificate cannot be used or the access log cannot be opened.
    pub fn start(
        config: ServerConfig,
        handed: &mut Handed,
        namespace: Arc<dyn Namespace>,
        traffic: Arc<Traffic>,
        drain: Drain,
    ) -> Result<Self, StartError> {
        let ServerConfig {
            listen,
            encrypted,
            name,
            workers,
            placement,
            limits,
            signing,
            access_log,
            metrics,
            viewers,
        } = config;
        let workers = workers.max(1);
        if traffic.workers() < workers {
            return Err(StartError::Counters {
                workers,
                counters: traffic.workers(),
            });
        }
        let mut ground = Ground {
            handed,
            held: Held::default(),
            workers,
        };
        let plain = ground.listeners(Role::Http, listen)?;
        let listen = address(&plain)?;
        let from_newer = FromNewerEnds::default();
        let generations = Generations {
            own: ground.handed.generation(),
            older: ground.handed.take_links(),
            from_newer: from_newer.clone(),
        };
        let generation = generations.own;
        ground.keep_links(&generations).map_err(StartError::Worker)?;
        let encrypted = encrypted
            .map(|e| Encrypted::bind(&e, &mut ground, &limits, generations))
            .transpose()?;
        let held = ground.held;
        let (tls, quic) = encrypted
            .as_ref()
            .map_or(Ok((None, None)), Encrypted::addresses)?;
        let log = AccessLog::open(&access_log, &metrics)
            .map_err(|(path, source)| StartError::AccessLog { path, source })?;
        let (cut, cut_rx) = sync::watch::channel(false);
        let (done_tx, done) = mpsc::channel(1);
        let (begin, begin_rx) = sync::watch::channel(false);
        let (busy_tx, busy) = mpsc::channel(1);
        observe(&metrics, &traffic);
        let shared = Shared {
            limits,
            metrics,
            namespace,
            traffic,
            viewers,
            name,
            signing: signing.clone(),
            alternative: quic.map(|addr| format!("h3=\":{}\"; ma=86400", addr.port()).into()),
            drain,
            held: held.clone(),
            turn: Turn {
                begin: begin_rx,
                busy: busy_tx,
            },
            cut: cut_rx,
            done: done_tx,
        };
        let watch = encrypted
            .as_ref()
            .map(|e| watch::start(e.tls.clone(), &shared.metrics));
        let keys_watch = signing.map(|s| signing::watch::start(s, Arc::clone(&shared.metrics)));
        let threads = spawn_all(workers, plain, encrypted, &placement, &log, &shared)?;
        Ok(Self {
            listen,
            tls,
            quic,
            threads,
            done,
            cut,
            begin,
            busy: Some(busy),
            held,
            generation,
            from_newer,
            log,
            _watch: watch.transpose().map_err(StartError::Worker)?,
            _keys_watch: keys_watch.transpose().map_err(StartError::Worker)?,
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

    /// Takes clients from here on: this process is ready, and no other takes them.
    pub fn begin(&self) {
        self.begin.send_replace(true);
    }

    /// What another process can be given.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The number of this process among those that had the sockets.
    pub fn generation(&self) -> u8 {
        self.generation
    }

    /// Where the ends of the ways from a newer process are put before it takes over.
    pub fn from_newer(&self) -> FromNewerEnds {
        self.from_newer.clone()
    }

    /// Closed when nothing takes new clients any more; can be had once.
    pub fn take_busy(&mut self) -> Option<mpsc::Receiver<()>> {
        self.busy.take()
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
    workers: usize,
    plain: Vec<TcpListener>,
    encrypted: Option<Encrypted>,
    placement: &Placement,
    log: &AccessLog,
    shared: &Shared,
) -> Result<Vec<thread::JoinHandle<()>>, StartError> {
    let (tls, quic, listeners, sockets) = match encrypted {
        Some(e) => (Some(e.tls), e.quic, e.listeners, e.sockets),
        None => Default::default(),
    };
    let deal = |listeners| listen::deal(listeners, workers).map_err(StartError::Worker);
    let (mut plain, mut secure) = (deal(plain)?.into_iter(), deal(listeners)?.into_iter());
    let mut lanes: Vec<Vec<(u8, UdpSocket)>> = (0..workers).map(|_| Vec::new()).collect();
    for (lane, socket) in (0..=u8::MAX).zip(sockets) {
        lanes[usize::from(lane) % workers].push((lane, socket));
    }
    let start = |(index, lanes)| {
        let seed = Seed {
            index,
            cpu: placement.cpu(index),
            plain: plain.next().unwrap_or_default(),
            secure: secure.next().unwrap_or_default(),
            tls: tls.clone(),
            lanes,
            quic: quic.clone(),
            log: log.sender(),
            shared: shared.clone(),
        };
        worker::spawn(seed).map_err(StartError::Worker)
    };
    lanes.into_iter().enumerate().map(start).collect()
}

/// Where sockets come from, and where a descriptor of each is kept.
struct Ground<'a> {
    handed: &'a mut Handed,
    held: Held,
    workers: usize,
}

impl Ground<'_> {
    /// What was handed over for `role`, or else one listener a worker.
    fn listeners(&mut self, role: Role, addr: SocketAddr) -> Result<Vec<TcpListener>, StartError> {
        let given = self.handed.take(role, addr);
        let all = match given.is_empty() {
            true => listen::listeners(addr, self.workers),
            false => Ok(given.into_iter().map(TcpListener::from).collect()),
        };
        all.and_then(|all| self.held.keep(role, &all).map(|()| all))
            .map_err(|source| StartError::Listen { addr, source })
    }

    /// The same for HTTP/3.
    fn sockets(&mut self, addr: SocketAddr) -> Result<Vec<UdpSocket>, StartError> {
        let role = Role::Quic;
        let given = self.handed.take(role, addr);
        let all = match given.is_empty() {
            true => quic::sockets(addr, self.workers.min(quic::WORKERS)),
            false if self.handed.has_predecessor() => Ok(given.into_iter().map(UdpSocket::from).collect()),
            false => quic::given(given),
        };
        all.and_then(|all| self.held.keep(role, &all).map(|()| all))
            .map_err(|source| StartError::Listen { addr, source })
    }

    fn keep_links(&self, generations: &Generations) -> io::Result<()> {
        let links: io::Result<_> = generations.older.iter().map(Links::try_clone).collect();
        self.held.keep_links(links?);
        Ok(())
    }
}

/// What HTTPS and HTTP/3 are served with, bound: each worker gets a listener and a socket, in order.
struct Encrypted {
    tls: Tls,
    listeners: Vec<TcpListener>,
    sockets: Vec<UdpSocket>,
    quic: Option<Quic>,
}

impl Encrypted {
    fn bind(
        config: &EncryptedConfig,
        ground: &mut Ground<'_>,
        limits: &Limits,
        generations: Generations,
    ) -> Result<Self, StartError> {
        let tls = Tls::load(&config.pairs, config.tickets.as_deref(), config.kernel)?;
        let listeners = config
            .tls_listen
            .map_or(Ok(Vec::new()), |addr| ground.listeners(Role::Https, addr))?;
        let sockets = config
            .quic
            .map_or(Ok(Vec::new()), |quic| ground.sockets(quic.listen))?;
        let quic = config
            .quic
            .map(|quic| Quic::new(&tls.full, quic.congestion, limits, generations))
            .transpose()?;
        Ok(Self {
            tls,
            listeners,
            sockets,
            quic,
        })
    }

    /// Addresses of HTTPS and HTTP/3, with the ports that the kernel picked.
    fn addresses(&self) -> Result<(Option<SocketAddr>, Option<SocketAddr>), StartError> {
        let tls = self.listeners.first().map(TcpListener::local_addr).transpose();
        let quic = self.sockets.first().map(UdpSocket::local_addr).transpose();
        Ok((
            tls.map_err(StartError::Worker)?,
            quic.map_err(StartError::Worker)?,
        ))
    }
}

fn address(listeners: &[TcpListener]) -> Result<SocketAddr, StartError> {
    listeners[0].local_addr().map_err(StartError::Worker)
}

fn observe(metrics: &Metrics, traffic: &Arc<Traffic>) {
    let traffic = Arc::clone(traffic);
    metrics.on_scrape(move |m| {
        m.gauge("oca_connections", &[])
            .set(traffic.totals().connections as f64);
    });
}
