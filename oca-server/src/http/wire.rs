//! The bytes of an HTTP/1 connection, plain or through TLS. Files go out by `sendfile` where the socket is plain or
//! the kernel seals, and as records where this process seals. Both stop at a client that takes too little, take
//! turns with the other connections of the worker, and reset the connection unless a response was ended on purpose:
//! a client can never take a piece of a response for the whole.

mod pace;
mod plain;
mod sealed;

use crate::{
    disk::{Disk, ReadError},
    files::OpenFile,
    sys::path::{self, Path},
    tls::session::Session,
    worker::Worker,
};
use cdn_types::BitsPerSecond;
use oca_core::range::Slice;
use pace::Pace;
use socket2::SockRef;
use std::{io, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub use pace::LEAST_BYTES;

/// Bytes that are brought from the drive before memory is asked again.
pub const COLD: u64 = 8 << 20;
/// Longest time that bytes from the drive are held for a client that does not take them.
const HOLD: Duration = Duration::from_millis(100);
/// Longest wait for the peer's end after ours, and most bytes read in it (RFC 9112 §9.6).
pub const LINGER: Duration = Duration::from_secs(2);
/// The same in bytes.
pub const LINGER_BYTES: usize = 256 << 10;

/// Why a response could not be sent whole.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The client is gone.
    #[error("the client is gone: {0}")]
    Client(io::Error),
    /// The client took too little for too long.
    #[error("the client takes too little")]
    SlowReader,
    /// The file is not what its record says, or its drive failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

enum Kind {
    Plain(TcpStream),
    /// The bytes wait for company before they are sealed: one record instead of two.
    Tls(Box<Session>, Vec<u8>),
}

/// A connection.
pub struct Wire {
    kind: Kind,
    pace: Pace,
    /// Bytes a second that the socket is bound to.
    rate: Option<u64>,
    mid_response: bool,
}

impl Wire {
    /// Over TCP; a client that takes less than [`LEAST_BYTES`] in the slow-read time is cut.
    pub fn plain(stream: TcpStream, worker: &Worker) -> Self {
        Self::new(Kind::Plain(stream), worker)
    }

    /// Over TLS, after the handshake.
    pub fn tls(session: Session, worker: &Worker) -> Self {
        Self::new(Kind::Tls(Box::new(session), Vec::new()), worker)
    }

    fn new(kind: Kind, worker: &Worker) -> Self {
        Self {
            kind,
            pace: Pace::new(worker.limits.slow_read, Rc::clone(&worker.urgent)),
            rate: None,
            mid_response: false,
        }
    }

    /// What TCP knows of the path to the client.
    pub fn path(&self) -> Option<Path> {
        path::path(self.tcp()).ok()
    }

    fn tcp(&self) -> &TcpStream {
        match &self.kind {
            Kind::Plain(stream) => stream,
            Kind::Tls(session, _) => session.tcp(),
        }
    }

    /// Reads what is there into the end of `buffer`, at most its spare capacity; 0 = the client closed.
    pub async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Plain(stream) => stream.read_buf(buffer).await,
            Kind::Tls(session, _) => session.read_buf(buffer).await,
        }
    }

    /// Whether no further request may be answered: what can only be told to the client by an end.
    pub fn must_end(&self) -> bool {
        matches!(&self.kind, Kind::Tls(session, _) if session.must_end())
    }

    /// From here to [`end`](Self::end) a drop resets the connection.
    pub fn begin(&mut self, rate: Option<BitsPerSecond>, urgent: bool) {
        self.mid_response = true;
        self.pace.begin(urgent);
        let rate = rate.map(|r| r.0 / 8);
        if rate != self.rate && path::set_pace(self.tcp(), rate).is_ok() {
            self.rate = rate;
        }
    }

    /// Gives everything that was held back to the kernel; the response is whole.
    pub async fn end(&mut self) -> Result<(), SendError> {
        if let Kind::Tls(session, held) = &mut self.kind {
            sealed::send(session, &std::mem::take(held), false, &mut self.pace).await?;
            sealed::flush(session, &mut self.pace).await?;
        }
        self.mid_response = false;
        Ok(())
    }

    /// Sends `bytes`; with `more` they may wait for what comes next.
    pub async fn send(&mut self, bytes: &[u8], more: bool) -> Result<(), SendError> {
        match &mut self.kind {
            Kind::Plain(stream) => plain::send(stream, bytes, more, &mut self.pace).await,
            Kind::Tls(_, held) => {
                held.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Sends a slice of a file, telling `sent` of every piece that the kernel or the sealer took.
    pub async fn send_file(
        &mut self,
        file: &Rc<OpenFile>,
        slice: Slice,
        disk: &Rc<Disk>,
        sent: impl FnMut(u64),
    ) -> Result<(), SendError> {
        let pace = &mut self.pace;
        match &mut self.kind {
            Kind::Plain(stream) => plain::send_file(stream, file, slice, (disk, pace), sent).await,
            Kind::Tls(session, held) => {
                let held = std::mem::take(held);
                sealed::send_file(session, held, file, slice, (disk, pace), sent).await
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
                Kind::Tls(session, _) => session.shutdown().await?,
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
