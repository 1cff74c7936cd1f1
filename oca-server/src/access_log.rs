//! The access log: one JSON line a request. Workers collect lines in batches and hand them to one writer thread over
//! a bounded queue that never makes them wait: when the writer falls behind, whole batches are dropped and counted.

use crate::metrics::Metrics;
use prometheus::IntCounter;
use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

/// Bytes of lines after which a worker hands its batch over; it also does so a few times a second.
pub const BATCH_BYTES: usize = 16 << 10;
/// Batches that wait for the writer at most: with [`BATCH_BYTES`] about 4 MiB, some 10,000 requests.
const QUEUE: usize = 256;
/// Longest wait at the end for a writer that the reader of its pipe holds up.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file, appended (so that `copytruncate` of logrotate works).
    File(PathBuf),
}

impl AccessLogTarget {
    /// `-`, `off` or a file, as written on the command line.
    pub fn parse(text: &str) -> Self {
        match text {
            "off" => Self::Off,
            "-" => Self::Stdout,
            file => Self::File(PathBuf::from(file)),
        }
    }
}

/// Lines that a worker hands over, and how many.
#[derive(Debug)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

/// The queue's writing end with its thread.
#[derive(Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Batch>>,
    /// Disconnected when the writer has ended; nothing is ever sent.
    writer: Option<Receiver<Infallible>>,
    dropped: IntCounter,
}

impl AccessLog {
    /// Opens the target and starts the writer. An error carries the path.
    pub fn open(target: &AccessLogTarget, metrics: &Metrics) -> Result<Self, (PathBuf, io::Error)> {
        let dropped = metrics.counter("oca_access_log_dropped_total", &[]);
        let mut log = Self {
            queue: None,
            writer: None,
            dropped,
        };
        let (path, out): (PathBuf, Box<dyn Write + Send>) = match target {
            AccessLogTarget::Off => return Ok(log),
            AccessLogTarget::Stdout => (PathBuf::from("-"), Box::new(io::stdout())),
            AccessLogTarget::File(path) => (
                path.clone(),
                Box::new(append(path).map_err(|e| (path.clone(), e))?),
            ),
        };
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = log.dropped.clone();
        let (alive, writer) = mpsc::channel();
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                let _alive = alive;
                write_all(&receiver, out, &dropped);
            })
            .map_err(|e| (path, e))?;
        log.queue = Some(sender);
        log.writer = Some(writer);
        Ok(log)
    }

    /// A worker's end.
    pub fn sender(&self) -> LogSender {
        LogSender {
            queue: self.queue.clone(),
            batch: Vec::new(),
            lines: 0,
            dropped: self.dropped.clone(),
        }
    }

    /// Writes what is queued and ends the writer, but never waits for long: the end of the process must not depend on
    /// who reads the log. Every [`LogSender`] must be gone.
    pub fn close(self) {
        drop(self.queue);
        if let Some(writer) = self.writer
            && writer.recv_timeout(CLOSE_TIME) == Err(RecvTimeoutError::Timeout)
        {
            tracing::warn!("nobody reads the access log: its last lines are lost");
        }
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write_all(batches: &Receiver<Batch>, mut out: Box<dyn Write + Send>, dropped: &IntCounter) {
    let mut failed = false;
    for batch in batches {
        match out.write_all(&batch.text).and_then(|()| out.flush()) {
            Ok(()) => failed = false,
            Err(error) => {
                dropped.inc_by(batch.lines);
                if !failed {
                    tracing::warn!(%error, "the access log cannot be written; lines are dropped and counted");
                }
                failed = true;
            }
        }
    }
}

/// One worker's end of the queue. Dropping it hands over what is left.
#[derive(Debug)]
pub struct LogSender {
    queue: Option<SyncSender<Batch>>,
    batch: Vec<u8>,
    lines: u64,
    dropped: IntCounter,
}

impl LogSender {
    /// Whether lines go anywhere; if not, nobody need make them.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Takes one line without its newline.
    pub fn push(&mut self, line: &[u8]) {
        self.batch.extend_from_slice(line);
        self.batch.push(b'\n');
        self.lines += 1;
        if self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands the batch over; never waits.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let room = self.batch.capacity();
        let text = std::mem::replace(&mut self.batch, Vec::with_capacity(room));
        let lines = std::mem::take(&mut self.lines);
        if let Some(queue) = &self.queue
            && queue.try_send(Batch { text, lines }).is_err()
        {
            self.dropped.inc_by(lines);
        }
    }
}

impl Drop for LogSender {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_reach_the_file_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.jsonl");
        let log = AccessLog::open(&AccessLogTarget::File(path.clone()), &Metrics::new()).unwrap();
        let mut sender = log.sender();
        for i in 0..5000 {
            sender.push(format!("{{\"n\":{i}}}").as_bytes());
        }
        drop(sender);
        log.close();
        let text = std::fs::read_to_string(path).unwrap();
        let expected: String = (0..5000).map(|i| format!("{{\"n\":{i}}}\n")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn a_full_queue_drops_and_counts_instead_of_waiting() {
        let metrics = Metrics::new();
        let dropped = metrics.counter("oca_access_log_dropped_total", &[]);
        let (queue, _never_read) = sync_channel(1);
        let mut sender = LogSender {
            queue: Some(queue),
            batch: Vec::new(),
            lines: 0,
            dropped: dropped.clone(),
        };
        for _ in 0..3 {
            sender.push(b"{}");
            sender.push(b"{}");
            sender.flush();
        }
        assert_eq!(dropped.get(), 4);
    }
}
