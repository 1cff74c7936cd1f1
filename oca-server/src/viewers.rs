//! What workers tell of sessions, on its way to whoever publishes it (`publish`). Each worker has a list of its own behind
//! a lock that only the publisher ever shares, and only for the moment of taking the list away; a worker comes to it once in
//! twenty seconds for a session. A list has all its room from the start; what does not fit is counted.

pub mod publish;
pub mod watch;

use oca_core::viewers::Sighting;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Sightings of one worker between two takings, a second apart: twenty times as many sessions over it, 48 bytes each.
const ROOM: usize = 4_096;

/// The workers' lists.
#[derive(Debug)]
pub struct Viewers {
    workers: Vec<Mutex<Vec<Sighting>>>,
    lost: AtomicU64,
}

impl Viewers {
    /// Lists for `workers` workers.
    pub fn new(workers: usize) -> Self {
        let list = |_| Mutex::new(Vec::with_capacity(ROOM));
        Self {
            workers: (0..workers.max(1)).map(list).collect(),
            lost: AtomicU64::new(0),
        }
    }

    /// Takes in what a worker (0-based) tells.
    pub fn tell(&self, worker: usize, seen: Sighting) {
        let list = &self.workers[worker % self.workers.len()];
        let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
        match list.len() < ROOM {
            true => list.push(seen),
            false => _ = self.lost.fetch_add(1, Relaxed),
        }
    }

    /// Moves all that was told to the end of `seen`.
    pub fn take(&self, seen: &mut Vec<Sighting>) {
        for list in &self.workers {
            seen.append(&mut list.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Sightings for which there was no room, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::viewers::{Network, SidHash};

    #[test]
    fn what_does_not_fit_is_counted_and_a_list_keeps_its_room() {
        let network = Network::of("192.0.2.1".parse().unwrap());
        let seen = Sighting {
            session: SidHash::of("a").unwrap().within(network),
            network,
            in_play: true,
            measured: None,
        };
        let viewers = Viewers::new(2);
        for _ in 0..ROOM + 3 {
            viewers.tell(0, seen);
        }
        viewers.tell(1, seen);
        let mut all = Vec::new();
        viewers.take(&mut all);
        assert_eq!((all.len(), viewers.lost()), (ROOM + 1, 3));
        assert_eq!(viewers.workers[0].lock().unwrap().capacity(), ROOM);
    }
}
