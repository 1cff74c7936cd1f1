//! A router that tells by BMP what its peers announce (`oca_core::bgp::bmp`): the other feed, for networks that will not peer
//! with an appliance. It is a mode of the listener and not of the control plane, so that filters, the table, the
//! batches and what operators see are the same for both.
//!
//! All peers of a router are one neighbour of the table; each of their routes is a path of its own. Nothing is ever sent. A
//! router that connects anew replaces its older connection: it tells everything again.

use super::{
    Shown, Speaker,
    codec::read_open,
    config::NeighborConfig,
    neighbor::{Event, READ},
};
use crate::drain::Drain;
use bytes::BytesMut;
use oca_core::bgp::{
    Families, Family,
    attributes::Reading,
    bmp::{self, BadBmp, Message, Peer, PeerKey, View},
    nlri::Nlri,
    rib::NeighborIndex,
    session::{IDLE_TIME, State},
    update::{self, Rules, Update},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::mpsc, time::Instant};

/// Peers of a router.
const MOST_PEERS: usize = 4096;

/// Why a router's connection is closed.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the connection has ended")]
    Closed,
    #[error("the router ends the session")]
    Terminated,
    #[error("{0}")]
    Bad(#[from] BadBmp),
    #[error("a peer's UPDATE cannot be read")]
    Update,
    #[error("the router has more than {MOST_PEERS} peers")]
    Peers,
    #[error("maximum number of prefixes reached")]
    Limit,
}

/// A router's task.
#[derive(Debug)]
pub(super) struct Station {
    speaker: Arc<Speaker>,
    index: NeighborIndex,
    view: View,
    connection: Option<(TcpStream, BytesMut)>,
    /// What the peers' sessions agreed on.
    peers: BTreeMap<PeerKey, Families>,
    /// Numbers of paths: one for each peer and its own path identifier.
    paths: BTreeMap<(PeerKey, u32), u32>,
    next_path: u32,
    /// No connection is taken before.
    idle_until: Option<Instant>,
}

impl Station {
    /// The task of the router at this place of the configuration.
    pub(super) fn new(speaker: Arc<Speaker>, index: usize, view: View) -> Self {
        Self {
            speaker,
            index: index as NeighborIndex, // MOST_NEIGHBORS is far below
            view,
            connection: None,
            peers: BTreeMap::new(),
            paths: BTreeMap::new(),
            next_path: 0,
            idle_until: None,
        }
    }

    /// Runs until the process leaves.
    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>, drain: Drain) {
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Connection(stream)) => self.admit(stream),
                    Some(Event::Refresh) => {} // BMP has no such thing
                    None => return,
                },
                read = read(&mut self.connection) => {
                    let result = match read {
                        Ok(1..) => self.take_all(),
                        _ => Err(End::Closed),
                    };
                    if let Err(end) = result {
                        self.close(&end);
                    }
                    self.speaker.changed.notify_one();
                }
                () = drain.stopped() => return,
            }
        }
    }

    fn config(&self) -> &NeighborConfig {
        &self.speaker.config.neighbors[usize::from(self.index)]
    }

    fn admit(&mut self, stream: TcpStream) {
        if self.idle_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        if self.connection.is_some() {
            self.close(&End::Closed);
        }
        tracing::info!(router = %self.config().address, "a router tells by BMP");
        self.connection = Some((stream, BytesMut::with_capacity(READ)));
        self.show(|shown| {
            shown.state = State::Established;
            shown.came_up();
        });
    }

    fn close(&mut self, why: &End) {
        tracing::warn!(router = %self.config().address, %why, "a router's BMP session is down");
        self.connection = None;
        self.peers.clear();
        self.paths.clear();
        self.idle_until = matches!(why, End::Limit).then(|| Instant::now() + IDLE_TIME);
        let state = self.idle_until.map_or(State::Active, |_| State::Idle);
        self.speaker.rib().lose(self.index, Families::default());
        self.show(|shown| {
            shown.state = state;
            shown.went_down(why.to_string());
        });
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.speaker.shown()[usize::from(self.index)]);
    }

    /// Takes every whole message of the buffer in.
    fn take_all(&mut self) -> Result<(), End> {
        while let Some((_, buffer)) = &mut self.connection {
            let Some(len) = bmp::first(buffer)? else { break };
            let message = buffer.split_to(len);
            self.take(&bmp::read(&message)?)?;
        }
        Ok(())
    }

    fn take(&mut self, message: &Message<'_>) -> Result<(), End> {
        match message {
            Message::PeerUp(peer, sent, received) => self.peer_up(*peer, sent, received),
            Message::PeerDown(peer) => {
                self.peer_down(&peer.key);
                Ok(())
            }
            Message::Update(peer, body) if peer.key.view == self.view => self.update(*peer, body),
            Message::Termination => Err(End::Terminated),
            Message::Update(..) | Message::Other => Ok(()),
        }
    }

    /// Several paths come with identifiers if the peer could send and the router take them (RFC 7911).
    fn peer_up(&mut self, peer: Peer, sent: &[u8], received: &[u8]) -> Result<(), End> {
        let mut paths = Families::default();
        if let (Ok(sent), Ok(received)) = (read_open(sent), read_open(received)) {
            let both = |f: &Family| sent.takes_paths.has(*f) && received.add_path.has(*f);
            Family::ALL.into_iter().filter(both).for_each(|f| paths.add(f));
        }
        self.peers.insert(self.own(peer.key), paths);
        if self.peers.len() > MOST_PEERS {
            return Err(End::Peers);
        }
        Ok(())
    }

    /// What tells of a peer's session may name any of its views (RFC 7854 §4.10): the one that counts is meant.
    fn own(&self, key: PeerKey) -> PeerKey {
        PeerKey {
            view: self.view,
            ..key
        }
    }

    fn peer_down(&mut self, key: &PeerKey) {
        let own = self.own(*key);
        self.peers.remove(&own);
        let gone: BTreeSet<u32> = self
            .paths
            .extract_if(.., |(of, _), _| *of == own)
            .map(|(_, n)| n)
            .collect();
        self.speaker.rib().drop_paths(self.index, &gone);
    }

    fn update(&mut self, peer: Peer, body: &[u8]) -> Result<(), End> {
        let rules = Rules {
            reading: Reading {
                as4: peer.as4,
                internal: true, // LOCAL_PREF and the like have their place in a router's own table
            },
            add_path: self.peers.get(&peer.key).copied().unwrap_or_default(),
        };
        let mut update = update::read(body, &rules).map_err(|_| End::Update)?;
        let known = |nlri: &mut Nlri| {
            let number = self.paths.get(&(peer.key, nlri.path));
            nlri.path = number.copied().unwrap_or(0);
            number.is_some()
        };
        update.withdrawn.retain_mut(known);
        self.number(peer.key, &mut update.announced);
        self.count(&update);
        let mut rib = self.speaker.rib();
        rib.withdraw(self.index, &update.withdrawn);
        if !update.announced.is_empty() {
            rib.announce(self.index, &update.announced, &update.attributes);
        }
        let most = self.config().prefix_limit;
        match rib.received(self.index) > most || self.paths.len() > most {
            true => Err(End::Limit),
            false => Ok(()),
        }
    }

    fn count(&self, update: &Update) {
        let address = self.config().address.to_string();
        let counter = "oca_bgp_updates_total";
        let labels = [&address, update.outcome()];
        self.speaker.metrics.counter(counter, &labels).inc();
    }

    /// Gives each path the number that is its own in the table.
    fn number(&mut self, key: PeerKey, list: &mut [Nlri]) {
        for nlri in list {
            nlri.path = *self.paths.entry((key, nlri.path)).or_insert_with(|| {
                self.next_path = self.next_path.wrapping_add(1);
                self.next_path
            });
        }
    }
}

/// Reads more of the connection; waits for ever if there is none.
async fn read(connection: &mut Option<(TcpStream, BytesMut)>) -> io::Result<usize> {
    match connection {
        Some((stream, buffer)) => {
            buffer.reserve(READ);
            stream.read_buf(buffer).await
        }
        None => std::future::pending().await,
    }
}
