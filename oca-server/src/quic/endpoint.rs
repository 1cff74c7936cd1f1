//! A worker's loop over its QUIC connections: take what has come, let time pass, give each connection that has
//! something to do a bounded turn, send in batches, then wait for the earliest of all. One task does it all, so nothing
//! is locked, and a socket that takes no more stops the writing, not the reading.

use super::{
    Buffers, Quic, cid,
    connection::Connection,
    link::{FromNewer, ToOlder},
    socket::Socket,
};
use crate::{
    counters::Cut,
    disk::{ColdStream, Loan, ReadError},
    sys::mapping::broken_pages,
    worker::{Open, Turn, Worker},
};
use bytes::BytesMut;
use oca_core::h3::ErrorCode;
use quinn_proto::{ConnectionHandle, DatagramEvent, EcnCodepoint, Endpoint, Incoming, StreamId, Transmit};
use quinn_udp::RecvMeta;
use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
    net::UdpSocket,
    rc::Rc,
    time::Instant,
};
use tokio::{
    sync::Notify,
    task::{JoinHandle, spawn_local},
};

/// Datagrams that a connection sends in one turn: four batches.
const BURST: usize = 176;
/// Calls that take datagrams in one turn.
const RECEIVES: usize = 4;
/// Longest time between two looks, so that whatever was missed is found.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Bytes that came from the drive for a stream.
struct Arrival {
    handle: ConnectionHandle,
    serial: u64,
    stream: StreamId,
    piece: Option<Result<Loan, ReadError>>,
    rest: ColdStream,
}

/// Where tasks that wait for the drive leave what they got.
#[derive(Default)]
struct Arrivals {
    waiting: RefCell<VecDeque<Arrival>>,
    news: Notify,
}

/// What a connection knows of the world in its turn.
pub struct Around<'a> {
    /// The worker.
    pub worker: &'a Rc<Worker>,
    /// Its buffers.
    pub buffers: &'a Buffers,
    /// Now.
    pub now: Instant,
    arrivals: &'a Rc<Arrivals>,
}

impl Around<'_> {
    /// Adds one to a counter.
    pub fn count(&self, name: &'static str, label: &'static str) {
        self.worker.counters.borrow_mut().add(name, label, 1);
    }

    /// Counts a connection that a limit cut.
    pub fn cut(&self, why: Cut) {
        self.worker.counters.borrow_mut().cut(why, 1);
    }

    /// Whether what waits for acknowledgment is over this worker's share of the budget.
    pub fn is_short_of_memory(&self) -> bool {
        self.buffers.out() as u64 > self.worker.send_memory()
    }

    /// Waits for the next piece from the drive, beside the loop.
    pub fn fetch(
        &self,
        handle: ConnectionHandle,
        serial: u64,
        stream: StreamId,
        mut cold: ColdStream,
    ) -> JoinHandle<()> {
        let arrivals = Rc::clone(self.arrivals);
        spawn_local(async move {
            let piece = cold.next().await;
            arrivals.waiting.borrow_mut().push_back(Arrival {
                handle,
                serial,
                stream,
                piece,
                rest: cold,
            });
            arrivals.news.notify_one();
        })
    }
}

/// Serves QUIC on a lane's socket from its turn on, for as long as the worker runs.
pub async fn serve(worker: Rc<Worker>, lane: u8, socket: UdpSocket, quic: Quic, mut turn: Turn) {
    let ready = Socket::new(socket).and_then(|socket| Ok((socket, quic.generations.ways(lane)?)));
    match ready {
        Ok((socket, older)) => {
            let driver = Driver::new(worker, lane, socket, older, quic);
            if turn.begins(&driver.worker).await {
                driver.run(turn).await;
            }
        }
        Err(error) => tracing::error!(%error, "cannot watch the QUIC socket"),
    }
}

/// Where datagrams come from.
enum Source {
    Socket,
    /// A newer process reads the socket, and gives what is ours.
    Newer(FromNewer),
    /// The newer process has ended.
    Nowhere,
}

struct Driver {
    worker: Rc<Worker>,
    lane: u8,
    quic: Quic,
    socket: Socket,
    source: Source,
    /// Ways to older processes that have connections on this socket.
    older: Vec<ToOlder>,
    endpoint: Endpoint,
    /// By handle.
    connections: Vec<Option<Box<Connection>>>,
    /// Connections that have something to do.
    ready: VecDeque<usize>,
    timers: BTreeSet<(Instant, usize)>,
    arrivals: Rc<Arrivals>,
    buffers: Buffers,
    /// What is being sent.
    out: Vec<u8>,
    /// Of `out`, when the socket took no more.
    parked: Option<Transmit>,
    handshakes: usize,
    serial: u64,
    leaving: bool,
    /// Pages found missing so far, of all workers.
    broken_pages: u64,
}

impl Driver {
    fn new(worker: Rc<Worker>, lane: u8, socket: Socket, older: Vec<ToOlder>, quic: Quic) -> Self {
        Self {
            endpoint: quic.endpoint(lane, socket.may_fragment()),
            worker,
            lane,
            quic,
            socket,
            source: Source::Socket,
            older,
            connections: Vec::new(),
            ready: VecDeque::new(),
            timers: BTreeSet::new(),
            arrivals: Rc::default(),
            buffers: Buffers::default(),
            out: Vec::new(),
            parked: None,
            handshakes: 0,
            serial: 0,
            leaving: false,
            broken_pages: broken_pages(),
        }
    }

    async fn run(mut self, turn: Turn) {
        let mut turn = Some(turn);
        loop {
            let more = self.turn();
            if self.leaving {
                drop(turn.take()); // from here on no new client is taken
            }
            if more {
                tokio::task::yield_now().await; // the worker's other connections have their turn
            } else {
                self.wait().await;
            }
        }
    }

    /// Does what there is to do; whether there is more.
    fn turn(&mut self) -> bool {
        let now = Instant::now();
        let more = self.receive(now);
        self.expire(now);
        self.take_arrivals();
        if self.worker.is_stopping() && !self.leaving {
            self.leave(now);
        }
        self.unpark();
        for _ in 0..self.ready.len() {
            if let Some(key) = self.ready.pop_front() {
                self.serve(key);
            }
        }
        more || (self.parked.is_none() && !self.ready.is_empty())
    }

    async fn readable(&self) {
        match &self.source {
            Source::Socket => self.socket.readable().await,
            Source::Newer(newer) => newer.readable().await,
            Source::Nowhere => std::future::pending().await,
        }
    }

    async fn wait(&self) {
        let earliest = self.timers.first().map(|(then, _)| *then);
        let longest = Instant::now() + LONGEST_WAIT;
        let then = earliest.map_or(longest, |t| t.min(longest));
        tokio::select! {
            () = self.readable() => {}
            () = self.socket.writable(), if self.parked.is_some() => {}
            () = tokio::time::sleep_until(then.into()) => {}
            () = self.arrivals.news.notified() => {}
            () = self.worker.stopped(), if !self.leaving => {}
        }
    }

    fn receive(&mut self, now: Instant) -> bool {
        for _ in 0..RECEIVES {
            let mut datagrams: Vec<(RecvMeta, BytesMut)> = Vec::new();
            let take = |meta: &RecvMeta, bytes: &[u8]| {
                let stride = meta.stride.max(1);
                datagrams.extend(bytes.chunks(stride).map(|d| (*meta, BytesMut::from(d))));
            };
            let result = match &mut self.source {
                Source::Socket => self.socket.receive(take),
                Source::Newer(newer) => newer.receive(take),
                Source::Nowhere => return false,
            };
            for (meta, datagram) in datagrams {
                if !self.pass_on(&meta, &datagram) {
                    self.datagram(&meta, datagram, now);
                }
            }
            match result {
                Ok(true) => {}
                Ok(false) => return false,
                Err(_) if matches!(self.source, Source::Newer(_)) => {
                    self.source = Source::Nowhere;
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, "QUIC receive failed"); // of an earlier datagram: the rest is well
                    return true;
                }
            }
        }
        true
    }

    /// Gives an older process what belongs to a connection of its own; false if it is none's.
    fn pass_on(&mut self, meta: &RecvMeta, datagram: &[u8]) -> bool {
        if self.older.is_empty() {
            return false;
        }
        let own = self.quic.generations.own;
        let generation = cid::generation(datagram).filter(|g| *g != own);
        let Some(at) = self.older.iter().position(|o| Some(o.generation) == generation) else {
            return false;
        };
        if !self.older[at].give(meta, datagram) {
            self.older.swap_remove(at);
            return false;
        }
        self.count("oca_quic_passed_on_total", "");
        true
    }

    fn datagram(&mut self, meta: &RecvMeta, datagram: BytesMut, now: Instant) {
        let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
        let mut answer = Vec::new();
        let event = self
            .endpoint
            .handle(now, meta.addr, meta.dst_ip, ecn, datagram, &mut answer);
        match event {
            None => {}
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(Some(connection)) = self.connections.get_mut(handle.0) {
                    connection.quic.handle_event(event);
                }
                self.wake(handle.0);
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.admit(incoming, now),
            Some(DatagramEvent::Response(transmit)) => self.answer(&transmit, &answer),
        }
    }

    /// Accepts, sends back to prove its address, or refuses.
    fn admit(&mut self, incoming: Incoming, now: Instant) {
        let mut answer = Vec::new();
        let limits = &self.worker.limits;
        // After a handover only who was on the way to this process comes here: one that proves its address.
        let is_leaving = self.leaving && matches!(self.source, Source::Socket);
        if self.worker.is_full() || is_leaving {
            // The client turns to TCP, where it is told when to come again.
            self.count("oca_connections_shed_total", "");
            let transmit = self.endpoint.refuse(incoming, &mut answer);
            return self.answer(&transmit, &answer);
        }
        if self.handshakes >= limits.unproven_handshakes && !incoming.remote_address_validated() {
            self.count("oca_quic_retries_total", "");
            return match self.endpoint.retry(incoming, &mut answer) {
                Ok(transmit) => self.answer(&transmit, &answer),
                Err(error) => self.endpoint.ignore(error.into_incoming()),
            };
        }
        self.count("oca_connections_accepted_total", "quic");
        match self.endpoint.accept(incoming, now, &mut answer, None) {
            Ok((handle, quic)) => self.insert(handle, quic, now),
            Err(error) => {
                tracing::debug!(error = %error.cause, "QUIC handshake refused");
                self.count("oca_tls_handshakes_total", "failed");
                if let Some(transmit) = error.response {
                    self.answer(&transmit, &answer);
                }
            }
        }
    }

    fn insert(&mut self, handle: ConnectionHandle, quic: quinn_proto::Connection, now: Instant) {
        self.serial += 1;
        self.handshakes += 1;
        let around = Around {
            worker: &self.worker,
            buffers: &self.buffers,
            now,
            arrivals: &self.arrivals,
        };
        let open = Open::new(&self.worker);
        let connection = Connection::new(quic, handle, self.serial, open, &around);
        if self.connections.len() <= handle.0 {
            self.connections.resize_with(handle.0 + 1, || None);
        }
        self.connections[handle.0] = Some(Box::new(connection));
        self.wake(handle.0);
    }

    fn count(&self, name: &'static str, label: &'static str) {
        self.worker.counters.borrow_mut().add(name, label, 1);
    }

    /// Sends what needs no connection. If it is lost, the client asks again.
    fn answer(&self, transmit: &Transmit, bytes: &[u8]) {
        self.socket.send(&datagrams(transmit, bytes));
    }

    fn wake(&mut self, key: usize) {
        if let Some(Some(connection)) = self.connections.get_mut(key)
            && !connection.queued
        {
            connection.queued = true;
            self.ready.push_back(key);
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some((then, key)) = self.timers.first().copied()
            && then <= now
        {
            self.timers.pop_first();
            if let Some(Some(connection)) = self.connections.get_mut(key) {
                connection.armed = None;
                connection.quic.handle_timeout(now);
            }
            self.wake(key);
        }
    }

    fn take_arrivals(&mut self) {
        loop {
            let next = self.arrivals.waiting.borrow_mut().pop_front();
            let Some(arrival) = next else { return };
            let key = arrival.handle.0;
            let Some(mut connection) = self.connections.get_mut(key).and_then(Option::take) else {
                continue;
            };
            if connection.serial == arrival.serial {
                connection.arrived(arrival.stream, arrival.piece, arrival.rest);
            }
            self.connections[key] = Some(connection);
            self.wake(key);
        }
    }

    fn around(&self, now: Instant) -> Around<'_> {
        Around {
            worker: &self.worker,
            buffers: &self.buffers,
            now,
            arrivals: &self.arrivals,
        }
    }

    fn leave(&mut self, now: Instant) {
        self.leaving = true;
        if let Some(end) = self.quic.generations.way_from_newer(self.lane) {
            match FromNewer::new(end) {
                Ok(newer) => self.source = Source::Newer(newer),
                Err(error) => tracing::error!(%error, "cannot watch the way from the newer process"),
            }
        }
        for key in 0..self.connections.len() {
            let Some(mut connection) = self.connections[key].take() else {
                continue;
            };
            connection.leave(&self.around(now));
            self.connections[key] = Some(connection);
            self.wake(key);
        }
    }

    /// A connection's turn.
    fn serve(&mut self, key: usize) {
        let Some(mut connection) = self.connections.get_mut(key).and_then(Option::take) else {
            return;
        };
        connection.queued = false;
        let now = Instant::now();
        let was_handshaking = connection.is_handshaking();
        connection.events(&self.around(now));
        let more = self.transmit(&mut connection, now);
        if was_handshaking && !connection.is_handshaking() {
            self.handshakes -= 1;
        }
        if connection.is_closed() {
            connection.let_go();
        }
        if self.exchange_events(&mut connection) {
            if let Some(then) = connection.armed {
                self.timers.remove(&(then, key));
            }
            return; // drained: the endpoint has forgotten it
        }
        self.arm(&mut connection, key);
        self.connections[key] = Some(connection);
        if more {
            self.wake(key);
        }
    }

    /// Sends for a connection; whether there is more.
    fn transmit(&mut self, connection: &mut Connection, now: Instant) -> bool {
        let most = self.socket.most_segments();
        let mut left = BURST;
        connection.fill(&self.around(now)); // one batch ahead, so that batches are full
        while self.parked.is_none() {
            connection.fill(&self.around(now));
            self.out.clear();
            let batch = connection.batch(most);
            let Some(transmit) = connection.quic.poll_transmit(now, batch, &mut self.out) else {
                return false;
            };
            if self.broken_pages != broken_pages() && self.reset_broken(connection) {
                continue; // what was just made holds what is no file's; the transport takes it for lost
            }
            let datagrams = transmit
                .segment_size
                .map_or(1, |size| transmit.size.div_ceil(size));
            self.send(transmit);
            left = left.saturating_sub(datagrams);
            if left == 0 {
                return true;
            }
        }
        true
    }

    /// Bytes of a file that were lent may have gone: no connection may send them. Whether `served` would have.
    fn reset_broken(&mut self, served: &mut Connection) -> bool {
        self.broken_pages = broken_pages();
        for key in 0..self.connections.len() {
            if let Some(Some(connection)) = self.connections.get_mut(key)
                && connection.reset_broken()
            {
                self.wake(key);
            }
        }
        served.reset_broken()
    }

    fn send(&mut self, transmit: Transmit) {
        if !self.socket.send(&datagrams(&transmit, &self.out)) {
            self.parked = Some(transmit);
        }
    }

    fn unpark(&mut self) {
        if let Some(transmit) = self.parked.take() {
            self.send(transmit);
        }
    }

    /// Passes events between the connection and the endpoint; true if the connection is drained.
    fn exchange_events(&mut self, connection: &mut Connection) -> bool {
        while let Some(event) = connection.quic.poll_endpoint_events() {
            let drained = event.is_drained();
            if let Some(event) = self.endpoint.handle_event(connection.handle, event) {
                connection.quic.handle_event(event);
            }
            if drained {
                return true;
            }
        }
        false
    }

    /// Sets the connection's timer. One that goes off too early costs a turn, so it is only moved forward.
    fn arm(&mut self, connection: &mut Connection, key: usize) {
        let Some(then) = connection.deadline() else {
            return;
        };
        if connection.armed.is_some_and(|armed| armed <= then) {
            return;
        }
        if let Some(armed) = connection.armed.replace(then) {
            self.timers.remove(&(armed, key));
        }
        self.timers.insert((then, key));
    }
}

/// Connections that are left are closed with an error: no client takes a piece of a response for the whole.
impl Drop for Driver {
    fn drop(&mut self) {
        let now = Instant::now();
        for connection in self.connections.iter_mut().flatten().filter(|c| !c.is_closed()) {
            connection.close(ErrorCode::InternalError, now);
            self.out.clear();
            if let Some(transmit) = connection.quic.poll_transmit(now, 1, &mut self.out) {
                self.socket.send(&datagrams(&transmit, &self.out));
            }
        }
    }
}

fn datagrams<'a>(transmit: &Transmit, bytes: &'a [u8]) -> quinn_udp::Transmit<'a> {
    let ecn = transmit
        .ecn
        .and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8));
    quinn_udp::Transmit {
        destination: transmit.destination,
        ecn,
        contents: &bytes[..transmit.size],
        segment_size: transmit.segment_size,
        src_ip: transmit.src_ip,
    }
}
