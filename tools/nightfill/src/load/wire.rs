//! What carries HTTP/1.1 and 2: TCP, alone or with TLS over it. Received bytes are shown where they lie, never handed over.

use super::tls::TlsStream;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection.
pub(super) enum Wire {
    /// TCP alone.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<TlsStream>),
}

impl Wire {
    /// Shows `take` what has come, about `limit` bytes at most, read into `room` if it is not TLS; how many, 0 at the end.
    pub(super) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        room: &mut [u8],
        take: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tls(tls) => tls.poll_receive(cx, limit, take),
            Self::Plain(tcp) => {
                let most = limit.min(room.len());
                let mut buffer = ReadBuf::new(&mut room[..most]);
                ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
                if !buffer.filled().is_empty() {
                    take(buffer.filled());
                }
                Poll::Ready(Ok(buffer.filled().len()))
            }
        }
    }

    /// Sends from the front of `bytes` what the socket takes; ready when nothing is left.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let sent = match self {
                Self::Plain(tcp) => ready!(Pin::new(tcp).poll_write(cx, bytes)),
                Self::Tls(tls) => ready!(Pin::new(tls.as_mut()).poll_write(cx, bytes)),
            }?;
            bytes.drain(..sent);
        }
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }
}
