//! HTTP/2 by hyper. The body reads a bounded piece of the file only when hyper asks for it, which it does only as the
//! client's windows open; a file that fails resets the stream. Limits on streams, header lists and resets are hyper's,
//! set here; a client that opens no window is cut like any slow reader.

use crate::{
    counters::Cut,
    disk::{ColdStream, ReadError},
    files::OpenFile,
    http::{
        Peer, Protocol,
        exchange::{End, Exchange, Said},
        lookup::{LookUp, look_up, representation},
        wire::LEAST_BYTES,
    },
    namespace::Found,
    worker::Worker,
};
use bytes::{Bytes, BytesMut};
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
    cell::Cell,
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    io::IoSliceMut,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Requests of one connection at once: a player asks for a few segments and playlists at a time.
const STREAMS: u32 = 64;
/// Bytes of one piece of a body: with [`STREAMS`] it bounds what one connection can hold.
const PIECE: u64 = 64 << 10;
/// Largest frame we send: fewer frames, yet another stream never waits for more than this.
const FRAME: u32 = 64 << 10;
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
pub async fn serve(worker: &Rc<Worker>, stream: TlsStream<TcpStream>, peer: Peer) {
    let pulse = Rc::new(Pulse {
        running: Cell::new(0),
        last: Cell::new(Instant::now()),
        bytes: Cell::new(0),
    });
    let service = service_fn(|request| {
        let response = respond(worker, &pulse, peer, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut connection = pin!(builder(worker).serve_connection(TokioIo::new(stream), service));
    let mut leaving = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "HTTP/2 connection ended");
                }
                return;
            }
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

fn builder(worker: &Worker) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(worker.limits.header_bytes).unwrap_or(u32::MAX))
        .max_frame_size(FRAME)
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
    /// What is being brought from the drive: no more than one piece, so that a closed window holds no memory that
    /// others need.
    cold: Option<ColdStream>,
    exchange: Exchange,
    pulse: Rc<Pulse>,
    worker: Rc<Worker>,
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
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, ReadError>>> {
        let bytes = match self.pieces.pop_front() {
            None => return Poll::Ready(None),
            Some(Piece::Text(text)) => text,
            Some(Piece::File(slice)) => match self.poll_read(slice, cx) {
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => {
                    self.pieces.push_front(Piece::File(slice));
                    return Poll::Pending;
                }
            },
        };
        self.pulse.gave(bytes.len() as u64);
        self.exchange.sent(bytes.len() as u64);
        if self.pieces.is_empty() {
            self.exchange.ended(End::Complete);
        }
        Poll::Ready(Some(Ok(bytes)))
    }

    fn poll_read(&mut self, slice: Slice, cx: &mut Context<'_>) -> Poll<Result<Bytes, ReadError>> {
        let Some((file, _)) = &self.file else {
            return Poll::Ready(Err(ReadError::Short)); // slices are made of a found file only
        };
        let len = slice.len.min(PIECE);
        let disk = &self.worker.disk;
        let bytes = loop {
            if let Some(cold) = &mut self.cold {
                match ready!(cold.poll_next(cx)).transpose()? {
                    Some(loan) => break Bytes::copy_from_slice(&loan),
                    None => self.cold = None,
                }
            }
            let mut bytes = BytesMut::zeroed(len as usize);
            if let Some(n) = disk.read_now(file, &mut [IoSliceMut::new(&mut bytes)], slice.offset)? {
                bytes.truncate(n);
                break bytes.freeze();
            }
            self.cold = Some(disk.stream(file, Slice { len, ..slice }));
        };
        let n = bytes.len() as u64;
        if n < slice.len {
            self.pieces.push_front(Piece::File(Slice {
                offset: slice.offset + n,
                len: slice.len - n,
            }));
        }
        Poll::Ready(Ok(bytes))
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
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let next = ready!(self.poll_next(cx));
        Poll::Ready(next.map(|piece| match piece {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(error) => {
                self.fault(&error);
                Err(error)
            }
        }))
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
