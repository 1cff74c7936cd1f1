//! Listening sockets: one a worker on the same address (`SO_REUSEPORT`), so that the kernel spreads connections and
//! workers share no accept queue. The first socket of an address is bound without the option: a port that another
//! program holds is then an error and not a silent share.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// Connections that the kernel holds for a worker between two of its turns.
const BACKLOG: i32 = 4096;
/// Binds `count` listeners to one address; with port 0 the kernel picks one port for all.
pub fn listeners(addr: SocketAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let first = socket(addr)?;
    first.bind(&addr.into())?;
    first.set_reuse_port(true)?;
    first.listen(BACKLOG)?;
    let first = TcpListener::from(first);
    let addr = first.local_addr()?;
    let mut all = vec![first];
    for _ in 1..count {
        let next = socket(addr)?;
        next.set_reuse_port(true)?;
        next.bind(&addr.into())?;
        next.listen(BACKLOG)?;
        all.push(next.into());
    }
    Ok(all)
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != std::net::Ipv6Addr::UNSPECIFIED)?; // [::] serves both families
    }
    Ok(socket)
}

/// Deals sockets to workers: to each the same number or one more; if there are fewer than workers, several share one.
pub fn deal(all: Vec<TcpListener>, workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let count = all.len();
    let mut dealt: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in all.into_iter().enumerate() {
        dealt[index % workers].push(listener);
    }
    for worker in count..workers {
        let shared = dealt[worker % count.max(1)].iter().map(TcpListener::try_clone);
        dealt[worker] = shared.collect::<io::Result<_>>()?;
    }
    Ok(dealt)
}

/// Sets what every accepted connection needs; failures only cost speed and are left alone. `unsent` = bytes in the
/// socket's buffer that are not yet sent and above which it is not writable: enough for the send path to stay ahead of
/// the network, little enough that a slow client's progress is seen and its memory is bounded.
pub fn tune(stream: &impl std::os::fd::AsFd, unsent: u32) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_notsent_lowat(unsent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn all_workers_share_the_port_that_the_kernel_picked() {
        let all = listeners("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<u16> = all.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert!(ports[0] != 0 && ports.iter().all(|p| *p == ports[0]), "{ports:?}");
    }

    #[test]
    fn the_kernel_spreads_connections_over_all_listeners() {
        let all = listeners("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addr = all[0].local_addr().unwrap();
        let _clients: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let accepted: Vec<usize> = all
            .iter()
            .map(|l| std::iter::from_fn(|| l.accept().ok()).count())
            .collect();
        assert_eq!(accepted.iter().sum::<usize>(), 200);
        assert!(accepted.iter().all(|n| *n > 20), "{accepted:?}");
    }

    #[test]
    fn every_listener_has_a_worker_and_every_worker_a_listener() {
        for (count, workers, expected) in [(3, 3, [1, 1, 1]), (5, 3, [2, 2, 1]), (2, 3, [1, 1, 1])] {
            let all = listeners("127.0.0.1:0".parse().unwrap(), count).unwrap();
            let dealt = deal(all, workers).unwrap();
            assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_port_in_use_is_an_error_not_a_share() {
        let held = listeners("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let e = listeners(held[0].local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::AddrInUse);
    }
}
