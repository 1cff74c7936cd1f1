//! UDP sockets: one a worker on the same address, and the program by which the kernel picks among them. Packets go to
//! the worker that their connection id names; those that begin a connection are spread by their addresses.

use super::cid;
use nix::sys::socket::{setsockopt, sockopt};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket as StdSocket},
};
use tokio::{io::Interest, net::UdpSocket};

/// Bytes that the kernel holds for a worker in each direction: some 3,000 datagrams. Less if it allows no more.
const KERNEL_BUFFER: usize = 4 << 20;
/// Bytes of one received batch: the kernel joins datagrams up to this.
const JOINED: usize = 64 << 10;

/// Binds `count` sockets to one address in the order of their workers; with port 0 the kernel picks one port for all.
pub fn sockets(addr: SocketAddr, count: usize) -> io::Result<Vec<StdSocket>> {
    let first = raw(addr)?;
    first.bind(&addr.into())?;
    first.set_reuse_port(true)?;
    let first = StdSocket::from(first);
    let addr = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..count {
        let next = raw(addr)?;
        next.set_reuse_port(true)?;
        next.bind(&addr.into())?;
        all.push(next.into());
    }
    if all.len() > 1 {
        steer(&all[0])?;
    }
    Ok(all)
}

/// Sockets that the service manager has bound, in the order in which it did.
pub fn given(sockets: Vec<RawSocket>) -> io::Result<Vec<StdSocket>> {
    sockets.iter().for_each(enlarge);
    let all: Vec<StdSocket> = sockets.into_iter().map(Into::into).collect();
    if all.len() > 1 {
        steer(&all[0])?;
    }
    Ok(all)
}

fn raw(addr: SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != std::net::Ipv6Addr::UNSPECIFIED)?; // [::] serves both families
    }
    enlarge(&socket);
    Ok(socket)
}

fn enlarge(socket: &RawSocket) {
    // Beyond the system's limit with the right to, else up to it.
    if setsockopt(socket, sockopt::SndBufForce, &KERNEL_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    }
    if setsockopt(socket, sockopt::RcvBufForce, &KERNEL_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    }
}

/// Gives the sockets' group its program. It sees a datagram's content and answers with the place of a socket in the
/// group; for an answer that is no place the kernel picks by the addresses.
fn steer(member: &StdSocket) -> io::Result<()> {
    let mut program = program();
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    Ok(setsockopt(member, sockopt::AttachReusePortCbpf, &program)?)
}

const LONG: u32 = cid::LONG as u32;
const SHORT_ID: u32 = cid::SHORT_ID as u32;
const LONG_ID: u32 = cid::LONG_ID as u32;

fn program() -> [libc::sock_filter; 15] {
    let (byte, length) = (
        libc::BPF_LD | libc::BPF_B | libc::BPF_ABS,
        libc::BPF_LD | libc::BPF_W | libc::BPF_LEN,
    );
    let (equal, least, bit) = (
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K,
        libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K,
    );
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let (worker, mark) = (cid::WORKER as u32, cid::MARK as u32);
    [
        op(length, 0, 0, 0),
        op(least, LONG_ID + cid::LEN as u32, 0, 12), // shorter than any packet with a long header and an id of ours
        op(byte, 0, 0, 0),
        op(bit, LONG, 4, 0),
        op(byte, SHORT_ID + mark, 0, 0),
        op(equal, u32::from(cid::MARKED), 0, 8),
        op(byte, SHORT_ID + worker, 0, 0),
        op(libc::BPF_RET | BPF_A, 0, 0, 0),
        op(byte, LONG_ID - 1, 0, 0),
        op(equal, cid::LEN as u32, 0, 4),
        op(byte, LONG_ID + mark, 0, 0),
        op(equal, u32::from(cid::MARKED), 0, 2),
        op(byte, LONG_ID + worker, 0, 0),
        op(libc::BPF_RET | BPF_A, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
    ]
}

/// `BPF_A`: return the accumulator (linux/filter.h).
const BPF_A: u32 = 0x10;

/// A worker's socket.
pub struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    inbox: Box<[u8]>,
}

impl Socket {
    /// Watches a bound socket.
    pub fn new(socket: StdSocket) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self {
            io: UdpSocket::from_std(socket)?,
            state,
            inbox: vec![0; BATCH_SIZE * JOINED].into_boxed_slice(),
        })
    }

    /// Whether datagrams may be fragmented on their way, so that larger ones must not be tried.
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Most datagrams of one size that one call sends.
    pub fn most_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Takes what has come, giving `each` what was joined with its facts; false if nothing is left in the kernel.
    pub fn receive(&mut self, mut each: impl FnMut(&RecvMeta, &[u8])) -> io::Result<bool> {
        let mut facts = [RecvMeta::default(); BATCH_SIZE];
        let (io, state) = (&self.io, &self.state);
        let mut chunks = self.inbox.chunks_mut(JOINED);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let result = io.try_io(Interest::READABLE, || {
            state.recv(UdpSockRef::from(io), &mut buffers, &mut facts)
        });
        let n = match result {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        for (facts, buffer) in facts.iter().zip(&buffers).take(n) {
            each(facts, &buffer[..facts.len.min(buffer.len())]);
        }
        Ok(n == BATCH_SIZE)
    }

    /// Sends; false if the kernel takes nothing more for now. What it refuses otherwise is lost, as on any path.
    pub fn send(&self, transmit: &Transmit<'_>) -> bool {
        let send = || self.state.send(UdpSockRef::from(&self.io), transmit);
        let result = self.io.try_io(Interest::WRITABLE, send);
        !result.is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Resolves when something has come.
    pub async fn readable(&self) {
        let _ = self.io.readable().await; // an error shows in the next call
    }

    /// Resolves when the kernel takes more.
    pub async fn writable(&self) {
        let _ = self.io.writable().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker whose socket got `packet`.
    fn reached(all: &[StdSocket], from: &StdSocket, packet: &[u8]) -> usize {
        from.send_to(packet, all[0].local_addr().unwrap()).unwrap();
        let mut buffer = [0; 64];
        let got: Vec<usize> = (0..all.len())
            .filter(|w| all[*w].recv(&mut buffer).is_ok())
            .collect();
        assert_eq!(got.len(), 1, "one worker gets it");
        got[0]
    }

    fn short(worker: u8, mark: u8) -> Vec<u8> {
        [&[0x40, worker, 0, mark][..], &[7; 30]].concat()
    }

    fn long(len: u8, worker: u8, mark: u8) -> Vec<u8> {
        [&[0xe0, 0, 0, 0, 1, len, worker, 0, mark][..], &[7; 30]].concat()
    }

    #[test]
    fn packets_reach_the_worker_that_their_id_names_whatever_their_address() {
        for addr in ["127.0.0.1:0", "[::1]:0"] {
            let addr: SocketAddr = addr.parse().unwrap();
            let all = sockets(addr, 4).unwrap();
            for _ in 0..8 {
                let client = StdSocket::bind((addr.ip(), 0)).unwrap();
                for worker in 0..4 {
                    let wanted = usize::from(worker);
                    assert_eq!(reached(&all, &client, &short(worker, cid::MARKED)), wanted);
                    assert_eq!(reached(&all, &client, &long(8, worker, cid::MARKED)), wanted);
                }
            }
        }
    }

    #[test]
    fn what_names_no_worker_is_spread_by_address_and_stays_there() {
        let addr: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let all = sockets(addr, 4).unwrap();
        let mut counts = [0; 4];
        for _ in 0..100 {
            let client = StdSocket::bind("127.0.0.1:0").unwrap();
            let worker = reached(&all, &client, &long(8, 1, 0));
            counts[worker] += 1;
            for other in [
                long(20, 1, cid::MARKED),
                long(8, 200, cid::MARKED),
                short(2, 0),
                vec![0x40],
                vec![],
            ] {
                assert_eq!(reached(&all, &client, &other), worker, "{other:?}");
            }
        }
        assert!(counts.iter().all(|n| *n > 5), "{counts:?}");
    }

    #[test]
    fn a_port_in_use_is_an_error_not_a_share() {
        let held = sockets("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = sockets(held[0].local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
