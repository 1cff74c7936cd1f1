//! The head of an HTTP/1 request: parsed by httparse, then checked so that no program before or behind this one can
//! see other request boundaries than we do (request smuggling, RFC 9112 §11.2).

use crate::http::{Protocol, exchange::Said};
use oca_core::request::{Fields, Method};

/// Most fields in a request head.
const MAX_FIELDS: usize = 64;

/// How the request's content is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// None.
    None,
    /// That many bytes.
    Length(u64),
    /// `chunked`: never read here, the connection ends after the response.
    Chunked,
}

/// A complete request head.
#[derive(Debug)]
pub struct Head<'b> {
    /// Bytes that it took of the buffer.
    pub len: usize,
    /// Method.
    pub method: Method,
    /// Request target, as sent.
    pub target: &'b str,
    /// HTTP/1.0 or HTTP/1.1.
    pub protocol: Protocol,
    /// What the decision looks at.
    pub fields: Fields<'b>,
    /// What the log keeps.
    pub said: Said<'b>,
    /// Content that follows.
    pub content: Content,
    /// Whether the client wants the connection kept open.
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends its content.
    pub expects_continue: bool,
}

/// Parses the beginning of `buffer`; absent = there is more to come.
///
/// # Errors
/// With the status to answer before the connection is ended, when this is no request that can be answered safely.
pub fn parse(buffer: &[u8]) -> Result<Option<Head<'_>>, u16> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut storage);
    let len = match request.parse(buffer) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(httparse::Error::Version) => return Err(505),
        Err(_) => return Err(400),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(400);
    };
    let protocol = if minor == 0 {
        Protocol::Http10
    } else {
        Protocol::Http11
    };
    let mut head = Head {
        len,
        method: Method::parse(method),
        target,
        protocol,
        fields: Fields::default(),
        said: Said::default(),
        content: Content::None,
        keep_alive: minor == 1,
        expects_continue: false,
    };
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    (head.said.method, head.said.path, head.said.query) = (method, path, query);
    head.take_fields(request.headers)?;
    Ok(Some(head))
}

/// Framing fields seen so far.
#[derive(Default)]
struct Framing {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
}

impl<'b> Head<'b> {
    fn take_fields(&mut self, lines: &[httparse::Header<'b>]) -> Result<(), u16> {
        let mut framing = Framing::default();
        for line in lines {
            let (name, value) = (line.name, line.value.trim_ascii());
            framing.take(name, value)?;
            if name.eq_ignore_ascii_case("expect") {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(417);
                }
                self.expects_continue = self.protocol == Protocol::Http11; // RFC 9110 §10.1.1
            }
            self.fields.take(name, value);
            self.said.take(name, value);
        }
        let http10 = self.protocol == Protocol::Http10;
        if framing.hosts > 1 || (framing.hosts == 0 && !http10) {
            return Err(400); // RFC 9112 §3.2
        }
        if framing.chunked && (framing.length.is_some() || http10) {
            return Err(400); // RFC 9112 §6.1
        }
        self.content = match framing.length {
            _ if framing.chunked => Content::Chunked,
            None | Some(0) => Content::None,
            Some(length) => Content::Length(length),
        };
        self.keep_alive = !framing.close && (!http10 || framing.keep_alive);
        Ok(())
    }
}

impl Framing {
    fn take(&mut self, name: &str, value: &[u8]) -> Result<(), u16> {
        if name.eq_ignore_ascii_case("host") {
            self.hosts += 1;
            if !is_host(value) {
                return Err(400);
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            if self.length.replace(length(value).ok_or(400u16)?).is_some() {
                return Err(400); // even if both say the same: nobody sends that by accident
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if self.chunked {
                return Err(400);
            }
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(501); // RFC 9112 §6.1
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    digits
        .then(|| std::str::from_utf8(value).ok()?.parse().ok())
        .flatten()
}

/// `uri-host [ ":" port ]` by its characters (RFC 3986 §3.2.2); empty is allowed (RFC 9110 §7.2).
fn is_host(value: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b);
    value.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head<'_> {
        match parse(text.as_bytes()) {
            Ok(Some(head)) => head,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn a_usual_request() {
        let text = "GET /a.mp4?x=1 HTTP/1.1\r\nHost: h:80\r\nRange: bytes=0-1\r\nUser-Agent: p\r\n\r\nGET";
        let h = head(text);
        assert_eq!(
            (h.method, h.target, h.protocol),
            (Method::Get, "/a.mp4?x=1", Protocol::Http11)
        );
        assert_eq!(
            (h.said.path, h.said.query, h.len),
            ("/a.mp4", Some("x=1"), text.len() - 3)
        );
        assert_eq!(h.fields.range.as_deref(), Some(b"bytes=0-1".as_slice()));
        assert!(h.keep_alive && !h.expects_continue && h.content == Content::None);
    }

    #[test]
    fn persistence_by_version_and_connection() {
        for (text, keep) in [
            ("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false),
            (
                "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Close\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            assert_eq!(head(text).keep_alive, keep, "{text:?}");
        }
    }

    #[test]
    fn ambiguous_requests_are_refused() {
        let host = "Host: h\r\n";
        for (lines, status) in [
            ("", 400), // no Host
            ("Host: a\r\nHost: a\r\n", 400),
            ("Host: a/b\r\n", 400),
            ("Host: a b\r\n", 400),
            (
                "Host: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            ("Host: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Host: h\r\nContent-Length: 1, 1\r\n", 400),
            ("Host: h\r\nContent-Length: +1\r\n", 400),
            ("Host: h\r\nContent-Length: 99999999999999999999\r\n", 400),
            ("Host: h\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
            (
                "Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                400,
            ),
            ("Host: h\r\nA: b\r\n folded\r\n", 400),
            ("Host : h\r\n", 400),
            ("Host: h\r\nA: b\0c\r\n", 400),
            ("Host: h\r\nExpect: cheese\r\n", 417),
        ] {
            let text = format!("GET / HTTP/1.1\r\n{lines}\r\n");
            assert!(
                matches!(parse(text.as_bytes()), Err(s) if s == status),
                "{text:?}"
            );
        }
        for (text, status) in [
            ("GET / HTTP/2.0\r\n\r\n".to_owned(), 505),
            (format!("GET  / HTTP/1.1\r\n{host}\r\n"), 400),
            (
                "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
                400,
            ),
            (format!("GET / HTTP/1.1\r\n{}\r\n", host.repeat(65)), 431),
            ("\x16\x03\x01\x02\x00\x01".to_owned(), 400),
        ] {
            assert!(
                matches!(parse(text.as_bytes()), Err(s) if s == status),
                "{text:?}"
            );
        }
    }

    #[test]
    fn content_is_noted() {
        let text = "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        assert!(head(text).content == Content::Length(5) && head(text).expects_continue);
        let text = "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(head(text).content, Content::Chunked);
    }
}
