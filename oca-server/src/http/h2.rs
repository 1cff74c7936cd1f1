//! HTTP/2 by hyper. The body reads a bounded piece of the file only when hyper asks for it, which it does only as the
//! client's windows open; a file that fails resets the stream. Limits on streams, header lists and resets are hyper's,
//! set here; a client that opens no window is cut like any slow reader.

use crate::{
    counters::Cut,
    disk::ReadError,
    files::OpenFile,
    http::{
        Peer, Protocol,
        answer::{self, Piece, pieces},
        exchange::{End, Exchange, Said},
        lookup::LookUp,
        pulse::{Pulse, Verdict},
    },
    namespace::Found,
    worker::Worker,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use oca_core::{
    decision::Decision,
    range::Slice,
    request::{Fields, Method},
};
use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    io::IoSliceMut,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
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

/// Serves a connection after its TLS handshake.
pub async fn serve(worker: &Rc<Worker>, stream: TlsStream<TcpStream>, peer: Peer) {
    let pulse = Rc::<Pulse>::default();
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
                Verdict::Idle | Verdict::Well(_) => {
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

/// Resolves when a limit is over.
async fn watch(worker: &Worker, pulse: &Pulse) -> Verdict {
    loop {
        match pulse.look(&worker.limits, Instant::now()) {
            Verdict::Well(until) => tokio::time::sleep_until(until.into()).await,
            over => return over,
        }
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
    let looked_up = answer::find(worker, method, target);
    let decision = answer::answer(worker, method, &fields, &looked_up);
    let file = match &looked_up {
        LookUp::Found(open, found) => Some((open, found)),
        LookUp::Missing | LookUp::Failed(_) => None,
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
}

/// A body that is read as it is asked for.
struct FileBody {
    file: Option<(Rc<OpenFile>, Found)>,
    pieces: VecDeque<Piece>,
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
            exchange,
            pulse,
            worker,
        }
    }

    /// The next piece, at most [`PIECE`] bytes of the file.
    fn next(&mut self) -> Option<Result<Bytes, ReadError>> {
        let bytes = match self.pieces.pop_front()? {
            Piece::Text(text) => text,
            Piece::File(slice) => match self.read(slice) {
                Ok(bytes) => bytes,
                Err(error) => return Some(Err(error)),
            },
        };
        self.pulse.gave(bytes.len() as u64);
        self.exchange.sent(bytes.len() as u64);
        if self.pieces.is_empty() {
            self.exchange.ended(End::Complete);
        }
        Some(Ok(bytes))
    }

    fn read(&mut self, slice: Slice) -> Result<Bytes, ReadError> {
        let Some((file, _)) = &self.file else {
            return Err(ReadError::Short); // slices are made of a found file only
        };
        let mut bytes = BytesMut::zeroed(slice.len.min(PIECE) as usize);
        let space = IoSliceMut::new(&mut bytes);
        let n = self
            .worker
            .disk
            .read_now(file, &mut [space], slice.offset)?
            .unwrap_or(0);
        bytes.truncate(n);
        let n = n as u64;
        if n < slice.len {
            self.pieces.push_front(Piece::File(Slice {
                offset: slice.offset + n,
                len: slice.len - n,
            }));
        }
        Ok(bytes.freeze())
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
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        Poll::Ready(self.next().map(|piece| match piece {
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
        SizeHint::with_exact(self.pieces.iter().map(Piece::len).sum())
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        self.pulse.end();
    }
}
