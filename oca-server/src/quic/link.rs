//! Ways between processes: after an upgrade the new process alone reads the UDP sockets, and gives the old one the
//! datagrams of the connections that it still has, by the generation in their ids. A message is a datagram behind the
//! facts that the kernel told of it. As on any path, what finds no room is lost.

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt},
};
use quinn_udp::{EcnCodepoint, RecvMeta};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram as StdUnixDatagram,
    },
};
use tokio::net::UnixDatagram;

/// Bytes on their way to an older process at most, if the system allows as many.
const ROOM: usize = 4 << 20;
/// Largest message: facts and the largest datagram.
const LARGEST: usize = 64 + (64 << 10);
/// Most messages that are taken in one turn.
const TURN: usize = 128;

/// A way for one socket's datagrams: the end that takes them out, and the one that puts them in.
///
/// # Errors
/// When no more descriptors are to be had.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    // Messages with borders, of which as many may wait as the buffer has room for.
    let (out, into) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    if setsockopt(&into, sockopt::SndBufForce, &ROOM).is_err() {
        let _ = setsockopt(&into, sockopt::SndBuf, &ROOM); // less, then
    }
    Ok((out, into))
}

/// Whether the process at the other end still takes datagrams out.
pub fn is_alive(into: &OwnedFd) -> bool {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    recv(into.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN) // it never says anything, but its end shows
}

/// The end at which an older process's datagrams are put in.
#[derive(Debug)]
pub struct ToOlder {
    /// Whose they are.
    pub generation: u8,
    into: OwnedFd,
    message: Vec<u8>,
}

impl ToOlder {
    /// A way to the process of that generation.
    pub fn new(generation: u8, into: OwnedFd) -> Self {
        Self {
            generation,
            into,
            message: Vec::new(),
        }
    }

    /// Gives it a datagram; false if that process has ended.
    pub fn give(&mut self, meta: &RecvMeta, datagram: &[u8]) -> bool {
        self.message.clear();
        write_facts(meta, &mut self.message);
        self.message.extend_from_slice(datagram);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let result = send(self.into.as_raw_fd(), &self.message, flags);
        !matches!(result, Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN))
    }
}

/// The end at which a process gets its own datagrams after it has handed its sockets over.
#[derive(Debug)]
pub struct FromNewer {
    out: UnixDatagram,
    message: Vec<u8>,
}

impl FromNewer {
    /// Watches an end.
    ///
    /// # Errors
    /// The system's.
    pub fn new(out: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            // Not datagrams in the kernel's sense, but read in the same way.
            out: UnixDatagram::from_std(StdUnixDatagram::from(out))?,
            message: vec![0; LARGEST],
        })
    }

    /// Takes what has come; whether there may be more, or an error when nothing will come any more.
    pub fn receive(&mut self, mut each: impl FnMut(&RecvMeta, &[u8])) -> io::Result<bool> {
        let message = &mut self.message;
        for _ in 0..TURN {
            match self.out.try_recv(message) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    if let Some((meta, datagram)) = read_facts(&message[..n]) {
                        each(&meta, datagram);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Resolves when something has come.
    pub async fn readable(&self) {
        let _ = self.out.readable().await; // an error shows in the next call
    }
}

const V4: u8 = 4;
const V6: u8 = 6;
const UNKNOWN: u8 = 0;

fn write_facts(meta: &RecvMeta, out: &mut Vec<u8>) {
    out.push(meta.ecn.map_or(0, |ecn| ecn as u8));
    write_ip(Some(meta.addr.ip()), out);
    out.extend_from_slice(&meta.addr.port().to_be_bytes());
    let scope = match meta.addr {
        SocketAddr::V6(addr) => addr.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    out.extend_from_slice(&scope.to_be_bytes());
    write_ip(meta.dst_ip, out);
}

fn write_ip(ip: Option<IpAddr>, out: &mut Vec<u8>) {
    match ip {
        None => out.push(UNKNOWN),
        Some(IpAddr::V4(ip)) => {
            out.push(V4);
            out.extend_from_slice(&ip.octets());
        }
        Some(IpAddr::V6(ip)) => {
            out.push(V6);
            out.extend_from_slice(&ip.octets());
        }
    }
}

fn read_facts(mut message: &[u8]) -> Option<(RecvMeta, &[u8])> {
    let from = &mut message;
    let [ecn] = take(from)?;
    let ip = read_ip(from)??;
    let (port, scope) = (u16::from_be_bytes(take(from)?), u32::from_be_bytes(take(from)?));
    let dst_ip = read_ip(from)?;
    let meta = RecvMeta {
        addr: match ip {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
        },
        len: message.len(),
        stride: message.len(),
        ecn: EcnCodepoint::from_bits(ecn),
        dst_ip,
    };
    Some((meta, message))
}

/// An address, which may be unknown; absent if the message ends before.
fn read_ip(from: &mut &[u8]) -> Option<Option<IpAddr>> {
    Some(match take(from)? {
        [V4] => Some(Ipv4Addr::from(take::<4>(from)?).into()),
        [V6] => Some(Ipv6Addr::from(take::<16>(from)?).into()),
        _ => None,
    })
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_come_with_their_facts_and_the_end_is_noticed() {
        let (out, into) = pair().unwrap();
        let (mut to, mut from) = (ToOlder::new(7, into), FromNewer::new(out).unwrap());
        let addresses: [(&str, Option<&str>, Option<EcnCodepoint>); 3] = [
            ("192.0.2.1:443", Some("192.0.2.2"), Some(EcnCodepoint::Ce)),
            ("[fe80::1%3]:5", Some("::ffff:192.0.2.2"), None),
            ("[2001:db8::1]:65535", None, Some(EcnCodepoint::Ect0)),
        ];
        for (addr, dst_ip, ecn) in addresses {
            let meta = RecvMeta {
                addr: addr.parse().unwrap(),
                dst_ip: dst_ip.map(|ip| ip.parse().unwrap()),
                ecn,
                ..RecvMeta::default()
            };
            assert!(to.give(&meta, addr.as_bytes()));
            from.readable().await;
            let mut got = Vec::new();
            let more = from.receive(|m, d| got.push((m.addr, m.dst_ip, m.ecn, d.to_vec())));
            assert!(!more.unwrap());
            assert_eq!(
                got,
                [(meta.addr, meta.dst_ip, meta.ecn, addr.as_bytes().to_vec())]
            );
        }
        assert!(is_alive(&to.into));
        assert!(
            (0..100_000).all(|_| to.give(&RecvMeta::default(), &[0; 1200])),
            "full is no end"
        );
        drop(from);
        assert!(!is_alive(&to.into));
        assert!(!to.give(&RecvMeta::default(), b"x"), "the process has ended");
    }

    #[test]
    fn cut_messages_are_nothing() {
        let mut whole = Vec::new();
        let meta = RecvMeta {
            addr: "[::1]:1".parse().unwrap(),
            ..RecvMeta::default()
        };
        write_facts(&meta, &mut whole);
        assert!((0..whole.len()).all(|n| read_facts(&whole[..n]).is_none()));
        assert!(read_facts(&whole).is_some());
    }
}
