//! DNS on the wire: names and numbers that queries and answers share (RFC 1035 §4, RFC 6891, RFC 7871 §6).

/// Types of records and questions.
pub mod rtype {
    #![expect(missing_docs, reason = "the names that IANA gives them")]
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const AAAA: u16 = 28;
    pub const OPT: u16 = 41;
    pub const HTTPS: u16 = 65;
    pub const IXFR: u16 = 251;
    pub const AXFR: u16 = 252;
    pub const ANY: u16 = 255;
}

/// Response codes.
pub mod rcode {
    #![expect(missing_docs, reason = "the names that IANA gives them")]
    pub const NOERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
    pub const BADVERS: u16 = 16;

    /// As dig writes it, for metrics.
    pub fn name(code: u16) -> &'static str {
        match code {
            NOERROR => "NOERROR",
            FORMERR => "FORMERR",
            SERVFAIL => "SERVFAIL",
            NXDOMAIN => "NXDOMAIN",
            NOTIMP => "NOTIMP",
            REFUSED => "REFUSED",
            BADVERS => "BADVERS",
            _ => "other",
        }
    }
}

/// Class IN.
pub const IN: u16 = 1;
/// Length of a header.
pub(super) const HEADER: usize = 12;
/// Largest answer over UDP: passes every path without being fragmented (DNS flag day 2020).
pub const MAX_UDP: usize = 1232;
/// Largest answer over UDP to somebody without EDNS (RFC 1035 §4.2.1).
pub(super) const PLAIN_UDP: usize = 512;
/// Option code of the client's subnet.
pub(super) const ECS: u16 = 8;

/// A name in wire form, lower case, with its root label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub(super) Vec<u8>);

impl Name {
    /// From `a.b.c`, with or without a dot at the end; letters, digits, `-` and `_` only. The root is not taken.
    pub fn new(text: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.strip_suffix('.').unwrap_or(text).split('.') {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if label.is_empty() || label.len() > 63 || !label.bytes().all(plain) {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= 255).then_some(Self(wire))
    }
    /// One label before it, if that is a name.
    pub fn child(&self, label: &str) -> Option<Self> {
        let mut wire = Self::new(label)?.0;
        wire.pop();
        wire.extend(&self.0);
        (wire.len() <= 255).then_some(Self(wire))
    }
    /// The bytes.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
    /// Whether it is `zone` or below it.
    pub fn is_within(&self, zone: &Self) -> bool {
        self.below(zone).is_some()
    }
    /// Its labels before `zone`, as wire; empty for `zone` itself, absent outside.
    pub fn below(&self, zone: &Self) -> Option<&[u8]> {
        let head = self.0.strip_suffix(zone.0.as_slice())?;
        let mut at = 0;
        while at < head.len() {
            at += 1 + usize::from(head[at]);
        }
        (at == head.len()).then_some(head) // else the end looked alike but began within a label
    }
}
