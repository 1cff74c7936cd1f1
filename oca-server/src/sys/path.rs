//! What TCP knows of the path to a viewer.
#![allow(unsafe_code)]

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
};

/// The beginning of `struct tcp_info` (linux/tcp.h), as far as it is read here; older kernels fill less.
#[repr(C)]
struct TcpInfo {
    states: [u8; 8],
    timers_and_sizes: [u32; 4],
    segments: [u32; 5],
    since: [u32; 4],
    path_mtu: u32,
    receive_threshold: u32,
    round_trip: u32,
    round_trip_variance: u32,
    windows: [u32; 4],
    receive: [u32; 2],
    retransmitted: u32,
    rates_and_bytes: [u64; 4],
    counts: [u32; 6],
    delivery_rate: u64,
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// Smoothed round-trip time in microseconds.
    pub round_trip: u32,
    /// Segments sent again since the connection began.
    pub retransmitted: u32,
    /// Newest measured delivery rate in bytes a second; 0 = none yet.
    pub delivery_rate: u64,
}

/// Asks a TCP socket (`TCP_INFO`, tcp(7)).
///
/// # Errors
/// The system's.
pub fn path(socket: &impl AsFd) -> io::Result<Path> {
    let mut info = MaybeUninit::<TcpInfo>::zeroed();
    let mut len = libc::socklen_t::try_from(size_of::<TcpInfo>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `len` bytes to a live local of that
    // size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was zeroed, all fields are integers, and what the kernel did not fill is zero still.
    let info = unsafe { info.assume_init() };
    Ok(Path {
        round_trip: info.round_trip,
        retransmitted: info.retransmitted,
        delivery_rate: info.delivery_rate,
    })
}

/// Bounds the rate at which a TCP socket sends (`SO_MAX_PACING_RATE`, socket(7)), in bytes a second; absent = no bound.
///
/// # Errors
/// The system's.
pub fn set_pace(socket: &impl AsFd, rate: Option<u64>) -> io::Result<()> {
    let rate = rate.unwrap_or(u64::MAX);
    let len = libc::socklen_t::try_from(size_of_val(&rate)).map_err(io::Error::other)?;
    // SAFETY: as above; the kernel reads `len` bytes from a live local of that size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
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
    use std::{
        io::{Read, Write},
        mem::offset_of,
        net::{TcpListener, TcpStream},
    };

    #[test]
    fn the_fields_stand_where_the_kernel_puts_them() {
        // linux/tcp.h: tcpi_rtt, tcpi_total_retrans, tcpi_delivery_rate
        let ours = [
            offset_of!(TcpInfo, round_trip),
            offset_of!(TcpInfo, retransmitted),
            offset_of!(TcpInfo, delivery_rate),
        ];
        assert_eq!(ours, [68, 100, 160]);
    }

    #[test]
    fn a_path_that_carried_something_is_known() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        set_pace(&sender, Some(50_000_000)).unwrap();
        sender.write_all(&[7; 100_000]).unwrap();
        receiver.read_exact(&mut [0; 100_000]).unwrap();
        let known = path(&sender).unwrap();
        assert!(known.round_trip > 0 && known.round_trip < 1_000_000, "{known:?}");
        assert_eq!(known.retransmitted, 0);
        set_pace(&sender, None).unwrap();
    }
}
