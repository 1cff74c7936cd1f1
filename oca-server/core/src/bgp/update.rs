//! UPDATE messages (RFC 4271 §4.3, RFC 4760), with the mercy of RFC 7606: a fault in attributes makes an UPDATE's
//! routes withdrawn ones, and only what leaves the prefixes themselves unknown ends the session.

use super::{
    Families, Family, UNICAST,
    attributes::{Fault, PathAttributes, Reading, Section},
    message::Notification,
    nlri::{self, BadNlri, Nlri},
};

/// How an UPDATE of a session is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// About attributes.
    pub reading: Reading,
    /// Families whose prefixes come with path identifiers.
    pub add_path: Families,
}

/// What an UPDATE says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Prefixes that are gone, or whose routes are malformed.
    pub withdrawn: Vec<Nlri>,
    /// Prefixes that are announced with `attributes`.
    pub announced: Vec<Nlri>,
    /// What they have in common.
    pub attributes: PathAttributes,
    /// The family's table is told (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// Why routes were treated as withdrawn (RFC 7606).
    pub malformed: Option<Fault>,
    /// Attributes left out for a fault (RFC 7606).
    pub discarded: u32,
}

impl Update {
    /// What became of it, as metrics call it.
    pub fn outcome(&self) -> &'static str {
        match self.malformed {
            None => "taken",
            Some(_) => "treated_as_withdraw",
        }
    }
}

/// Error subcodes of UPDATE messages (RFC 4271 §6.3).
const MALFORMED_LIST: u8 = 1;
const OPTIONAL_ATTRIBUTE: u8 = 9;
const INVALID_NETWORK: u8 = 10;

fn reset(subcode: u8) -> Notification {
    Notification::new(3, subcode)
}

impl From<BadNlri> for Notification {
    fn from(_: BadNlri) -> Self {
        reset(INVALID_NETWORK)
    }
}

/// Reads the body of an UPDATE, without the message's header.
///
/// # Errors
/// The NOTIFICATION that the session ends with.
pub fn read(body: &[u8], rules: &Rules) -> Result<Update, Notification> {
    let (withdrawn, rest) = counted(body)?;
    let (attributes, prefixes) = counted(rest)?;
    let section = Section::read(attributes, rules.reading).map_err(|_| reset(MALFORMED_LIST))?;
    let mut update = Update::default();
    let v4_paths = rules.add_path.v4;
    nlri::read(withdrawn, Family::V4, v4_paths, &mut update.withdrawn)?;
    nlri::read(prefixes, Family::V4, v4_paths, &mut update.announced)?;
    let mut family =
        (!section.any && update.withdrawn.is_empty() && update.announced.is_empty()).then_some(Family::V4);
    if let Some(value) = section.unreach {
        let of = unreach(value, rules, &mut update.withdrawn)?;
        let alone = section.reach.is_none() && update.announced.is_empty();
        family = of.filter(|_| alone && update.withdrawn.is_empty());
    }
    let classic = !update.announced.is_empty();
    if let Some(value) = section.reach {
        reach(value, rules, &mut update.announced)?;
    }
    update.end_of_rib = family;
    update.discarded = section.discarded;
    update.malformed = section.malformed;
    if !update.announced.is_empty() {
        update.malformed = section.malformed.or_else(|| section.missing(classic));
    }
    if update.malformed.is_some() {
        update.withdrawn.append(&mut update.announced);
        update.end_of_rib = None;
    } else {
        update.attributes = section.attributes;
    }
    Ok(update)
}

/// What a count of two octets announces, and the rest.
fn counted(octets: &[u8]) -> Result<(&[u8], &[u8]), Notification> {
    let (len, rest) = octets.split_first_chunk().ok_or_else(|| reset(MALFORMED_LIST))?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
        .ok_or_else(|| reset(MALFORMED_LIST))
}

/// AFI and SAFI, and what follows.
fn family_of(value: &[u8]) -> Result<(Option<Family>, &[u8]), Notification> {
    let (&[high, low, safi], rest) = value
        .split_first_chunk()
        .ok_or_else(|| reset(OPTIONAL_ATTRIBUTE))?;
    Ok((Family::of(u16::from_be_bytes([high, low]), safi), rest))
}

/// MP_UNREACH_NLRI (RFC 4760 §4); other families are passed over.
fn unreach(value: &[u8], rules: &Rules, out: &mut Vec<Nlri>) -> Result<Option<Family>, Notification> {
    let (family, prefixes) = family_of(value)?;
    if let Some(family) = family {
        nlri::read(prefixes, family, rules.add_path.has(family), out)?;
    }
    Ok(family)
}

/// MP_REACH_NLRI (RFC 4760 §3). The next hop is of no use here, but its length must be right: by it the prefixes are
/// found (RFC 7606 §7.11).
fn reach(value: &[u8], rules: &Rules, out: &mut Vec<Nlri>) -> Result<(), Notification> {
    let wrong = || reset(OPTIONAL_ATTRIBUTE);
    let (family, rest) = family_of(value)?;
    let Some(family) = family else {
        return Ok(());
    };
    let (len, rest) = rest.split_first().ok_or_else(wrong)?;
    // RFC 4760, RFC 2545 (with the link-local address), RFC 8950 (IPv4 prefixes by an IPv6 next hop).
    let fits = match family {
        Family::V4 => matches!(len, 4 | 16 | 32),
        Family::V6 => matches!(len, 16 | 32),
    };
    let (_, rest) = rest
        .split_at_checked(usize::from(*len))
        .filter(|_| fits)
        .ok_or_else(wrong)?;
    let (_reserved, prefixes) = rest.split_first().ok_or_else(wrong)?;
    Ok(nlri::read(prefixes, family, rules.add_path.has(family), out)?)
}

/// The body of the UPDATE that announces `prefixes` of one family, as a speaker writes it: for tests, benches and the
/// fuzzer's corpus. `path` = ASes of four octets, in order; `more` = attributes, ready to send.
pub fn announcement(prefixes: &[ipnet::IpNet], path: &[u32], more: &[u8]) -> Vec<u8> {
    let mut attributes = vec![TRANSITIVE, 1, 1, 0];
    attributes.extend([TRANSITIVE, 2, 2 + 4 * path.len() as u8, 2, path.len() as u8]);
    attributes.extend(path.iter().flat_map(|asn| asn.to_be_bytes()));
    attributes.extend(more);
    let octets: Vec<u8> = prefixes.iter().flat_map(octets).collect();
    let six = prefixes.iter().any(|p| Family::of_prefix(p) == Family::V6);
    let classic = if six {
        let mut value = vec![0, 2, UNICAST, 16];
        value.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        value.extend(octets);
        attributes.extend([0x90, 14]);
        attributes.extend((value.len() as u16).to_be_bytes());
        attributes.extend(value);
        Vec::new()
    } else {
        attributes.extend([TRANSITIVE, 3, 4, 192, 0, 2, 1]);
        octets
    };
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    body.extend(classic);
    body
}

const TRANSITIVE: u8 = 0x40;

/// A prefix as it stands in messages.
fn octets(prefix: &ipnet::IpNet) -> Vec<u8> {
    let address = match prefix.network() {
        std::net::IpAddr::V4(a) => a.octets().to_vec(),
        std::net::IpAddr::V6(a) => a.octets().to_vec(),
    };
    let mut octets = vec![prefix.prefix_len()];
    octets.extend(&address[..usize::from(prefix.prefix_len().div_ceil(8))]);
    octets
}

#[cfg(test)]
mod tests;
