//! Answers as bytes: the only names that own records are the question and the zone that it ends in, so that compression
//! is a pointer into the question.

use super::{
    query::{Edns, Query},
    wire::{ECS, HEADER, IN, MAX_UDP, Name, rtype},
};
use std::net::IpAddr;

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// The name is another's.
    Cname(Name),
    /// A name server of the zone.
    Ns(Name),
    /// The zone (RFC 1035 §3.3.13).
    Soa {
        /// First name server.
        mname: Name,
        /// Who is in charge.
        rname: Name,
        /// Number of the fleet's generation.
        serial: u32,
        /// Seconds that a negative answer is kept (RFC 2308 §4).
        minimum: u32,
    },
    /// HTTPS (RFC 9460): this name itself, over TLS, HTTP/2 or HTTP/1.1.
    Https {
        /// Where that is not 443.
        port: Option<u16>,
        /// Its address, to save a question.
        hint: IpAddr,
    },
}

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The question's name.
    Question,
    /// The zone, of so many bytes, which the question's name ends in.
    Zone(usize),
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose.
    pub owner: Owner,
    /// Seconds to keep it.
    pub ttl: u32,
    /// What.
    pub data: Data,
}

/// An answer, but for what comes from the query.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// Response code.
    pub code: u16,
    /// From the zone that this server is the authority of.
    pub authoritative: bool,
    /// Length of the network for which it holds, in bits of the subnet's family.
    pub scope: u8,
    /// Answers.
    pub answers: Vec<Record>,
    /// Authority.
    pub authority: Vec<Record>,
}

impl Reply {
    /// Nothing but a code.
    pub fn code(code: u16) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    /// As bytes, at most `room`; what does not fit is left out and TC set, so that the asker comes again over TCP.
    pub fn write(&self, message: &[u8], query: &Query, room: usize) -> Vec<u8> {
        let mut out = header(message, self.code, self.authoritative);
        out[5] = 1;
        out.extend(&query.question);
        let question_end = out.len();
        let zone_at = |len: usize| HEADER + query.name.0.len() - len;
        for (at, records) in [(7, &self.answers), (9, &self.authority)] {
            out[at] = records.len() as u8;
            for record in records {
                record.write(&mut out, zone_at);
            }
        }
        let edns = query.edns.map(|edns| self.opt(edns)).unwrap_or_default();
        if out.len() + edns.len() > room {
            out.truncate(question_end);
            out[2] |= 0x02;
            (out[7], out[9]) = (0, 0);
        }
        out[11] = u8::from(!edns.is_empty());
        out.extend(edns);
        out
    }

    fn opt(&self, asked: Edns) -> Vec<u8> {
        let mut out = vec![0];
        out.extend(rtype::OPT.to_be_bytes());
        out.extend((MAX_UDP as u16).to_be_bytes());
        out.extend([(self.code >> 4) as u8, 0, u8::from(asked.dnssec) << 7, 0]);
        sized(&mut out, |out| {
            if let Some(subnet) = asked.subnet {
                out.extend(ECS.to_be_bytes());
                sized(out, |out| {
                    let family: u16 = if subnet.address.is_ipv4() { 1 } else { 2 };
                    out.extend(family.to_be_bytes());
                    out.extend([subnet.source, self.scope]);
                    let at = out.len();
                    address(out, subnet.address);
                    out.truncate(at + usize::from(subnet.source).div_ceil(8));
                });
            }
        });
        out
    }
}

/// A message's header as an answer, without records; id, opcode and RD are the query's.
fn header(message: &[u8], code: u16, authoritative: bool) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out[..2].copy_from_slice(&message[..2]);
    out[2] = 0x80 | (message[2] & 0x79) | u8::from(authoritative) << 2;
    out[3] = (code & 0x0F) as u8;
    out
}

/// The answer to a message that could not be read: a header. `message` has one, or it would be met with silence.
pub fn unread(message: &[u8], code: u16) -> Vec<u8> {
    header(message, code, false)
}

/// Appends what `body` writes after its length in two bytes.
fn sized(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0, 0]);
    body(out);
    let len = (out.len() - at - 2) as u16;
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
}

impl Record {
    fn write(&self, out: &mut Vec<u8>, zone_at: impl Fn(usize) -> usize) {
        let owner = match self.owner {
            Owner::Question => HEADER,
            Owner::Zone(len) => zone_at(len),
        };
        out.extend((0xC000 | owner as u16).to_be_bytes());
        let rtype = match &self.data {
            Data::Address(IpAddr::V4(_)) => rtype::A,
            Data::Address(IpAddr::V6(_)) => rtype::AAAA,
            Data::Cname(_) => rtype::CNAME,
            Data::Ns(_) => rtype::NS,
            Data::Soa { .. } => rtype::SOA,
            Data::Https { .. } => rtype::HTTPS,
        };
        out.extend(rtype.to_be_bytes());
        out.extend(IN.to_be_bytes());
        out.extend(self.ttl.to_be_bytes());
        sized(out, |out| match &self.data {
            Data::Address(ip) => address(out, *ip),
            Data::Cname(name) | Data::Ns(name) => out.extend(name.wire()),
            Data::Soa {
                mname,
                rname,
                serial,
                minimum,
            } => {
                out.extend(mname.wire());
                out.extend(rname.wire());
                // Refresh, retry, expire: there are no secondaries that would use them.
                for number in [*serial, 3600, 600, 86_400, *minimum] {
                    out.extend(number.to_be_bytes());
                }
            }
            Data::Https { port, hint } => {
                out.extend([0, 1, 0]); // priority 1, this name
                parameter(out, 1, |out| out.extend(b"\x02h2")); // alpn, beside http/1.1
                if let Some(port) = port {
                    parameter(out, 3, |out| out.extend(port.to_be_bytes()));
                }
                let key = if hint.is_ipv4() { 4 } else { 6 };
                parameter(out, key, |out| address(out, *hint));
            }
        });
    }
}

fn parameter(out: &mut Vec<u8>, key: u16, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend(key.to_be_bytes());
    sized(out, value);
}

fn address(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(a) => out.extend(a.octets()),
        IpAddr::V6(a) => out.extend(a.octets()),
    }
}
