//! Accepts connections and speaks HTTP/1.1, within limits, until told to stop.

use super::{Peer, at_once, proxy_protocol, router};
use crate::app::Shared;
use axum::{body::Body, extract::Request};
use futures_util::future::{Either, ready};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use ipnet::IpNet;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tower::ServiceExt;

/// Connections at once; players poll every few seconds and keep theirs open in between.
const MAX_CONNECTIONS: usize = 50_000;
/// Time for a request's head to arrive, and for an idle connection to say something: above the usual TTL, so that a
/// player's next poll finds its connection open.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for a PROXY protocol header: the proxy sends it with its first packet.
const PROXY_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest request head in bytes: a session token of 1 KiB, with room for cookies and CMCD.
const MAX_HEAD: usize = 32 * 1024;
/// Most header lines of a request.
const MAX_HEADERS: usize = 64;
/// How long running requests may take once the service is told to stop.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Pause after a failed accept: out of file descriptors, which the next moment may mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is done, then finishes what runs. Connections from `proxies` begin with a PROXY protocol header,
/// no others do.
pub async fn serve(
    listener: TcpListener,
    proxies: Vec<IpNet>,
    shared: Arc<Shared>,
    stop: impl Future<Output = ()>,
) {
    let router = router(Arc::clone(&shared));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .writev(false) // answers are small: one copy costs less than a list of pieces
        .max_buf_size(MAX_HEAD);
    let mut stop = std::pin::pin!(stop);
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&room).acquire_owned() => permit,
            () = &mut stop => break,
        };
        let (mut stream, mut peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let _ = stream.set_nodelay(true); // answers are small; without it only latency suffers
        let proxy = peer.ip().to_canonical();
        let proxied = proxies.iter().any(|net| net.contains(&proxy));
        let (router, shared) = (router.clone(), Arc::clone(&shared));
        let (builder, watcher) = (builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _permit = permit;
            if proxied {
                match timeout(PROXY_TIMEOUT, proxy_protocol::source(&mut stream)).await {
                    Ok(Ok(source)) => peer = source.unwrap_or(peer),
                    Ok(Err(error)) => return tracing::warn!(%proxy, "connection refused: {error}"),
                    Err(_) => {
                        return tracing::warn!(%proxy, "connection refused: no PROXY protocol header came");
                    }
                }
            }
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                if let Some(response) = at_once(&shared, peer, &request) {
                    return Either::Left(ready(Ok(response)));
                }
                let mut request: Request = request.map(Body::new);
                request.extensions_mut().insert(Peer(peer));
                Either::Right(router.clone().oneshot(request))
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%peer, "connection: {error}");
            }
        });
    }
    drop(listener);
    if timeout(DRAIN_LIMIT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish within {DRAIN_LIMIT:?}");
    }
}
