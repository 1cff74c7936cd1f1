//! Plain text: the head by `send`, the file by `sendfile`, so that no byte of a body passes through this process.

use super::{
    SendError,
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
use tokio::{io::Interest, net::TcpStream};

/// Most bytes of one `sendfile`: bounds how long one call can keep the worker.
const CALL: u64 = 512 << 10;
/// Bytes that are brought from the drive before memory is asked again.
const COLD: u64 = 2 << 20;
/// Bytes after which a connection that could go on lets the others have their turn.
const TURN: u64 = 2 << 20;

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
    let (mut left, mut turn) = (slice, 0);
    while left.len > 0 {
        let piece = Slice {
            len: left.len.min(CALL),
            ..left
        };
        let done = match disk.resident(file, piece) {
            0 => {
                let cold = Slice {
                    len: left.len.min(COLD),
                    ..left
                };
                send_cold(stream, file, (cold, cold.len < left.len), (disk, pace), &mut sent).await?;
                cold.len
            }
            len => {
                sendfile(stream, file, Slice { len, ..left }, pace, &mut sent).await?;
                len
            }
        };
        left.offset += done;
        left.len -= done;
        turn += done;
        if turn >= TURN {
            tokio::task::yield_now().await;
            turn = 0;
        }
    }
    Ok(())
}

/// Sends a slice from the drive. Its last bytes wait for nothing unless `more` of the file follows.
async fn send_cold(
    stream: &TcpStream,
    file: &Rc<OpenFile>,
    (slice, more): (Slice, bool),
    (disk, pace): (&Rc<Disk>, &mut Pace),
    sent: &mut impl FnMut(u64),
) -> Result<(), SendError> {
    let mut cold = disk.stream(file, slice);
    let mut left = slice.len;
    while let Some(piece) = cold.next().await {
        let piece = piece?;
        left -= piece.len() as u64;
        send(stream, &piece, more || left > 0, pace).await?;
        sent(piece.len() as u64);
    }
    Ok(())
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
        let result = stream.try_io(Interest::WRITABLE, || {
            Ok(sendfile64(stream, &file.file, Some(&mut offset), left as usize)?)
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
