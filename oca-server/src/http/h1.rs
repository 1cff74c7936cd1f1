//! HTTP/1.0 and 1.1: requests one after the other on one connection, pipelined or not. Everything that can be decided
//! is decided between two waits; waiting is only for the client, and never without an end.

use crate::{
    counters::Cut,
    drain::Leaving,
    files::OpenFile,
    http::{
        Peer, Protocol,
        answer::admit,
        exchange::{End, Exchange, Said},
        head::{self, Content, Head},
        lookup::{LookUp, look_up, representation},
        wire::{SendError, Wire},
    },
    namespace::Found,
    worker::Worker,
};
use oca_core::{
    decision::{Body, Decision, Part, decide, reason},
    path::Target,
    range::Slice,
    request::Method,
};
use std::{io::Write, rc::Rc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// First size of a connection's read buffer: most requests of players fit.
const READ_BUFFER: usize = 2 << 10;

/// How long a connection that never sent a request may still do so when the process ends: it may be on its way.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Serves requests until the connection ends.
pub async fn serve(worker: &Rc<Worker>, wire: Wire, peer: Peer) {
    let mut connection = Connection::new(worker, wire, peer);
    loop {
        let next = match connection.next_request().await {
            Next::Request => connection.respond().await,
            Next::Refuse(status) => connection.refuse(status).await,
            Next::Closed if connection.wire.must_end() => Then::Close,
            Next::Closed => return,
        };
        match next {
            Then::KeepOpen => {}
            Then::Close => return connection.wire.close().await,
            Then::Drop => return,
        }
    }
}

/// Answers one request 429 and ends.
pub async fn shed(worker: &Rc<Worker>, wire: Wire, peer: Peer) {
    let mut connection = Connection::new(worker, wire, peer);
    if matches!(connection.next_request().await, Next::Request) {
        let then = connection.refuse(429).await;
        if then == Then::Close {
            connection.wire.close().await;
        }
    }
}

/// What the client did while we waited for it.
enum Next {
    Request,
    Refuse(u16),
    Closed,
}

/// What becomes of the connection after a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    KeepOpen,
    /// End it so that the client surely gets the response.
    Close,
    /// Let go at once: gone, or to be reset.
    Drop,
}

struct Connection<'w> {
    worker: &'w Rc<Worker>,
    wire: Wire,
    peer: Peer,
    /// Bytes read and not yet used: the rest of a head, and pipelined requests.
    buffer: Vec<u8>,
    /// Head of the response being sent.
    out: Vec<u8>,
    /// Whether no request came yet.
    fresh: bool,
}

/// A response's body, with all that is needed to send it.
enum ToSend {
    Nothing,
    File(Rc<OpenFile>, Found, Slice),
    Parts(Rc<OpenFile>, Found, Vec<Part>, Vec<u8>),
}

/// Everything about a request that outlives its bytes in the buffer.
struct Answer {
    exchange: Exchange,
    body: ToSend,
    keep_open: bool,
    used: usize,
    content: u64,
}

impl<'w> Connection<'w> {
    fn new(worker: &'w Rc<Worker>, wire: Wire, peer: Peer) -> Self {
        Self {
            worker,
            wire,
            peer,
            buffer: Vec::new(),
            out: Vec::new(),
            fresh: true,
        }
    }

    /// Waits until the buffer holds a whole head.
    async fn next_request(&mut self) -> Next {
        let limits = &self.worker.limits;
        let first_wait = if self.fresh {
            limits.header_time
        } else {
            limits.idle_time
        };
        let mut deadline = Instant::now() + first_wait;
        let mut begun = false;
        loop {
            if !self.buffer.is_empty() {
                match head::parse(&self.buffer) {
                    Ok(Some(_)) => return Next::Request,
                    Err(status) => return Next::Refuse(status),
                    Ok(None) if self.buffer.len() >= limits.header_bytes => return Next::Refuse(431),
                    Ok(None) if !begun => {
                        begun = true;
                        deadline = deadline.min(Instant::now() + limits.header_time);
                    }
                    Ok(None) => {}
                }
            }
            match self.worker.leaving() {
                _ if begun => {}
                Leaving::No => {}
                // Its next request may be on its way: it is answered, and told that it is the last.
                Leaving::HandedOver(until) => deadline = deadline.min(until.into()),
                Leaving::Ending if !self.fresh => return Next::Closed,
                Leaving::Ending => deadline = deadline.min(Instant::now() + LAST_CHANCE),
            }
            if let Err(next) = self.read_more(deadline, begun).await {
                return next;
            }
        }
    }

    /// Reads once, or notices that the process ends; `Err` = there is no request to wait for any more.
    async fn read_more(&mut self, deadline: Instant, begun: bool) -> Result<(), Next> {
        let room = self.worker.limits.header_bytes - self.buffer.len();
        if self.buffer.capacity() == self.buffer.len() {
            self.buffer
                .reserve_exact(self.buffer.len().max(READ_BUFFER).min(room));
        }
        let read = timeout_at(deadline, self.wire.read(&mut self.buffer));
        let result = tokio::select! {
            biased;
            result = read => result,
            () = self.worker.leaves(), if !begun => return Ok(()),
        };
        match result {
            Ok(Ok(0) | Err(_)) => Err(Next::Closed),
            Ok(Ok(_)) => Ok(()),
            Err(_) if begun => {
                self.worker.counters.borrow_mut().cut(Cut::HeaderTime, 1);
                Err(Next::Refuse(408))
            }
            Err(_) => Err(Next::Closed), // idle: the usual end of a kept-open connection
        }
    }

    /// Answers the request at the start of the buffer.
    async fn respond(&mut self) -> Then {
        self.fresh = false;
        let Some(answer) = self.answer() else {
            return self.refuse(400).await;
        };
        let Answer {
            mut exchange,
            body,
            keep_open,
            used,
            content,
        } = answer;
        self.wire.begin(exchange.rate(), exchange.is_urgent());
        let sent = self.send(&body, &mut exchange).await;
        exchange.carried(|| self.wire.path());
        self.buffer.drain(..used);
        if self.buffer.is_empty() {
            self.buffer = Vec::new(); // an idle connection holds no buffer
        }
        match sent {
            Ok(()) => exchange.ended(End::Complete),
            Err(error) => {
                exchange.ended(self.failed(&error, &body));
                return Then::Drop;
            }
        }
        drop(exchange);
        if keep_open && self.discard(content).await {
            Then::KeepOpen
        } else {
            Then::Close
        }
    }

    /// Decides, writes the response head to `out` and keeps what is needed after. Absent only if the buffer holds no
    /// request, which [`next_request`](Self::next_request) has seen to.
    fn answer(&mut self) -> Option<Answer> {
        let Ok(Some(head)) = head::parse(&self.buffer) else {
            return None;
        };
        let admitted = admit(self.worker, head.protocol, self.peer, head.target, &head.said);
        let mut said = head.said;
        let target = match &admitted {
            Some(admitted) => admitted.instead(&mut said),
            None => head.target,
        };
        let mut exchange = Exchange::new(self.worker, head.protocol, self.peer, &said);
        let refused = admitted.as_ref().and_then(|a| a.told(&mut exchange));
        let found = match Target::parse(target) {
            _ if head.method == Method::Other => Err(405),
            Ok(target) if head.method == Method::Options || target.path != "*" => Ok(target),
            Ok(_) | Err(_) => Err(400),
        };
        let found = found.and_then(|target| refused.map_or(Ok(target), Err));
        let found = found.map(|target| match head.method {
            Method::Get | Method::Head => look_up(self.worker, &target),
            Method::Options | Method::Other => LookUp::Missing,
        });
        let (file, error) = match found {
            Ok(LookUp::Found(open, found)) => (Some((open, found)), None),
            Ok(LookUp::Missing) => (None, None),
            Ok(LookUp::Failed(status)) | Err(status) => (None, Some(status)),
        };
        let too_long = matches!(head.content, Content::Length(n) if n > self.worker.limits.discarded_body);
        let facts = file.as_ref().map(|(open, found)| representation(open, found));
        let decision = match error.or(too_long.then_some(413)) {
            Some(status) => Decision {
                head_only: head.method == Method::Head,
                ..Decision::error(status)
            },
            None => decide(
                head.method,
                &head.fields,
                facts,
                self.worker.limits.ranges,
                self.worker.boundary(),
            ),
        };
        let (content, readable) = readable(&head, too_long);
        let keep_open = head.keep_alive && readable && !self.worker.is_stopping();
        let how = How {
            protocol: head.protocol,
            keep_open,
            secure: self.peer.tls.is_some(),
            told: exchange.told(|| self.wire.path()),
            cookie: admitted.and_then(|a| a.cookie(decision.status)),
        };
        write_head(&mut self.out, self.worker, &decision, &how);
        let digest = file.as_ref().and_then(|(open, _)| open.digest);
        exchange.answered(decision.status, digest);
        let Decision { body, head_only, .. } = decision;
        Some(Answer {
            used: head.len,
            keep_open,
            content,
            exchange,
            body: to_send(body, head_only, file, &mut self.out),
        })
    }

    async fn send(&mut self, body: &ToSend, exchange: &mut Exchange) -> Result<(), SendError> {
        let disk = &self.worker.disk;
        let more = !matches!(body, ToSend::Nothing);
        self.wire.send(&self.out, more).await?;
        match body {
            ToSend::Nothing => {}
            ToSend::File(file, _, slice) => {
                let sent = |n| exchange.sent(n);
                self.wire.send_file(file, *slice, disk, sent).await?;
            }
            ToSend::Parts(file, _, parts, tail) => {
                for part in parts {
                    self.wire.send(&part.head, true).await?;
                    exchange.sent(part.head.len() as u64);
                    let sent = |n| exchange.sent(n);
                    self.wire.send_file(file, part.slice, disk, sent).await?;
                }
                self.wire.send(tail, false).await?;
                exchange.sent(tail.len() as u64);
            }
        }
        self.wire.end().await
    }

    /// Counts a response that was not sent whole; the connection is then reset by its drop.
    fn failed(&self, error: &SendError, body: &ToSend) -> End {
        let cause = match error {
            SendError::Client(_) => return End::ClientGone,
            SendError::SlowReader => {
                self.worker.counters.borrow_mut().cut(Cut::SlowReader, 1);
                return End::SlowReader;
            }
            SendError::Read(error) => error.name(),
        };
        if let ToSend::File(_, found, _) | ToSend::Parts(_, found, ..) = body {
            self.worker.fault(found, cause, error);
        }
        End::Fault
    }

    /// Reads and throws away a request's content; false if the client does not send it in time.
    async fn discard(&mut self, mut content: u64) -> bool {
        let deadline = Instant::now() + self.worker.limits.header_time;
        while content > 0 {
            if self.buffer.is_empty() {
                self.buffer.reserve(READ_BUFFER);
                match timeout_at(deadline, self.wire.read(&mut self.buffer)).await {
                    Ok(Ok(n)) if n > 0 => {}
                    _ => return false,
                }
            }
            let take = usize::try_from(content)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            self.buffer.drain(..take);
            content -= take as u64;
        }
        true
    }

    /// Answers what could not be read as a request, or must not be served, and ends.
    async fn refuse(&mut self, status: u16) -> Then {
        let parsed = head::parse(&self.buffer);
        let (said, protocol) = match &parsed {
            Ok(Some(head)) => (head.said, head.protocol),
            _ => (Said::default(), Protocol::Http11),
        };
        let mut exchange = Exchange::new(self.worker, protocol, self.peer, &said);
        let decision = Decision::error(status);
        let how = How {
            protocol,
            keep_open: false,
            secure: self.peer.tls.is_some(),
            told: None,
            cookie: None,
        };
        write_head(&mut self.out, self.worker, &decision, &how);
        exchange.answered(status, None);
        let _ = to_send(decision.body, said.method == "HEAD", None, &mut self.out);
        self.wire.begin(None, false);
        match self.send(&ToSend::Nothing, &mut exchange).await {
            Ok(()) => {
                exchange.ended(End::Complete);
                Then::Close
            }
            Err(_) => Then::Drop,
        }
    }
}

/// How many bytes of content to throw away before the next request, and whether that can be done at all.
fn readable(head: &Head<'_>, too_long: bool) -> (u64, bool) {
    match head.content {
        Content::None => (0, true),
        // The client may or may not send it after our final status (RFC 9110 §10.1.1): only an end is unambiguous.
        Content::Length(_) if too_long || head.expects_continue => (0, false),
        Content::Length(n) => (n, true),
        Content::Chunked => (0, false),
    }
}

/// What is left to send after `out`, to which text bodies are added.
fn to_send(body: Body, head_only: bool, file: Option<(Rc<OpenFile>, Found)>, out: &mut Vec<u8>) -> ToSend {
    if head_only {
        return ToSend::Nothing;
    }
    match (body, file) {
        (Body::Text(text), _) => out.extend_from_slice(text.as_bytes()),
        (Body::File(Some(slice)), Some((open, found))) if slice.len > 0 => {
            return ToSend::File(open, found, slice);
        }
        (Body::Parts { parts, tail, .. }, Some((open, found))) => {
            return ToSend::Parts(open, found, parts, tail);
        }
        _ => {}
    }
    ToSend::Nothing
}

/// How a response goes out.
struct How {
    protocol: Protocol,
    keep_open: bool,
    /// Over TLS: only there another protocol may be offered (RFC 7838 §2.1).
    secure: bool,
    /// What a player that speaks CMCD is told (`CMSD-Dynamic`).
    told: Option<String>,
    /// The viewer's next token.
    cookie: Option<String>,
}

fn write_head(out: &mut Vec<u8>, worker: &Worker, decision: &Decision<'_>, how: &How) {
    out.clear();
    out.reserve(1024);
    let status = decision.status;
    // Writing to memory does not fail.
    let _ = write!(
        out,
        "HTTP/1.1 {status} {}\r\nServer: nightfill\r\nDate: ",
        reason(status)
    );
    worker.clock.http_date(out);
    out.extend_from_slice(b"\r\n");
    decision.fields(|name, value| {
        for piece in [name, ": ", value, "\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
    });
    if status == 429 {
        let _ = write!(out, "Retry-After: {}\r\n", worker.limits.retry_after.as_secs());
    }
    if let Some(told) = &how.told {
        let _ = write!(out, "CMSD-Dynamic: {told}\r\n");
    }
    if let Some(cookie) = &how.cookie {
        let _ = write!(out, "Set-Cookie: {cookie}\r\n");
    }
    if let Some(alternative) = worker.alternative.as_ref().filter(|_| how.secure) {
        let _ = write!(out, "Alt-Svc: {alternative}\r\n");
    }
    match (how.protocol, how.keep_open) {
        (_, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (Protocol::Http10, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
}
