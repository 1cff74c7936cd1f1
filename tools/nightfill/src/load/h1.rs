//! HTTP/1.1: one request at a time on a connection that stays open. Bodies that nobody looks at are dropped in the kernel
//! (`MSG_TRUNC`), so that the client costs next to nothing; over TLS they must be opened, but are copied nowhere.

use super::{exchange::Exchange, fault::Fault, pace::Pace, wire::Wire};
use nix::sys::socket::MsgFlags;
use socket2::SockRef;
use std::{cell::RefCell, future::poll_fn, io, mem::MaybeUninit, rc::Rc};
use tokio::{io::Interest, net::TcpStream};

/// Longest head that is taken.
const HEAD: usize = 16 << 10;
/// Bytes read at once while a head is awaited: what comes of the body with it is copied.
const HEAD_BITE: usize = 4 << 10;
/// Most fields of a head.
const FIELDS: usize = 64;
/// Bytes read at once where somebody looks at them.
const READ: usize = 256 << 10;
/// Bytes dropped at once.
const DROP: usize = 1 << 20;

/// Room that a thread's connections share: nothing stays in it.
#[derive(Clone)]
pub(super) struct Scratch {
    /// For bytes that somebody looks at at once.
    pub read: Rc<RefCell<Vec<u8>>>,
    /// The kernel is told of this room, but with `MSG_TRUNC` writes nothing into it.
    dropped: Rc<RefCell<Vec<MaybeUninit<u8>>>>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            read: Rc::new(RefCell::new(vec![0; READ])),
            dropped: Rc::new(RefCell::new(vec![MaybeUninit::uninit(); DROP])),
        }
    }
}

/// A connection.
pub(super) struct H1 {
    wire: Wire,
    scratch: Scratch,
    usable: bool,
}

impl H1 {
    /// Over `wire`.
    pub(super) fn new(wire: Wire, scratch: Scratch) -> Self {
        Self {
            wire,
            scratch,
            usable: true,
        }
    }

    /// Whether another request can be sent.
    pub(super) fn is_usable(&self) -> bool {
        self.usable
    }

    /// Sends the request and takes its response.
    pub(super) async fn request(
        &mut self,
        authority: &str,
        pace: &Pace,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Fault> {
        self.usable = false;
        let mut text = request_text(authority, exchange).into_bytes();
        let sent = poll_fn(|cx| self.wire.poll_send(cx, &mut text)).await;
        sent.map_err(|e| Fault::reset(&e))?;
        let mut response = Response::default();
        while !response.is_done() {
            let bytes = self.receive(&mut response, pace, exchange).await?;
            if bytes == 0 {
                return Err(if response.left.is_some() {
                    exchange.short()
                } else {
                    Fault::Reset("closed before the response".to_owned())
                });
            }
            pace.read(bytes).await;
        }
        self.usable = !response.last;
        exchange.end()
    }

    /// Waits until the server closes the connection or says something unasked.
    pub(super) async fn closed(&mut self) -> Fault {
        let end = poll_fn(|cx| self.wire.poll_receive(cx, 1, &mut [0], &mut |_| ())).await;
        match end {
            Ok(0) => Fault::Reset("closed while idle".to_owned()),
            Ok(_) => Fault::Protocol("bytes that nobody asked for".to_owned()),
            Err(e) => Fault::reset(&e),
        }
    }

    /// Receives some of the response; how many bytes, 0 at the end of the connection.
    async fn receive(
        &mut self,
        response: &mut Response,
        pace: &Pace,
        exchange: &mut Exchange<'_>,
    ) -> Result<usize, Fault> {
        let bite = response.left.map_or(HEAD_BITE, |left| {
            pace.bite().min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        if let (Wire::Plain(tcp), Some(_), true) = (&self.wire, response.left, exchange.discards()) {
            let bytes = drop_bytes(tcp, &self.scratch, bite.min(DROP)).await;
            let bytes = bytes.map_err(|e| Fault::reset(&e))?;
            response.skip(bytes as u64, exchange);
            return Ok(bytes);
        }
        // A record may hold the end of a head and more: over TLS nothing is gained by small bites.
        let limit = match &self.wire {
            Wire::Plain(_) => bite,
            Wire::Tls(_) => pace.bite(),
        };
        let mut pushed = Ok(());
        let mut take = |bytes: &[u8]| {
            if pushed.is_ok() {
                pushed = response.push(bytes, exchange);
            }
        };
        let (wire, scratch) = (&mut self.wire, &self.scratch);
        let bytes =
            poll_fn(|cx| wire.poll_receive(cx, limit, &mut scratch.read.borrow_mut(), &mut take)).await;
        pushed?;
        bytes.map_err(|e| Fault::reset(&e))
    }
}

/// Has the kernel throw away at most `most` received bytes; how many.
async fn drop_bytes(tcp: &TcpStream, scratch: &Scratch, most: usize) -> io::Result<usize> {
    tcp.async_io(Interest::READABLE, || {
        let room = &mut scratch.dropped.borrow_mut()[..most];
        SockRef::from(tcp).recv_with_flags(room, MsgFlags::MSG_TRUNC.bits())
    })
    .await
}

fn request_text(authority: &str, exchange: &Exchange<'_>) -> String {
    let method = if exchange.wish.head { "HEAD" } else { "GET" };
    let path = &exchange.target.path;
    let range = exchange
        .range()
        .map_or(String::new(), |r| format!("Range: {r}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{range}\r\n")
}

/// A response as far as it has come.
#[derive(Debug, Default)]
struct Response {
    head: Vec<u8>,
    /// Bytes of the body that are still to come, once the head is known.
    left: Option<u64>,
    /// Whether the connection ends with it.
    last: bool,
}

impl Response {
    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Bytes of the body came and were dropped.
    fn skip(&mut self, bytes: u64, exchange: &mut Exchange<'_>) {
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        exchange.skipped(bytes);
    }

    /// The next bytes came.
    fn push(&mut self, bytes: &[u8], exchange: &mut Exchange<'_>) -> Result<(), Fault> {
        if bytes.is_empty() {
            return Ok(());
        }
        exchange.came();
        let Some(left) = self.left else {
            return self.push_head(bytes, exchange);
        };
        if bytes.len() as u64 > left {
            return Err(Fault::Protocol(format!(
                "{} bytes after the response",
                bytes.len() as u64 - left
            )));
        }
        self.left = Some(left - bytes.len() as u64);
        exchange.body(bytes)
    }

    fn push_head(&mut self, bytes: &[u8], exchange: &mut Exchange<'_>) -> Result<(), Fault> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let Some(head) = parse_head(&self.head)? else {
            return if self.head.len() > HEAD {
                Err(Fault::Protocol(format!("a head of more than {HEAD} bytes")))
            } else {
                Ok(())
            };
        };
        if (100..200).contains(&head.status) {
            let rest = self.head.split_off(head.bytes);
            self.head.clear();
            return self.push(&rest, exchange);
        }
        let bodiless = exchange.wish.head || matches!(head.status, 204 | 304);
        let length = head.length.ok_or_else(|| {
            Fault::Protocol("no Content-Length; other framings are not for static files".to_owned())
        });
        self.last = head.last;
        self.left = Some(if bodiless { 0 } else { length? });
        exchange.head(head.status, head.length)?;
        self.push(&bytes[head.bytes - before..], exchange)
    }
}

/// What of a head matters.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    status: u16,
    length: Option<u64>,
    last: bool,
}

/// The head at the start of `text`; absent while it is incomplete.
fn parse_head(text: &[u8]) -> Result<Option<Head>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let bytes = match response.parse(text) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(Fault::Protocol(e.to_string())),
    };
    let mut head = Head {
        bytes,
        status: response.code.unwrap_or(0),
        length: None,
        last: response.version == Some(0),
    };
    for field in response.headers.iter() {
        let value = || str::from_utf8(field.value).unwrap_or_default().trim();
        if field.name.eq_ignore_ascii_case("content-length") {
            let length = value().parse();
            head.length = Some(length.map_err(|_| Fault::Protocol(format!("Content-Length: {}", value())))?);
        } else if field.name.eq_ignore_ascii_case("connection") {
            head.last = value().eq_ignore_ascii_case("close");
        }
    }
    Ok(Some(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let text = b"HTTP/1.1 206 Partial Content\r\ncontent-length: 12\r\nConnection: close\r\n\r\nbody";
        let head = Head {
            bytes: text.len() - 4,
            status: 206,
            length: Some(12),
            last: true,
        };
        assert_eq!(parse_head(text).unwrap(), Some(head));
        assert_eq!(parse_head(&text[..40]).unwrap(), None);
        assert!(parse_head(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
