//! Reads what is left of a refused body before the answer goes out.
//!
//! A request that is refused for its token or its size is answered before its body has come. Closing the connection
//! on bytes that nobody read makes the kernel send a reset, and the caller loses the answer that would have told it
//! what to mend. So the rest is read and thrown away, within [`limits::LINGER_BYTES`] and [`limits::LINGER_TIME`].
//! A caller that asked first (`Expect: 100-continue`) has sent nothing, and is answered at once.

use crate::limits;
use axum::{
    body::{Body, HttpBody},
    extract::Request,
    middleware::Next,
    response::Response,
};
use bytes::{Buf, Bytes};
use http::header;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

/// A body that the handler and the middleware share, one after the other.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.size_hint()
    }
}

/// Answers, then reads the rest of the body.
pub async fn read_the_rest(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::EXPECT) || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let rest = Shared(Arc::new(Mutex::new(body)));
    let response = next
        .run(Request::from_parts(parts, Body::new(rest.clone())))
        .await;
    let _ = tokio::time::timeout(limits::LINGER_TIME, discard(rest)).await;
    response
}

async fn discard(mut body: Shared) {
    let mut read = 0;
    while read < limits::LINGER_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Buf::remaining),
            _ => return,
        }
    }
}
