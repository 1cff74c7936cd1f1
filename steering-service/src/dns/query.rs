//! What a DNS message asks: one question and EDNS with the client's subnet.
//!
//! Whatever comes over the network is read here, and no sequence of bytes makes it panic. The question is kept byte by
//! byte, so that it goes back in the case that the resolver wrote it.

use super::wire::{ECS, HEADER, MAX_UDP, Name, PLAIN_UDP, rcode, rtype};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a message is no query that can be answered in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// No answer at all: too short to have an id, or itself an answer.
    Silence,
    /// A header with this code is the answer.
    Code(u16),
}

/// Whose answer is asked for: a client's subnet (RFC 7871 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// Bits of the address that are told.
    pub source: u8,
    /// The address, other bits zero.
    pub address: IpAddr,
}

/// EDNS of a query (RFC 6891 §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// Largest answer that the asker takes over UDP, in bytes.
    pub size: u16,
    /// 0 is the only one there is.
    pub version: u8,
    /// DNSSEC wanted; goes back as it came (RFC 3225 §3), there are no signatures to send.
    pub(super) dnssec: bool,
    /// The client's subnet.
    pub subnet: Option<Subnet>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The question's bytes: name, type, class.
    pub(super) question: Vec<u8>,
    /// The name, lower case.
    pub name: Name,
    /// Its type.
    pub rtype: u16,
    /// Its class.
    pub class: u16,
    /// EDNS, if the asker speaks it.
    pub edns: Option<Edns>,
}

/// Bytes that are read from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Unread> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Unread::Code(rcode::FORMERR))?;
        self.0 = rest;
        Ok(head)
    }
    fn u8(&mut self) -> Result<u8, Unread> {
        Ok(self.take(1)?[0])
    }
    fn u16(&mut self) -> Result<u16, Unread> {
        let b = self.take(2)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }
    /// The question's name. Nothing stands before it that a pointer could point to.
    fn name(&mut self) -> Result<Name, Unread> {
        let mut wire = Vec::new();
        loop {
            let len = self.u8()?;
            wire.push(len);
            if len > 63 || wire.len() + usize::from(len) > 255 {
                return Err(Unread::Code(rcode::FORMERR));
            }
            if len == 0 {
                return Ok(Name(wire));
            }
            wire.extend(self.take(len.into())?.iter().map(u8::to_ascii_lowercase));
        }
    }
    /// Passes over a record's name and says whether it was the root.
    fn skip_name(&mut self) -> Result<bool, Unread> {
        let mut labels = 0;
        loop {
            match self.u8()? {
                0 => return Ok(labels == 0),
                len @ 1..=63 => {
                    self.take(len.into())?;
                }
                0xC0.. => {
                    self.u8()?;
                    return Ok(false);
                }
                _ => return Err(Unread::Code(rcode::FORMERR)),
            }
            labels += 1;
        }
    }
}

impl Query {
    /// Reads a message.
    pub fn read(message: &[u8]) -> Result<Self, Unread> {
        let malformed = Err(Unread::Code(rcode::FORMERR));
        let (header, body) = message.split_at_checked(HEADER).ok_or(Unread::Silence)?;
        if header[2] & 0x80 != 0 {
            return Err(Unread::Silence); // to answer answers would make two servers talk for ever
        }
        if header[2] & 0x78 != 0 {
            return Err(Unread::Code(rcode::NOTIMP));
        }
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if count(4) != 1 {
            return malformed;
        }
        let mut reader = Reader(body);
        let name = reader.name()?;
        let (rtype, class) = (reader.u16()?, reader.u16()?);
        let question = body[..body.len() - reader.0.len()].to_vec();
        let mut edns = None;
        let others = u32::from(count(6)) + u32::from(count(8));
        for n in 0..others + u32::from(count(10)) {
            let root = reader.skip_name()?;
            let (rtype, size) = (reader.u16()?, reader.u16()?);
            let flags = reader.take(4)?;
            let len = reader.u16()?;
            let data = reader.take(len.into())?;
            if rtype != rtype::OPT || n < others {
                continue;
            }
            if !root || edns.is_some() {
                return malformed;
            }
            edns = Some(Edns {
                size,
                version: flags[1],
                dnssec: flags[2] & 0x80 != 0,
                subnet: if flags[1] == 0 { subnet(data)? } else { None },
            });
        }
        Ok(Self {
            question,
            name,
            rtype,
            class,
            edns,
        })
    }

    /// The client's subnet, if one is told.
    pub fn subnet(&self) -> Option<Subnet> {
        self.edns?.subnet
    }
    /// Most bytes of an answer over UDP.
    pub fn udp_room(&self) -> usize {
        self.edns
            .map_or(PLAIN_UDP, |e| usize::from(e.size).clamp(PLAIN_UDP, MAX_UDP))
    }
}

/// The client's subnet among a query's options. One whose length and bits do not agree with themselves is malformed
/// (RFC 7871 §6, §7.2.1), as is a scope in a query.
fn subnet(data: &[u8]) -> Result<Option<Subnet>, Unread> {
    let mut options = Reader(data);
    let mut found = None;
    while !options.0.is_empty() {
        let (code, len) = (options.u16()?, options.u16()?);
        let mut option = Reader(options.take(len.into())?);
        if code != ECS {
            continue;
        }
        let (family, source, scope) = (option.u16()?, option.u8()?, option.u8()?);
        let told = option.0;
        let mut bytes = [0; 16];
        let width = match family {
            1 => 32,
            2 => 128,
            _ => return Err(Unread::Code(rcode::FORMERR)),
        };
        let right_length = source <= width && told.len() == usize::from(source).div_ceil(8);
        if !right_length || scope != 0 || found.is_some() {
            return Err(Unread::Code(rcode::FORMERR));
        }
        bytes[..told.len()].copy_from_slice(told);
        let bits = u128::from_be_bytes(bytes);
        if bits.checked_shl(source.into()).unwrap_or(0) != 0 {
            return Err(Unread::Code(rcode::FORMERR));
        }
        let address = match family {
            1 => IpAddr::V4(Ipv4Addr::from((bits >> 96) as u32)),
            _ => IpAddr::V6(Ipv6Addr::from(bits)),
        };
        found = Some(Subnet { source, address });
    }
    Ok(found)
}
