//! What the plan calls hot, read into memory and held there by one task of the control runtime, away from the workers. The
//! most read objects first, by the forecast, within `ram_hot`; an object that is withdrawn or falls out of the set gives its
//! memory up. Where the limit on locked memory forbids holding, hot objects are read in again now and then: likely, not
//! certainly, in memory.

use super::Store;
use crate::{
    drain::Drain,
    metrics::Metrics,
    namespace::heat::{Heat, Warmth},
    sys::keep::Kept,
};
use cdn_types::{Bytes, ObjectDigest};
use nix::{
    fcntl::{PosixFadviseAdvice, posix_fadvise},
    sys::resource::{Resource, getrlimit, setrlimit},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How often hot objects that cannot be held are read in again.
const AGAIN: Duration = Duration::from_secs(30);

/// An object that is worth memory.
#[derive(Debug, Clone)]
pub struct Hot {
    /// The object.
    pub digest: ObjectDigest,
    /// Where it lies.
    pub file: PathBuf,
    /// Its size.
    pub size: Bytes,
    /// Which verification offers it.
    pub revision: u64,
    /// What its readers are told.
    pub heat: Arc<Heat>,
}

struct Holding {
    revision: u64,
    size: Bytes,
    heat: Arc<Heat>,
    /// Absent = it could only be read in.
    kept: Option<Kept>,
}

/// The task's state.
pub struct Keeper {
    store: Arc<Store>,
    budget: Bytes,
    metrics: Arc<Metrics>,
    drain: Drain,
    held: Mutex<BTreeMap<ObjectDigest, Holding>>,
}

impl Keeper {
    /// Keeps nothing yet, and `budget` at most.
    pub fn new(store: Arc<Store>, budget: Bytes, metrics: Arc<Metrics>, drain: Drain) -> Self {
        metrics
            .gauge("oca_ram_hot_budget_bytes", &[])
            .set(budget.0 as f64);
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
            let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard); // as much as we may
        }
        Self {
            store,
            budget,
            metrics,
            drain,
            held: Mutex::default(),
        }
    }

    /// Follows the plan and what is offered until the process ends.
    pub async fn run(self: Arc<Self>) {
        loop {
            let this = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || this.settle()).await.is_err() {
                tracing::error!("keeping hot objects in memory ended by a panic");
                return;
            }
            tokio::select! {
                () = self.store.heat_changed.notified() => {}
                () = tokio::time::sleep(AGAIN) => {}
                () = self.drain.stopped() => return,
            }
        }
    }

    /// Makes what is held what should be held.
    pub fn settle(&self) {
        let wanted = self.store.rate(self.budget);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|digest, holding| {
            let stays = wanted
                .iter()
                .any(|w| w.digest == *digest && w.revision == holding.revision);
            if !stays && holding.heat.get() == Warmth::Kept {
                holding.heat.set(Warmth::Cold); // before its memory goes; `rate` says later if it is wanted anew
            }
            stays
        });
        for hot in wanted {
            if self.drain.is_stopping() {
                break;
            }
            if held.get(&hot.digest).is_some_and(|h| h.kept.is_some()) {
                continue;
            }
            match hold(&hot) {
                Ok(holding) => _ = held.insert(hot.digest, holding),
                Err(error) => {
                    tracing::warn!(object = %hot.digest.short(), %error, "cannot be read into memory");
                }
            }
            self.show(&held);
        }
        self.show(&held);
    }

    fn show(&self, held: &BTreeMap<ObjectDigest, Holding>) {
        let bytes = |locked: bool| {
            let those = held.values().filter(|h| h.kept.is_some() == locked);
            those.map(|h| h.size.0).sum::<u64>() as f64
        };
        for (how, locked) in [("held", true), ("read_in", false)] {
            self.metrics.gauge("oca_ram_hot_bytes", &[how]).set(bytes(locked));
        }
    }
}

fn hold(hot: &Hot) -> io::Result<Holding> {
    let file = File::open(&hot.file)?;
    let size = hot.size.0;
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_WILLNEED)?;
    hot.heat.set(Warmth::Hot);
    let kept = match Kept::new(&file, size) {
        Ok(kept) => {
            hot.heat.set(Warmth::Kept);
            Some(kept)
        }
        Err(error) => {
            tracing::debug!(object = %hot.digest.short(), %error, "not held in memory, only read in");
            None
        }
    };
    Ok(Holding {
        revision: hot.revision,
        size: hot.size,
        heat: Arc::clone(&hot.heat),
        kept,
    })
}
