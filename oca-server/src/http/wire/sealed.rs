//! TLS records sealed in this process from pooled buffers.

use super::{COLD, HOLD, SendError, pace::Pace};
use crate::{disk::Disk, files::OpenFile, pool::BUFFER};
use oca_core::range::Slice;
use std::{io::IoSliceMut, rc::Rc};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;

/// Bytes after which a connection that could go on lets the others have their turn.
const TURN: u64 = 2 << 20;

/// Sends what was held back and a slice of a file.
pub async fn send_file(
    stream: &mut TlsStream<TcpStream>,
    held: Vec<u8>,
    file: &Rc<OpenFile>,
    slice: Slice,
    (disk, pace): (&Rc<Disk>, &mut Pace),
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let mut room = BUFFER;
    if !held.is_empty() && held.len() < BUFFER / 2 {
        room -= held.len();
    } else {
        write_all(stream, &held, pace).await?;
    }
    let (mut offset, mut left, mut turn) = (slice.offset, slice.len, TURN);
    while left > 0 {
        let mut buffer = disk.buffer();
        let start = BUFFER - room;
        buffer.space()[..start].copy_from_slice(&held[..start]);
        let want = usize::try_from(left).unwrap_or(room).min(room);
        let space = IoSliceMut::new(&mut buffer.space()[start..start + want]);
        let now = disk.read_now(file, &mut [space], offset)?;
        buffer.filled(start + now.unwrap_or(0));
        write_all(stream, &buffer, pace).await?;
        drop(buffer);
        let n = match now {
            Some(n) => {
                sent(n as u64);
                n as u64
            }
            None => {
                let len = left.min(COLD);
                send_cold(stream, file, Slice { offset, len }, (disk, pace), &mut sent).await?
            }
        };
        (offset, left, room) = (offset + n, left - n, BUFFER);
        turn = turn.saturating_sub(n);
        if turn == 0 {
            tokio::task::yield_now().await;
            turn = TURN;
        }
    }
    Ok(())
}

/// Sends the beginning of a slice from the drive; answers how much.
async fn send_cold(
    stream: &mut TlsStream<TcpStream>,
    file: &Rc<OpenFile>,
    slice: Slice,
    (disk, pace): (&Rc<Disk>, &mut Pace),
    sent: &mut impl FnMut(u64),
) -> Result<u64, SendError> {
    let mut cold = disk.stream(file, slice);
    let mut done = 0;
    while let Some(piece) = cold.next().await {
        let piece = piece?;
        let n = write_held(stream, &piece, pace).await?;
        sent(n as u64);
        done += n as u64;
        if n < piece.len() {
            // The rest is read again when the client takes more: no client keeps memory that others need.
            drop((piece, cold));
            flush(stream, pace).await?;
            break;
        }
    }
    Ok(done)
}

/// Seals and sends what the client takes within [`HOLD`]; answers how much.
async fn write_held(
    stream: &mut TlsStream<TcpStream>,
    bytes: &[u8],
    pace: &mut Pace,
) -> Result<usize, SendError> {
    let mut done = 0;
    while done < bytes.len() {
        match timeout_at(Instant::now() + HOLD, stream.write(&bytes[done..])).await {
            Ok(written) => {
                let n = written.map_err(SendError::Client)?;
                pace.given += n as u64;
                done += n;
            }
            Err(_) => break,
        }
        pace.look(stream.get_ref().0)?;
    }
    Ok(done)
}

/// Seals and sends bytes.
pub async fn write_all(
    stream: &mut TlsStream<TcpStream>,
    mut bytes: &[u8],
    pace: &mut Pace,
) -> Result<(), SendError> {
    while !bytes.is_empty() {
        if let Ok(written) = timeout_at(pace.next_look, stream.write(bytes)).await {
            let n = written.map_err(SendError::Client)?;
            pace.given += n as u64;
            bytes = &bytes[n..];
        }
        pace.look(stream.get_ref().0)?;
    }
    Ok(())
}

/// Gives the kernel what is sealed.
pub async fn flush(stream: &mut TlsStream<TcpStream>, pace: &mut Pace) -> Result<(), SendError> {
    loop {
        if let Ok(result) = timeout_at(pace.next_look, stream.flush()).await {
            return result.map_err(SendError::Client);
        }
        pace.look(stream.get_ref().0)?;
    }
}
