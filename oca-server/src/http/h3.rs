//! A response of HTTP/3: its head, then a body that is read as the stream takes it. At most one piece is held between
//! two turns; a file that fails resets the stream, never ends it.

use crate::{
    disk::{ColdStream, Loan, ReadError},
    files::OpenFile,
    http::{
        Peer, Protocol,
        answer::{self, Piece},
        exchange::{End, Exchange, Said},
        lookup::LookUp,
        pulse::Pulse,
        wire::COLD,
    },
    namespace::Found,
    quic::{BUFFER, Buffers},
    sys::path::Path,
    worker::Worker,
};
use bytes::Bytes;
use cdn_types::BitsPerSecond;
use oca_core::{
    decision::Decision,
    h3::{
        frame::{self, Kind},
        qpack::Encoder,
        request::Head,
    },
    priority::Priority,
    range::Slice,
    request::{Fields, Method},
};
use quinn_proto::{SendStream, WriteError};
use std::{collections::VecDeque, io::IoSliceMut, rc::Rc};

/// What a write came to.
#[derive(Debug)]
pub enum Progress {
    /// Bytes were taken; there may be more to write.
    Wrote,
    /// The stream takes no more for now.
    Blocked,
    /// The file's next bytes are not in memory: wait for the stream's next piece and tell it
    /// [`arrived`](Response::arrived).
    Cold(ColdStream),
    /// All is written and the stream finished.
    Done,
    /// The file failed, which is counted: reset the stream.
    Failed,
    /// The client no longer wants it.
    Unwanted,
}

/// Where the file's bytes come from.
#[derive(Debug)]
enum Source {
    /// From memory, as long as they are there.
    Memory,
    /// From the drive, piece by piece.
    Drive(ColdStream),
}

/// A response that is being sent.
pub struct Response {
    /// The head's frame and the body's frame head, until they are written.
    head: Bytes,
    pieces: VecDeque<Piece>,
    /// Read and not yet taken by the stream.
    held: Bytes,
    /// Where in the file `held` begins, if it could be read again.
    held_at: Option<u64>,
    file: Option<(Rc<OpenFile>, Found)>,
    source: Source,
    /// Bytes that the stream from the drive has still to bring.
    cold_left: u64,
    /// What it has brought, and how much of that was read.
    loan: Option<(Loan, usize)>,
    exchange: Exchange,
    pulse: Rc<Pulse>,
    /// Order among the responses of a connection.
    pub priority: Priority,
}

/// Answers a request; `path` = what is known of the path to the client, `too_long` = its content is longer than is thrown
/// away.
pub fn respond(
    worker: &Rc<Worker>,
    pulse: &Rc<Pulse>,
    peer: Peer,
    path: Path,
    request: &Head,
    too_long: bool,
) -> Response {
    let target = request.path();
    let (name, query) = match target.split_once('?') {
        Some((name, query)) => (name, Some(query)),
        None => (target, None),
    };
    let mut said = Said {
        method: request.method(),
        path: name,
        query,
        ..Said::default()
    };
    let (mut fields, mut priority) = (Fields::default(), Priority::default());
    for (name, value) in request.fields() {
        said.take(name, value);
        fields.take(name, value);
        if name == "priority" {
            priority = Priority::parse(value);
        }
    }
    said.host = request.authority().map(str::as_bytes);
    let admitted = answer::admit(worker, Protocol::Http3, peer, target, &said);
    let target = match &admitted {
        Some(admitted) => admitted.instead(&mut said),
        None => target,
    };
    let mut exchange = Exchange::new(worker, Protocol::Http3, peer, &said);
    let method = Method::parse(request.method());
    let refused = admitted.as_ref().and_then(|a| a.told(&mut exchange));
    let looked_up = match refused.or(too_long.then_some(413)) {
        Some(status) => LookUp::Failed(status),
        None => answer::find(worker, method, target),
    };
    let decision = answer::answer(worker, method, &fields, &looked_up);
    let told = exchange.told(|| Some(path));
    let cookie = admitted.and_then(|a| a.cookie(decision.status));
    let own = [("cmsd-dynamic", told), ("set-cookie", cookie)];
    let (head, pieces) = encode(worker, decision, own);
    let file = match looked_up {
        LookUp::Found(open, found) => Some((open, found)),
        LookUp::Missing | LookUp::Failed(_) => None,
    };
    let mut response = Response::new(exchange, pulse, head, pieces, file);
    response.priority = priority;
    response
}

/// Answers what could not be read as a request.
pub fn refuse(worker: &Rc<Worker>, pulse: &Rc<Pulse>, peer: Peer, status: u16) -> Response {
    let exchange = Exchange::new(worker, Protocol::Http3, peer, &Said::default());
    let (head, pieces) = encode(worker, Decision::error(status), []);
    Response::new(exchange, pulse, head, pieces, None)
}

struct Encoded {
    status: u16,
    bytes: Bytes,
}

fn encode<const N: usize>(
    worker: &Worker,
    decision: Decision<'_>,
    own: [(&str, Option<String>); N],
) -> (Encoded, VecDeque<Piece>) {
    let mut section = Vec::with_capacity(512);
    let mut encoder = Encoder::response(&mut section, decision.status);
    answer::fields(worker, &decision, |name, value| {
        // A media type from a catalogue with a line break is left out.
        if value.bytes().all(|b| b >= b' ' && b != 0x7f) {
            encoder.field(name, value);
        }
    });
    for (name, value) in own {
        if let Some(value) = value {
            encoder.field(name, &value);
        }
    }
    let mut bytes = Vec::with_capacity(section.len() + 16);
    frame::head(Kind::Headers, section.len() as u64, &mut bytes);
    bytes.extend_from_slice(&section);
    let status = decision.status;
    let pieces = answer::pieces(decision.body, decision.head_only);
    let content: u64 = pieces.iter().map(Piece::len).sum();
    if content > 0 {
        frame::head(Kind::Data, content, &mut bytes); // one frame: its length is known
    }
    let bytes = bytes.into();
    (Encoded { status, bytes }, pieces)
}

impl Response {
    fn new(
        mut exchange: Exchange,
        pulse: &Rc<Pulse>,
        head: Encoded,
        pieces: VecDeque<Piece>,
        file: Option<(Rc<OpenFile>, Found)>,
    ) -> Self {
        exchange.answered(head.status, file.as_ref().and_then(|(open, _)| open.digest));
        pulse.begin();
        Self {
            head: head.bytes,
            pieces,
            held: Bytes::new(),
            held_at: None,
            file,
            source: Source::Memory,
            cold_left: 0,
            loan: None,
            exchange,
            pulse: Rc::clone(pulse),
            priority: Priority::default(),
        }
    }

    /// Writes the head, or the next piece.
    pub fn write(&mut self, stream: &mut SendStream<'_>, buffers: &Buffers) -> Progress {
        let result = if !self.head.is_empty() {
            give(stream, &mut self.head).map(|_| Progress::Wrote)
        } else if self.held.is_empty() {
            // Nothing is read before the stream can take it.
            stream.write(&[]).map(|_| self.read(buffers))
        } else {
            Ok(Progress::Wrote)
        };
        match result.and_then(|progress| self.give_held(stream).map(|()| progress)) {
            Ok(Progress::Wrote) if self.is_written() => {
                self.exchange.ended(End::Complete);
                // A client that stopped the stream in this moment is told of by an event.
                let _ = stream.finish();
                Progress::Done
            }
            Ok(progress) => progress,
            Err(WriteError::Blocked) => Progress::Blocked,
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => Progress::Unwanted,
        }
    }

    fn give_held(&mut self, stream: &mut SendStream<'_>) -> Result<(), WriteError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let taken = give(stream, &mut self.held)? as u64;
        self.held_at = self.held_at.map(|at| at + taken);
        self.pulse.gave(taken);
        self.exchange.sent(taken);
        Ok(())
    }

    fn is_written(&self) -> bool {
        self.head.is_empty() && self.held.is_empty() && self.pieces.is_empty()
    }

    /// Takes the next piece into `held`.
    fn read(&mut self, buffers: &Buffers) -> Progress {
        match self.pieces.pop_front() {
            None => Progress::Wrote,
            Some(Piece::Text(text)) => {
                (self.held, self.held_at) = (text, None);
                Progress::Wrote
            }
            Some(Piece::File(slice)) => match self.read_file(slice, buffers) {
                Ok(progress) => progress,
                Err(error) => self.failed(&error),
            },
        }
    }

    fn read_file(&mut self, slice: Slice, buffers: &Buffers) -> Result<Progress, ReadError> {
        let Some((file, _)) = &self.file else {
            return Err(ReadError::Short); // slices are made of a found file only
        };
        if let Some(loan) = self.loan.take() {
            self.read_loan(loan, slice, buffers);
            return Ok(Progress::Wrote);
        }
        if let Source::Drive(stream) = std::mem::replace(&mut self.source, Source::Memory) {
            self.pieces.push_front(Piece::File(slice));
            return Ok(Progress::Cold(stream));
        }
        let disk = &self.exchange.worker().disk;
        let piece = Slice {
            len: slice.len.min(BUFFER as u64),
            ..slice
        };
        if let Some(bytes) = disk.lend(file, piece) {
            (self.held, self.held_at) = (bytes, Some(slice.offset));
            self.after(slice, piece.len);
            return Ok(Progress::Wrote);
        }
        let mut buffer = buffers.take(slice.len);
        let space = IoSliceMut::new(buffer.space());
        let Some(n) = disk.read_now(file, &mut [space], slice.offset)? else {
            let len = slice.len.min(COLD);
            let stream = disk.stream(file, Slice { len, ..slice });
            self.cold_left = len;
            self.pieces.push_front(Piece::File(slice));
            return Ok(Progress::Cold(stream));
        };
        (self.held, self.held_at) = (buffer.filled(n), Some(slice.offset));
        self.after(slice, n as u64);
        Ok(Progress::Wrote)
    }

    /// Puts back what of a slice is left after `n` bytes of it.
    fn after(&mut self, slice: Slice, n: u64) {
        if n < slice.len {
            self.pieces.push_front(Piece::File(Slice {
                offset: slice.offset + n,
                len: slice.len - n,
            }));
        }
    }

    /// Takes a piece that came from the drive, and the stream that the next one comes from; false if it failed and the
    /// stream is to be reset.
    pub fn arrived(&mut self, piece: Option<Result<Loan, ReadError>>, rest: ColdStream) -> bool {
        match piece.unwrap_or(Err(ReadError::Short)) {
            Ok(loan) => {
                self.cold_left = self.cold_left.saturating_sub(loan.len() as u64);
                self.loan = Some((loan, 0));
                if self.cold_left > 0 {
                    self.source = Source::Drive(rest);
                }
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    /// The next bytes of what came from the drive, in a buffer that may leave this thread's hands.
    fn read_loan(&mut self, (loan, at): (Loan, usize), slice: Slice, buffers: &Buffers) {
        let left = &loan[at..];
        let mut buffer = buffers.take(slice.len.min(left.len() as u64));
        let n = buffer.space().len();
        buffer.space().copy_from_slice(&left[..n]);
        (self.held, self.held_at) = (buffer.filled(n), Some(slice.offset));
        self.after(slice, n as u64);
        if at + n < loan.len() {
            self.loan = Some((loan, at + n));
        }
    }

    fn failed(&mut self, error: &ReadError) -> Progress {
        self.exchange.ended(End::Fault);
        self.pieces.clear();
        if let Some((_, found)) = &self.file {
            self.exchange.worker().fault(found, error.name(), error);
        }
        Progress::Failed
    }

    /// Gives back what was read and not taken, and what is on its way from the drive: it is read again when the client
    /// wants it.
    pub fn let_go(&mut self) {
        (self.source, self.loan) = (Source::Memory, None);
        let Some(offset) = self.held_at.take().filter(|_| !self.held.is_empty()) else {
            return;
        };
        let len = std::mem::take(&mut self.held).len() as u64;
        match self.pieces.front_mut() {
            Some(Piece::File(next)) if next.offset == offset + len => {
                next.offset = offset;
                next.len += len;
            }
            _ => self.pieces.push_front(Piece::File(Slice { offset, len })),
        }
    }

    /// The rate that is enough for its player; absent = as fast as it goes.
    pub fn rate(&self) -> Option<BitsPerSecond> {
        self.exchange.rate()
    }

    /// Body bytes that the stream has taken.
    pub fn sent(&self) -> u64 {
        self.exchange.bytes()
    }

    /// Notes for the log what the path was like.
    pub fn carried(&mut self, path: Path) {
        self.exchange.carried(|| Some(path));
    }

    /// Whether bytes of it are not the file's, which is counted then: reset the stream.
    pub fn is_broken(&mut self) -> bool {
        let broken = self
            .file
            .as_ref()
            .is_some_and(|(file, _)| file.access.is_broken());
        if broken {
            self.failed(&ReadError::Short);
        }
        broken
    }

    /// How it ends, if it is not complete.
    pub fn cut(&mut self, end: End) {
        self.exchange.ended(end);
    }
}

impl Drop for Response {
    fn drop(&mut self) {
        self.pulse.end();
    }
}

/// Writes as much as the stream takes; how much that was.
fn give(stream: &mut SendStream<'_>, bytes: &mut Bytes) -> Result<usize, WriteError> {
    let mut chunks = [std::mem::take(bytes)];
    let result = stream.write_chunks(&mut chunks);
    let [rest] = chunks;
    *bytes = rest;
    result.map(|written| written.bytes)
}
