//! Plain text: the head by `send`, the file by `sendfile`, so that no byte of a body passes through this process.

use super::{
    COLD, HOLD, SendError,
    pace::{Pace, writable},
};
use crate::{
    disk::{Disk, ReadError},
    files::OpenFile,
};
use nix::{errno::Errno, sys::sendfile::sendfile64};
use oca_core::range::Slice;
use socket2::SockRef;
use std::{io, rc::Rc};
use tokio::{io::Interest, net::TcpStream, time::timeout};

/// Most bytes of one `sendfile`: bounds how long one call can keep the worker.
const CALL: u64 = 512 << 10;

/// Sends `bytes`; with `more` they may wait in the kernel for what comes next.
pub async fn send(
    stream: &TcpStream,
    mut bytes: &[u8],
    more: bool,
    pace: &mut Pace,
) -> Result<(), SendError> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    while !bytes.is_empty() {
        let sent = stream.try_io(Interest::WRITABLE, || {
            SockRef::from(stream).send_with_flags(bytes, flags)
        });
        match sent {
            Ok(n) => {
                pace.given += n as u64;
                bytes = &bytes[n..];
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => writable(stream, pace).await?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(SendError::Client(e)),
        }
    }
    Ok(())
}

/// Sends a slice of a file: what is in memory by `sendfile`, what is on the drive from the buffers that it was read to.
pub async fn send_file(
    stream: &TcpStream,
    file: &Rc<OpenFile>,
    slice: Slice,
    (disk, pace): (&Rc<Disk>, &mut Pace),
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let mut left = slice;
    while left.len > 0 {
        let turn = Slice {
            len: left.len.min(pace.turn()),
            ..left
        };
        let done = match disk.resident(file, turn) {
            0 => send_cold(stream, file, left, (disk, pace), &mut sent).await?,
            len => {
                sendfile(stream, file, Slice { len, ..left }, pace, &mut sent).await?;
                len
            }
        };
        left.offset += done;
        left.len -= done;
        if left.len > 0 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Sends the beginning of a slice from the drive, at most [`COLD`] bytes; answers how many.
async fn send_cold(
    stream: &TcpStream,
    file: &Rc<OpenFile>,
    slice: Slice,
    (disk, pace): (&Rc<Disk>, &mut Pace),
    sent: &mut impl FnMut(u64),
) -> Result<u64, SendError> {
    let all = slice.len.min(COLD);
    let mut cold = disk.stream(file, Slice { len: all, ..slice });
    let mut done = 0;
    while let Some(piece) = cold.next().await {
        let piece = piece?;
        let more = done + (piece.len() as u64) < slice.len;
        let n = send_held(stream, &piece, more, pace).await?;
        sent(n as u64);
        done += n as u64;
        if n < piece.len() {
            // The rest is read again when the client takes more: no client keeps memory that others need.
            drop((piece, cold));
            writable(stream, pace).await?;
            break;
        }
    }
    Ok(done)
}

/// Sends what the client takes within [`HOLD`]; answers how much.
async fn send_held(
    stream: &TcpStream,
    bytes: &[u8],
    more: bool,
    pace: &mut Pace,
) -> Result<usize, SendError> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    let mut done = 0;
    while done < bytes.len() {
        let sent = stream.try_io(Interest::WRITABLE, || {
            SockRef::from(stream).send_with_flags(&bytes[done..], flags)
        });
        match sent {
            Ok(n) => {
                pace.given += n as u64;
                done += n;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                match timeout(HOLD, writable(stream, pace)).await {
                    Ok(result) => result?,
                    Err(_) => break,
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(SendError::Client(e)),
        }
    }
    Ok(done)
}

async fn sendfile(
    stream: &TcpStream,
    file: &OpenFile,
    slice: Slice,
    pace: &mut Pace,
    sent: &mut impl FnMut(u64),
) -> Result<(), SendError> {
    let mut left = slice.len;
    let mut offset = i64::try_from(slice.offset).map_err(|_| ReadError::Short)?; // no file is that long
    while left > 0 {
        let call = left.min(CALL) as usize;
        let result = stream.try_io(Interest::WRITABLE, || {
            Ok(sendfile64(stream, &file.file, Some(&mut offset), call)?)
        });
        match result {
            Ok(0) => return Err(ReadError::Short.into()),
            Ok(n) => {
                let n = n as u64;
                sent(n);
                pace.given += n;
                left -= n;
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => writable(stream, pace).await?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if is_network(&e) => return Err(SendError::Client(e)),
            Err(e) => return Err(ReadError::Failed(e).into()),
        }
    }
    Ok(())
}

/// `sendfile` reports both ends through one error: these are the socket's.
fn is_network(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::EPIPE
                | Errno::ECONNRESET
                | Errno::ECONNABORTED
                | Errno::ENOTCONN
                | Errno::ETIMEDOUT
                | Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::ENETDOWN
                | Errno::ENOBUFS
                | Errno::ENOMEM
                | Errno::EPROTO
        )
    )
}
