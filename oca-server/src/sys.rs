//! The system calls that no safe wrapper of a dependency covers. The one module of this crate with `unsafe`.
#![allow(unsafe_code)]

pub mod arena;
pub mod cache;
pub mod keep;
pub mod ring;

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Bytes in a TCP socket's send queue: not yet sent, or sent and not yet acknowledged (`SIOCOUTQ`, tcp(7)).
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and TIOCOUTQ (= SIOCOUTQ) writes one int to
    // the pointer, which is to a live local of that type.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    #[test]
    fn counts_what_the_peer_has_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&sender).unwrap(), 0);
        sender.set_nonblocking(true).unwrap();
        let block = [7u8; 1 << 16];
        let mut sent = 0;
        while let Ok(n) = sender.write(&block) {
            sent += n;
        }
        let stuck = unacknowledged(&sender).unwrap();
        assert!(stuck > 0);
        receiver.read_exact(&mut vec![0; sent]).unwrap();
        assert!(unacknowledged(&sender).unwrap() < stuck);
    }
}
