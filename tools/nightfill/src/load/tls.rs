//! A TLS connection over TCP that reads in large bites. rustls's buffered interface takes at most 4 KiB at a time from the
//! socket and copies each byte twice more; here records are opened where they were received, as many as came in one system call,
//! so that the client is not what a benchmark measures.

use rustls::{
    ClientConfig, Error,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    unbuffered::{ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus},
};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Room for received records; a slow or idle connection has the smaller one, which holds any record.
const ROOM: usize = 256 << 10;
const SMALL_ROOM: usize = 18 << 10;
/// Room that a handshake message or what a record adds may need.
const OVERHEAD: usize = 4 << 10;
/// Sealed bytes that may wait for the socket.
const UNSENT: usize = 64 << 10;
/// Bytes sealed at once.
const SEALED_AT_ONCE: usize = 16 << 10;

/// A connection after its handshake.
pub(super) struct TlsStream {
    tcp: TcpStream,
    records: Records,
    /// Plain bytes that came while nobody was reading.
    left: Vec<u8>,
}

/// The TLS state and its buffers, without a socket.
struct Records {
    tls: UnbufferedClientConnection,
    incoming: Vec<u8>,
    filled: std::ops::Range<usize>,
    outgoing: Vec<u8>,
    closed: bool,
}

impl TlsStream {
    /// Shakes hands over `tcp`. A `small` one reads in small bites.
    pub(super) async fn connect(
        tcp: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        small: bool,
    ) -> io::Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        let room = if small { SMALL_ROOM } else { ROOM };
        let mut stream = Self {
            tcp,
            records: Records {
                tls,
                incoming: vec![0; room],
                filled: 0..0,
                outgoing: Vec::new(),
                closed: false,
            },
            left: Vec::new(),
        };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await?;
        Ok(stream)
    }

    /// What was agreed on, for people.
    pub(super) fn agreed(&self) -> String {
        let tls = &self.records.tls;
        let version = tls.protocol_version().and_then(|v| v.as_str().map(str::to_owned));
        let suite = tls.negotiated_cipher_suite().map(|s| s.suite());
        format!(
            "{} {}",
            version.unwrap_or_default().replace('_', "."),
            suite
                .and_then(|s| s.as_str())
                .unwrap_or("?")
                .trim_start_matches("TLS13_")
        )
    }

    /// The protocol that the server chose.
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        self.records.tls.alpn_protocol()
    }

    /// Gives `take` plain bytes as they come, at least some and then about `limit` at most; how many, and 0 at the end.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        if !self.left.is_empty() {
            let left = std::mem::take(&mut self.left);
            take(&left);
            return Poll::Ready(Ok(left.len()));
        }
        self.poll_plain(cx, limit, take)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let left = &mut self.left;
            self.records
                .open(usize::MAX, &mut |bytes| left.extend_from_slice(bytes))?;
            ready!(self.poll_send(cx))?;
            if !self.records.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.records.closed || ready!(self.poll_fill(cx, usize::MAX))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_plain(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        loop {
            let opened = self.records.open(limit, take)?;
            if !self.records.outgoing.is_empty() {
                // An answer to a key update; if the socket is full the next write takes it along.
                let _ = self.poll_send(cx)?;
            }
            if opened > 0 || self.records.closed {
                return Poll::Ready(Ok(opened));
            }
            if ready!(self.poll_fill(cx, limit))? == 0 {
                // Only close_notify tells an end from a cut.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Receives records; how many bytes.
    fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(self.records.room(limit));
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled().len();
        self.records.filled.end += bytes;
        Poll::Ready(Ok(bytes))
    }

    /// Sends what is sealed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.records.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.records.outgoing))?;
            self.records.outgoing.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl Records {
    /// Free room for at most `limit` bytes behind those received; that of a whole record is always there.
    fn room(&mut self, limit: usize) -> &mut [u8] {
        if self.filled.is_empty() {
            self.filled = 0..0;
        } else if self.filled.start > 0 && self.incoming.len() - self.filled.end < SMALL_ROOM {
            self.incoming.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.filled.end == self.incoming.len() {
            // A handshake message of several records.
            self.incoming.resize(self.incoming.len() + SMALL_ROOM, 0);
        }
        let free = &mut self.incoming[self.filled.end..];
        let wanted = limit.clamp(1, free.len());
        &mut free[..wanted]
    }

    /// Opens records until about `limit` plain bytes were given to `take`, or there are none; how many.
    fn open(&mut self, limit: usize, take: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let mut opened = 0;
        while opened < limit {
            let received = &mut self.incoming[self.filled.clone()];
            let UnbufferedStatus {
                mut discard, state, ..
            } = self.tls.process_tls_records(received);
            let more = match state.map_err(tls_error)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(tls_error)?;
                        discard += record.discard;
                        opened += record.payload.len();
                        take(record.payload);
                    }
                    true
                }
                ConnectionState::EncodeTlsData(message) => {
                    encode(message, &mut self.outgoing)?;
                    true
                }
                ConnectionState::TransmitTlsData(transmit) => {
                    transmit.done();
                    true
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    self.closed = true;
                    false
                }
                _ => false,
            };
            self.filled.start += discard;
            if !more {
                break;
            }
        }
        Ok(opened)
    }

    /// Seals `plain`, at most [`SEALED_AT_ONCE`]; how many bytes of it.
    fn seal(&mut self, plain: &[u8], left: &mut Vec<u8>) -> io::Result<usize> {
        let plain = &plain[..plain.len().min(SEALED_AT_ONCE)];
        loop {
            match self.tls.process_tls_records(&mut []).state.map_err(tls_error)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let from = self.outgoing.len();
                    self.outgoing.resize(from + plain.len() + OVERHEAD, 0);
                    let sealed = traffic
                        .encrypt(plain, &mut self.outgoing[from..])
                        .map_err(|e: EncryptError| io::Error::other(e))?;
                    self.outgoing.truncate(from + sealed);
                    return Ok(plain.len());
                }
                ConnectionState::EncodeTlsData(message) => encode(message, &mut self.outgoing)?,
                ConnectionState::TransmitTlsData(transmit) => transmit.done(),
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        left.extend_from_slice(record.map_err(tls_error)?.payload);
                    }
                }
                _ => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }
}

fn encode<Data>(mut message: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let from = outgoing.len();
    let mut room = OVERHEAD;
    loop {
        outgoing.resize(from + room, 0);
        match message.encode(&mut outgoing[from..]) {
            Ok(bytes) => {
                outgoing.truncate(from + bytes);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(e) => return Err(io::Error::other(e)),
        }
    }
}

fn tls_error(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, plain: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.records.outgoing.len() > UNSENT {
            ready!(this.poll_send(cx))?;
        }
        let sealed = this.records.seal(plain, &mut this.left)?;
        let _ = this.poll_send(cx)?;
        Poll::Ready(Ok(sealed))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
