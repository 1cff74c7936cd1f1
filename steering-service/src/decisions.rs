//! The decision log: what was asked and what was answered, so that an evening can be ranked again under another policy.
//!
//! The same stream feeds the guards of experiments (`experiments::guard`), also where nothing is written.
//!
//! A decision is handed over through a bounded queue and never waits: what does not fit is dropped and counted. One
//! thread writes (`writer`); [`reader`] reads what it wrote, up to the cut if the process was killed.

pub mod reader;
pub mod record;
mod writer;

use crate::{
    experiments::guard::{self, Guards},
    metrics::Metrics,
};
use record::Decision;
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};
use steering_core::Policy;
use writer::Writer;

/// Decisions that wait for the writer at most: some 4 MB, a fraction of a second of a busy service.
const QUEUE: usize = 8192;
/// Longest wait at the end for a drive that does not answer.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// Where decisions are logged, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionLogConfig {
    /// The folder; made if it is not there.
    pub dir: PathBuf,
    /// Bytes from which on the next file is begun.
    pub file_bytes: u64,
    /// Files that are kept, the one that is written counted.
    pub files: usize,
}

/// Why the log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("--decision-log {path}: {cause}; give a folder that this user may write to")]
pub struct DecisionLogError {
    /// The folder or file.
    path: PathBuf,
    cause: io::Error,
}

enum Message {
    Decided(Box<Decision>),
    Close(SyncSender<()>),
}

/// The queue's writing end.
pub struct DecisionLog {
    queue: SyncSender<Message>,
    metrics: Arc<Metrics>,
    writes: bool,
}

impl DecisionLog {
    /// Begins a file, if there shall be one, and starts the thread.
    pub fn open(
        config: Option<DecisionLogConfig>,
        guards: Option<Guards>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DecisionLogError> {
        let path = config.as_ref().map(|c| c.dir.clone()).unwrap_or_default();
        let wrong = |cause| DecisionLogError { path, cause };
        let writes = config.is_some();
        let open = |config| Writer::open(config, Arc::clone(&metrics));
        let writer = match config.map(open).transpose() {
            Ok(writer) => writer,
            Err(cause) => return Err(wrong(cause)),
        };
        let (queue, messages) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("decision-log".to_owned());
        match thread.spawn(move || run(&messages, writer, guards)) {
            Ok(_) => Ok(Self {
                queue,
                metrics,
                writes,
            }),
            Err(cause) => Err(wrong(cause)),
        }
    }

    /// Whether anybody has a use for decisions under this policy.
    pub fn wanted(&self, policy: &Policy) -> bool {
        self.writes || guard::wanted(policy)
    }

    /// Takes a decision; never waits.
    pub fn push(&self, decision: Decision) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Decided(Box::new(decision)))
        {
            self.metrics.decisions.with_label_values(&["dropped"]).inc();
        }
    }

    /// Writes what is queued; waits for a while, but not for ever.
    pub async fn close(&self) {
        let queue = self.queue.clone();
        let (done, written) = sync_channel(1);
        let (told, heard) = tokio::sync::oneshot::channel();
        // A thread of its own: the runtime waits at its end for blocking tasks, even for one on a dead drive.
        std::thread::spawn(move || {
            if queue.send(Message::Close(done)).is_ok() {
                let _ = written.recv();
            }
            let _ = told.send(());
        });
        if tokio::time::timeout(CLOSE_TIME, heard).await.is_err() {
            tracing::warn!("the drive of --decision-log does not answer: the last decisions are lost");
        }
    }
}

fn run(messages: &Receiver<Message>, mut writer: Option<Writer>, mut guards: Option<Guards>) {
    loop {
        let wait = writer.as_ref().map_or(Duration::MAX, Writer::wait);
        match messages.recv_timeout(wait) {
            Ok(Message::Decided(decision)) => {
                if let Some(guards) = &mut guards {
                    guards.take(&decision);
                }
                if let Some(writer) = &mut writer {
                    writer.take(&decision);
                }
            }
            Ok(Message::Close(done)) => {
                writer.iter_mut().for_each(Writer::flush);
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => writer.iter_mut().for_each(Writer::flush),
            Err(RecvTimeoutError::Disconnected) => return writer.iter_mut().for_each(Writer::flush),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{reader::LogReader, record::tests::decision, *};
    use std::path::Path;

    fn open(
        dir: &Path,
        file_bytes: u64,
        files: usize,
        metrics: &Arc<Metrics>,
    ) -> Result<DecisionLog, DecisionLogError> {
        let config = DecisionLogConfig {
            dir: dir.join("log"),
            file_bytes,
            files,
        };
        DecisionLog::open(Some(config), None, Arc::clone(metrics))
    }

    fn read(path: &Path) -> (Vec<Decision>, Vec<String>) {
        let mut reader = LogReader::open(path).unwrap();
        let decisions = reader.by_ref().collect::<Result<_, _>>().unwrap();
        (decisions, reader.cuts().to_vec())
    }

    #[tokio::test]
    async fn decisions_read_back_in_order_and_files_turn_over_by_size() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let log = open(dir.path(), 1, 3, &metrics).unwrap();
        let mut all = Vec::new();
        for round in 0..5u64 {
            for n in 0..100 {
                let next = decision(round * 100 + n);
                all.push(next.clone());
                log.push(next);
            }
            log.close().await; // writes; with files of one byte each has its own
        }
        let (read, cuts) = read(&dir.path().join("log"));
        assert_eq!(
            read,
            all[300..],
            "the newest that are kept, one of three files still empty"
        );
        assert!(cuts.is_empty());
        assert_eq!(metrics.decisions.with_label_values(&["written"]).get(), 500);
        assert_eq!(std::fs::read_dir(dir.path().join("log")).unwrap().count(), 3);
    }

    #[tokio::test]
    async fn a_cut_file_is_read_up_to_the_cut() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path(), 1 << 20, 3, &Arc::new(Metrics::new().unwrap())).unwrap();
        let all: Vec<_> = (0..2000).map(decision).collect();
        for part in all.chunks(500) {
            part.iter().for_each(|d| log.push(d.clone()));
            log.close().await;
        }
        let folder = dir.path().join("log");
        let file = std::fs::read_dir(&folder)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let whole = std::fs::read(&file).unwrap();
        let mut before = 0;
        for cut in (0..whole.len()).step_by(97) {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let (decisions, cuts) = read(&file);
            assert_eq!(decisions, all[..decisions.len()], "cut at {cut}");
            assert!(decisions.len() >= before && cuts.len() <= 1);
            before = decisions.len();
        }
        assert!(before > 1500, "{before}");
    }

    #[test]
    fn a_full_queue_drops_and_counts_instead_of_waiting() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let (queue, _never_read): (_, Receiver<Message>) = sync_channel(2);
        let log = DecisionLog {
            queue,
            metrics: Arc::clone(&metrics),
            writes: true,
        };
        (0..5).for_each(|n| log.push(decision(n)));
        assert_eq!(metrics.decisions.with_label_values(&["dropped"]).get(), 3);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("log"), "a file").unwrap();
        let metrics = Arc::new(Metrics::new().unwrap());
        let error = open(dir.path(), 1, 1, &metrics).err().unwrap();
        assert!(error.to_string().contains("give a folder"), "{error}");
    }
}
