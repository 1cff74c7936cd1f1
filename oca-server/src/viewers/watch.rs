//! A worker's own look at sessions: which of them are to be told of. It is the one step that each request with CMCD costs.

use super::Viewers;
use oca_core::{
    cmcd::Wishes,
    viewers::{Sighting, recent::Recent},
};
use std::{cell::RefCell, net::IpAddr, sync::Arc, time::Instant};

/// What a worker watches sessions with.
pub struct Watch {
    recent: RefCell<Recent>,
    whom: Arc<Viewers>,
    worker: usize,
    began: Instant,
}

impl Watch {
    /// For a worker (0-based) that tells this one.
    pub fn new(worker: usize, whom: Arc<Viewers>) -> Self {
        Self {
            recent: RefCell::default(),
            whom,
            worker,
            began: Instant::now(),
        }
    }

    /// Takes note of a player that is served, with what its request at `at` said.
    pub fn notice(&self, wishes: &Wishes, viewer: IpAddr, at: Instant) {
        if let Some(seen) = Sighting::of(wishes, viewer) {
            let second = at.duration_since(self.began).as_secs() as u32; // a hundred years fit
            if self.recent.borrow_mut().is_due(seen.session, second) {
                self.whom.tell(self.worker, seen);
            }
        }
    }
}
