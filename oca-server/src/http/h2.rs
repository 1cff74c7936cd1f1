//! HTTP/2 by hyper. The body reads a bounded piece of the file only when hyper asks for it, which it does only as the
//! client's windows open; a file that fails resets the stream. Limits on streams, header lists and resets are hyper's,
//! set here; a client that opens no window is cut like any slow reader.

use crate::{
    counters::Cut,
    disk::{ColdStream, Loan, ReadError},
    files::OpenFile,
    http::{
        Peer, Protocol,
        answer::{self, Piece, pieces},
        exchange::{End, Exchange, Said},
        lanes::{Lanes, PATIENCE},
        lookup::LookUp,
        pulse::{Pulse, Verdict},
        wire::{LINGER, LINGER_BYTES},
    },
    namespace::Found,
    sys::path::{self, Path},
    tls::session::Session,
    worker::Worker,
};
use bytes::{Buf, Bytes};
use cdn_types::BitsPerSecond;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use oca_core::{
    decision::Decision,
    priority::Priority,
    range::Slice,
    request::{Fields, Method},
};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    convert::Infallible,
    future::{Future, poll_fn},
    io::{self, IoSlice, IoSliceMut},
    pin::{Pin, pin},
    rc::{Rc, Weak},
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Requests of one connection at once: a player asks for a few segments and playlists at a time.
const STREAMS: u32 = 64;
/// Bytes of one piece of a body: with [`STREAMS`] it bounds what one connection can hold.
const PIECE: u64 = 64 << 10;
/// Streams that a client may reset before we accepted them (rapid reset, CVE-2023-44487), and those that we reset.
const RESETS: usize = 64;

/// Serves a connection after its TLS handshake.
pub async fn serve(worker: &Rc<Worker>, session: Session, peer: Peer) {
    let session = Rc::new(RefCell::new(session));
    let shared = Rc::new(Shared {
        pulse: Pulse::default(),
        lanes: Lanes::default(),
        session: Rc::downgrade(&session),
        lends: !session.borrow().settled().kernel,
        broken: RefCell::default(),
        rate: Cell::new(None),
    });
    let service = service_fn(|request| {
        let response = respond(worker, &shared, peer, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let io = TokioIo::new(Gathered {
        session: Rc::clone(&session),
        shared: Rc::clone(&shared),
    });
    let mut connection = pin!(builder(worker).serve_connection(io, service));
    let mut leaving = false;
    loop {
        tokio::select! {
            step = poll_fn(|cx| poll(connection.as_mut(), (&session, &shared), leaving, cx)) => match step {
                Step::Ended(result) => {
                    match result {
                        Ok(()) => linger(&session).await,
                        Err(error) => tracing::debug!(%error, "HTTP/2 connection ended"),
                    }
                    if let Some(found) = shared.broken.take() {
                        let error = ReadError::Short;
                        worker.fault(&found, error.name(), &error);
                    }
                    return;
                }
                Step::Leave => leaving = true,
            },
            () = worker.stopped(), if !leaving => leaving = true,
            verdict = watch(worker, &shared.pulse) => match verdict {
                Verdict::Stalled => return worker.counters.borrow_mut().cut(Cut::SlowReader, 1),
                Verdict::Idle if leaving => return,
                Verdict::Idle | Verdict::Well(_) => {
                    leaving = true;
                    shared.pulse.beat(); // as long again to take leave
                }
            },
        }
        connection.as_mut().graceful_shutdown();
    }
}

/// hyper's side of a session that both poll: hyper writes frame by frame, and what it wrote in one poll is sealed and
/// sent together at its end.
struct Gathered {
    session: Rc<RefCell<Session>>,
    shared: Rc<Shared>,
}

impl Gathered {
    /// The session, as long as what was gathered may leave.
    fn with<T>(&self, act: impl FnOnce(Pin<&mut Session>) -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.shared.check()?;
        act(Pin::new(&mut *self.session.borrow_mut()))
    }
}

/// Reads what the client still sends, for a moment, after all is sent and our side is closed. A socket that is closed with
/// bytes unread is reset, and the client may then lose the end of its last response.
async fn linger(session: &RefCell<Session>) {
    let (mut sink, mut left) = (vec![0; 4096], LINGER_BYTES);
    let reading = poll_fn(|cx| {
        loop {
            let mut buffer = ReadBuf::new(&mut sink);
            ready!(Pin::new(&mut *session.borrow_mut()).poll_read(cx, &mut buffer))?;
            let n = buffer.filled().len();
            left = left.saturating_sub(n);
            if n == 0 || left == 0 {
                return Poll::Ready(io::Result::Ok(()));
            }
        }
    });
    let _ = tokio::time::timeout(LINGER, reading).await; // too slow or gone: there is nobody to tell
}

/// What a poll came to.
enum Step {
    Ended(Result<(), Box<dyn std::error::Error>>),
    /// The session must end: what runs is finished, nothing new begun.
    Leave,
}

fn poll(
    connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    (session, shared): (&RefCell<Session>, &Shared),
    leaving: bool,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    let result = connection.poll(cx).map_err(Into::into);
    if let Err(error) = shared.check() {
        return Poll::Ready(Step::Ended(Err(error.into())));
    }
    let mut session = session.borrow_mut();
    match (session.poll_sent(cx), result) {
        (Poll::Ready(Err(error)), _) => Poll::Ready(Step::Ended(Err(error.into()))),
        (_, Poll::Ready(result)) => Poll::Ready(Step::Ended(result)),
        (_, Poll::Pending) if session.must_end() && !leaving => Poll::Ready(Step::Leave),
        (_, Poll::Pending) => Poll::Pending,
    }
}

impl AsyncRead for Gathered {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|session| session.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|session| session.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.with(|session| session.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|session| session.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|session| session.poll_shutdown(cx))
    }
}

fn builder(worker: &Worker) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(worker.limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(PIECE as usize)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    // No pings: behind a slow client's data they come too late, and the idle and slow-read limits find the dead.
    builder
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone)]
struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Resolves when a limit is over.
async fn watch(worker: &Worker, pulse: &Pulse) -> Verdict {
    loop {
        match pulse.look(&worker.limits, Instant::now()) {
            Verdict::Well(until) => tokio::time::sleep_until(until.into()).await,
            over => return over,
        }
    }
}

/// What the responses of a connection share.
struct Shared {
    pulse: Pulse,
    lanes: Lanes,
    session: Weak<RefCell<Session>>,
    /// Whether bodies are lent: they are read where we seal. The kernel says by an error that they are not there.
    lends: bool,
    /// What was lent and proved not to be the file's. What was gathered with it may not leave, so that the connection ends.
    broken: RefCell<Option<Found>>,
    /// The rate that the socket is bound to.
    rate: Cell<Option<BitsPerSecond>>,
}

impl Shared {
    /// What TCP knows of the path to the client.
    fn path(&self) -> Option<Path> {
        self.with_session(|session| path::path(session.tcp()).ok())
            .flatten()
    }

    /// Fails once something gathered is not what it should be.
    fn check(&self) -> io::Result<()> {
        match &*self.broken.borrow() {
            Some(_) => Err(io::Error::other(ReadError::Short)),
            None => Ok(()),
        }
    }

    /// Binds the socket to what is enough for all responses that run.
    fn pace(&self) {
        let rate = self.lanes.rate();
        let bytes = rate.map(|r| r.0 / 8);
        if rate != self.rate.get()
            && self.with_session(|session| path::set_pace(session.tcp(), bytes).is_ok()) == Some(true)
        {
            self.rate.set(rate);
        }
    }

    /// Absent when the connection is gone.
    fn with_session<T>(&self, ask: impl FnOnce(&Session) -> T) -> Option<T> {
        let session = self.session.upgrade()?;
        let session = session.try_borrow().ok()?;
        Some(ask(&session))
    }
}

fn respond(
    worker: &Rc<Worker>,
    shared: &Rc<Shared>,
    peer: Peer,
    request: &Request<Incoming>,
) -> Response<FileBody> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let host = request.uri().authority().map(|a| a.as_str().as_bytes());
    let mut said = Said {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query(),
        host,
        ..Said::default()
    };
    let (mut fields, mut priority) = (Fields::default(), Priority::default());
    for (name, value) in request.headers() {
        if name == "priority" {
            priority = Priority::parse(value.as_bytes());
        }
        said.take(name.as_str(), value.as_bytes());
        fields.take(name.as_str(), value.as_bytes());
    }
    let admitted = answer::admit(worker, Protocol::Http2, peer, target, &said);
    let target = match &admitted {
        Some(admitted) => admitted.instead(&mut said),
        None => target,
    };
    let mut exchange = Exchange::new(worker, Protocol::Http2, peer, &said);
    let method = Method::parse(request.method().as_str());
    let looked_up = match admitted.as_ref().and_then(|a| a.told(&mut exchange)) {
        Some(status) => LookUp::Failed(status),
        None => answer::find(worker, method, target),
    };
    let decision = answer::answer(worker, method, &fields, &looked_up);
    let file = match &looked_up {
        LookUp::Found(open, found) => Some((open, found)),
        LookUp::Missing | LookUp::Failed(_) => None,
    };
    exchange.answered(decision.status, file.and_then(|(open, _)| open.digest));
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(decision.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let told = exchange.told(|| shared.path());
    write_fields(response.headers_mut(), worker, &decision, told.as_deref());
    let cookie = admitted.and_then(|a| a.cookie(decision.status));
    if let Some(cookie) = cookie.and_then(|c| HeaderValue::from_str(&c).ok()) {
        response.headers_mut().insert(http::header::SET_COOKIE, cookie);
    }
    let pieces = pieces(decision.body, decision.head_only);
    let file = file.map(|(open, found)| {
        Rc::new(Sent {
            open: Rc::clone(open),
            found: found.clone(),
        })
    });
    response.map(|()| FileBody::new(file, pieces, exchange, (priority, Rc::clone(shared))))
}

fn write_fields(fields: &mut HeaderMap, worker: &Worker, decision: &Decision<'_>, told: Option<&str>) {
    let mut add = |name: &str, value: &str| {
        // Names and values are ours; a media type from a catalogue with a line break is left out.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            fields.insert(name, value);
        }
    };
    answer::fields(worker, decision, &mut add);
    if let Some(alternative) = &worker.alternative {
        add("Alt-Svc", alternative);
    }
    if let Some(told) = told {
        add("CMSD-Dynamic", told);
    }
}

/// A body that is read as it is asked for.
struct FileBody {
    file: Option<Rc<Sent>>,
    pieces: VecDeque<Piece>,
    /// What is being brought from the drive: no more than one piece, so that a closed window holds no memory that
    /// others need.
    cold: Option<ColdStream>,
    exchange: Exchange,
    shared: Rc<Shared>,
    /// Its number among the responses of the connection.
    lane: u64,
    /// Until it asks again although another goes first.
    patience: Option<Pin<Box<Sleep>>>,
    worker: Rc<Worker>,
}

/// A file that is sent.
struct Sent {
    open: Rc<OpenFile>,
    found: Found,
}

/// Bytes of a body.
enum Chunk {
    Text(Bytes),
    /// In a buffer that goes back to the worker's pool when they are sent.
    Read(Loan, usize),
    /// Where they lie in memory.
    Lent(Bytes, Rc<Sent>, Rc<Shared>),
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Text(text) | Self::Lent(text, ..) => text,
            Self::Read(loan, at) => &loan[*at..],
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Text(text) => text.advance(n),
            Self::Read(_, at) => *at += n,
            Self::Lent(text, sent, shared) => {
                text.advance(n); // they have been read
                if sent.open.access.is_broken() {
                    shared.broken.replace(Some(sent.found.clone()));
                }
            }
        }
    }
}

impl FileBody {
    fn new(
        file: Option<Rc<Sent>>,
        pieces: VecDeque<Piece>,
        mut exchange: Exchange,
        (priority, shared): (Priority, Rc<Shared>),
    ) -> Self {
        if pieces.is_empty() {
            exchange.ended(End::Complete);
        }
        shared.pulse.begin();
        let lane = shared.lanes.enter(priority, exchange.rate(), Instant::now());
        shared.pace();
        let worker = Rc::clone(exchange.worker());
        Self {
            file,
            pieces,
            cold: None,
            exchange,
            shared,
            lane,
            patience: None,
            worker,
        }
    }

    /// Waits for the responses that go first.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self
            .shared
            .lanes
            .poll_turn(self.lane, Instant::now(), cx)
            .is_pending()
        {
            let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            ready!(patience.as_mut().poll(cx));
            self.patience = None;
        }
        Poll::Ready(())
    }

    /// The next piece, at most [`PIECE`] bytes of the file.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, ReadError>>> {
        let chunk = match self.pieces.pop_front() {
            None => return Poll::Ready(None),
            Some(Piece::Text(text)) => Chunk::Text(text),
            Some(Piece::File(slice)) => match self.poll_file(slice, cx) {
                Poll::Ready(Ok(chunk)) => chunk,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    self.pieces.push_front(Piece::File(slice));
                    return Poll::Pending;
                }
            },
        };
        let len = chunk.remaining() as u64;
        self.shared.pulse.gave(len);
        self.exchange.sent(len);
        if self.pieces.is_empty() {
            self.exchange.ended(End::Complete);
        }
        Poll::Ready(Some(Ok(chunk)))
    }

    /// Bytes from the beginning of `slice`; what is left of it is put back.
    fn poll_file(&mut self, slice: Slice, cx: &mut Context<'_>) -> Poll<Result<Chunk, ReadError>> {
        let Some(sent) = &self.file else {
            return Poll::Ready(Err(ReadError::Short)); // slices are made of a found file only
        };
        let (file, len) = (&sent.open, slice.len.min(PIECE));
        let disk = &self.worker.disk;
        let chunk = loop {
            if let Some(cold) = &mut self.cold {
                match ready!(cold.poll_next(cx)).transpose()? {
                    Some(loan) => break Chunk::Text(Bytes::copy_from_slice(&loan)),
                    None => self.cold = None,
                }
            }
            let piece = Slice { len, ..slice };
            let lent = if self.shared.lends {
                disk.lend(file, piece)
            } else {
                None
            };
            if let Some(bytes) = lent {
                break Chunk::Lent(bytes, Rc::clone(sent), Rc::clone(&self.shared));
            }
            let mut loan = disk.buffer();
            let space = IoSliceMut::new(&mut loan.space()[..len as usize]);
            if let Some(n) = disk.read_now(file, &mut [space], slice.offset)? {
                loan.filled(n);
                break Chunk::Read(loan, 0);
            }
            self.cold = Some(disk.stream(file, piece));
        };
        let n = chunk.remaining() as u64;
        if n < slice.len {
            self.pieces.push_front(Piece::File(Slice {
                offset: slice.offset + n,
                len: slice.len - n,
            }));
        }
        Poll::Ready(Ok(chunk))
    }

    fn fault(&mut self, error: &ReadError) {
        self.exchange.ended(End::Fault);
        self.pieces.clear();
        if let Some(sent) = &self.file {
            self.worker.fault(&sent.found, error.name(), error);
        }
    }
}

impl HttpBody for FileBody {
    type Data = Chunk;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, ReadError>>> {
        ready!(self.poll_turn(cx));
        self.poll_next(cx)
            .map(|next| next.map(|piece| piece.map(Frame::data).inspect_err(|error| self.fault(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.pieces.iter().map(Piece::len).sum())
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        self.exchange.carried(|| self.shared.path());
        self.shared.lanes.leave(self.lane);
        self.shared.pace();
        self.shared.pulse.end();
    }
}
