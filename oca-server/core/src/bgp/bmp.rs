//! The BGP Monitoring Protocol (RFC 7854, and RFC 9069 for a router's own table), as far as it tells routes: a router that is
//! no neighbour tells what its neighbours have told it. Each of its peers is a source of its own; only one of the views
//! that a router can tell (before its policy, after it, its own table) counts, or a route that its policy refused would.

use super::{frame, message::Notification};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Octets of the common header.
const HEADER: usize = 6;
/// Octets of the header that tells of which peer a message is.
const PEER_HEADER: usize = 42;
/// Most octets of a message: a Route Monitoring of one largest UPDATE, or a Peer Up of two OPENs and texts.
pub const MOST: usize = 64 << 10;
/// Octets before the OPENs of a Peer Up: the local address and both ports.
const PEER_UP: usize = 20;

/// Which of a router's views.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// What its peers announce.
    PrePolicy,
    /// What its policy left of that.
    PostPolicy,
    /// Its own table (RFC 9069).
    LocRib,
}

impl std::str::FromStr for View {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "pre_policy" => Ok(Self::PrePolicy),
            "post_policy" => Ok(Self::PostPolicy),
            "loc_rib" => Ok(Self::LocRib),
            _ => Err(format!("`{text}` is none of pre_policy, post_policy, loc_rib")),
        }
    }
}

/// A peer of the router, as the router tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerKey {
    /// Route distinguisher, or instance.
    pub distinguisher: u64,
    /// Its address; unspecified for the router's own table.
    pub address: IpAddr,
    /// Which view.
    pub view: View,
}

/// The header of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Which.
    pub key: PeerKey,
    /// Its AS.
    pub asn: u32,
    /// AS numbers in its UPDATEs have four octets.
    pub as4: bool,
}

/// What a router tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A session of the router with a peer is up: the OPEN that the router sent, and the one it got; bodies alone.
    PeerUp(Peer, &'a [u8], &'a [u8]),
    /// A session is down.
    PeerDown(Peer),
    /// An UPDATE, without its header.
    Update(Peer, &'a [u8]),
    /// Statistics, names, what went out: of no use here.
    Other,
    /// The router ends.
    Termination,
}

/// What came is no BMP of version 3: nothing that follows could be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBmp(&'static str);

impl From<Notification> for BadBmp {
    fn from(_: Notification) -> Self {
        Self("a BGP message within is none")
    }
}

/// Length of the first message of `octets`; none if not all of it has come.
///
/// # Errors
/// When it is no BMP.
pub fn first(octets: &[u8]) -> Result<Option<usize>, BadBmp> {
    if octets.first().is_some_and(|version| *version != 3) {
        return Err(BadBmp("it is not BMP of version 3"));
    }
    let Some(&[_, a, b, c, d, _]) = octets.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if !(HEADER..=MOST).contains(&len) {
        return Err(BadBmp("its length is below 6 or above 65,536"));
    }
    Ok((octets.len() >= len).then_some(len))
}

/// Reads a whole message.
///
/// # Errors
/// When its parts do not fit.
pub fn read(message: &[u8]) -> Result<Message<'_>, BadBmp> {
    let (header, rest) = message.split_first_chunk::<HEADER>().ok_or(BadBmp("it is cut"))?;
    match header[5] {
        0 => with_peer(rest, |peer, body| {
            let (kind, update, _) = bgp(body)?;
            Ok(match kind {
                frame::Kind::Update => Message::Update(peer, update),
                _ => Message::Other,
            })
        }),
        2 => with_peer(rest, |peer, _| Ok(Message::PeerDown(peer))),
        3 => with_peer(rest, |peer, body| {
            let opens = body.get(PEER_UP..).ok_or(BadBmp("a Peer Up is cut"))?;
            let (_, sent, rest) = bgp(opens)?;
            let (_, received, _) = bgp(rest)?;
            Ok(Message::PeerUp(peer, sent, received))
        }),
        5 => Ok(Message::Termination),
        _ => Ok(Message::Other),
    }
}

/// The kind and body of a BGP message, and what follows it.
fn bgp(octets: &[u8]) -> Result<(frame::Kind, &[u8], &[u8]), BadBmp> {
    let (kind, len) = frame::first(octets)?.ok_or(BadBmp("a BGP message within is cut"))?;
    let (message, rest) = octets.split_at(len);
    Ok((kind, &message[frame::HEADER..], rest))
}

/// Reads the header of a peer (RFC 7854 §4.2). What went out to a peer (RFC 8671) is of no use here.
fn with_peer<'a>(
    octets: &'a [u8],
    then: impl FnOnce(Peer, &'a [u8]) -> Result<Message<'a>, BadBmp>,
) -> Result<Message<'a>, BadBmp> {
    const V6: u8 = 0x80;
    const POST_POLICY: u8 = 0x40;
    const TWO_OCTETS: u8 = 0x20;
    const OUT: u8 = 0x10;
    let (header, body) = octets
        .split_first_chunk::<PEER_HEADER>()
        .ok_or(BadBmp("the header of a peer is cut"))?;
    let (kind, flags) = (header[0], header[1]);
    let own = kind == 3;
    if !own && flags & OUT != 0 {
        return Ok(Message::Other);
    }
    let number = |from: usize, len: usize| {
        header[from..from + len]
            .iter()
            .fold(0, |n, b| n << 8 | u64::from(*b))
    };
    let mut address = [0; 16];
    address.copy_from_slice(&header[10..26]);
    let key = PeerKey {
        distinguisher: number(2, 8),
        address: match flags & V6 != 0 && !own {
            true => IpAddr::V6(Ipv6Addr::from(address)),
            false => IpAddr::V4(Ipv4Addr::from(number(22, 4) as u32)),
        },
        view: match (own, flags & POST_POLICY != 0) {
            (true, _) => View::LocRib,
            (false, true) => View::PostPolicy,
            (false, false) => View::PrePolicy,
        },
    };
    let peer = Peer {
        key,
        asn: number(26, 4) as u32,
        as4: own || flags & TWO_OCTETS == 0,
    };
    then(peer, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
        let body = body.concat();
        let len = (HEADER + body.len()) as u32;
        [&[3][..], &len.to_be_bytes(), &[kind], &body].concat()
    }

    fn peer_header(kind: u8, flags: u8) -> Vec<u8> {
        let mut header = vec![kind, flags];
        header.extend([0, 0, 0, 0, 0, 0, 0, 9]);
        header.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, 5]);
        header.extend(64500u32.to_be_bytes());
        header.extend([0; 12]);
        header
    }

    #[test]
    fn routes_are_told_of_a_peer_and_a_view() {
        let update = frame::message(2, &[0, 0, 0, 0]);
        for (kind, flags, view, address, as4) in [
            (0, 0, View::PrePolicy, "192.0.2.5", true),
            (0, 0x40, View::PostPolicy, "192.0.2.5", true),
            (0, 0xc0, View::PostPolicy, "2001:db8::c000:205", true),
            (1, 0x20, View::PrePolicy, "192.0.2.5", false),
            (3, 0x80, View::LocRib, "192.0.2.5", true),
        ] {
            let octets = message(0, &[&peer_header(kind, flags), &update]);
            assert_eq!(first(&octets), Ok(Some(octets.len())));
            let Ok(Message::Update(peer, body)) = read(&octets) else {
                panic!("it is an UPDATE")
            };
            let key = PeerKey {
                distinguisher: 9,
                address: address.parse().unwrap(),
                view,
            };
            assert_eq!((peer.key, peer.asn, peer.as4), (key, 64500, as4));
            assert_eq!(body, [0, 0, 0, 0]);
        }
        let out = message(0, &[&peer_header(0, 0x10), &update]);
        assert_eq!(read(&out), Ok(Message::Other));
    }

    #[test]
    fn sessions_come_up_with_both_opens_and_go_down() {
        let open = |n: u8| frame::message(1, &[4, 0, n, 0, 90, 1, 1, 1, 1, 0]);
        let octets = message(3, &[&peer_header(0, 0), &[0; 20], &open(1), &open(2)]);
        let Ok(Message::PeerUp(_, sent, received)) = read(&octets) else {
            panic!("it is a Peer Up")
        };
        assert_eq!((sent[2], received[2]), (1, 2));
        let octets = message(2, &[&peer_header(0, 0), &[1]]);
        assert!(matches!(read(&octets), Ok(Message::PeerDown(_))));
        assert_eq!(read(&message(4, &[&[0, 2, 0, 1, 65]])), Ok(Message::Other));
        assert_eq!(read(&message(5, &[])), Ok(Message::Termination));
    }

    #[test]
    fn what_is_no_bmp_is_refused() {
        assert!(first(b"GET /").is_err());
        assert!(first(&[3, 0, 0, 0, 5, 4]).is_err());
        assert!(first(&[3, 0, 1, 0, 1, 4]).is_err());
        assert_eq!(first(&[3, 0, 0]), Ok(None));
        assert!(read(&message(0, &[&[0; 41]])).is_err());
        assert!(read(&message(0, &[&peer_header(0, 0), &[0xff; 18]])).is_err());
        assert!(read(&message(0, &[&peer_header(0, 0), b"no marker"])).is_err());
        assert!(read(&message(3, &[&peer_header(0, 0), &[0; 19]])).is_err());
    }
}
