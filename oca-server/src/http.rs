//! One viewer's connection over TCP, from the accept to its end: TLS handshake if any, then HTTP/1.1 by the own send
//! path or HTTP/2 by hyper; and the requests of HTTP/3, whose connections [`crate::quic`] drives. All give the same
//! answers and differ only in how they send them.

use crate::{counters::Cut, worker::Worker};
use std::{net::SocketAddr, rc::Rc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use wire::Wire;

mod answer;
pub mod exchange;
mod h1;
mod h2;
pub mod h3;
mod head;
mod lookup;
pub mod pulse;
mod wire;

/// The protocol of a request, as logged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
    /// HTTP/3
    Http3,
}

impl Protocol {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// Who is at the other end, for the log.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Address.
    pub addr: SocketAddr,
    /// TLS version, if any.
    pub tls: Option<&'static str>,
}

/// Serves a connection until it ends.
pub async fn serve(worker: &Rc<Worker>, stream: TcpStream, addr: SocketAddr, tls: Option<TlsAcceptor>) {
    let slow = worker.limits.slow_read;
    let Some(acceptor) = tls else {
        return h1::serve(worker, Wire::plain(stream, slow), Peer { addr, tls: None }).await;
    };
    let Some(stream) = handshake(worker, stream, &acceptor).await else {
        return;
    };
    let session = stream.get_ref().1;
    let peer = Peer {
        addr,
        tls: version(session),
    };
    if session.alpn_protocol() == Some(b"h2") {
        h2::serve(worker, stream, peer).await;
    } else {
        h1::serve(worker, Wire::tls(stream, slow), peer).await;
    }
}

/// Answers the first request 429 and ends: players then fail over at once.
pub async fn shed(worker: &Rc<Worker>, stream: TcpStream, addr: SocketAddr, tls: Option<TlsAcceptor>) {
    let slow = worker.limits.slow_read;
    let Some(acceptor) = tls else {
        return h1::shed(worker, Wire::plain(stream, slow), Peer { addr, tls: None }).await;
    };
    if let Some(stream) = handshake(worker, stream, &acceptor).await {
        let tls = version(stream.get_ref().1);
        h1::shed(worker, Wire::tls(stream, slow), Peer { addr, tls }).await;
    }
}

async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> Option<TlsStream<TcpStream>> {
    let handshake = acceptor.accept(stream);
    let outcome = match tokio::time::timeout(worker.limits.handshake_time, handshake).await {
        Ok(Ok(stream)) => {
            let resumed = stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            let label = if resumed { "resumed" } else { "full" };
            worker
                .counters
                .borrow_mut()
                .add("oca_tls_handshakes_total", label, 1);
            return Some(stream);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            worker.counters.borrow_mut().cut(Cut::TlsHandshake, 1);
            "too slow".to_owned()
        }
    };
    tracing::debug!(error = outcome, "TLS handshake failed");
    worker
        .counters
        .borrow_mut()
        .add("oca_tls_handshakes_total", "failed", 1);
    None
}

fn version(session: &rustls::ServerConnection) -> Option<&'static str> {
    match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => Some("TLSv1.3"),
        Some(rustls::ProtocolVersion::TLSv1_2) => Some("TLSv1.2"),
        _ => Some("TLS"),
    }
}
