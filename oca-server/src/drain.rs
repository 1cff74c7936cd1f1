//! The drain switch: set once by SIGTERM, an upgrade, the admin API or the control plane; workers watch it, reports tell
//! it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::sync::watch;

/// How the process leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Leaving {
    /// It does not.
    #[default]
    No,
    /// Another process serves: connections that are idle may ask for one thing more, until then.
    HandedOver(Instant),
    /// Nobody serves: idle connections are closed.
    Ending,
}

/// Two steps of leaving: `draining` = wants no new viewers but still answers; `stopping` = accepts nothing new,
/// finishes what runs, then ends.
#[derive(Debug, Clone)]
pub struct Drain {
    draining: Arc<AtomicBool>,
    handed_over: Arc<AtomicBool>,
    leaving: watch::Sender<Leaving>,
    ended: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            draining: Arc::default(),
            handed_over: Arc::default(),
            leaving: watch::Sender::default(),
            ended: watch::Sender::new(false),
        }
    }
}

impl Drain {
    /// Sets or clears the wish for no new viewers.
    pub fn set_draining(&self, on: bool) {
        self.draining.store(on, Ordering::Relaxed);
    }
    /// Whether new viewers are unwanted.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed) || self.is_stopping()
    }
    /// Starts the end of the process; there is no way back.
    pub fn stop(&self) {
        self.leaving.send_replace(Leaving::Ending);
    }
    /// Starts the end of a process whose sockets another has; idle connections stay until `until`.
    pub fn hand_over(&self, until: Instant) {
        self.leaving.send_if_modified(|leaving| {
            let serves = *leaving == Leaving::No;
            if serves {
                self.handed_over.store(true, Ordering::Relaxed);
                *leaving = Leaving::HandedOver(until);
            }
            serves
        });
    }
    /// How it leaves, if it does.
    pub fn leaving(&self) -> Leaving {
        *self.leaving.borrow()
    }
    /// Whether another process serves in its place, even if this one was told to end since.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }
    /// Whether the process is ending.
    pub fn is_stopping(&self) -> bool {
        self.leaving() != Leaving::No
    }
    /// Resolves once [`stop`](Self::stop) or [`hand_over`](Self::hand_over) was called; usable from any runtime.
    pub async fn stopped(&self) {
        let mut rx = self.leaving.subscribe();
        let _ = rx.wait_for(|l| *l != Leaving::No).await; // the sender lives in self
    }
    /// Resolves once [`stop`](Self::stop) was called, be it after a handover.
    pub async fn ending(&self) {
        let mut rx = self.leaving.subscribe();
        let _ = rx.wait_for(|l| *l == Leaving::Ending).await; // as above
    }
    /// Resolves once [`hand_over`](Self::hand_over) was called, and never if [`stop`](Self::stop) was before.
    pub async fn handed_over(&self) {
        self.stopped().await;
        if !self.is_handed_over() {
            std::future::pending::<()>().await;
        }
    }
    /// Tells that the last response has ended and is counted.
    pub fn end(&self) {
        self.ended.send_replace(true);
    }
    /// Resolves once [`end`](Self::end) was called.
    pub async fn ended(&self) {
        let mut rx = self.ended.subscribe();
        let _ = rx.wait_for(|s| *s).await; // as above
    }
}
