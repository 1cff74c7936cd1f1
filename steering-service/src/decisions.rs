//! The decision log: what was asked and what was answered, so that an evening can be ranked again under another policy.
//!
//! The same stream feeds the guards of experiments (`experiments::guard`), also where nothing is written.
//!
//! What a decision was made under stands before it where it has changed ([`inputs`]).
//!
//! A decision is handed over through a bounded queue and never waits: what does not fit is dropped and counted. One
//! thread writes (`writer`); [`reader`] reads what it wrote, up to the cut if the process was killed.

pub mod inputs;
pub mod reader;
pub mod record;
mod writer;

use crate::{
    experiments::guard::{self, Guards},
    fleet::FleetState,
    metrics::Metrics,
};
use inputs::{Inputs, Teller};
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
use steering_core::{Index, Policy};
use writer::Writer;

/// Decisions that wait for the writer at most: some 4 MB, a fraction of a second of a busy service.
const QUEUE: usize = 8192;
/// How long decisions gather in the queue: it holds those of a million a second for that time.
const GATHER_TIME: Duration = Duration::from_millis(5);
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
    Decided(Box<(Decision, Inputs)>),
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
        fleet: &Arc<FleetState>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, DecisionLogError> {
        let path = config.as_ref().map(|c| c.dir.clone()).unwrap_or_default();
        let wrong = |cause| DecisionLogError { path, cause };
        let writes = config.is_some();
        let open = |config| Writer::open(config, Teller::new(Arc::clone(fleet)), Arc::clone(&metrics));
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

    /// Whether decisions are written.
    pub fn writes(&self) -> bool {
        self.writes
    }

    /// Takes a decision that was made by an index; never waits.
    pub fn push(&self, decision: Decision, index: &Index) {
        let decided = Box::new((decision, Inputs::of(index)));
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Message::Decided(decided))
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

/// Takes decisions in groups: to be woken for each one costs its answer several times what the decision does.
fn run(messages: &Receiver<Message>, mut writer: Option<Writer>, mut guards: Option<Guards>) {
    let mut take = |message, writer: &mut Option<Writer>| match message {
        Message::Decided(decided) => {
            let (decision, inputs) = *decided;
            if let Some(guards) = &mut guards {
                guards.take(&decision);
            }
            if let Some(writer) = writer {
                writer.take(&decision, &inputs);
            }
        }
        Message::Close(done) => {
            writer.iter_mut().for_each(Writer::flush);
            let _ = done.send(());
        }
    };
    loop {
        let wait = writer.as_ref().map_or(Duration::MAX, Writer::wait);
        match messages.recv_timeout(wait) {
            Ok(first) => {
                take(first, &mut writer);
                #[expect(
                    clippy::disallowed_methods,
                    reason = "nobody waits for it, and to be ready at once is what costs"
                )]
                std::thread::sleep(GATHER_TIME);
                while let Ok(next) = messages.try_recv() {
                    take(next, &mut writer);
                }
            }
            Err(RecvTimeoutError::Timeout) => writer.iter_mut().for_each(Writer::flush),
            Err(RecvTimeoutError::Disconnected) => return writer.iter_mut().for_each(Writer::flush),
        }
    }
}

#[cfg(test)]
mod tests;
