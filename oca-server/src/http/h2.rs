//! HTTP/2 by hyper. The body reads a bounded piece of the file only when hyper asks for it, which it does only as the
//! client's windows open; a file that fails resets the stream. Limits on streams, header lists and resets are hyper's,
//! set here; a client that opens no window is cut like any slow reader.

use crate::{
    counters::Cut,
    disk::{ColdStream, Loan, ReadError},
    files::OpenFile,
    http::{
        Peer, Protocol,
        exchange::{End, Exchange, Said},
        lookup::{LookUp, look_up, representation},
        wire::LEAST_BYTES,
    },
    namespace::Found,
    tls::session::Session,
    worker::Worker,
};
use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use oca_core::{
    decision::{Body, Decision, decide},
    path::Target,
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
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Requests of one connection at once: a player asks for a few segments and playlists at a time.
const STREAMS: u32 = 64;
/// Bytes of one piece of a body: with [`STREAMS`] it bounds what one connection can hold.
const PIECE: u64 = 64 << 10;
/// Bytes that are brought from the drive before memory is asked again.
const COLD: u64 = 1 << 20;
/// Streams that a client may reset before we accepted them (rapid reset, CVE-2023-44487), and those that we reset.
const RESETS: usize = 64;

/// Progress of a connection's responses, for the slow-read and idle limits.
struct Pulse {
    running: Cell<usize>,
    /// When the client last had taken enough, or the first of the running responses began.
    last: Cell<Instant>,
    /// Bytes read for it since then.
    bytes: Cell<u64>,
}

impl Pulse {
    fn beat(&self) {
        self.last.set(Instant::now());
        self.bytes.set(0);
    }

    /// What trickles is no beat: one busy stream, or small requests, would keep the stalled ones for ever.
    fn gave(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
        if self.bytes.get() >= LEAST_BYTES {
            self.beat();
        }
    }

    fn begin(&self) {
        if self.running.replace(self.running.get() + 1) == 0 {
            self.beat();
        }
    }

    fn end(&self) {
        self.running.set(self.running.get() - 1);
        if self.running.get() == 0 {
            self.beat();
        }
    }
}

/// Serves a connection after its TLS handshake.
pub async fn serve(worker: &Rc<Worker>, session: Session, peer: Peer) {
    let pulse = Rc::new(Pulse {
        running: Cell::new(0),
        last: Cell::new(Instant::now()),
        bytes: Cell::new(0),
    });
    let service = service_fn(|request| {
        let response = respond(worker, &pulse, peer, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let session = Rc::new(RefCell::new(session));
    let io = TokioIo::new(Gathered(Rc::clone(&session)));
    let mut connection = pin!(builder(worker).serve_connection(io, service));
    let mut leaving = false;
    loop {
        tokio::select! {
            step = poll_fn(|cx| poll(connection.as_mut(), &session, leaving, cx)) => match step {
                Step::Ended(result) => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "HTTP/2 connection ended");
                    }
                    return;
                }
                Step::Leave => leaving = true,
            },
            () = worker.stopped(), if !leaving => leaving = true,
            verdict = watch(worker, &pulse) => match verdict {
                Verdict::Stalled => return worker.counters.borrow_mut().cut(Cut::SlowReader, 1),
                Verdict::Idle if leaving => return,
                Verdict::Idle => {
                    leaving = true;
                    pulse.beat(); // as long again to take leave
                }
            },
        }
        connection.as_mut().graceful_shutdown();
    }
}

/// hyper's side of a session that both poll: hyper writes frame by frame, and what it wrote in one poll is sealed and
/// sent together at its end.
struct Gathered(Rc<RefCell<Session>>);

/// What a poll came to.
enum Step {
    Ended(Result<(), Box<dyn std::error::Error>>),
    /// The session must end: what runs is finished, nothing new begun.
    Leave,
}

fn poll(
    connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    session: &RefCell<Session>,
    leaving: bool,
    cx: &mut Context<'_>,
) -> Poll<Step> {
    let result = connection.poll(cx).map_err(Into::into);
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
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
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

enum Verdict {
    /// Responses run and the client takes nothing.
    Stalled,
    /// No response runs.
    Idle,
}

/// Resolves when a limit is over.
async fn watch(worker: &Worker, pulse: &Pulse) -> Verdict {
    loop {
        let running = pulse.running.get() > 0;
        let limit = if running {
            worker.limits.slow_read
        } else {
            worker.limits.idle_time
        };
        let quiet = pulse.last.get().elapsed();
        if quiet >= limit {
            return if running { Verdict::Stalled } else { Verdict::Idle };
        }
        tokio::time::sleep(limit - quiet).await;
    }
}

fn respond(
    worker: &Rc<Worker>,
    pulse: &Rc<Pulse>,
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
    let mut fields = Fields::default();
    for (name, value) in request.headers() {
        said.take(name.as_str(), value.as_bytes());
        fields.take(name.as_str(), value.as_bytes());
    }
    let mut exchange = Exchange::new(worker, Protocol::Http2, peer, &said);
    let method = Method::parse(request.method().as_str());
    let looked_up = match (method, Target::parse(target)) {
        (Method::Other, _) => LookUp::Failed(405),
        (Method::Options, _) => LookUp::Missing,
        (_, Ok(target)) => look_up(worker, &target),
        (_, Err(_)) => LookUp::Failed(400),
    };
    let (file, decision) = match &looked_up {
        LookUp::Found(open, found) => (Some((open, found)), Ok(Some(representation(open, found)))),
        LookUp::Missing => (None, Ok(None)),
        LookUp::Failed(status) => (None, Err(*status)),
    };
    let decision = match decision {
        Ok(facts) => decide(method, &fields, facts, worker.limits.ranges, worker.boundary()),
        Err(status) => Decision {
            head_only: method == Method::Head,
            ..Decision::error(status)
        },
    };
    exchange.answered(decision.status, file.and_then(|(open, _)| open.digest));
    let mut response = Response::new(());
    *response.status_mut() =
        StatusCode::from_u16(decision.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    write_fields(response.headers_mut(), worker, &decision);
    let pieces = pieces(decision.body, decision.head_only);
    let file = file.map(|(open, found)| (Rc::clone(open), found.clone()));
    response.map(|()| FileBody::new(file, pieces, exchange, Rc::clone(pulse)))
}

fn write_fields(fields: &mut HeaderMap, worker: &Worker, decision: &Decision<'_>) {
    let mut date = Vec::with_capacity(32);
    worker.clock.http_date(&mut date);
    if let Ok(date) = HeaderValue::from_bytes(&date) {
        fields.insert(header::DATE, date);
    }
    fields.insert(header::SERVER, HeaderValue::from_static("nightfill"));
    decision.fields(|name, value| {
        // Names and values are ours; a media type from a catalogue with a line break is left out.
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            fields.insert(name, value);
        }
    });
    if decision.status == 429 {
        fields.insert(header::RETRY_AFTER, worker.limits.retry_after.as_secs().into());
    }
}

enum Piece {
    Text(Bytes),
    File(Slice),
}

fn pieces(body: Body, head_only: bool) -> VecDeque<Piece> {
    match body {
        _ if head_only => VecDeque::new(),
        Body::None | Body::File(None) => VecDeque::new(),
        Body::Text(text) => [Piece::Text(Bytes::from_static(text.as_bytes()))].into(),
        Body::File(Some(slice)) => [Piece::File(slice)].into(),
        Body::Parts { parts, tail, .. } => {
            let pairs = parts
                .into_iter()
                .flat_map(|p| [Piece::Text(p.head.into()), Piece::File(p.slice)]);
            pairs.chain([Piece::Text(tail.into())]).collect()
        }
    }
}

/// A body that is read as it is asked for.
struct FileBody {
    file: Option<(Rc<OpenFile>, Found)>,
    pieces: VecDeque<Piece>,
    /// The part of the first piece that comes from the drive.
    cold: Option<ColdStream>,
    exchange: Exchange,
    pulse: Rc<Pulse>,
    worker: Rc<Worker>,
}

/// Bytes of a body; those of a file go back to the worker's pool when they are sent.
enum Chunk {
    Text(Bytes),
    File(Loan, usize),
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::File(loan, at) => &loan[*at..],
        }
    }

    fn advance(&mut self, n: usize) {
        match self {
            Self::Text(text) => text.advance(n),
            Self::File(_, at) => *at += n,
        }
    }
}

impl FileBody {
    fn new(
        file: Option<(Rc<OpenFile>, Found)>,
        pieces: VecDeque<Piece>,
        mut exchange: Exchange,
        pulse: Rc<Pulse>,
    ) -> Self {
        if pieces.is_empty() {
            exchange.ended(End::Complete);
        }
        pulse.begin();
        let worker = Rc::clone(exchange.worker());
        Self {
            file,
            pieces,
            cold: None,
            exchange,
            pulse,
            worker,
        }
    }

    /// The next piece, at most [`PIECE`] bytes of the file.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Chunk, ReadError>>> {
        let chunk = match self.pieces.pop_front() {
            None => return Poll::Ready(None),
            Some(Piece::Text(text)) => Chunk::Text(text),
            Some(Piece::File(slice)) => match self.poll_file(slice, cx) {
                Poll::Ready(Ok(loan)) => Chunk::File(loan, 0),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    self.pieces.push_front(Piece::File(slice));
                    return Poll::Pending;
                }
            },
        };
        let len = chunk.remaining() as u64;
        self.pulse.gave(len);
        self.exchange.sent(len);
        if self.pieces.is_empty() {
            self.exchange.ended(End::Complete);
        }
        Poll::Ready(Some(Ok(chunk)))
    }

    /// Bytes from the beginning of `slice`; what is left of it is put back.
    fn poll_file(&mut self, slice: Slice, cx: &mut Context<'_>) -> Poll<Result<Loan, ReadError>> {
        let loan = match self.poll_cold(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(read)) => read?,
            Poll::Ready(None) => match self.read_now(slice)? {
                Some(loan) => loan,
                None => {
                    let Some((file, _)) = &self.file else {
                        return Poll::Ready(Err(ReadError::Short)); // slices are made of a found file only
                    };
                    let cold = Slice {
                        len: slice.len.min(COLD),
                        ..slice
                    };
                    self.cold = Some(self.worker.disk.stream(file, cold));
                    return self.poll_file(slice, cx);
                }
            },
        };
        let n = loan.len() as u64;
        if n < slice.len {
            self.pieces.push_front(Piece::File(Slice {
                offset: slice.offset + n,
                len: slice.len - n,
            }));
        }
        Poll::Ready(Ok(loan))
    }

    /// The next bytes from the drive, if they come from there now.
    fn poll_cold(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Loan, ReadError>>> {
        let Some(cold) = &mut self.cold else {
            return Poll::Ready(None);
        };
        let next = cold.poll_next(cx);
        if let Poll::Ready(None) = next {
            self.cold = None;
        }
        next
    }

    /// What is in memory at the beginning of `slice`.
    fn read_now(&self, slice: Slice) -> Result<Option<Loan>, ReadError> {
        let Some((file, _)) = &self.file else {
            return Err(ReadError::Short); // as above
        };
        let disk = &self.worker.disk;
        let mut loan = disk.buffer();
        let most = slice.len.min(PIECE) as usize;
        let space = IoSliceMut::new(&mut loan.space()[..most]);
        Ok(disk.read_now(file, &mut [space], slice.offset)?.map(|n| {
            loan.filled(n);
            loan
        }))
    }

    fn fault(&mut self, error: &ReadError) {
        self.exchange.ended(End::Fault);
        self.pieces.clear();
        if let Some((_, found)) = &self.file {
            self.worker.fault(found, error.name(), error);
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
        self.poll_next(cx)
            .map(|next| next.map(|piece| piece.map(Frame::data).inspect_err(|error| self.fault(error))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = |piece: &Piece| match piece {
            Piece::Text(text) => text.len() as u64,
            Piece::File(slice) => slice.len,
        };
        SizeHint::with_exact(self.pieces.iter().map(bytes).sum())
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        self.pulse.end();
    }
}
