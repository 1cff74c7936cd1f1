//! A BGP speaker of a few lines, which says whatever a test wants it to.

use oca_core::bgp::{
    frame::{self, HEADER, Kind},
    update::announcement,
};
use socket2::{Domain, Socket, Type};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for an answer or a connection.
const PATIENCE: Duration = Duration::from_secs(20);
/// Wait for a connection that is expected to fail: the kernel drops unsigned segments without a word.
const REFUSED: Duration = Duration::from_secs(1);

pub struct Speaker {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Speaker {
    pub fn try_connect(from: &str, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from: IpAddr = from.parse().unwrap();
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&to.into(), REFUSED)?;
        Ok(socket.into())
    }

    pub fn connect(from: &str, to: SocketAddr) -> Self {
        let stream = Self::try_connect(from, to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// A session of AS 64500 that is up.
    pub fn establish(from: &str, to: SocketAddr) -> Self {
        let mut speaker = Self::connect(from, to);
        speaker.open(64500);
        assert_eq!(speaker.read().unwrap().0, Kind::Open);
        assert_eq!(speaker.read().unwrap().0, Kind::Keepalive);
        speaker.write(&frame::message(4, &[]));
        speaker
    }

    /// OPEN: both families, four octets; no keepalives.
    pub fn open(&mut self, asn: u16) {
        let [high, low] = asn.to_be_bytes();
        let capabilities = [1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4, 0, 0, high, low];
        let mut body = vec![4, high, low, 0, 0, 192, 0, 2, 1];
        body.extend([2 + capabilities.len() as u8, 2, capabilities.len() as u8]);
        body.extend(capabilities);
        self.write(&frame::message(1, &body));
    }

    pub fn update(&mut self, body: &[u8]) {
        self.write(&frame::message(2, body));
    }

    /// Ends the connection by a reset, at once.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    /// The next message; none at the end.
    pub fn read(&mut self) -> Option<(Kind, Vec<u8>)> {
        loop {
            if let Some((kind, len)) = frame::first(&self.buffer).unwrap() {
                let message: Vec<u8> = self.buffer.drain(..len).collect();
                return Some((kind, message[HEADER..].to_vec()));
            }
            let mut piece = [0; 4096];
            let n = self.stream.read(&mut piece).unwrap_or(0); // reset, or closed
            if n == 0 {
                return None;
            }
            self.buffer.extend_from_slice(&piece[..n]);
        }
    }

    /// Code and subcode of the NOTIFICATION that the session ends with.
    pub fn until_notification(&mut self) -> (u8, u8) {
        loop {
            let (kind, body) = self.read().expect("a NOTIFICATION before the end");
            if kind == Kind::Notification {
                assert_eq!(self.read(), None);
                return (body[0], body[1]);
            }
        }
    }
}

/// Bodies of UPDATEs that announce so many /24s, as an access network's table: 4,000 sets of attributes, each of 25
/// prefixes.
pub fn feed(prefixes: u32) -> Vec<Vec<u8>> {
    const EACH: u32 = 25;
    let body = |set: u32| {
        let prefix = |i: u32| {
            let n = set * EACH + i;
            let text = format!("{}.{}.{}.0/24", 11 + (n >> 16), n >> 8 & 255, n & 255);
            text.parse().unwrap()
        };
        let list: Vec<_> = (0..EACH).map(prefix).collect();
        announcement(&list, &[64500, 3356, 65_536 + set], &[])
    };
    (0..prefixes.div_ceil(EACH)).map(body).collect()
}

/// A Route Monitoring message of BMP: an UPDATE of the peer 192.0.2.`peer`.
pub fn route_monitoring(peer: u8, post_policy: bool, body: &[u8]) -> Vec<u8> {
    bmp(0, peer, post_policy, &frame::message(2, body))
}

/// A Peer Down message of BMP.
pub fn peer_down(peer: u8) -> Vec<u8> {
    bmp(2, peer, false, &[4])
}

fn bmp(kind: u8, peer: u8, post_policy: bool, body: &[u8]) -> Vec<u8> {
    let mut header = vec![0, u8::from(post_policy) << 6];
    header.extend([0; 20]);
    header.extend([192, 0, 2, peer, 0, 0, 0xfb, 0xf4]);
    header.extend([0; 12]);
    let len = (6 + header.len() + body.len()) as u32;
    [&[3][..], &len.to_be_bytes(), &[kind], &header, body].concat()
}
