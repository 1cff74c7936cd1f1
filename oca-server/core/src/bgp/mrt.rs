//! Dumps of a router's or collector's table (RFC 6396 §4.3, TABLE_DUMP_V2, with path identifiers by RFC 8050), record by record: octets
//! in, routes out. A dump is what archives keep, so that an evening can be ranked again by the routes of that evening. Dumps of single
//! messages, and families other than unicast, are passed over.

use super::{
    Family,
    attributes::{PathAttributes, Section},
    nlri::{self, Nlri},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets before a record's body.
const HEADER: usize = 12;
/// Longest body: a prefix with a few thousand paths is some hundred kilobytes.
const MOST_BODY: usize = 16 << 20;
const TABLE_DUMP_V2: u16 = 13;

/// Why a dump cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMrt(&'static str);

const CUT: BadMrt = BadMrt("the record ends too early");

/// A router that the dump has routes of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MrtPeer {
    /// Its address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: u32,
}

/// A path to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MrtRoute {
    /// Place of the peer in [`MrtRecord::Peers`].
    pub peer: u16,
    /// The prefix and the path's identifier.
    pub nlri: Nlri,
    /// Absent = malformed, or without what a route must have.
    pub attributes: Option<PathAttributes>,
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MrtRecord {
    /// The peers that the routes after it name by their places.
    Peers(Vec<MrtPeer>),
    /// All paths to one prefix.
    Routes(Vec<MrtRoute>),
    /// Nothing that is read here.
    Other,
}

/// Octets of the record that `octets` begin with; absent = its header is not yet whole.
///
/// # Errors
/// When no record is so long.
pub fn first(octets: &[u8]) -> Result<Option<usize>, BadMrt> {
    let Some(header) = octets.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let body = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    match body <= MOST_BODY {
        true => Ok(Some(HEADER + body)),
        false => Err(BadMrt(
            "this is no MRT record, or a packed one: unpack the file first",
        )),
    }
}

/// Reads a whole record, as [`first`] delimits it.
///
/// # Errors
/// When its parts do not fit.
pub fn read(record: &[u8]) -> Result<MrtRecord, BadMrt> {
    let mut r = Octets(record);
    r.take(4)?; // when
    let (kind, subtype) = (r.u16()?, r.u16()?);
    r.take(4)?; // length
    match (kind, subtype) {
        (TABLE_DUMP_V2, 1) => peers(r).map(MrtRecord::Peers),
        (TABLE_DUMP_V2, 2) => routes(r, Family::V4, false),
        (TABLE_DUMP_V2, 4) => routes(r, Family::V6, false),
        (TABLE_DUMP_V2, 8) => routes(r, Family::V4, true),
        (TABLE_DUMP_V2, 10) => routes(r, Family::V6, true),
        _ => Ok(MrtRecord::Other),
    }
}

fn peers(mut r: Octets<'_>) -> Result<Vec<MrtPeer>, BadMrt> {
    r.take(4)?; // the collector
    let name = r.u16()?;
    r.take(name.into())?;
    let count = r.u16()?;
    let mut peers = Vec::new();
    for _ in 0..count {
        let kind = r.u8()?;
        r.take(4)?; // its BGP identifier
        let address = match kind & 1 {
            0 => IpAddr::V4(Ipv4Addr::from(r.array::<4>()?)),
            _ => IpAddr::V6(Ipv6Addr::from(r.array::<16>()?)),
        };
        let asn = match kind & 2 {
            0 => r.u16()?.into(),
            _ => r.u32()?,
        };
        peers.push(MrtPeer { address, asn });
    }
    Ok(peers)
}

fn routes(mut r: Octets<'_>, family: Family, add_path: bool) -> Result<MrtRecord, BadMrt> {
    r.take(4)?; // number of the record
    let bits = *r.0.first().ok_or(CUT)?;
    let prefix = r.take(1 + usize::from(bits.div_ceil(8)))?;
    let mut read = Vec::new();
    nlri::read(prefix, family, false, &mut read)
        .map_err(|_| BadMrt("a prefix is longer than its family's addresses"))?;
    let [nlri] = read[..] else {
        return Err(CUT);
    };
    let count = r.u16()?;
    let mut routes = Vec::new();
    for _ in 0..count {
        let peer = r.u16()?;
        r.take(4)?; // since when
        let path = if add_path { r.u32()? } else { 0 };
        let length = r.u16()?;
        let attributes = attributes(r.take(length.into())?);
        let nlri = Nlri { path, ..nlri };
        routes.push(MrtRoute {
            peer,
            nlri,
            attributes,
        });
    }
    Ok(MrtRecord::Routes(routes))
}

fn attributes(octets: &[u8]) -> Option<PathAttributes> {
    let section = Section::read_dumped(octets).ok()?;
    let whole = section.malformed.is_none() && section.missing(false).is_none();
    whole.then_some(section.attributes)
}

/// What is left of a record.
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], BadMrt> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(CUT)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMrt> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        self.0 = rest;
        Ok(*taken)
    }
    fn u8(&mut self) -> Result<u8, BadMrt> {
        self.array().map(|[octet]| octet)
    }
    fn u16(&mut self) -> Result<u16, BadMrt> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Result<u32, BadMrt> {
        self.array().map(u32::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(subtype: u16, body: &[u8]) -> Vec<u8> {
        let head = [
            &[0; 4][..],
            &[0, 13],
            &subtype.to_be_bytes(),
            &(body.len() as u32).to_be_bytes(),
        ];
        [&head.concat(), body].concat()
    }

    /// ORIGIN IGP, AS_PATH 64500 64501.
    const ATTRIBUTES: [u8; 17] = [
        0x40, 1, 1, 0, 0x40, 2, 10, 2, 2, 0, 0, 0xfb, 0xf4, 0, 0, 0xfb, 0xf5,
    ];

    #[test]
    fn peers_of_both_families_and_widths_are_read() {
        let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let body = [
            &[9, 9, 9, 9, 0, 2, b'v', b'w', 0, 2][..],
            &[0, 1, 1, 1, 1, 192, 0, 2, 1, 0xfb, 0xf4],
            &[3, 2, 2, 2, 2],
            &v6,
            &[0xfa, 0x56, 0xea, 1],
        ]
        .concat();
        let MrtRecord::Peers(peers) = read(&record(1, &body)).unwrap() else {
            panic!("peers");
        };
        assert_eq!(peers[0].address.to_string(), "192.0.2.1");
        assert_eq!(peers[1].address.to_string(), "2001:db8::1");
        assert_eq!(
            peers.iter().map(|p| p.asn).collect::<Vec<_>>(),
            [64500, 4_200_000_001]
        );
    }

    #[test]
    fn paths_are_read_and_a_malformed_one_is_known_for_it() {
        let entry = |peer: u8, path: &[u8], attributes: &[u8]| {
            [
                &[0, peer, 0, 0, 0, 0][..],
                path,
                &(attributes.len() as u16).to_be_bytes(),
                attributes,
            ]
            .concat()
        };
        let body = [
            &[0, 0, 0, 1, 20, 100, 64, 0xff, 0, 2][..],
            &entry(0, &[], &ATTRIBUTES),
            &entry(1, &[], &ATTRIBUTES[..11]),
        ]
        .concat();
        let MrtRecord::Routes(routes) = read(&record(2, &body)).unwrap() else {
            panic!("routes");
        };
        assert_eq!(
            routes[0].nlri.prefix.to_string(),
            "100.64.240.0/20",
            "without host bits"
        );
        let path = &routes[0].attributes.as_ref().unwrap().as_path;
        assert_eq!(
            (path.len(), path.first(), path.origin()),
            (2, Some(64500), Some(64501))
        );
        assert_eq!((routes[1].peer, &routes[1].attributes), (1, &None), "no AS_PATH");
        let several = [&[0, 0, 0, 1, 0, 0, 1][..], &entry(0, &[0, 0, 0, 7], &ATTRIBUTES)].concat();
        let MrtRecord::Routes(routes) = read(&record(10, &several)).unwrap() else {
            panic!("routes");
        };
        assert_eq!(
            (routes[0].nlri.prefix.to_string().as_str(), routes[0].nlri.path),
            ("::/0", 7)
        );
        assert_eq!(read(&record(6, &[])), Ok(MrtRecord::Other), "another family");
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        assert_eq!(first(&[0; 11]), Ok(None));
        assert!(
            first(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x00\x00").is_err(),
            "gzip"
        );
        assert!(read(&record(2, &[0, 0, 0, 1, 33, 1, 2, 3, 4, 5, 0, 0])).is_err());
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(subtype in 0u16..12, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let record = record(subtype, &body);
            prop_assert_eq!(first(&record), Ok(Some(record.len())));
            let _ = read(&record);
        }
    }
}
