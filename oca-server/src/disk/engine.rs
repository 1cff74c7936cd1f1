//! What carries out reads: an io_uring, or threads where the kernel or a sandbox gives none.

use super::queue::Demand;
use crate::sys::{
    arena::Span,
    ring::{Aim, Landed, Ring},
};
use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, mpsc},
    task::spawn_blocking,
};

/// Most reads of a worker under way on all drives.
const READS: u32 = 256;

/// Carries out reads; made on the worker's thread, within its runtime.
pub enum Engine {
    /// By the kernel.
    Ring(Box<AsyncFd<Ring<Demand>>>),
    /// By threads.
    Threads(Threads),
}

impl Engine {
    /// The best that the kernel lets us have, for memory of at most `chunks` chunks.
    pub fn new(chunks: usize) -> Self {
        let ring = Ring::new(READS, chunks).and_then(Ring::watched);
        match ring {
            Ok(ring) => Self::Ring(Box::new(ring)),
            Err(error) => {
                tracing::warn!(%error, "no io_uring: cold reads go by threads, which costs processor time");
                Self::Threads(Threads::default())
            }
        }
    }

    /// Queues a read; given back if there are too many.
    pub fn push(&mut self, demand: Demand, span: Span) -> Result<(), (Demand, Span)> {
        let aim = demand.aim();
        match self {
            Self::Ring(ring) => ring.get_mut().push(demand, span, aim),
            Self::Threads(threads) => threads.push(demand, span, aim),
        }
    }

    /// Starts what was queued. Answers whether the kernel left some.
    pub fn submit(&mut self) -> bool {
        match self {
            Self::Ring(ring) => ring.get_mut().submit(),
            Self::Threads(_) => false,
        }
    }

    /// A read that ended.
    pub fn reap(&mut self) -> Option<Landed<Demand>> {
        match self {
            Self::Ring(ring) => ring.get_mut().reap(),
            Self::Threads(threads) => threads.reap(),
        }
    }

    /// Resolves when a read may have ended, or `wake` is notified.
    pub async fn wait(&mut self, wake: &Notify) {
        match self {
            Self::Ring(ring) => tokio::select! {
                ready = ring.readable() => if let Ok(mut ready) = ready {
                    ready.clear_ready();
                },
                () = wake.notified() => {}
            },
            Self::Threads(threads) => tokio::select! {
                () = threads.landed() => {}
                () = wake.notified() => {}
            },
        }
    }
}

type Answer = (u64, io::Result<Vec<u8>>);

/// Reads by threads; each into memory of its own, which is copied.
pub struct Threads {
    flights: HashMap<u64, (Demand, Span, usize)>,
    next: u64,
    answers: mpsc::UnboundedReceiver<Answer>,
    sender: mpsc::UnboundedSender<Answer>,
    /// Taken by [`landed`](Self::landed), not yet by [`reap`](Self::reap).
    answer: Option<Answer>,
}

impl Default for Threads {
    fn default() -> Self {
        let (sender, answers) = mpsc::unbounded_channel();
        Self {
            flights: HashMap::new(),
            next: 0,
            answers,
            sender,
            answer: None,
        }
    }
}

impl Threads {
    fn push(&mut self, demand: Demand, span: Span, aim: Aim) -> Result<(), (Demand, Span)> {
        let file = match demand.as_fd().try_clone_to_owned() {
            Ok(file) => File::from(file),
            Err(_) => return Err((demand, span)),
        };
        let (number, sender) = (self.next, self.sender.clone());
        self.next += 1;
        self.flights.insert(number, (demand, span, aim.skip));
        spawn_blocking(move || {
            // O_DIRECT wants memory that begins on a page: a vector with room to choose.
            let _ = sender.send((number, read(&file, aim))); // the worker has ended: nobody waits
        });
        Ok(())
    }

    fn reap(&mut self) -> Option<Landed<Demand>> {
        let (number, result) = self.answer.take().or_else(|| self.answers.try_recv().ok())?;
        let (demand, mut span, skip) = self.flights.remove(&number)?;
        let result = result.map(|bytes| {
            let n = bytes.len().min(span.len() - skip);
            span[skip..skip + n].copy_from_slice(&bytes[..n]);
            n
        });
        Some((demand, span, result))
    }

    async fn landed(&mut self) {
        if self.answer.is_none() {
            self.answer = self.answers.recv().await;
        }
    }
}

fn read(file: &File, aim: Aim) -> io::Result<Vec<u8>> {
    const PAGE: usize = 4096;
    let mut bytes = vec![0; aim.len + PAGE];
    let start = bytes.as_ptr().align_offset(PAGE).min(PAGE);
    let n = file.read_at(&mut bytes[start..start + aim.len], aim.offset)?;
    bytes.copy_within(start..start + n, 0);
    bytes.truncate(n);
    Ok(bytes)
}
