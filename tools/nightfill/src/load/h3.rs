//! HTTP/3 on quinn's QUIC, with a thin layer of its own: bodies are taken packet by packet and dropped, without a copy. The
//! large windows never hold a server up; receive offload (GRO) is quinn's.

mod frames;
mod qpack;

use super::{exchange::Exchange, fault::Fault, pace::Pace};
use bytes::Bytes;
use frames::Frames;
use nix::sys::socket::{setsockopt, sockopt};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ReadError, RecvStream, TokioRuntime, TransportConfig,
    VarInt, crypto::rustls::QuicClientConfig,
};
use std::{
    array,
    cell::Cell,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

/// Room for packets that the client has not got round to.
const SOCKET_BUFFER: usize = 8 << 20;
/// A quiet connection is kept by a packet now and then, and given up when the server is not heard of.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const GIVE_UP: Duration = Duration::from_secs(30);
/// The client's control stream: its type and an empty SETTINGS frame, which offers no dynamic table.
const CONTROL: [u8; 3] = [0, 4, 0];
/// "No error" of HTTP/3.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// Pieces of a stream that are taken in one go.
const CHUNKS: usize = 64;

/// How connections are made, with windows of a stream and of the connection.
pub(super) fn config(
    tls: rustls::ClientConfig,
    (stream, connection): (u32, u32),
) -> anyhow::Result<ClientConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(stream.into())
        .receive_window(connection.into())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(GIVE_UP.try_into()?));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// A UDP socket of this machine for packets to `server`, as an endpoint of the current runtime.
pub(super) fn endpoint(server: SocketAddr, local: Option<IpAddr>) -> Result<Endpoint, Fault> {
    let socket = socket(server, local).map_err(Fault::Connect)?;
    Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime)).map_err(Fault::Connect)
}

fn socket(server: SocketAddr, local: Option<IpAddr>) -> io::Result<UdpSocket> {
    let any = || {
        if server.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        }
    };
    let socket = UdpSocket::bind((local.unwrap_or_else(any), 0))?;
    // Past the limit only with the privilege to; without it as much as everybody gets.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    Ok(socket)
}

/// A connection.
pub(super) struct H3 {
    connection: Connection,
    endpoint: Endpoint,
    server: SocketAddr,
    /// Bytes until the client moves to another port; never if absent.
    until_move: Cell<Option<u64>>,
}

impl H3 {
    /// Connects through `endpoint`, which must be its own if it shall move after so many bytes.
    pub(super) async fn connect(
        endpoint: Endpoint,
        config: &ClientConfig,
        server: SocketAddr,
        name: &str,
        move_after: Option<u64>,
    ) -> Result<Self, Fault> {
        let connecting = endpoint
            .connect_with(config.clone(), server, name)
            .map_err(|e| Fault::Handshake(e.to_string()))?;
        let connection = connecting.await.map_err(|e| Fault::Handshake(e.to_string()))?;
        let control = connection.open_uni().await;
        let mut control = control.map_err(|e| Fault::Handshake(e.to_string()))?;
        let written = control.write_all(&CONTROL).await;
        written.map_err(|e| Fault::Handshake(e.to_string()))?;
        tokio::task::spawn_local(take_notices(connection.clone(), control));
        Ok(Self {
            connection,
            endpoint,
            server,
            until_move: Cell::new(move_after),
        })
    }

    /// Whether another request can be sent.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Waits until the connection ends.
    pub(super) async fn closed(&self) -> Fault {
        Fault::Reset(self.connection.closed().await.to_string())
    }

    /// Sends the request and takes its response.
    pub(super) async fn request(
        &self,
        authority: &str,
        pace: &Pace,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Fault> {
        let reset = |e: &dyn std::error::Error| Fault::Reset(e.to_string());
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(|e| reset(&e))?;
        let range = exchange.range();
        let section = qpack::request(
            exchange.wish.head,
            authority,
            &exchange.target.path,
            range.as_deref(),
        );
        let sent = send.write_all(&frames::headers(&section)).await;
        sent.map_err(|e| reset(&e))?;
        send.finish().map_err(|e| reset(&e))?;
        let mut frames = Frames::default();
        while let Some(bytes) = take_chunks(&mut receive, &mut frames, exchange).await? {
            self.count(bytes as u64)?;
            pace.read(bytes).await;
        }
        if exchange.status() == 0 {
            return Err(Fault::Reset("the stream ended before the response".to_owned()));
        }
        if exchange.is_partial() && !exchange.wish.head {
            return Err(exchange.short());
        }
        if !frames.is_whole() {
            return Err(Fault::Protocol("the stream ended inside a frame".to_owned()));
        }
        exchange.end()
    }

    /// Counts down to the move, and moves.
    fn count(&self, bytes: u64) -> Result<(), Fault> {
        let Some(left) = self.until_move.get() else {
            return Ok(());
        };
        self.until_move.set(left.checked_sub(bytes));
        if left > bytes {
            return Ok(());
        }
        self.until_move.set(None);
        let local = self.endpoint.local_addr().map_err(Fault::Connect)?;
        let socket = socket(self.server, Some(local.ip())).map_err(Fault::Connect)?;
        self.endpoint.rebind(socket).map_err(Fault::Connect)
    }
}

impl Drop for H3 {
    fn drop(&mut self) {
        self.connection.close(NO_ERROR, b"");
    }
}

/// Takes what has come of a response; how many bytes, absent at its end.
async fn take_chunks(
    receive: &mut RecvStream,
    frames: &mut Frames,
    exchange: &mut Exchange<'_>,
) -> Result<Option<usize>, Fault> {
    let mut chunks: [Bytes; CHUNKS] = array::from_fn(|_| Bytes::new());
    let count = receive.read_chunks(&mut chunks).await.map_err(|e| match e {
        ReadError::Reset(code) => Fault::Reset(format!("stream reset with {code}")),
        e => Fault::Reset(e.to_string()),
    })?;
    let Some(count) = count else { return Ok(None) };
    exchange.came();
    let mut bytes = 0;
    for chunk in &chunks[..count] {
        bytes += chunk.len();
        frames.push(chunk, exchange)?;
    }
    Ok(Some(bytes))
}

/// Takes and drops what the server says on streams of its own (settings, QPACK), and keeps ours open: a closed control stream is an error.
async fn take_notices(connection: Connection, control: quinn::SendStream) {
    while let Ok(mut stream) = connection.accept_uni().await {
        tokio::task::spawn_local(async move {
            while let Ok(Some(_)) = stream.read_chunk(usize::MAX, true).await {}
        });
    }
    drop(control);
}
