//! One fetch: a range of blocks from one source. A block is hashed before it is written and counted only then; what
//! went wrong is told in the terms that the fill decides by.

use super::FillRateCap;
use crate::{
    control::root_cause,
    signing::Signing,
    store::{
        layout,
        partial::{BlockError, Partial},
    },
};
use cdn_types::BLOCK_SIZE;
use oca_core::fill::{End, byte_range};
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url, header};
use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Longest wait for a connection to a source.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// Longest wait for the next byte of a source.
const READ_TIME: Duration = Duration::from_secs(15);
/// A source that gives less than this over a whole range, counted over the time that it was waited for, is given up.
const LEAST_BYTES_PER_SECOND: u64 = 16 << 10;
/// Redirects that are followed: origins answer with one to the object store.
const REDIRECTS: usize = 5;

/// How fetches name themselves. An appliance does not count what it sends to them as viewers' demand.
pub const AGENT: &str = "oca-fill/";

/// Asks fill sources. It goes to them directly, whatever proxy the environment names.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    signing: Option<Arc<Signing>>,
}

impl Fetcher {
    /// For that many fetches at the same time; `signing` has the key that lets it in where tokens are asked for.
    ///
    /// # Errors
    /// When the system gives no client.
    pub fn new(parallel: usize, signing: Option<Arc<Signing>>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIME)
            .read_timeout(READ_TIME)
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS))
            .pool_max_idle_per_host(parallel)
            .user_agent(format!("{AGENT}{}", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, signing })
    }

    /// A request for a source. The cookie goes to the host that the plan names alone: reqwest takes it off a redirect
    /// that leads to another.
    fn get(&self, url: &str) -> RequestBuilder {
        let request = self.client.get(url);
        let path = Url::parse(url).map(|url| url.path().to_owned());
        match (&self.signing, path) {
            (Some(signing), Ok(path)) => match signing.fill_cookie(&path) {
                Some(cookie) => request.header(header::COOKIE, cookie),
                None => request,
            },
            _ => request,
        }
    }
}

/// What to fetch, and into what.
#[derive(Debug, Clone)]
pub struct Order {
    /// `base_url` of the source + public path of the object.
    pub url: String,
    /// The blocks.
    pub blocks: Range<u32>,
    /// Where they go.
    pub partial: Arc<Partial>,
}

/// How a fetch ended, with the words for the log.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Why, for people; empty if it is complete.
    pub why: String,
}

fn outcome(end: End, why: impl Into<String>) -> Outcome {
    Outcome { end, why: why.into() }
}

/// Fetches the range. Every verified block is told to `verified` as soon as it is written.
pub async fn fetch(
    fetcher: &Fetcher,
    cap: &FillRateCap,
    order: &Order,
    verified: &mpsc::Sender<u32>,
) -> Outcome {
    match attempt(fetcher, cap, order, verified).await {
        Ok(()) => outcome(End::Complete, ""),
        Err(outcome) => outcome,
    }
}

async fn attempt(
    fetcher: &Fetcher,
    cap: &FillRateCap,
    order: &Order,
    verified: &mpsc::Sender<u32>,
) -> Result<(), Outcome> {
    let size = order.partial.size().0;
    let bytes = byte_range(&order.blocks, size);
    let broken = |e: &reqwest::Error| outcome(End::Broken, root_cause(e));
    let request = fetcher
        .get(&order.url)
        .header(header::RANGE, format!("bytes={}-{}", bytes.start, bytes.end - 1))
        .header(header::ACCEPT_ENCODING, "identity");
    let mut response = request.send().await.map_err(|e| broken(&e))?;
    check_head(&response, &bytes, size)?;
    let (mut block, mut buffer) = (order.blocks.start, Vec::with_capacity(BLOCK_SIZE as usize));
    let (mut at, mut waited) = (bytes.start, Duration::ZERO);
    while at < bytes.end {
        let asked = Instant::now();
        let piece = response.chunk().await.map_err(|e| broken(&e))?;
        waited += asked.elapsed();
        let Some(piece) = piece else {
            return Err(outcome(
                End::Broken,
                format!("it ended {} bytes short", bytes.end - at),
            ));
        };
        if piece.len() as u64 > bytes.end - at {
            return Err(outcome(End::Broken, "it sent more than was asked for"));
        }
        cap.pace(piece.len() as u64).await;
        check_pace(at - bytes.start, waited)?;
        let mut piece = &piece[..];
        while !piece.is_empty() {
            let wanted = (BLOCK_SIZE.min(size - u64::from(block) * BLOCK_SIZE)) as usize;
            let (now, later) = piece.split_at(piece.len().min(wanted - buffer.len()));
            buffer.extend_from_slice(now);
            at += now.len() as u64;
            piece = later;
            if buffer.len() == wanted {
                buffer = write(order.partial.clone(), block, buffer).await?;
                // The fill is gone only if the process ends.
                let _ = verified.send(block).await;
                block += 1;
            }
        }
    }
    Ok(())
}

/// Verifies and writes a block off the runtime; gives the emptied buffer back.
async fn write(partial: Arc<Partial>, block: u32, mut buffer: Vec<u8>) -> Result<Vec<u8>, Outcome> {
    let written = tokio::task::spawn_blocking(move || {
        let result = partial.write_block(block, &buffer);
        buffer.clear();
        (result, buffer)
    });
    let Ok((result, buffer)) = written.await else {
        return Err(outcome(End::DiskFailed, "the writer ended by a panic"));
    };
    match result {
        Ok(()) => Ok(buffer),
        Err(BlockError::Wrong) => Err(outcome(
            End::Corrupt,
            format!("block {block} does not match its digest"),
        )),
        Err(BlockError::Disk(e)) if layout::is_full(&e) => Err(outcome(End::Full, e.to_string())),
        Err(BlockError::Disk(e)) => Err(outcome(End::DiskFailed, e.to_string())),
    }
}

/// Whether the answer is the range that was asked for.
fn check_head(response: &Response, asked: &Range<u64>, size: u64) -> Result<(), Outcome> {
    let status = response.status();
    match status {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK if *asked == (0..size) => return Ok(()),
        StatusCode::OK => return Err(outcome(End::Broken, "it does not answer range requests")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let after = response.headers().get(header::RETRY_AFTER);
            let after = after.and_then(|v| v.to_str().ok()?.trim().parse().ok());
            return Err(outcome(
                End::Refused(after.map(Duration::from_secs)),
                status.to_string(),
            ));
        }
        // 416: its copy is shorter.
        StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::FORBIDDEN
        | StatusCode::RANGE_NOT_SATISFIABLE => {
            return Err(outcome(End::Absent, status.to_string()));
        }
        _ => return Err(outcome(End::Broken, status.to_string())),
    }
    let found = response.headers().get(header::CONTENT_RANGE);
    let found = found.and_then(|v| v.to_str().ok()).unwrap_or("none");
    if found == format!("bytes {}-{}/{size}", asked.start, asked.end - 1) {
        return Ok(());
    }
    // Another size is another file: wrong bytes, and no accident of the line.
    let other = found.rsplit_once('/').and_then(|(_, of)| of.parse::<u64>().ok());
    let end = if other.is_some_and(|of| of != size) {
        End::Corrupt
    } else {
        End::Broken
    };
    Err(outcome(
        end,
        format!("it answers with Content-Range {found}, the object has {size} bytes"),
    ))
}

fn check_pace(got: u64, waited: Duration) -> Result<(), Outcome> {
    if waited > READ_TIME && got / waited.as_secs().max(1) < LEAST_BYTES_PER_SECOND {
        return Err(outcome(
            End::Broken,
            format!("too slow: {got} bytes in {} s", waited.as_secs()),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Response {
        let mut response = http::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body("").unwrap().into()
    }

    #[test]
    fn answers_are_sorted_into_what_the_fill_decides_by() {
        let range = |r: &str| head(206, &[("content-range", r)]);
        let table = [
            (range("bytes 10-19/100"), None),
            (range("bytes 10-18/100"), Some(End::Broken)),
            (range("bytes 10-19/99"), Some(End::Corrupt)),
            (head(206, &[]), Some(End::Broken)),
            (head(200, &[]), Some(End::Broken)),
            (head(404, &[]), Some(End::Absent)),
            (head(403, &[]), Some(End::Absent)),
            (
                head(429, &[("retry-after", "7")]),
                Some(End::Refused(Some(Duration::from_secs(7)))),
            ),
            (
                head(503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")]),
                Some(End::Refused(None)),
            ),
            (head(500, &[]), Some(End::Broken)),
            (head(416, &[]), Some(End::Absent)),
        ];
        for (response, expected) in table {
            let found = check_head(&response, &(10..20), 100).err().map(|o| o.end);
            assert_eq!(found, expected, "{response:?}");
        }
        assert!(check_head(&head(200, &[]), &(0..100), 100).is_ok());
    }

    #[test]
    fn only_the_time_waited_for_the_source_counts_against_it() {
        assert!(check_pace(0, READ_TIME).is_ok());
        assert!(check_pace(10 << 20, Duration::from_secs(100)).is_ok());
        assert!(check_pace(1 << 20, Duration::from_secs(100)).is_err());
    }
}
