//! One request and its response as they are counted and logged. An exchange writes its access-log line when it is
//! dropped, so that every way to end (complete, cut, reset, panic) leaves one.

use crate::{
    fill::fetch::AGENT,
    http::{Peer, Protocol},
    signing::gate::Verdict,
    sys::path::Path,
    worker::Worker,
};
use cdn_types::{BitsPerSecond, ObjectDigest};
use oca_core::{
    cmcd::{self, Wishes},
    pacing,
};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::IpAddr,
    rc::Rc,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use url_signing::{CAT_HEADER, Reason};

/// Longest text field of a log line in bytes; what is longer is cut there.
const FIELD: usize = 2048;

/// Cookie fields that are looked at; a player's browser has one or two cookies for an appliance.
const COOKIE_FIELDS: usize = 4;

/// What a request said of itself, as sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// Method.
    pub method: &'a str,
    /// Target without its query.
    pub path: &'a str,
    /// Query.
    pub query: Option<&'a str>,
    /// Host or :authority.
    pub host: Option<&'a [u8]>,
    /// Range.
    pub range: Option<&'a [u8]>,
    /// User-Agent.
    pub user_agent: Option<&'a [u8]>,
    /// Referer.
    pub referer: Option<&'a [u8]>,
    /// CMCD-Request, -Object, -Status, -Session.
    pub cmcd: [Option<&'a [u8]>; 4],
    /// Cookie: looked at for a token, never logged. HTTP/2 and HTTP/3 send it in pieces (RFC 9113 §8.2.3).
    pub cookies: [Option<&'a [u8]>; COOKIE_FIELDS],
    /// CTA-Common-Access-Token, likewise.
    pub access_token: Option<&'a [u8]>,
}

/// Field names of [`Said::cmcd`], and their keys in the log.
const CMCD: [(&str, &str); 4] = [
    ("cmcd-request", "request"),
    ("cmcd-object", "object"),
    ("cmcd-status", "status"),
    ("cmcd-session", "session"),
];

impl<'a> Said<'a> {
    /// Takes one field line if the log keeps it.
    pub fn take(&mut self, name: &str, value: &'a [u8]) {
        let slot = match name.len() {
            4 if name.eq_ignore_ascii_case("host") => &mut self.host,
            5 if name.eq_ignore_ascii_case("range") => &mut self.range,
            6 if name.eq_ignore_ascii_case("cookie") => {
                match self.cookies.iter_mut().find(|slot| slot.is_none()) {
                    Some(slot) => slot,
                    None => return,
                }
            }
            7 if name.eq_ignore_ascii_case("referer") => &mut self.referer,
            10 if name.eq_ignore_ascii_case("user-agent") => &mut self.user_agent,
            11 | 12 => match CMCD
                .iter()
                .position(|(known, _)| name.eq_ignore_ascii_case(known))
            {
                Some(index) => &mut self.cmcd[index],
                None => return,
            },
            23 if name.eq_ignore_ascii_case(CAT_HEADER) => &mut self.access_token,
            _ => return,
        };
        *slot = Some(value);
    }
}

/// How a response ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it was given to the kernel.
    Complete,
    /// The client went away.
    ClientGone,
    /// The client took nothing for too long.
    SlowReader,
    /// The file was short or could not be read; the response was reset.
    Fault,
    /// Cut while it ran: the drain's limit, or a reset stream.
    Cut,
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::SlowReader => "slow_reader",
            Self::Fault => "fault",
            Self::Cut => "cut",
        }
    }
}

/// A request that is being answered.
pub struct Exchange {
    worker: Rc<Worker>,
    protocol: Protocol,
    started: Instant,
    line: Vec<u8>,
    digest: Option<ObjectDigest>,
    /// Whether a viewer asks, as against an appliance that fills.
    viewer: bool,
    /// What the player says of itself; absent = it does not speak CMCD.
    wishes: Option<Wishes>,
    client: IpAddr,
    /// What is known of the path at the end.
    path: Option<Path>,
    status: u16,
    bytes: u64,
    end: End,
}

impl Exchange {
    /// Starts with the request's last header byte.
    pub fn new(worker: &Rc<Worker>, protocol: Protocol, peer: Peer, said: &Said<'_>) -> Self {
        let wishes = wishes(said);
        if wishes.is_some_and(|w| w.urgent) {
            worker.urgent.set(worker.urgent.get() + 1);
        }
        let mut line = Vec::new();
        if worker.log.borrow().is_on() {
            line.reserve(512);
            describe(&mut line, worker, protocol, peer, said);
        }
        Self {
            worker: Rc::clone(worker),
            protocol,
            started: Instant::now(),
            line,
            digest: None,
            viewer: !said.user_agent.is_some_and(|a| a.starts_with(AGENT.as_bytes())),
            wishes,
            client: peer.addr.ip(),
            path: None,
            status: 0,
            bytes: 0,
            end: End::Cut,
        }
    }

    /// The worker that answers.
    pub fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// The status that is sent, and the object that the body is of.
    pub fn answered(&mut self, status: u16, digest: Option<ObjectDigest>) {
        self.status = status;
        self.digest = digest;
        let served = self.viewer && (200..400).contains(&status);
        if let (true, Some(wishes), Some(watch)) = (served, &self.wishes, &self.worker.watch) {
            watch.notice(wishes, self.client, self.started);
        }
    }

    /// Counts body bytes as they are given to the kernel, so that rates are true during long responses.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.worker.traffic().bytes_sent.fetch_add(bytes, Relaxed);
        let mut counters = self.worker.counters.borrow_mut();
        counters.add("oca_sent_bytes_total", self.protocol.name(), bytes);
    }

    /// What became of it at the gate, for the log (docs/formats/access-log.md) and the metric.
    pub fn judged(&mut self, verdict: &Verdict) {
        let (code, reason) = match verdict {
            Verdict::Unasked => ("000", None),
            Verdict::Granted(_) => (Reason::VERIFIED, None),
            Verdict::Refused(reason) => (reason.code(), Some(reason.name())),
        };
        if *verdict != Verdict::Unasked {
            let mut counters = self.worker.counters.borrow_mut();
            counters.add("oca_signed_requests_total", reason.unwrap_or("verified"), 1);
        }
        if !self.line.is_empty() {
            text(&mut self.line, "uri_signing", code.as_bytes());
            if let Some(reason) = reason {
                text(&mut self.line, "uri_signing_reason", reason.as_bytes());
            }
        }
    }

    /// Body bytes sent so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rate that is enough for the player; absent = as fast as it goes.
    pub fn rate(&self) -> Option<BitsPerSecond> {
        self.wishes.and_then(|w| pacing::rate(&w))
    }

    /// Whether the player needs the response at once.
    pub fn is_urgent(&self) -> bool {
        self.wishes.is_some_and(|w| w.urgent)
    }

    /// What a player that speaks CMCD is told of the path to it (`CMSD-Dynamic`, CTA-5006), from what `path` answers.
    pub fn told(&self, path: impl FnOnce() -> Option<Path>) -> Option<String> {
        self.wishes?;
        let mut told = format!("\"{}\"", self.worker.name);
        if let Some(path) = path() {
            if path.delivery_rate > 0 {
                let _ = write!(told, ";etp={}", path.delivery_rate.saturating_mul(8) / 1000);
            }
            let _ = write!(told, ";rtt={}", path.round_trip.div_ceil(1000));
        }
        if self.worker.is_pressed() {
            told.push_str(";du");
        }
        Some(told)
    }

    /// Notes for the log what the path was like.
    pub fn carried(&mut self, path: impl FnOnce() -> Option<Path>) {
        if !self.line.is_empty() {
            self.path = path();
        }
    }

    /// How it ended; the last word before the drop.
    pub fn ended(&mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.is_urgent() {
            self.worker.urgent.set(self.worker.urgent.get() - 1);
        }
        let took = self.started.elapsed();
        self.worker.traffic().requests.fetch_add(1, Relaxed);
        self.worker
            .counters
            .borrow_mut()
            .request(self.protocol, self.status, took);
        if let Some(digest) = &self.digest
            && self.bytes > 0
            && self.viewer
        {
            self.worker
                .namespace
                .served(self.worker.index, digest, self.bytes);
        }
        if !self.line.is_empty() {
            self.write_line(took);
        }
    }
}

impl Exchange {
    fn write_line(&mut self, took: Duration) {
        let (status, bytes, end) = (self.status, self.bytes, self.end.name());
        let seconds = took.as_secs_f64();
        let line = &mut self.line;
        // Writing to memory does not fail.
        let _ = io::Write::write_fmt(
            line,
            format_args!(",\"status\":{status},\"bytes\":{bytes},\"seconds\":{seconds:.6},\"end\":\"{end}\""),
        );
        if let Some(path) = self.path {
            let (rtt, again) = (f64::from(path.round_trip) / 1e6, path.retransmitted);
            let rate = path.delivery_rate.saturating_mul(8);
            let _ = io::Write::write_fmt(
                line,
                format_args!(",\"rtt\":{rtt:.6},\"retransmitted\":{again},\"delivery_rate\":{rate}"),
            );
        }
        line.push(b'}');
        self.worker.log.borrow_mut().push(line);
    }
}

/// What the request says of its player. Headers go before the query (CTA-5004-B §6).
fn wishes(said: &Said<'_>) -> Option<Wishes> {
    let mut wishes = Wishes::default();
    if said.cmcd.iter().any(Option::is_some) {
        let texts = said
            .cmcd
            .iter()
            .flatten()
            .filter_map(|v| std::str::from_utf8(v).ok());
        texts.for_each(|text| wishes.take(text));
    } else {
        wishes.take(&said.query.and_then(cmcd::from_query)?);
    }
    Some(wishes.understood())
}

/// The part of the line that the request alone decides; docs/formats/access-log.md tells the fields.
fn describe(line: &mut Vec<u8>, worker: &Worker, protocol: Protocol, peer: Peer, said: &Said<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    worker.clock.rfc3339(line);
    let _ = write!(
        line,
        "\",\"client\":\"{}\",\"protocol\":\"{}\"",
        peer.addr.ip().to_canonical(),
        protocol.name()
    );
    if let Some(tls) = peer.tls {
        text(line, "tls", tls.as_bytes());
    }
    text(line, "method", said.method.as_bytes());
    text(line, "path", said.path.as_bytes());
    let optional = [
        ("host", said.host),
        ("range", said.range),
        ("user_agent", said.user_agent),
        ("referer", said.referer),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            text(line, name, value);
        }
    }
    describe_cmcd(line, said);
}

fn describe_cmcd(line: &mut Vec<u8>, said: &Said<'_>) {
    let query = said.query.and_then(cmcd::from_query);
    let in_headers = said.cmcd.iter().any(Option::is_some);
    if !in_headers && query.is_none() {
        return;
    }
    // CTA-5004-B §6: a server that sees any CMCD header ignores the query; both are logged as sent.
    let session = if in_headers {
        said.cmcd[3].and_then(|v| std::str::from_utf8(v).ok())
    } else {
        query.as_deref()
    };
    if let Some(id) = session.and_then(cmcd::session_id) {
        text(line, "sid", id.as_bytes());
    }
    line.extend_from_slice(b",\"cmcd\":{");
    let start = line.len();
    for ((_, key), value) in CMCD.iter().zip(said.cmcd) {
        if let Some(value) = value {
            text(line, key, value);
        }
    }
    if let Some(query) = query {
        text(line, "query", query.as_bytes());
    }
    line.remove(start); // the first member's comma
    line.push(b'}');
}

/// Appends `,"name":"value"`.
fn text(line: &mut Vec<u8>, name: &str, value: &[u8]) {
    let _ = write!(line, ",\"{name}\":\"");
    let value = String::from_utf8_lossy(&value[..value.len().min(FIELD)]);
    for c in value.chars() {
        match c {
            '"' => line.extend_from_slice(b"\\\""),
            '\\' => line.extend_from_slice(b"\\\\"),
            c if c.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_become_valid_json() {
        let nasty = b"a\"b\\c\n\x00\x1b\xff\xc3\xbc\x7f\xe2\x80\xa8";
        let mut line = b"{\"x\":1".to_vec();
        text(&mut line, "v", nasty);
        text(&mut line, "long", &[b'y'; 5000]);
        line.push(b'}');
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(json["v"], String::from_utf8_lossy(nasty).as_ref());
        assert_eq!(json["long"].as_str().unwrap().len(), FIELD);
    }

    #[test]
    fn cmcd_is_logged_as_sent_and_the_session_is_found() {
        let logged = |said: &Said<'_>| -> serde_json::Value {
            let mut line = b"{\"x\":1".to_vec();
            describe_cmcd(&mut line, said);
            line.push(b'}');
            serde_json::from_slice(&line).unwrap()
        };
        let mut said = Said::default();
        assert_eq!(logged(&said), serde_json::json!({"x": 1}));
        said.query = Some("CMCD=bs%2Csid%3D%22q%22");
        let query = logged(&said);
        assert_eq!(
            (query["sid"].as_str(), query["cmcd"]["query"].as_str()),
            (Some("q"), Some("bs,sid=\"q\""))
        );
        said.take("CMCD-Session", b"sid=\"h\",v=2");
        said.take("cmcd-request", b"bl=0");
        let both = logged(&said);
        assert_eq!(both["sid"], "h");
        assert_eq!(both["cmcd"]["request"], "bl=0");
    }
}
