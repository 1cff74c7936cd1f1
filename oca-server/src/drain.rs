//! The drain switch: set once by SIGTERM, the admin API or the control plane; workers watch it, reports tell it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::watch;

/// Two steps of leaving: `draining` = wants no new viewers but still answers; `stopping` = accepts nothing new,
/// finishes what runs, then ends.
#[derive(Debug, Clone)]
pub struct Drain {
    draining: Arc<AtomicBool>,
    stopping: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            draining: Arc::default(),
            stopping: watch::Sender::new(false),
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
        self.stopping.send_replace(true);
    }
    /// Whether the process is ending.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }
    /// Resolves once [`stop`](Self::stop) was called; usable from any runtime.
    pub async fn stopped(&self) {
        let mut rx = self.stopping.subscribe();
        let _ = rx.wait_for(|s| *s).await; // the sender lives in self
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
