//! Control records over a socket whose records the kernel seals.
#![allow(unsafe_code)]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd},
    ptr,
};

/// Room for one control message of one byte, aligned as the kernel's header wants it.
#[repr(C, align(8))]
struct Control([u8; 32]);

/// Sends `message` as one record of type `content` (`TLS_SET_RECORD_TYPE`, Documentation/networking/tls.rst).
///
/// # Errors
/// The system's; [`io::ErrorKind::WouldBlock`] when the socket's buffer is full.
pub fn send_control(socket: &impl AsFd, content: u8, message: &[u8]) -> io::Result<()> {
    let mut control = Control([0; 32]);
    let mut slice = libc::iovec {
        iov_base: message.as_ptr().cast_mut().cast(),
        iov_len: message.len(),
    };
    // SAFETY: all zeros are a valid msghdr: null pointers with lengths of zero.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE only computes, for a payload of one byte: 24 on 64-bit Linux, which `Control` has room for.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(1) } as _;
    // SAFETY: `header` describes a control buffer that is live, aligned and large enough for one message with one
    // byte, so CMSG_FIRSTHDR points into it and CMSG_DATA to its payload byte.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&header);
        (*first).cmsg_level = libc::SOL_TLS;
        (*first).cmsg_type = libc::TLS_SET_RECORD_TYPE;
        (*first).cmsg_len = libc::CMSG_LEN(1) as _;
        ptr::write(libc::CMSG_DATA(first), content);
    }
    // SAFETY: the descriptor is open while `socket` is borrowed; `header` and all that it points to live until the call
    // returns, and sendmsg only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &header, libc::MSG_NOSIGNAL) };
    match usize::try_from(sent) {
        Ok(n) if n == message.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
