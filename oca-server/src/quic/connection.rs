//! One QUIC connection as a connection of HTTP/3: requests are read as they come, responses written in the order of
//! their priority and only as far as the path takes them, and every limit ends in a proper good-bye. It sends nothing by
//! itself: [`super::endpoint`] gives it events and turns.

use super::{buffers::BUFFER, endpoint::Around, uni::UniStreams};
use crate::{
    counters::Cut,
    disk::{ColdStream, Loan, ReadError},
    drain::Leaving,
    http::{
        Peer,
        exchange::End,
        h3::{self, Progress, Response},
        pulse::{Pulse, Verdict},
    },
    sys::path::Path,
    worker::Open,
};
use bytes::Bytes;
use cdn_types::BitsPerSecond;
use oca_core::{
    h3::{
        ErrorCode, Fault,
        request::{Head, Incoming, RequestStream},
        varint,
    },
    pacing::{self, Pace},
};
use quinn_proto::{
    Connection as Quic, ConnectionError, ConnectionHandle, Dir, Event, StreamEvent, StreamId, VarInt,
};
use std::{
    collections::{HashMap, VecDeque},
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// Bytes that wait for the path to take them, besides what is on its way: four batches.
const AHEAD: u64 = 256 << 10;
/// The same while the worker's buffers are over their budget.
const LEAST_AHEAD: u64 = 16 << 10;
/// Bytes a second that one viewer's path is taken to carry at most. What is on its way beyond that rate's share of the
/// path's own delay only stands in a queue, and costs memory and cache here: the window alone would let it grow until
/// something is lost.
const PEAK: u64 = 200_000_000;
/// Most bytes of a connection that wait to be sent or acknowledged: at the least for a viewer nearby, and at the most.
const NEAR: u64 = 256 << 10;
const FAR: u64 = 8 << 20;
/// Bytes by which the window must open again before anything more is written: what opens by single packets would cost a
/// look at every response each.
const HYSTERESIS: u64 = 64 << 10;
/// Responses that take nothing, one after the other, after which the window is taken to be full.
const FULL: usize = 2;
/// How long a stalled response keeps what it has read.
const KEEP: Duration = Duration::from_millis(250);
/// From the first GOAWAY to the one that names the last request, at least: what was on its way is answered still.
const LEAVE: Duration = Duration::from_millis(100);
/// The same after an upgrade, when nobody waits for the end of this process: a client that is busy has time to hear it.
const CALM_LEAVE: Duration = Duration::from_secs(1);
/// Requests that a client may give up in [`GIVEN_UP_TIME`] (as rapid reset, CVE-2023-44487).
const GIVEN_UP: u32 = 512;
const GIVEN_UP_TIME: Duration = Duration::from_secs(10);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Handshake,
    Open,
    /// The first GOAWAY is sent; the second one follows then.
    Leaving(Instant),
    /// Requests from this stream on are not answered.
    Last(u64),
    Closed,
}

/// A request and its response.
struct Exchanging {
    /// Absent = the client's part is over.
    request: Option<RequestStream>,
    /// Absent = not yet, or all of it is acknowledged or reset.
    response: Option<Response>,
    /// Whether the response is whole and waits for its acknowledgment.
    written: bool,
    /// A piece that is on its way from the drive.
    fetching: Option<Fetching>,
    since: Instant,
    discarded: u64,
}

/// A task that waits for the drive, ended with its stream.
#[derive(Debug)]
struct Fetching(JoinHandle<()>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection.
pub struct Connection {
    /// The transport.
    pub quic: Quic,
    /// Its name at the endpoint.
    pub handle: ConnectionHandle,
    /// Tells it from another of the same handle.
    pub serial: u64,
    /// Whether it waits for a turn.
    pub queued: bool,
    /// When its timer goes off.
    pub armed: Option<Instant>,
    /// Counts as open until it is closed.
    open: Option<Open>,
    stage: Stage,
    streams: HashMap<StreamId, Exchanging>,
    /// Responses that can go on, in the order in which they do.
    writers: VecDeque<StreamId>,
    /// The rate that is enough for all responses together; absent = as fast as it goes.
    rate: Option<BitsPerSecond>,
    pace: Pace,
    uni: UniStreams,
    pulse: Rc<Pulse>,
    /// The stream after the newest request.
    next: u64,
    /// When to look at the limits again.
    look_at: Instant,
    given_up: (u32, Instant),
    /// When it is closed, once all is answered after the last good-bye.
    close_at: Option<Instant>,
}

impl Connection {
    /// A connection whose handshake begins.
    pub fn new(quic: Quic, handle: ConnectionHandle, serial: u64, open: Open, around: &Around<'_>) -> Self {
        let now = around.now;
        Self {
            quic,
            handle,
            serial,
            queued: false,
            armed: None,
            open: Some(open),
            stage: Stage::Handshake,
            streams: HashMap::new(),
            writers: VecDeque::new(),
            rate: None,
            pace: Pace::new(now),
            uni: UniStreams::default(),
            pulse: Rc::default(),
            next: 0,
            look_at: now + around.worker.limits.handshake_time,
            given_up: (0, now),
            close_at: None,
        }
    }

    /// Whether the handshake goes on.
    pub fn is_handshaking(&self) -> bool {
        self.stage == Stage::Handshake
    }

    /// Whether nothing more will be asked or answered; what is left is the transport's.
    pub fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// When it next wants a turn if nothing comes.
    pub fn deadline(&mut self) -> Option<Instant> {
        let transport = self.quic.poll_timeout();
        if self.is_closed() {
            return transport;
        }
        Some(transport.map_or(self.look_at, |t| t.min(self.look_at)))
    }

    /// Handles all that the transport tells, and the limits.
    pub fn events(&mut self, around: &Around<'_>) {
        while let Some(event) = self.quic.poll() {
            match event {
                Event::Connected => self.connected(around),
                Event::ConnectionLost { reason } => self.lost(&reason, around),
                Event::Stream(event) => self.stream_event(&event, around),
                Event::HandshakeDataReady | Event::DatagramReceived | Event::DatagramsUnblocked => {}
            }
        }
        if !self.is_closed() && around.now >= self.look_at {
            self.look(around);
        }
        self.close_if_done(around);
    }

    fn connected(&mut self, around: &Around<'_>) {
        self.stage = Stage::Open;
        let limits = &around.worker.limits;
        around.count("oca_tls_handshakes_total", "quic");
        self.pulse.beat();
        self.uni.open(&mut self.quic, limits.header_bytes as u64);
        self.look_at = around.now + limits.idle_time;
        if around.worker.is_stopping() {
            self.leave(around);
        }
    }

    fn lost(&mut self, reason: &ConnectionError, around: &Around<'_>) {
        if self.is_handshaking() {
            around.count("oca_tls_handshakes_total", "failed");
        }
        // A client that has all may close before it acknowledges the last of it.
        let farewell = matches!(reason, ConnectionError::ApplicationClosed(_));
        for stream in self.streams.values_mut().filter(|s| !(s.written && farewell)) {
            if let Some(response) = &mut stream.response {
                response.cut(End::ClientGone);
            }
        }
        tracing::debug!(%reason, "QUIC connection ended");
        self.end();
    }

    /// Ends with `code`; what runs is cut.
    pub fn close(&mut self, code: ErrorCode, now: Instant) {
        self.quic.close(now, var(code), Bytes::new());
        self.end();
    }

    fn end(&mut self) {
        self.stage = Stage::Closed;
        self.streams.clear();
        self.writers.clear();
    }

    /// No longer counts as open.
    pub fn let_go(&mut self) {
        self.open = None;
    }

    /// Takes leave: what runs is finished, what is on its way is answered, then it ends.
    pub fn leave(&mut self, around: &Around<'_>) {
        if self.stage == Stage::Open {
            // Any stream that there can be: nothing is refused yet (RFC 9114 §5.2).
            self.uni.go_away(&mut self.quic, varint::MAX - 3);
            let least = if is_calm(around) { CALM_LEAVE } else { LEAVE };
            let wait = least.max(self.quic.rtt() * 3);
            self.stage = Stage::Leaving(around.now + wait);
            self.look_by(around.now + wait);
        }
    }

    fn look_by(&mut self, then: Instant) {
        self.look_at = self.look_at.min(then);
    }

    /// Looks at all limits.
    fn look(&mut self, around: &Around<'_>) {
        let (now, limits) = (around.now, &around.worker.limits);
        if self.is_handshaking() {
            around.cut(Cut::TlsHandshake);
            around.count("oca_tls_handshakes_total", "failed");
            return self.close(ErrorCode::NoError, now);
        }
        self.look_at = now + limits.header_time;
        match self.stage {
            Stage::Leaving(then) if now >= then => {
                self.stage = Stage::Last(self.next);
                self.uni.go_away(&mut self.quic, self.next);
            }
            Stage::Leaving(then) => self.look_by(then),
            _ => {}
        }
        match self.pulse.look(limits, now) {
            Verdict::Well(then) => self.look_by(then),
            Verdict::Stalled => {
                around.cut(Cut::SlowReader);
                for stream in self.streams.values_mut() {
                    if let Some(response) = &mut stream.response {
                        response.cut(End::SlowReader);
                    }
                }
                return self.close(ErrorCode::RequestCancelled, now);
            }
            Verdict::Idle => {
                self.leave(around);
                self.pulse.beat();
            }
        }
        self.look_at_streams(around);
    }

    fn look_at_streams(&mut self, around: &Around<'_>) {
        let limit = around.worker.limits.header_time;
        let late: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(_, s)| s.wants_head() && around.now >= s.since + limit)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            around.cut(Cut::HeaderTime);
            self.refuse(id, 408, around);
        }
        for stream in self.streams.values_mut() {
            if let Some(response) = &mut stream.response {
                response.let_go();
            }
        }
    }

    /// Ends a connection that has said good-bye and has nothing left to do.
    fn close_if_done(&mut self, around: &Around<'_>) {
        let over = |s: &Exchanging| s.response.is_none() && !s.wants_head();
        if !matches!(self.stage, Stage::Last(_)) || !self.streams.values().all(over) {
            return;
        }
        // What the client's transport has acknowledged its reader may still have to read, and some drop it at a close.
        let wait = if is_calm(around) {
            CALM_LEAVE
        } else {
            Duration::ZERO
        };
        let close_at = *self.close_at.get_or_insert(around.now + wait);
        if around.now >= close_at {
            return self.close(ErrorCode::NoError, around.now);
        }
        self.look_by(close_at);
    }

    fn stream_event(&mut self, event: &StreamEvent, around: &Around<'_>) {
        match *event {
            _ if self.is_closed() => {}
            StreamEvent::Opened { dir } => {
                while let Some(id) = self.quic.streams().accept(dir) {
                    match dir {
                        Dir::Bi => self.begin(id, around),
                        Dir::Uni => self.read_uni(id, around.now),
                    }
                }
            }
            StreamEvent::Readable { id } if id.dir() == Dir::Bi => self.read(id, around),
            StreamEvent::Readable { id } => self.read_uni(id, around.now),
            StreamEvent::Writable { id } if self.uni.is_ours(id) => self.uni.flush(&mut self.quic),
            StreamEvent::Writable { id } => self.enqueue(id),
            StreamEvent::Finished { id } => self.finished(id),
            StreamEvent::Stopped { id, error_code } if id.dir() == Dir::Bi => {
                let _ = self.quic.send_stream(id).reset(error_code); // it was open until now
                self.given_up(around);
                self.finished(id);
            }
            StreamEvent::Stopped { .. } => self.close(ErrorCode::ClosedCriticalStream, around.now),
            StreamEvent::Available { .. } => {}
        }
    }

    fn given_up(&mut self, around: &Around<'_>) {
        let (count, since) = &mut self.given_up;
        if around.now >= *since + GIVEN_UP_TIME {
            (*count, *since) = (0, around.now);
        }
        *count += 1;
        if *count > GIVEN_UP {
            self.close(ErrorCode::ExcessiveLoad, around.now);
        }
    }

    fn read_uni(&mut self, id: StreamId, now: Instant) {
        if let Err(code) = self.uni.read(&mut self.quic, id) {
            self.close(code, now);
        }
    }

    /// A request begins.
    fn begin(&mut self, id: StreamId, around: &Around<'_>) {
        let number = u64::from(VarInt::from(id));
        if matches!(self.stage, Stage::Last(first) if number >= first) {
            return self.abort(id, ErrorCode::RequestRejected);
        }
        self.next = self.next.max(number + 4);
        let limits = &around.worker.limits;
        let exchanging = Exchanging {
            request: Some(RequestStream::new(limits.header_bytes)),
            response: None,
            written: false,
            fetching: None,
            since: around.now,
            discarded: 0,
        };
        self.streams.insert(id, exchanging);
        self.look_by(around.now + limits.header_time);
        self.read(id, around);
    }

    /// Reads what came of a request.
    fn read(&mut self, id: StreamId, around: &Around<'_>) {
        let mut recv = self.quic.recv_stream(id);
        let Ok(mut chunks) = recv.read(true) else {
            return; // stopped before
        };
        let mut pieces = Vec::new();
        let end = loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => pieces.push(chunk.bytes),
                Ok(None) => break Some(Ok(())),
                Err(quinn_proto::ReadError::Reset(_)) => break Some(Err(())),
                Err(quinn_proto::ReadError::Blocked) => break None,
            }
        };
        let _ = chunks.finalize(); // this turn sends what there is to send
        for piece in pieces {
            if let Err(fault) = self.take(id, &piece, around) {
                return self.fault(id, fault, around.now);
            }
        }
        match end {
            None => {}
            Some(Ok(())) => self.request_ended(id, around.now),
            Some(Err(())) => self.request_reset(id),
        }
    }

    fn take(&mut self, id: StreamId, mut input: &[u8], around: &Around<'_>) -> Result<(), Fault> {
        loop {
            let Some(stream) = self.streams.get_mut(&id) else {
                return Ok(());
            };
            let Some(request) = &mut stream.request else {
                return Ok(());
            };
            match request.next(&mut input)? {
                None => return Ok(()),
                Some(Incoming::Head(head)) => self.respond(id, &head, around),
                Some(Incoming::TooLarge) => self.refuse(id, 431, around),
                Some(Incoming::Content(bytes)) => {
                    stream.discarded += bytes;
                    if stream.discarded > around.worker.limits.discarded_body {
                        self.stop(id);
                    }
                }
            }
        }
    }

    fn peer(&self) -> Peer {
        Peer {
            addr: self.quic.remote_address(),
            tls: Some("TLSv1.3"), // QUIC has no other
        }
    }

    fn respond(&mut self, id: StreamId, head: &Head, around: &Around<'_>) {
        let most = around.worker.limits.discarded_body;
        let too_long = head.content_length.is_some_and(|n| n > most);
        let path = self.path(0); // what was sent again only the log wants to know
        let response = h3::respond(around.worker, &self.pulse, self.peer(), path, head, too_long);
        self.start(id, response, around);
        if too_long {
            self.stop(id);
        }
    }

    /// Answers without a request that could be read.
    fn refuse(&mut self, id: StreamId, status: u16, around: &Around<'_>) {
        let response = h3::refuse(around.worker, &self.pulse, self.peer(), status);
        self.start(id, response, around);
        self.stop(id);
    }

    fn start(&mut self, id: StreamId, response: Response, around: &Around<'_>) {
        let priority = -i32::from(response.priority.urgency);
        let _ = self.quic.send_stream(id).set_priority(priority); // if it is closed, the first write says so
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.response = Some(response);
        }
        self.repace();
        self.look_by(around.now + around.worker.limits.slow_read);
        self.enqueue(id);
    }

    /// Wants no more of a request, which is no error (RFC 9114 §4.1).
    fn stop(&mut self, id: StreamId) {
        let _ = self.quic.recv_stream(id).stop(var(ErrorCode::NoError)); // or it has ended
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.request = None;
        }
        self.forget_if_over(id);
    }

    fn request_ended(&mut self, id: StreamId, now: Instant) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if let Some(Err(fault)) = stream.request.take().map(|r| r.end()) {
            return self.fault(id, fault, now);
        }
        self.forget_if_over(id);
    }

    /// The client gave its part up; a response that runs goes on until it is stopped as well.
    fn request_reset(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.request = None;
            if stream.response.is_none() {
                self.abort(id, ErrorCode::RequestIncomplete);
            }
        }
    }

    fn fault(&mut self, id: StreamId, fault: Fault, now: Instant) {
        tracing::debug!(%fault, "HTTP/3 rule broken");
        match fault {
            Fault::Stream(code) => self.abort(id, code),
            Fault::Connection(code) => self.close(code, now),
        }
    }

    /// Ends both directions of a stream with an error.
    fn abort(&mut self, id: StreamId, code: ErrorCode) {
        let _ = self.quic.send_stream(id).reset(var(code)); // each may have ended
        let _ = self.quic.recv_stream(id).stop(var(code));
        self.streams.remove(&id);
        self.repace();
    }

    /// The response is acknowledged, or nobody wants it.
    fn finished(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            let unread = stream.request.as_ref().is_some_and(RequestStream::wants_head);
            (stream.response, stream.fetching) = (None, None);
            self.repace();
            if unread {
                return self.abort(id, ErrorCode::RequestCancelled);
            }
        }
        self.forget_if_over(id);
    }

    fn forget_if_over(&mut self, id: StreamId) {
        let over = |s: &Exchanging| s.request.is_none() && s.response.is_none();
        if self.streams.get(&id).is_some_and(over) {
            self.streams.remove(&id);
        }
    }

    /// Puts a response among those that can go on, by urgency and age.
    fn enqueue(&mut self, id: StreamId) {
        let urgency = |id: &StreamId| Some(self.streams.get(id)?.response.as_ref()?.priority.urgency);
        let Some(own) = urgency(&id).filter(|_| !self.writers.contains(&id)) else {
            return;
        };
        let later = |other: &StreamId| urgency(other).is_none_or(|u| (u, *other) > (own, id));
        let at = self.writers.iter().position(later).unwrap_or(self.writers.len());
        self.writers.insert(at, id);
    }

    /// Sums up anew what is enough for all responses that run.
    fn repace(&mut self) {
        let running = self.streams.values().filter(|s| !s.written);
        let rates = running.filter_map(|s| s.response.as_ref()).map(Response::rate);
        self.rate = pacing::together(rates);
    }

    /// What is known of the path to the client; quinn-proto measures no delivery rate.
    fn path(&self, retransmitted: u32) -> Path {
        Path {
            round_trip: u32::try_from(self.quic.rtt().as_micros()).unwrap_or(u32::MAX),
            retransmitted,
            delivery_rate: 0,
        }
    }

    /// Keeps what waits in the transport near to what the path takes.
    fn bound(&mut self, around: &Around<'_>) -> u64 {
        let window = self.quic.congestion_state().window();
        let delay = u64::try_from(self.quic.min_rtt().as_micros()).unwrap_or(u64::MAX);
        let path = delay.saturating_mul(PEAK / 1_000_000).clamp(NEAR, FAR);
        let bytes = if around.is_short_of_memory() {
            window.min(NEAR) + LEAST_AHEAD
        } else {
            window + AHEAD
        };
        let bytes = bytes.min(path);
        self.quic.set_send_window(bytes);
        bytes
    }

    /// Writes about a batch; false if there is nothing that could be written.
    pub fn fill(&mut self, around: &Around<'_>) -> bool {
        if self.writers.is_empty() || self.is_closed() {
            return false;
        }
        if let Some(then) = self.rate.and_then(|_| self.pace.wait(around.now)) {
            self.look_by(then);
            return false;
        }
        let window = self.bound(around);
        let (mut wrote, mut blocked) = (false, 0);
        while let Some(id) = self.writers.front().copied() {
            if blocked == FULL {
                break; // the rest has its turn when the window opens, or after KEEP
            }
            let Some(stream) = self.streams.get_mut(&id) else {
                self.writers.pop_front();
                continue;
            };
            let Some(response) = stream.response.as_mut().filter(|_| !stream.written) else {
                self.writers.pop_front();
                continue;
            };
            let incremental = response.priority.incremental;
            let before = response.sent();
            let progress = response.write(&mut self.quic.send_stream(id), around.buffers);
            if let Some(rate) = self.rate {
                self.pace.sent(response.sent() - before, rate, around.now);
            }
            if matches!(progress, Progress::Wrote) {
                if incremental {
                    self.writers.pop_front();
                    self.enqueue_last(id);
                }
                return true;
            }
            self.writers.pop_front();
            wrote |= matches!(progress, Progress::Done);
            blocked = if matches!(progress, Progress::Blocked) {
                blocked + 1
            } else {
                0
            };
            self.settle(id, progress, around);
        }
        if blocked > 0 {
            self.quic.set_send_window(window - HYSTERESIS.min(window / 2));
        }
        wrote
    }

    /// Puts a response behind all others of its urgency.
    fn enqueue_last(&mut self, id: StreamId) {
        let urgency = |id: &StreamId| Some(self.streams.get(id)?.response.as_ref()?.priority.urgency);
        let own = urgency(&id);
        let at = self.writers.iter().position(|other| urgency(other) > own);
        self.writers.insert(at.unwrap_or(self.writers.len()), id);
    }

    /// What follows a write after which the response cannot go on at once.
    fn settle(&mut self, id: StreamId, progress: Progress, around: &Around<'_>) {
        match progress {
            Progress::Wrote => {}
            Progress::Blocked => self.look_by(around.now + KEEP),
            Progress::Done => {
                let path = self.path(u32::try_from(self.quic.stats().path.lost_packets).unwrap_or(u32::MAX));
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.written = true;
                    if let Some(response) = &mut stream.response {
                        response.carried(path);
                    }
                }
                self.repace();
                let limits = &around.worker.limits;
                self.look_by(around.now + limits.idle_time.min(limits.slow_read));
            }
            Progress::Cold(cold) => {
                let task = around.fetch(self.handle, self.serial, id, cold);
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.fetching = Some(Fetching(task));
                }
            }
            Progress::Failed => self.abort(id, ErrorCode::InternalError),
            Progress::Unwanted => self.finished(id),
        }
    }

    /// Resets the responses whose files proved broken: what the transport has of them must not be sent. Whether
    /// there are any.
    pub fn reset_broken(&mut self) -> bool {
        let streams = self.streams.iter_mut();
        let broken = streams.filter_map(|(id, stream)| {
            let response = stream.response.as_mut()?;
            response.is_broken().then_some(*id)
        });
        let broken: Vec<_> = broken.collect();
        for id in &broken {
            self.abort(*id, ErrorCode::InternalError);
        }
        !broken.is_empty()
    }

    /// A piece has come from the drive.
    pub fn arrived(&mut self, id: StreamId, piece: Option<Result<Loan, ReadError>>, rest: ColdStream) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.fetching = None;
        let Some(response) = &mut stream.response else {
            return;
        };
        if response.arrived(piece, rest) {
            self.enqueue(id);
        } else {
            self.abort(id, ErrorCode::InternalError);
        }
    }

    /// Most datagrams of one call: what one buffer and one packet of the kernel hold.
    pub fn batch(&self, most: usize) -> usize {
        (BUFFER / usize::from(self.quic.current_mtu())).clamp(1, most)
    }
}

impl Exchanging {
    fn wants_head(&self) -> bool {
        self.response.is_none() && self.request.as_ref().is_some_and(RequestStream::wants_head)
    }
}

/// Whether another process serves, so that nobody waits for the end of this one.
fn is_calm(around: &Around<'_>) -> bool {
    matches!(around.worker.leaving(), Leaving::HandedOver(_))
}

fn var(code: ErrorCode) -> VarInt {
    VarInt::from_u32(code as u32)
}
