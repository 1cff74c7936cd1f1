//! The routes behind their lock, and the bell for those who wait for a change.

use super::{Rib, Taken};
use cdn_types::{
    OcaId,
    api::v1::routes::{RouteBatch, RouteBatchAnswer},
};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Routes that many look at.
#[derive(Debug)]
pub struct SharedRib {
    rib: RwLock<Rib>,
    generation: watch::Sender<u64>,
}

impl SharedRib {
    /// No routes; see [`Rib::new`].
    pub fn new(generation: u64) -> Self {
        Self {
            rib: RwLock::new(Rib::new(generation)),
            generation: watch::Sender::new(generation),
        }
    }

    /// The routes as they are now; hold them for no await.
    pub fn read(&self) -> RwLockReadGuard<'_, Rib> {
        self.rib.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch in, wakes who waits, and answers it.
    pub fn take(&self, id: &OcaId, batch: RouteBatch) -> (RouteBatchAnswer, Taken) {
        let (result, generation) = {
            let mut rib = self.rib.write().unwrap_or_else(PoisonError::into_inner);
            (rib.take(id, batch), rib.generation())
        };
        self.generation.send_if_modified(|told| {
            let news = *told != generation;
            *told = generation;
            news
        });
        result
    }

    /// Wakes when the generation grows.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }
}
