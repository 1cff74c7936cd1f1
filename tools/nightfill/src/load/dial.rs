//! TCP connections: to one address, from as many local addresses as it needs, with enough descriptors.

use super::fault::Fault;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};
use tokio::net::{TcpSocket, TcpStream};

/// Connections from one local address: fewer than there are local ports by default (28,232).
const CONNECTIONS_AN_ADDRESS: usize = 20_000;
/// Descriptors that are not connections.
const OTHER_DESCRIPTORS: u64 = 64;

/// Lets this process have `connections` open at once.
///
/// # Errors
/// When the hard limit is lower.
pub(super) fn raise_descriptor_limit(connections: usize) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = connections as u64 + OTHER_DESCRIPTORS;
    if soft >= wanted {
        return Ok(());
    }
    // Whoever may raise the hard limit gets what is asked for, everybody else up to it.
    if setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).is_ok() {
        return Ok(());
    }
    anyhow::ensure!(
        hard >= wanted,
        "{connections} connections need {wanted} descriptors, {hard} are allowed: raise the limit (ulimit -Hn {wanted}) or give a smaller -c"
    );
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?)
}

/// The local address of the `index`-th connection to `server`; the kernel's choice if absent.
pub(super) fn source(server: SocketAddr, index: usize) -> Option<IpAddr> {
    let block = u8::try_from(index / CONNECTIONS_AN_ADDRESS).ok()?;
    match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() && block > 0 => Some(Ipv4Addr::new(127, 0, 1, block).into()),
        _ => None,
    }
}

/// Connects.
pub(super) async fn tcp(server: SocketAddr, index: usize) -> Result<TcpStream, Fault> {
    dial(server, index).await.map_err(Fault::Connect)
}

async fn dial(server: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(ip) = source(server, index) {
        socket.bind(SocketAddr::new(ip, 0))?;
    }
    socket.set_nodelay(true)?;
    socket.connect(server).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_ports_come_from_several_addresses() {
        let local: SocketAddr = "127.0.0.9:80".parse().unwrap();
        assert_eq!(source(local, 19_999), None);
        assert_eq!(source(local, 20_000), Some("127.0.1.1".parse().unwrap()));
        assert_eq!(source(local, 59_999), Some("127.0.1.2".parse().unwrap()));
        assert_eq!(source("192.0.2.1:80".parse().unwrap(), 20_000), None);
    }
}
