//! One viewer's connection over TCP, from the accept to its end: TLS handshake if any, then HTTP/1.1 by the own send
//! path or HTTP/2 by hyper; and the requests of HTTP/3, whose connections [`crate::quic`] drives. All give the same
//! answers and differ only in how they send them.

use crate::{
    counters::Cut,
    tls::{
        handshake,
        session::{Session, Settled},
    },
    worker::Worker,
};
use rustls::{ProtocolVersion, ServerConfig};
use std::{net::SocketAddr, rc::Rc, sync::Arc};
use tokio::net::TcpStream;
use wire::Wire;

mod answer;
pub mod exchange;
mod h1;
mod h2;
pub mod h3;
pub mod head;
mod lanes;
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
pub async fn serve(worker: &Rc<Worker>, stream: TcpStream, addr: SocketAddr, tls: Option<Arc<ServerConfig>>) {
    let Some(config) = tls else {
        return h1::serve(worker, Wire::plain(stream, worker), Peer { addr, tls: None }).await;
    };
    let Some(session) = shake_hands(worker, stream, config).await else {
        return;
    };
    let settled = session.settled();
    let peer = Peer {
        addr,
        tls: version(settled),
    };
    if settled.http2 {
        h2::serve(worker, session, peer).await;
    } else {
        h1::serve(worker, Wire::tls(session, worker), peer).await;
    }
}

/// Answers the first request 429 and ends: players then fail over at once.
pub async fn shed(worker: &Rc<Worker>, stream: TcpStream, addr: SocketAddr, tls: Option<Arc<ServerConfig>>) {
    let Some(config) = tls else {
        return h1::shed(worker, Wire::plain(stream, worker), Peer { addr, tls: None }).await;
    };
    if let Some(session) = shake_hands(worker, stream, config).await {
        let tls = version(session.settled());
        h1::shed(worker, Wire::tls(session, worker), Peer { addr, tls }).await;
    }
}

async fn shake_hands(worker: &Worker, stream: TcpStream, config: Arc<ServerConfig>) -> Option<Session> {
    // Boxed: its state is large, and an idle connection should not keep the room.
    let handshake = Box::pin(handshake::accept(stream, config, &worker.tls));
    let outcome = match tokio::time::timeout(worker.limits.handshake_time, handshake).await {
        Ok(Ok(session)) => {
            count(worker, session.settled());
            return Some(session);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            worker.counters.borrow_mut().cut(Cut::TlsHandshake, 1);
            "too slow".to_owned()
        }
    };
    tracing::debug!(error = outcome, "TLS handshake failed");
    let mut counters = worker.counters.borrow_mut();
    counters.add("oca_tls_handshakes_total", "failed", 1);
    None
}

fn count(worker: &Worker, settled: Settled) {
    let mut counters = worker.counters.borrow_mut();
    let handshake = if settled.resumed { "resumed" } else { "full" };
    counters.add("oca_tls_handshakes_total", handshake, 1);
    let sealed_by = if settled.kernel { "kernel" } else { "process" };
    counters.add("oca_tls_sessions_total", sealed_by, 1);
}

fn version(settled: Settled) -> Option<&'static str> {
    match settled.version {
        ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
        ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
        _ => Some("TLS"),
    }
}
