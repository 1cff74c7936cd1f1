//! One thread of the client: its own runtime, its share of the connections, its own counts. Nothing is shared with other threads
//! but a few counters and the word to stop.

use super::{
    Http,
    choice::{Dice, Sweep, Wish, part},
    dial,
    exchange::{Exchange, Original},
    fault::Fault,
    h1::{H1, Scratch},
    h2::H2,
    h3::{self, H3},
    pace::Pace,
    setup::Setup,
    tally::{Live, Results, Tally},
    tls::TlsStream,
    wire::Wire,
};
use anyhow::Context;
use futures_util::future::join_all;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use quinn::Endpoint;
use std::{
    cell::RefCell,
    fs::File,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    runtime,
    sync::{Semaphore, watch},
    task::{JoinSet, LocalSet, yield_now},
    time::{sleep, timeout},
};

/// Wait after a connection that could not be made.
const RETRY: Duration = Duration::from_millis(100);
/// Handshakes of a thread at a time: more would only wait for each other, and overflow the server's queue.
const HANDSHAKES: usize = 64;
/// Up to this many QUIC connections have a socket each, as viewers have; more share one a thread.
const OWN_SOCKETS: usize = 256;
/// Time for the last packets of QUIC connections.
const FAREWELL: Duration = Duration::from_millis(100);
/// What an idle connection asks for at its start.
const SMALL: u64 = 1024;

/// What all threads of a run share.
pub(super) struct Shared {
    /// What to do.
    pub setup: Setup,
    live: Arc<Live>,
    stop: watch::Receiver<bool>,
    /// Requests that were begun, and how many may be.
    begun: AtomicU64,
    most: u64,
    sweep: Option<Sweep>,
}

impl Shared {
    /// A run of at most `requests` that counts in `live` and ends when `stop` turns true.
    pub(super) fn new(
        setup: Setup,
        requests: Option<u64>,
        live: Arc<Live>,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let sweep = setup.sweep();
        let most = requests.or_else(|| sweep.as_ref().map(Sweep::count));
        Self {
            setup,
            live,
            stop,
            begun: AtomicU64::new(0),
            most: most.unwrap_or(u64::MAX),
            sweep,
        }
    }

    /// Takes the right to make one request: its number.
    fn claim(&self) -> Option<u64> {
        let next = |begun: u64| (begun < self.most).then_some(begun + 1);
        self.begun.fetch_update(Relaxed, Relaxed, next).ok()
    }

    fn has_more(&self) -> bool {
        self.begun.load(Relaxed) < self.most
    }
}

/// The `number`-th of `threads` threads: makes its share of the requests on `core`, until none is left or the run ends.
pub(super) fn run(
    shared: Arc<Shared>,
    number: usize,
    threads: usize,
    core: Option<usize>,
) -> anyhow::Result<Results> {
    if let Some(core) = core {
        pin(core)?;
    }
    on_this_thread(async move {
        let mut stop = shared.stop.clone();
        let thread = Rc::new(Thread::new(shared, number as u64));
        let mut connections = JoinSet::new();
        for index in (number..thread.shared.setup.connections).step_by(threads) {
            connections.spawn_local(Rc::clone(&thread).connection(index));
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = async { while connections.join_next().await.is_some() {} } => {}
        }
        drop(connections);
        thread.say_goodbye().await;
        thread.tally.take()
    })
}

/// Asks the server how large its objects are.
pub(super) fn sizes(shared: Arc<Shared>) -> anyhow::Result<Vec<u64>> {
    on_this_thread(async move {
        let thread = Thread::new(shared, 0);
        let pace = Pace::new(None);
        let mut sizes = Vec::new();
        let mut link = thread.open(0).await?;
        for (index, target) in thread.shared.setup.targets.iter().enumerate() {
            if !link.is_usable() {
                link = thread.open(0).await?;
            }
            let wish = Wish {
                target: index,
                range: None,
                head: true,
            };
            let mut exchange = Exchange::new(&wish, target, None, &thread.tally);
            link.request(&thread.shared.setup, &pace, &mut exchange).await?;
            let size = exchange.announced();
            sizes.push(size.ok_or_else(|| Fault::Protocol(format!("{}: no Content-Length", target.path)))?);
        }
        drop(link);
        thread.say_goodbye().await;
        Ok::<_, Fault>(sizes)
    })?
    .context("cannot ask for the objects' sizes")
}

fn on_this_thread<T>(work: impl Future<Output = T> + 'static) -> anyhow::Result<T>
where
    T: 'static,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, work))
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    let refused = || format!("cannot run on core {core}");
    set.set(core).with_context(refused)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(refused)
}

/// A connection of any version of HTTP.
enum Link {
    One(H1),
    Two(H2),
    Three(H3),
}

impl Link {
    fn is_usable(&self) -> bool {
        match self {
            Self::One(link) => link.is_usable(),
            Self::Two(link) => link.is_usable(),
            Self::Three(link) => link.is_usable(),
        }
    }

    async fn request(
        &mut self,
        setup: &Setup,
        pace: &Pace,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Fault> {
        match self {
            Self::One(link) => link.request(&setup.authority, pace, exchange).await,
            Self::Two(link) => link.request(&setup.authority, pace, exchange).await,
            Self::Three(link) => link.request(&setup.authority, pace, exchange).await,
        }
    }

    async fn closed(&mut self) -> Fault {
        match self {
            Self::One(link) => link.closed().await,
            Self::Two(link) => link.closed().await,
            Self::Three(link) => link.closed().await,
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    tally: Tally,
    dice: RefCell<Dice>,
    scratch: Scratch,
    room: Rc<RefCell<Vec<u8>>>,
    handshakes: Semaphore,
    endpoints: RefCell<Vec<Endpoint>>,
}

impl Thread {
    fn new(shared: Arc<Shared>, number: u64) -> Self {
        Self {
            tally: Tally::new(Arc::clone(&shared.live)),
            dice: RefCell::new(Dice::new(shared.setup.seed ^ (number << 32))),
            shared,
            scratch: Scratch::default(),
            room: Rc::default(),
            handshakes: Semaphore::new(HANDSHAKES),
            endpoints: RefCell::default(),
        }
    }

    /// One connection, made anew as often as it breaks.
    async fn connection(self: Rc<Self>, index: usize) {
        let pace = Pace::new(self.shared.setup.rate);
        while self.shared.has_more() {
            let went_well = match self.open(index).await {
                Ok(link) if self.shared.setup.idle => return self.hold(link, &pace).await,
                Ok(link) => self.use_link(link, &pace).await,
                Err(fault) => {
                    self.tally.fault(&fault);
                    if self.shared.claim().is_none() {
                        return;
                    }
                    false
                }
            };
            if !went_well {
                sleep(RETRY).await;
            }
        }
    }

    /// Makes requests until none is left or the connection breaks; whether any went well.
    async fn use_link(&self, link: Link, pace: &Pace) -> bool {
        let authority = &self.shared.setup.authority;
        match link {
            Link::One(mut link) => {
                let mut went_well = false;
                while link.is_usable()
                    && let Some(wish) = self.next()
                {
                    let send = async |x: &mut Exchange<'_>| link.request(authority, pace, x).await;
                    went_well |= self.one(wish, send).await;
                }
                went_well
            }
            Link::Two(link) => {
                let send = async |x: &mut Exchange<'_>| link.request(authority, pace, x).await;
                self.streams(|| link.is_usable(), send).await
            }
            Link::Three(link) => {
                let send = async |x: &mut Exchange<'_>| link.request(authority, pace, x).await;
                self.streams(|| link.is_usable(), send).await
            }
        }
    }
    /// Makes requests with `send`, several at a time, while the connection `is_usable`; whether any went well.
    async fn streams(
        &self,
        is_usable: impl Fn() -> bool,
        send: impl AsyncFn(&mut Exchange<'_>) -> Result<(), Fault>,
    ) -> bool {
        let stream = async || {
            let mut went_well = false;
            while is_usable()
                && let Some(wish) = self.next()
            {
                went_well |= self.one(wish, async |x| send(x).await).await;
            }
            went_well
        };
        let all = join_all((0..self.shared.setup.streams).map(|_| stream())).await;
        all.contains(&true)
    }

    /// One small request, and then nothing.
    async fn hold(&self, mut link: Link, pace: &Pace) {
        let setup = &self.shared.setup;
        let size = setup.targets[0].size.unwrap_or(0).min(SMALL);
        let wish = Wish {
            target: 0,
            range: (size > 0).then_some(0..size),
            head: false,
        };
        self.one(wish, async |x| link.request(setup, pace, x).await).await;
        if link.is_usable() {
            self.tally.idles();
            let fault = link.closed().await;
            self.tally.fault(&fault);
        }
    }

    /// The next request; none when all are made.
    fn next(&self) -> Option<Wish> {
        let setup = &self.shared.setup;
        let number = self.shared.claim()?;
        let Some(sweep) = &self.shared.sweep else {
            return Some(self.random());
        };
        let (target, range) = sweep.part(number, |t| setup.targets[t].size.unwrap_or(0));
        Some(Wish {
            target,
            range: Some(range),
            head: false,
        })
    }

    fn random(&self) -> Wish {
        let setup = &self.shared.setup;
        let dice = &mut *self.dice.borrow_mut();
        let target = setup.popularity.pick(dice);
        let size = setup.targets[target].size;
        let range = setup.range.zip(size).filter(|(_, size)| *size > 0);
        Wish {
            target,
            range: range.map(|(length, size)| part(size, length, dice)),
            head: false,
        }
    }

    /// Makes one request with `send` and counts what becomes of it; whether it went well.
    async fn one(&self, wish: Wish, send: impl AsyncFnOnce(&mut Exchange<'_>) -> Result<(), Fault>) -> bool {
        let target = &self.shared.setup.targets[wish.target];
        let original = match target.file.as_ref().map(File::open).transpose() {
            Ok(file) => file.map(|file| Original {
                file: Rc::new(file),
                room: Rc::clone(&self.room),
            }),
            Err(why) => {
                self.tally.fault(&Fault::Tree {
                    path: target.path.clone(),
                    why,
                });
                return false;
            }
        };
        let mut exchange = Exchange::new(&wish, target, original, &self.tally);
        let result = match self.shared.setup.timeout {
            None => send(&mut exchange).await,
            Some(limit) => timeout(limit, send(&mut exchange))
                .await
                .unwrap_or(Err(Fault::Timeout(limit))),
        };
        self.tally.ended(&exchange, &result);
        if result.is_err() {
            // What fails at once must not keep the connection's own task from its turn.
            yield_now().await;
        }
        result.is_ok()
    }

    /// Makes the `index`-th connection.
    async fn open(&self, index: usize) -> Result<Link, Fault> {
        let _turn = self.handshakes.acquire().await.expect("never closed");
        let began = Instant::now();
        let (link, agreed) = match self.shared.setup.http {
            Http::Three => (self.open_quic(index).await?, "QUIC".to_owned()),
            http => self.open_tcp(index, http).await?,
        };
        self.tally.connected(began, &agreed);
        Ok(link)
    }

    async fn open_tcp(&self, index: usize, http: Http) -> Result<(Link, String), Fault> {
        let setup = &self.shared.setup;
        let tcp = dial::tcp(setup.server, index).await?;
        let Some(config) = &setup.tls else {
            let link = match http {
                Http::Two => {
                    let wire = Wire::Plain(tcp);
                    Link::Two(H2::connect(wire, self.scratch.clone(), setup.windows()).await?)
                }
                _ => Link::One(H1::new(Wire::Plain(tcp), self.scratch.clone())),
            };
            return Ok((link, "plain".to_owned()));
        };
        let tls = TlsStream::connect(tcp, Arc::clone(config), setup.name.clone(), setup.is_slow())
            .await
            .map_err(|e| Fault::Handshake(e.to_string()))?;
        let agreed = tls.agreed();
        let link = match http {
            Http::Two if tls.alpn() != Some(b"h2") => {
                return Err(Fault::Handshake("the server does not speak HTTP/2".to_owned()));
            }
            Http::Two => {
                let wire = Wire::Tls(Box::new(tls));
                Link::Two(H2::connect(wire, self.scratch.clone(), setup.windows()).await?)
            }
            _ => Link::One(H1::new(Wire::Tls(Box::new(tls)), self.scratch.clone())),
        };
        Ok((link, agreed))
    }

    async fn open_quic(&self, index: usize) -> Result<Link, Fault> {
        let setup = &self.shared.setup;
        let config = setup.quic.as_ref().expect("HTTP/3 has a QUIC configuration");
        let endpoint = self.endpoint(index)?;
        let name = setup.name.to_str();
        let link = H3::connect(endpoint, config, setup.server, &name, setup.rebind_after).await?;
        Ok(Link::Three(link))
    }

    /// An endpoint for the `index`-th connection: its own, or the thread's.
    fn endpoint(&self, index: usize) -> Result<Endpoint, Fault> {
        let setup = &self.shared.setup;
        let shares = setup.rebind_after.is_none() && setup.connections > OWN_SOCKETS;
        let endpoints = &mut *self.endpoints.borrow_mut();
        if let (true, Some(endpoint)) = (shares, endpoints.first()) {
            return Ok(endpoint.clone());
        }
        endpoints.retain(|e| e.open_connections() > 0);
        let endpoint = h3::endpoint(setup.server, dial::source(setup.server, index))?;
        endpoints.push(endpoint.clone());
        Ok(endpoint)
    }

    /// Lets the last packets out.
    async fn say_goodbye(&self) {
        let endpoints = self.endpoints.take();
        let all = join_all(endpoints.iter().map(Endpoint::wait_idle));
        // Nobody waits for a server that does not answer.
        let _ = timeout(FAREWELL, all).await;
    }
}
