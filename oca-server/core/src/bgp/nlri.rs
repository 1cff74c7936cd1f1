//! Prefixes on the wire (RFC 4271 §4.3, with path identifiers by RFC 7911 §3). Read strictly by what the session
//! agreed on: whether path identifiers stand there is never guessed from the octets, for 0.0.0.0/0 begins like one.

use super::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A prefix, and the path to it that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// The prefix, without host bits.
    pub prefix: IpNet,
    /// Path identifier; 0 without ADD-PATH.
    pub path: u32,
}

/// Prefixes do not end where their octets end, or are longer than an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("prefixes do not fit their octets")]
pub struct BadNlri;

/// Reads prefixes until the octets end, adding them to `out`.
///
/// # Errors
/// When a length is above the family's, or the octets end early; what follows cannot be found then.
pub fn read(mut octets: &[u8], family: Family, add_path: bool, out: &mut Vec<Nlri>) -> Result<(), BadNlri> {
    while !octets.is_empty() {
        let mut path = 0;
        if add_path {
            let (id, rest) = octets.split_first_chunk().ok_or(BadNlri)?;
            (path, octets) = (u32::from_be_bytes(*id), rest);
        }
        let (bits, rest) = octets.split_first().ok_or(BadNlri)?;
        let len = usize::from(bits.div_ceil(8));
        if *bits > family.bits() || rest.len() < len {
            return Err(BadNlri);
        }
        let (address, rest) = rest.split_at(len);
        octets = rest;
        out.push(Nlri {
            prefix: prefix(address, *bits, family).ok_or(BadNlri)?,
            path,
        });
    }
    Ok(())
}

fn prefix(address: &[u8], bits: u8, family: Family) -> Option<IpNet> {
    // Bits behind the prefix are of no meaning (RFC 4271 §4.3).
    match family {
        Family::V4 => {
            let mut octets = [0; 4];
            octets[..address.len()].copy_from_slice(address);
            let net = Ipv4Net::new(Ipv4Addr::from(octets), bits).ok()?;
            Some(IpNet::V4(net.trunc()))
        }
        Family::V6 => {
            let mut octets = [0; 16];
            octets[..address.len()].copy_from_slice(address);
            let net = Ipv6Net::new(Ipv6Addr::from(octets), bits).ok()?;
            Some(IpNet::V6(net.trunc()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(octets: &[u8], family: Family, add_path: bool) -> Result<Vec<(String, u32)>, BadNlri> {
        let mut out = Vec::new();
        read(octets, family, add_path, &mut out)?;
        Ok(out.iter().map(|n| (n.prefix.to_string(), n.path)).collect())
    }

    #[test]
    fn prefixes_are_read_with_and_without_path_identifiers() {
        let plain = all(&[0, 24, 192, 0, 2, 9, 10, 255], Family::V4, false).unwrap();
        let plain: Vec<_> = plain.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(plain, ["0.0.0.0/0", "192.0.2.0/24", "10.128.0.0/9"]);
        let paths = all(&[0, 0, 0, 7, 0, 0, 0, 0, 8, 8, 10], Family::V4, true).unwrap();
        assert_eq!(paths, [("0.0.0.0/0".into(), 7), ("10.0.0.0/8".into(), 8)]);
        let six = all(&[32, 0x20, 1, 0xd, 0xb8, 128, 0x20], Family::V6, false);
        assert_eq!(six, Err(BadNlri));
        let six = all(&[32, 0x20, 1, 0xd, 0xb8], Family::V6, false).unwrap();
        assert_eq!(six, [("2001:db8::/32".into(), 0)]);
    }

    #[test]
    fn lengths_beyond_the_family_or_the_octets_are_refused() {
        for bad in [&[33, 1, 2, 3, 4, 5][..], &[24, 1, 2], &[8], &[255]] {
            assert_eq!(all(bad, Family::V4, false), Err(BadNlri), "{bad:?}");
        }
        assert_eq!(all(&[0, 0, 0], Family::V4, true), Err(BadNlri));
        assert_eq!(all(&[0, 0, 0, 1], Family::V4, true), Err(BadNlri));
    }
}
