//! The TCP MD5 signature option (RFC 2385), with which BGP sessions prove that the other side knows a secret.

use socket2::{SockAddr, SockAddrStorage};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, AsRawFd},
};

/// Longest secret (linux/tcp.h).
pub const LONGEST_KEY: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h, which libc does not name.
#[repr(C)]
struct Md5Sig {
    address: SockAddrStorage,
    flags: u8,
    prefix_len: u8,
    key_len: u16,
    interface: libc::c_int,
    key: [u8; LONGEST_KEY],
}

/// Has a listening socket take connections from `peer` only when they are signed with this secret, as those accepted
/// from it are then.
///
/// # Errors
/// When the secret is empty or too long, or the kernel has no such option (CONFIG_TCP_MD5SIG).
pub fn sign(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.is_empty() || key.len() > LONGEST_KEY {
        let what = format!("an MD5 secret has 1 to {LONGEST_KEY} octets");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let address = SockAddr::from(SocketAddr::new(peer, 0));
    let mut option = Md5Sig {
        address: address.as_storage(),
        flags: 0,
        prefix_len: 0,
        key_len: key.len() as u16,
        interface: 0,
        key: [0; LONGEST_KEY],
    };
    option.key[..key.len()].copy_from_slice(key);
    let len = libc::socklen_t::try_from(size_of::<Md5Sig>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the pointer is to a live local of `len` bytes,
    // laid out as linux/tcp.h has it, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_MD5SIG,
            (&raw const option).cast(),
            len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Socket, Type};
    use std::{
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    const TIME: Duration = Duration::from_millis(300);

    fn connect(to: SocketAddr, key: Option<&[u8]>) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(key) = key {
            sign(&socket, to.ip(), key)?;
        }
        socket.connect_timeout(&to.into(), TIME)?;
        Ok(socket.into())
    }

    #[test]
    fn only_who_knows_the_secret_can_connect() {
        let listener = TcpListener::bind("127.77.1.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        sign(&listener, "127.0.0.1".parse().unwrap(), b"secret").unwrap();
        assert!(connect(to, Some(b"secret")).is_ok());
        for wrong in [None, Some(&b"other"[..])] {
            let error = connect(to, wrong).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{wrong:?}");
        }
    }

    #[test]
    fn secrets_have_a_length() {
        let listener = TcpListener::bind("127.77.1.2:0").unwrap();
        let peer = "127.0.0.1".parse().unwrap();
        for bad in [&[][..], &[7; 81]] {
            let error = sign(&listener, peer, bad).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
