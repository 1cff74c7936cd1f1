//! What is known of viewers behind its lock, and the bell for those who wait for news.

use super::Viewers;
use cdn_types::{
    OcaId,
    api::v1::viewers::{ViewerBatch, ViewerNews},
};
use std::{
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::Instant,
};
use tokio::sync::watch;

/// What many look at.
#[derive(Debug)]
pub struct SharedViewers {
    viewers: RwLock<Viewers>,
    generation: watch::Sender<u64>,
    began: Instant,
}

impl SharedViewers {
    /// Nothing is known; see [`Viewers::new`].
    pub fn new(generation: u64) -> Self {
        Self {
            viewers: RwLock::new(Viewers::new(generation)),
            generation: watch::Sender::new(generation),
            began: Instant::now(),
        }
    }

    /// What is known now; hold it for no await.
    pub fn read(&self) -> RwLockReadGuard<'_, Viewers> {
        self.viewers.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came since a generation; none if nothing did.
    pub fn since(&self, since: u64) -> (u64, Option<ViewerNews>) {
        let viewers = self.read();
        let generation = viewers.generation();
        let news = (generation != since).then(|| viewers.since(since, self.began.elapsed()));
        (generation, news)
    }

    /// Takes a batch in and wakes who waits; see [`Viewers::take`].
    pub fn take(&self, id: &OcaId, batch: ViewerBatch) -> bool {
        let (taken, generation) = {
            let mut viewers = self.viewers.write().unwrap_or_else(PoisonError::into_inner);
            (
                viewers.take(id, batch, self.began.elapsed()),
                viewers.generation(),
            )
        };
        if taken {
            self.generation.send_replace(generation);
        }
        taken
    }

    /// Wakes when the generation grows.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
