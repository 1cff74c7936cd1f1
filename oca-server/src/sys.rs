//! The system calls that no safe wrapper of a dependency covers. The one place of this crate with `unsafe`.
#![allow(unsafe_code)]

pub mod arena;
pub mod cache;
pub mod inherit;
pub mod keep;
pub mod mapping;
pub mod md5;
pub mod ring;

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

pub mod ktls;
pub mod path;

/// Unsent bytes (`SIOCOUTQNSD`, linux/sockios.h), which libc does not name.
const SIOCOUTQNSD: libc::Ioctl = 0x894B;

/// Bytes that a TCP socket would take now: what is left of its buffer, and of the `most` unsent bytes that it may hold
/// (`TCP_NOTSENT_LOWAT`).
pub fn send_room(socket: &impl AsFd, most: u32) -> io::Result<u64> {
    let fd = socket.as_fd().as_raw_fd();
    let mut unsent: libc::c_int = 0;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and SIOCOUTQNSD writes one int to the pointer,
    // which is to a live local of that type.
    if unsafe { libc::ioctl(fd, SIOCOUTQNSD, &mut unsent) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut memory = [0u32; MEMINFO];
    let mut len = libc::socklen_t::try_from(size_of_val(&memory)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as above; the pointer is to a live local of `len` bytes, of which the kernel fills at
    // most as many and says in `len` how many.
    let result = unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            memory.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let buffer = memory[MEMINFO_SNDBUF].saturating_sub(memory[MEMINFO_WMEM_QUEUED]);
    let unsent = u32::try_from(unsent).unwrap_or(0);
    Ok(buffer.min(most.saturating_sub(unsent)).into())
}

/// Length and indices of `SO_MEMINFO` (linux/sock_diag.h).
const MEMINFO: usize = 9;
const MEMINFO_SNDBUF: usize = 3;
const MEMINFO_WMEM_QUEUED: usize = 5;

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
