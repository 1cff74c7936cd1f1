//! The appliance as a BGP listener: neighbours connect, their routes are taken in, the control plane is told what changes.
//! It never connects and never announces. What is decided stands in `oca_core::bgp`; here are the sockets, the clock and
//! the tasks, on the runtime of everything cold: no worker that sends to viewers knows of it.
//!
//! One task a socket accepts, one a neighbour holds its session, or listens to it by BMP (`station`), one ([`publish`])
//! tells the control plane. The table is one, behind a lock that is held for one UPDATE or one batch.

pub mod codec;
pub mod config;
mod neighbor;
pub mod publish;
mod station;
mod status;

use crate::{
    drain::Drain,
    handover::{Handed, Held, Role},
    listen,
    metrics::Metrics,
    sys::md5,
};
use anyhow::Context;
use config::{BgpConfig, NeighborConfig};
use neighbor::{Event, Task};
use oca_core::bgp::rib::{Neighbor, Rib};
use station::Station;
use status::Shown;
use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    time::Instant,
};

/// Connections and wishes that may wait for a neighbour's task.
const WAITING: usize = 4;
/// Strangers that are logged; later ones are only counted.
const LOGGED_STRANGERS: usize = 64;
/// Pause after a failed `accept`, so that a full descriptor table does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long neighbours get to tell their tables before the first table of this run is taken for whole.
const SETTLE_TIME: Duration = Duration::from_secs(60);

/// The listener and what its neighbours have told.
#[derive(Debug)]
pub struct Speaker {
    config: BgpConfig,
    rib: Mutex<Rib>,
    shown: Mutex<Vec<Shown>>,
    /// Told when there may be something to publish.
    changed: Notify,
    events: Vec<mpsc::Sender<Event>>,
    metrics: Arc<Metrics>,
    started: Instant,
}

/// The listening sockets; they take nobody yet.
#[derive(Debug)]
pub struct Listeners {
    bgp: StdListener,
    bmp: Option<StdListener>,
}

impl Listeners {
    /// What was handed over, or new ones.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn bind(config: &BgpConfig, handed: &mut Handed) -> anyhow::Result<Self> {
        let mut one = |role, key, addr: SocketAddr| {
            bind(role, addr, handed).with_context(|| format!("bgp.{key} {addr}"))
        };
        Ok(Self {
            bgp: one(Role::Bgp, "listen", config.listen)?,
            bmp: config
                .bmp_listen
                .map(|addr| one(Role::Bmp, "bmp_listen", addr))
                .transpose()?,
        })
    }

    /// Where neighbours connect, and routers that tell by BMP.
    ///
    /// # Errors
    /// The system's.
    pub fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let bmp = self.bmp.as_ref().map(StdListener::local_addr);
        Ok((self.bgp.local_addr()?, bmp.transpose()?))
    }
}

fn bind(role: Role, addr: SocketAddr, handed: &mut Handed) -> io::Result<StdListener> {
    match handed.take(role, addr).into_iter().next() {
        Some(given) => Ok(given.into()),
        None => listen::listeners(addr, 1)?
            .pop()
            .ok_or(io::ErrorKind::NotFound.into()),
    }
}

impl Speaker {
    /// Starts the tasks on the current runtime; they end with the process, or when another has the listener.
    ///
    /// # Errors
    /// When a secret cannot be read or set, or the listener cannot be watched.
    pub fn start(
        config: BgpConfig,
        listeners: Listeners,
        metrics: Arc<Metrics>,
        held: &Held,
        drain: &Drain,
    ) -> anyhow::Result<Arc<Self>> {
        set_secrets(&config, &listeners.bgp)?;
        held.keep(Role::Bgp, &[&listeners.bgp])?;
        if let Some(bmp) = &listeners.bmp {
            held.keep(Role::Bmp, &[bmp])?;
        }
        let bgp = TcpListener::from_std(listeners.bgp)?;
        let bmp = listeners.bmp.map(TcpListener::from_std).transpose()?;
        let neighbors = config.neighbors.iter().map(|n| Neighbor {
            asn: n.asn,
            class: n.class,
        });
        let rib = Rib::new(config.local.asn, config.filter, neighbors.collect());
        let (events, inboxes): (Vec<_>, Vec<_>) =
            config.neighbors.iter().map(|_| mpsc::channel(WAITING)).unzip();
        let speaker = Arc::new(Self {
            rib: Mutex::new(rib),
            shown: Mutex::new(config.neighbors.iter().map(Shown::new).collect()),
            changed: Notify::new(),
            events,
            metrics,
            started: Instant::now(),
            config,
        });
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let (own, drain) = (Arc::clone(&speaker), drain.clone());
            match speaker.config.neighbors[index].bmp {
                None => tokio::spawn(Task::new(own, index).run(inbox, drain)),
                Some(view) => tokio::spawn(Station::new(own, index, view).run(inbox, drain)),
            };
        }
        for (listener, of_routers) in [(Some(bgp), false), (bmp, true)] {
            let (own, drain) = (Arc::clone(&speaker), drain.clone());
            let Some(listener) = listener else { continue };
            tokio::spawn(async move {
                tokio::select! {
                    () = own.accept(listener, of_routers) => {}
                    () = drain.stopped() => {}
                }
            });
        }
        speaker.show_metrics();
        Ok(speaker)
    }

    async fn accept(&self, listener: TcpListener, of_routers: bool) {
        let mut strangers = BTreeSet::new();
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "BGP accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let from = from.ip().to_canonical();
            if !self.hand_on(from, of_routers, stream)
                && strangers.len() < LOGGED_STRANGERS
                && strangers.insert(from)
            {
                tracing::warn!(%from, "a BGP connection from an address that no neighbour has was closed");
            }
        }
    }

    /// Gives a connection to its neighbour's task; answers whether there is such a neighbour.
    fn hand_on(&self, from: IpAddr, of_routers: bool, stream: TcpStream) -> bool {
        let refused = |reason| {
            let counter = "oca_bgp_connections_refused_total";
            self.metrics.counter(counter, &[reason]).inc();
        };
        let mut neighbors = self.config.neighbors.iter();
        let meant = |n: &NeighborConfig| n.address == from && n.bmp.is_some() == of_routers;
        let Some(index) = neighbors.position(meant) else {
            refused("unknown");
            return false;
        };
        if self.events[index].try_send(Event::Connection(stream)).is_err() {
            refused("too_many");
        }
        true
    }

    /// Asks a neighbour, or all, for their routes anew (RFC 2918). Answers how many were asked.
    pub fn refresh(&self, address: Option<IpAddr>) -> usize {
        let neighbors = self.config.neighbors.iter().zip(&self.events);
        neighbors
            .filter(|(n, _)| address.is_none_or(|a| a == n.address))
            .filter(|(_, events)| events.try_send(Event::Refresh).is_ok())
            .count()
    }

    /// Whether the table is as whole as it will get soon after the start.
    fn is_settled(&self) -> bool {
        self.started.elapsed() >= SETTLE_TIME || self.shown().iter().all(|shown| shown.told)
    }

    fn rib(&self) -> MutexGuard<'_, Rib> {
        self.rib.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self) -> MutexGuard<'_, Vec<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the kernel demand each neighbour's MD5 signature.
fn set_secrets(config: &BgpConfig, listener: &StdListener) -> anyhow::Result<()> {
    let six = listener.local_addr()?.is_ipv6();
    for neighbor in &config.neighbors {
        let Some(file) = &neighbor.md5_file else {
            continue;
        };
        let place = || format!("bgp.neighbors {}: md5_file {}", neighbor.address, file.display());
        let secret = fs::read_to_string(file).with_context(place)?;
        // A socket of both families knows IPv4 addresses in IPv6's form.
        let peer = match neighbor.address {
            IpAddr::V4(v4) if six => IpAddr::V6(v4.to_ipv6_mapped()),
            other => other,
        };
        md5::sign(listener, peer, secret.trim_end_matches(['\r', '\n']).as_bytes()).with_context(place)?;
    }
    Ok(())
}
