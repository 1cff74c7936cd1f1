//! One viewer's connection.

use crate::worker::Worker;
use std::{net::SocketAddr, rc::Rc};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The protocol of a request, as logged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Serves a connection until it ends.
pub async fn serve(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    drop((worker, stream, peer, tls));
}

/// Answers the first request 429 and ends.
pub async fn shed(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>) {
    drop((worker, stream, peer, tls));
}
