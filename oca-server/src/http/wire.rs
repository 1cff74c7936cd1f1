//! The bytes of an HTTP/1 connection, plain or through TLS. Files go out by `sendfile` where the socket is plain and
//! through a pooled buffer where records are sealed in this process. Both stop at a client that takes too little, take
//! turns with the other connections of the worker, and reset the connection unless a response was ended on purpose:
//! a client can never take a piece of a response for the whole.

use crate::{
    files::OpenFile,
    pool::{BUFFER, Pool},
    sys,
};
use nix::{errno::Errno, sys::sendfile::sendfile64};
use oca_core::range::Slice;
use socket2::SockRef;
use std::{io, os::unix::fs::FileExt, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::server::TlsStream;

/// Most bytes of one `sendfile`: bounds how long one call can keep the worker.
const CALL: u64 = 512 << 10;
/// Bytes after which a connection that could go on lets the others have their turn.
const TURN: u64 = 2 << 20;
/// Least bytes that a client must take of a response in each slow-read time ([`crate::limits::Limits::slow_read`]): a
/// seventh of the rate of slow audio in the default time, and more than a client sends who drips to hold a connection.
pub const LEAST_BYTES: u64 = 64 << 10;
/// Looks at a slow client within one slow-read time.
const LOOKS: u32 = 4;
/// Longest wait for the peer's end after ours, and most bytes read in it (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 << 10;

/// Why a response could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The client is gone.
    #[error("the client is gone: {0}")]
    Client(io::Error),
    /// The client took too little for too long.
    #[error("the client takes too little")]
    SlowReader,
    /// The file ended before its recorded size.
    #[error("the file is shorter than its record")]
    Short,
    /// The file could not be read.
    #[error("the file cannot be read: {0}")]
    Read(io::Error),
}

enum Kind {
    Plain(TcpStream),
    /// The bytes wait for company before they are sealed: one record instead of two.
    Tls(Box<TlsStream<TcpStream>>, Vec<u8>),
}

/// A connection.
pub struct Wire {
    kind: Kind,
    pace: Pace,
    mid_response: bool,
}

impl Wire {
    /// Over TCP; a client that takes less than [`LEAST_BYTES`] in `slow` is cut.
    pub fn plain(stream: TcpStream, slow: Duration) -> Self {
        Self::new(Kind::Plain(stream), slow)
    }

    /// Over TLS, after the handshake.
    pub fn tls(stream: TlsStream<TcpStream>, slow: Duration) -> Self {
        Self::new(Kind::Tls(Box::new(stream), Vec::new()), slow)
    }

    fn new(kind: Kind, slow: Duration) -> Self {
        Self {
            kind,
            pace: Pace::new(slow),
            mid_response: false,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.kind {
            Kind::Plain(stream) => stream,
            Kind::Tls(stream, _) => stream.get_ref().0,
        }
    }

    /// Reads what is there into the end of `buffer`, at most its spare capacity; 0 = the client closed.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Plain(stream) => stream.read_buf(buffer).await,
            Kind::Tls(stream, _) => stream.read_buf(buffer).await,
        }
    }

    /// From here to [`end`](Self::end) a drop resets the connection.
    pub fn begin(&mut self) {
        self.mid_response = true;
        self.pace = Pace::new(self.pace.slow);
    }

    /// Gives everything that was held back to the kernel; the response is whole.
    pub async fn end(&mut self) -> Result<(), SendError> {
        if let Kind::Tls(stream, held) = &mut self.kind {
            let held = std::mem::take(held);
            write_all(stream, &held, &mut self.pace).await?;
            flush(stream, &mut self.pace).await?;
        }
        self.mid_response = false;
        Ok(())
    }

    /// Sends `bytes`; with `more` they may wait for what comes next.
    pub async fn send(&mut self, bytes: &[u8], more: bool) -> Result<(), SendError> {
        match &mut self.kind {
            Kind::Plain(stream) => send_plain(stream, bytes, more, &mut self.pace).await,
            Kind::Tls(_, held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Sends a slice of a file, telling `sent` of every piece that the kernel or the sealer took.
    pub async fn send_file(
        &mut self,
        file: &OpenFile,
        slice: Slice,
        pool: &Pool,
        sent: impl FnMut(u64),
    ) -> Result<(), SendError> {
        let pace = &mut self.pace;
        match &mut self.kind {
            Kind::Plain(stream) => sendfile(stream, file, slice, pace, sent).await,
            Kind::Tls(stream, held) => {
                let held = std::mem::take(held);
                seal_file(stream, held, file, slice, (pool, pace), sent).await
            }
        }
    }

    /// Ends the connection after its last response so that the client surely gets it: our end first, then what it
    /// still sends is read for a moment.
    pub async fn close(mut self) {
        let mut sink = Vec::with_capacity(4096);
        let _ = timeout(LINGER, async {
            match &mut self.kind {
                Kind::Plain(stream) => stream.shutdown().await?,
                Kind::Tls(stream, _) => stream.shutdown().await?,
            }
            let mut left = LINGER_BYTES;
            while left > 0 {
                sink.clear();
                match self.read(&mut sink).await? {
                    0 => break,
                    n => left = left.saturating_sub(n),
                }
            }
            io::Result::Ok(())
        })
        .await; // too slow or gone: there is nobody to tell
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.mid_response {
            let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)); // close = RST
        }
    }
}

async fn send_plain(
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

async fn sendfile(
    stream: &TcpStream,
    file: &OpenFile,
    slice: Slice,
    pace: &mut Pace,
    mut sent: impl FnMut(u64),
) -> Result<(), SendError> {
    let (mut left, mut turn) = (slice.len, TURN);
    let mut offset = i64::try_from(slice.offset).map_err(|_| SendError::Short)?; // no file is that long
    while left > 0 {
        let count = left.min(CALL) as usize;
        let result = stream.try_io(Interest::WRITABLE, || {
            Ok(sendfile64(stream, &file.file, Some(&mut offset), count)?)
        });
        match result {
            Ok(0) => return Err(SendError::Short),
            Ok(n) => {
                let n = n as u64;
                sent(n);
                pace.given += n;
                left -= n;
                turn = turn.saturating_sub(n);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                writable(stream, pace).await?;
                turn = TURN;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if is_network(&e) => return Err(SendError::Client(e)),
            Err(e) => return Err(SendError::Read(e)),
        }
        if turn == 0 {
            tokio::task::yield_now().await;
            turn = TURN;
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

async fn seal_file(
    stream: &mut TlsStream<TcpStream>,
    held: Vec<u8>,
    file: &OpenFile,
    slice: Slice,
    (pool, pace): (&Pool, &mut Pace),
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
        let mut buffer = Lent::new(pool);
        let start = BUFFER - room;
        buffer.0[..start].copy_from_slice(&held[..start]);
        let want = usize::try_from(left).unwrap_or(room).min(room);
        let n = read_at(file, &mut buffer.0[start..start + want], offset)?;
        write_all(stream, &buffer.0[..start + n], pace).await?;
        drop(buffer);
        sent(n as u64);
        (offset, left, room) = (offset + n as u64, left - n as u64, BUFFER);
        turn = turn.saturating_sub(n as u64);
        if turn == 0 {
            tokio::task::yield_now().await;
            turn = TURN;
        }
    }
    Ok(())
}

/// A buffer that goes back to its pool however the holder ends.
struct Lent<'p>(Box<[u8]>, &'p Pool);

impl<'p> Lent<'p> {
    fn new(pool: &'p Pool) -> Self {
        Self(pool.take(), pool)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.1.give(std::mem::take(&mut self.0));
    }
}

/// Reads at least one byte of a file at `offset`.
pub fn read_at(file: &OpenFile, buffer: &mut [u8], offset: u64) -> Result<usize, SendError> {
    loop {
        match file.file.read_at(buffer, offset) {
            Ok(0) => return Err(SendError::Short),
            Ok(n) => return Ok(n),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(SendError::Read(e)),
        }
    }
}

async fn write_all(
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

async fn flush(stream: &mut TlsStream<TcpStream>, pace: &mut Pace) -> Result<(), SendError> {
    loop {
        if let Ok(result) = timeout_at(pace.next_look, stream.flush()).await {
            return result.map_err(SendError::Client);
        }
        pace.look(stream.get_ref().0)?;
    }
}

async fn writable(stream: &TcpStream, pace: &mut Pace) -> Result<(), SendError> {
    loop {
        let ready = timeout_at(pace.next_look, stream.writable()).await;
        pace.look(stream)?;
        if let Ok(result) = ready {
            return result.map_err(SendError::Client);
        }
    }
}

/// Watches whether a client takes its response at the least rate: [`LEAST_BYTES`] in each slow-read time. What counts
/// is what it acknowledged: a socket that became writable says only that a few bytes moved.
struct Pace {
    slow: Duration,
    since: Instant,
    next_look: Instant,
    /// Bytes given to the kernel or the sealer.
    given: u64,
    /// Bytes that the client had taken at `since`.
    taken: u64,
}

impl Pace {
    fn new(slow: Duration) -> Self {
        let now = Instant::now();
        Self {
            slow,
            since: now,
            next_look: now + slow / LOOKS,
            given: 0,
            taken: 0,
        }
    }

    /// Looks at the client if it is time for it.
    fn look(&mut self, tcp: &TcpStream) -> Result<(), SendError> {
        let now = Instant::now();
        if now < self.next_look {
            return Ok(());
        }
        self.next_look = now + self.slow / LOOKS;
        let queued = sys::unacknowledged(tcp).map_err(SendError::Client)?;
        let taken = self.given.saturating_sub(queued);
        // With an empty queue the client waits for us.
        if queued == 0 || taken >= self.taken + LEAST_BYTES {
            (self.since, self.taken) = (now, taken);
        } else if now - self.since >= self.slow {
            return Err(SendError::SlowReader);
        }
        Ok(())
    }
}
