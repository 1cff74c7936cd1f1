//! One worker: a thread with its own current-thread runtime, listeners, open files, log batch and counters. A
//! connection lives and dies on the worker that accepted it; workers share only read-only configuration and the
//! namespace.

use crate::{
    access_log::LogSender,
    clock::Clock,
    counters::{Counters, Cut},
    disk::Disk,
    drain::{Drain, Leaving},
    files::OpenFiles,
    handover::Held,
    http,
    limits::Limits,
    listen,
    metrics::Metrics,
    namespace::{Found, Namespace},
    quic::{self, Quic},
    signing::{Signing, gate::Gate},
    tls::{Sealing, Tls, aead::Provider, session::LocalTls},
    traffic::Traffic,
    viewers::{Viewers, watch::Watch},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use oca_core::{budget::unsent, placement::CpuId};
use std::{
    cell::{Cell, RefCell},
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener, UdpSocket},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc, watch},
    task::{LocalSet, spawn_local},
    time::MissedTickBehavior,
};

/// How often a worker flushes its counters and log batch and closes files that nobody asks for.
const TICK: Duration = Duration::from_millis(200);
/// Pause after a failed `accept` (descriptors used up): what is open goes on, new ones wait in the kernel.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Connections over the limit that a worker answers 429 at once; any further one is closed unanswered.
const SHED_SLOTS: usize = 64;

/// What all workers get alike.
#[derive(Clone)]
pub struct Shared {
    /// What clients may use.
    pub limits: Limits,
    /// Shared metrics.
    pub metrics: Arc<Metrics>,
    /// What is served.
    pub namespace: Arc<dyn Namespace>,
    /// Traffic counters.
    pub traffic: Arc<Traffic>,
    /// Whom to tell of sessions, if anybody.
    pub viewers: Option<Arc<Viewers>>,
    /// Value of `Alt-Svc` on HTTPS over TCP.
    pub alternative: Option<Arc<str>>,
    /// Whose tokens are asked for, if any are.
    pub signing: Option<Arc<Signing>>,
    /// The appliance's name, as players are told it.
    pub name: Arc<str>,
    /// Stop signal.
    pub drain: Drain,
    /// What is closed with the first worker's stop.
    pub held: Held,
    /// When to take connections.
    pub turn: Turn,
    /// Becomes true when the drain's limit is over.
    pub cut: watch::Receiver<bool>,
    /// Dropped when the worker ends.
    pub done: mpsc::Sender<()>,
}

/// The time in which a process takes new connections: from when it may until it leaves. Whoever takes some holds it.
#[derive(Debug, Clone)]
pub struct Turn {
    /// Becomes true when no other process takes them any more.
    pub begin: watch::Receiver<bool>,
    /// Dropped when this taker has stopped.
    pub busy: mpsc::Sender<()>,
}

impl Turn {
    /// Waits for the beginning; false if the process leaves before.
    pub async fn begins(&mut self, worker: &Worker) -> bool {
        tokio::select! {
            begun = self.begin.wait_for(|begun| *begun) => begun.is_ok(),
            () = worker.stopped() => false,
        }
    }
}

/// What a worker is made of; moved into its thread.
pub struct Seed {
    /// 0-based.
    pub index: usize,
    /// Processor to run on.
    pub cpu: Option<CpuId>,
    /// Plain HTTP listeners: one, or several after an upgrade to fewer workers.
    pub plain: Vec<StdListener>,
    /// HTTPS listeners.
    pub secure: Vec<StdListener>,
    /// What HTTPS is served with.
    pub tls: Option<Tls>,
    /// Access log.
    pub log: LogSender,
    /// HTTP/3 sockets, each with its lane.
    pub lanes: Vec<(u8, UdpSocket)>,
    /// What HTTP/3 is served with.
    pub quic: Option<Quic>,
    /// The rest.
    pub shared: Shared,
}

/// What the connections of a worker share.
pub struct Worker {
    /// 0-based.
    pub index: usize,
    /// What clients may use.
    pub limits: Limits,
    /// What is served.
    pub namespace: Arc<dyn Namespace>,
    /// Open files.
    pub files: RefCell<OpenFiles>,
    /// Access log.
    pub log: RefCell<LogSender>,
    /// Metrics.
    pub counters: RefCell<Counters>,
    /// Time, for headers and the log.
    pub clock: Clock,
    /// Reads of files.
    pub disk: Rc<Disk>,
    /// What TLS sessions share.
    pub tls: Rc<LocalTls>,
    /// The appliance's name, as players are told it.
    pub name: Arc<str>,
    /// Running responses that their players need at once.
    pub urgent: Rc<Cell<usize>>,
    /// Value of `Alt-Svc` on HTTPS over TCP: where HTTP/3 is.
    pub alternative: Option<Arc<str>>,
    /// Asks for tokens, if any are asked for.
    pub gate: Option<Gate>,
    /// Looks at players' sessions, if anybody is told of them.
    pub watch: Option<Watch>,
    traffic: Arc<Traffic>,
    leaving: Cell<Leaving>,
    stop: Notify,
    emptied: Notify,
    shedding: Cell<usize>,
    boundary: Cell<u64>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl Worker {
    fn new(index: usize, log: LogSender, sealing: Sealing, shared: Shared) -> Self {
        Self {
            index,
            files: RefCell::new(OpenFiles::new(shared.limits.open_files, &shared.metrics)),
            disk: Rc::new(Disk::new(shared.limits.cold_memory, &shared.metrics)),
            limits: shared.limits,
            namespace: shared.namespace,
            log: RefCell::new(log),
            counters: RefCell::new(Counters::new(shared.metrics)),
            clock: Clock::default(),
            tls: Rc::new(LocalTls::new(sealing)),
            name: shared.name,
            urgent: Rc::default(),
            alternative: shared.alternative,
            gate: shared.signing.map(Gate::new),
            traffic: shared.traffic,
            watch: shared.viewers.map(|whom| Watch::new(index, whom)),
            leaving: Cell::default(),
            stop: Notify::new(),
            emptied: Notify::new(),
            shedding: Cell::new(0),
            boundary: Cell::new(getrandom::u64().unwrap_or(index as u64)),
        }
    }

    /// Whether open connections should end after their running response.
    pub fn is_stopping(&self) -> bool {
        self.leaving() != Leaving::No
    }

    /// How the process leaves, if it does.
    pub fn leaving(&self) -> Leaving {
        self.leaving.get()
    }

    fn leave(&self, how: Leaving) {
        self.leaving.set(how);
        self.stop.notify_waiters();
    }

    /// Resolves when [`leaving`](Self::leaving) changes.
    pub async fn leaves(&self) {
        self.stop.notified().await;
    }

    /// Resolves when [`is_stopping`](Self::is_stopping) becomes true.
    pub async fn stopped(&self) {
        if !self.is_stopping() {
            self.stop.notified().await;
        }
    }

    /// Whether nine tenths of the connections that are allowed are there: players may want to look elsewhere.
    pub fn is_pressed(&self) -> bool {
        self.traffic.totals().connections * 10 >= self.limits.connections as u64 * 9
    }

    /// This worker's traffic counters.
    pub fn traffic(&self) -> &crate::traffic::WorkerTraffic {
        self.traffic.worker(self.index)
    }

    /// Whether no further connection is wanted.
    pub fn is_full(&self) -> bool {
        self.traffic.totals().connections >= self.limits.connections as u64
    }

    /// This worker's share of [`Limits::connection_memory`].
    pub fn send_memory(&self) -> u64 {
        self.limits.connection_memory.0 / self.traffic.workers().max(1) as u64
    }

    /// Counts a response that was reset because its file failed, and has the file checked.
    pub fn fault(&self, found: &Found, cause: &'static str, error: &dyn fmt::Display) {
        tracing::error!(file = %found.file.display(), %error, "response reset");
        self.counters.borrow_mut().add("oca_body_faults_total", cause, 1);
        self.files.borrow_mut().forget(found);
        if let Some(digest) = &found.digest {
            self.namespace.suspect(digest);
        }
    }

    /// A number for the boundary of a multipart response: unguessable enough that no file holds it by chance.
    pub fn boundary(&self) -> u64 {
        // SplitMix64's step: odd, so that all 2^64 values come before one repeats.
        let next = self.boundary.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.boundary.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}

/// An open connection; counts itself.
pub struct Open(Rc<Worker>);

impl Open {
    /// Counts from here to its drop.
    pub fn new(worker: &Rc<Worker>) -> Self {
        worker.traffic().connections.fetch_add(1, Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.traffic().connections.fetch_sub(1, Relaxed) == 1 {
            self.0.emptied.notify_one();
        }
    }
}

/// A connection over the limit that is answered 429.
struct ShedSlot(Rc<Worker>);

impl ShedSlot {
    fn take(worker: &Rc<Worker>) -> Option<Self> {
        let taken = worker.shedding.get();
        (taken < SHED_SLOTS).then(|| {
            worker.shedding.set(taken + 1);
            Self(Rc::clone(worker))
        })
    }
}

impl Drop for ShedSlot {
    fn drop(&mut self) {
        self.0.shedding.set(self.0.shedding.get() - 1);
    }
}

/// Starts the worker's thread. All that a worker owns is made on that thread once it is pinned, and so written first from
/// its own core: its memory is local to its node without more ado.
pub fn spawn(seed: Seed) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    thread::Builder::new()
        .name(format!("worker-{}", seed.index))
        .spawn(move || {
            if let Some(cpu) = seed.cpu {
                pin(cpu);
            }
            let local = LocalSet::new();
            local.block_on(&runtime, run(seed));
        })
}

fn pin(cpu: CpuId) {
    let mut set = CpuSet::new();
    if let Err(error) = set
        .set(cpu.0)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
    {
        tracing::debug!(cpu = cpu.0, %error, "not pinned"); // costs some cache misses, nothing else
    }
}

async fn run(seed: Seed) {
    let Shared {
        drain,
        mut cut,
        done,
        held,
        turn,
        ..
    } = seed.shared.clone();
    let none = Sealing {
        kernel: None,
        provider: Provider::Ring,
    };
    let sealing = seed.tls.as_ref().map_or(none, |tls| tls.sealing);
    let worker = Rc::new(Worker::new(seed.index, seed.log, sealing, seed.shared));
    let plain = seed.plain.into_iter().map(|l| (l, None));
    let secure = seed.secure.into_iter().map(|l| (l, seed.tls.clone()));
    let accept = |(listener, tls)| spawn_local(accept(Rc::clone(&worker), listener, tls, turn.clone()));
    let accepting: Vec<_> = plain.chain(secure).map(accept).collect();
    if let Some(quic) = seed.quic {
        for (lane, socket) in seed.lanes {
            let serving = quic::serve(Rc::clone(&worker), lane, socket, quic.clone(), turn.clone());
            spawn_local(serving); // ends with the LocalSet
        }
    }
    drop(turn);
    let ticks = spawn_local(tick(Rc::clone(&worker)));
    drain.stopped().await;
    held.let_go(); // the accept loops' descriptors are the last ones, unless another process has some
    worker.leave(drain.leaving());
    spawn_local(end_with(Rc::clone(&worker), drain));
    for task in accepting {
        if task.await.is_err() {
            tracing::error!("an accept loop ended by a panic");
        }
    }
    tokio::select! {
        () = emptied(&worker) => {}
        _ = cut.wait_for(|cut| *cut) => {
            let left = worker.traffic().connections.load(Relaxed);
            worker.counters.borrow_mut().cut(Cut::DrainLimit, left);
            tracing::warn!(connections = left, "cut at the end of the drain's limit");
        }
    }
    ticks.abort();
    drop(done); // connections that are left end with the LocalSet, reset by their own guards
}

/// A process that has handed over may be told to end.
async fn end_with(worker: Rc<Worker>, drain: Drain) {
    if worker.leaving() != Leaving::Ending {
        drain.ending().await;
        worker.leave(Leaving::Ending);
    }
}

async fn emptied(worker: &Worker) {
    while worker.traffic().connections.load(Relaxed) > 0 {
        worker.emptied.notified().await;
    }
}

async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        worker.log.borrow_mut().flush();
        worker.counters.borrow().flush();
        worker.files.borrow_mut().close_idle();
        worker.disk.look_after();
    }
}

async fn accept(worker: Rc<Worker>, listener: StdListener, tls: Option<Tls>, mut turn: Turn) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot watch a listener"),
    };
    if !turn.begins(&worker).await {
        return;
    }
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(&worker, stream, peer, tls.as_ref()),
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = worker.stopped() => break,
        }
    }
    if matches!(worker.leaving(), Leaving::HandedOver(_)) {
        return; // the queue is the other process's
    }
    // Who is in the kernel's queue already got a connection from our side: serve it instead of resetting it.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            admit(&worker, stream, peer, tls.as_ref());
        }
    }
}

fn admit(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, tls: Option<&Tls>) {
    let open = worker.traffic.totals().connections;
    listen::tune(&stream, unsent(worker.limits.connection_memory, open));
    let listener = if tls.is_some() { "tls" } else { "plain" };
    worker
        .counters
        .borrow_mut()
        .add("oca_connections_accepted_total", listener, 1);
    if worker.is_full() {
        return shed(worker, stream, peer, tls);
    }
    let open = Open::new(worker);
    let acceptor = tls.map(|t| Arc::clone(&t.full));
    let worker = Rc::clone(worker);
    spawn_local(async move {
        http::serve(&worker, stream, peer, acceptor).await;
        drop(open);
    });
}

fn shed(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, tls: Option<&Tls>) {
    worker
        .counters
        .borrow_mut()
        .add("oca_connections_shed_total", "", 1);
    let Some(slot) = ShedSlot::take(worker) else {
        return;
    };
    let acceptor = tls.map(|t| Arc::clone(&t.shed));
    let worker = Rc::clone(worker);
    spawn_local(async move {
        http::shed(&worker, stream, peer, acceptor).await;
        drop(slot);
    });
}
