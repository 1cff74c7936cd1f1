//! HTTP/2: several requests at a time on one connection, with windows so large that the server never waits for them. Frames
//! are of the size that browsers accept (16 KiB).

use super::{exchange::Exchange, fault::Fault, pace::Pace};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

/// Receive windows of a stream and of the connection.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Those of a slow reader: about what a player's browser opens, so that the server has to wait.
const SLOW_WINDOW: u32 = 256 << 10;

/// A connection.
pub(super) struct H2 {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

impl H2 {
    /// Over `io`, whose protocol is agreed on.
    pub(super) async fn connect<T>(io: T, slow: bool) -> Result<Self, Fault>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (stream, connection) = if slow {
            (SLOW_WINDOW, SLOW_WINDOW)
        } else {
            (STREAM_WINDOW, CONNECTION_WINDOW)
        };
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(stream)
            .initial_connection_window_size(connection)
            .enable_push(false)
            .handshake(io)
            .await
            .map_err(|e| Fault::Handshake(e.to_string()))?;
        let driver = tokio::task::spawn_local(connection);
        Ok(Self { send, driver })
    }

    /// Whether another request can be sent.
    pub(super) fn is_usable(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Waits until the connection ends.
    pub(super) async fn closed(&mut self) -> Fault {
        match (&mut self.driver).await {
            Ok(Err(e)) => Fault::Reset(e.to_string()),
            _ => Fault::Reset("closed while idle".to_owned()),
        }
    }

    /// Sends the request and takes its response.
    pub(super) async fn request(
        &self,
        base: &str,
        pace: &Pace,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Fault> {
        let mut send = self.send.clone().ready().await.map_err(|e| fault(&e, exchange))?;
        let request = request(base, exchange)?;
        let (response, _) = send
            .send_request(request, true)
            .map_err(|e| fault(&e, exchange))?;
        let response = response.await.map_err(|e| fault(&e, exchange))?;
        exchange.came();
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|l| l.to_str().ok()?.parse().ok());
        exchange.head(response.status().as_u16(), length)?;
        let mut body = response.into_body();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(|e| fault(&e, exchange))?;
            exchange.body(&chunk)?;
            pace.read(chunk.len()).await;
            // After the wait: what is not given back holds the server up.
            let given = body.flow_control().release_capacity(chunk.len());
            given.map_err(|e| fault(&e, exchange))?;
        }
        exchange.end()
    }
}

impl Drop for H2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn request(base: &str, exchange: &Exchange<'_>) -> Result<Request<()>, Fault> {
    let method = if exchange.wish.head {
        Method::HEAD
    } else {
        Method::GET
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("{base}{}", exchange.target.path));
    if let Some(range) = exchange.range() {
        request = request.header(header::RANGE, range);
    }
    request.body(()).map_err(|e| Fault::Protocol(e.to_string()))
}

/// The h2 crate finds a clean end before the announced length itself, and calls it a protocol error of its own.
fn fault(error: &h2::Error, exchange: &Exchange<'_>) -> Fault {
    let found_here = error.is_library() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR);
    if found_here && exchange.is_partial() {
        exchange.short()
    } else {
        Fault::Reset(error.to_string())
    }
}
