//! The fleet as this service knows it: the last good snapshot, indexed, and how sure we are that it is the newest.
//!
//! A snapshot is swapped whole, so that a request sees one fleet from beginning to end and never waits for a writer.
//! Whatever happens to the control plane, to the file or to a later snapshot, the last good one stays in use.

pub mod cache;
pub mod control;
pub mod file;

use crate::metrics::Metrics;
use arc_swap::ArcSwapOption;
use cdn_types::{
    api::v1::{FleetSnapshot, TitleView},
    time::Timestamp,
};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use steering_core::{Index, IndexError, TitleIx};

/// One snapshot, ready for requests.
#[derive(Debug)]
pub struct Fleet {
    /// For ranking.
    pub index: Index,
    titles: Vec<TitleView>,
}

impl Fleet {
    /// Indexes a snapshot.
    pub fn new(snapshot: FleetSnapshot) -> Result<Self, IndexError> {
        Ok(Self {
            index: Index::build(&snapshot)?,
            titles: snapshot.titles,
        })
    }
    /// A title with the texts of its packed manifests.
    pub fn title(&self, ix: TitleIx) -> &TitleView {
        &self.titles[ix.0 as usize]
    }
}

/// Why a text cannot become the fleet.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Not JSON, or not a snapshot.
    #[error("no fleet snapshot: {0}")]
    Json(#[from] serde_json::Error),
    /// Contradicts itself.
    #[error("the snapshot contradicts itself: {0}")]
    Index(#[from] IndexError),
}

/// The snapshot in use, shared by all requests and the task that renews it.
pub struct FleetState {
    current: ArcSwapOption<Fleet>,
    /// Milliseconds since 1970 when the snapshot in use was last known to be the newest.
    confirmed: AtomicI64,
    metrics: Arc<Metrics>,
}

impl FleetState {
    /// No snapshot yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            confirmed: AtomicI64::new(0),
            metrics,
        }
    }

    /// The snapshot in use.
    pub fn current(&self) -> Option<Arc<Fleet>> {
        self.current.load_full()
    }

    /// Seconds since the snapshot in use was last known to be the newest; absent without a snapshot.
    pub fn stale_seconds(&self, now: Timestamp) -> Option<f64> {
        self.current.load().as_ref()?;
        let age = now.as_millisecond() - self.confirmed.load(Ordering::Relaxed);
        Some(age.max(0) as f64 / 1000.0)
    }

    /// Puts the text of a snapshot in use, as the newest at `confirmed`.
    pub fn install(
        &self,
        text: &[u8],
        confirmed: impl FnOnce(&Fleet) -> Timestamp,
    ) -> Result<Arc<Fleet>, SnapshotError> {
        let fleet = Arc::new(Fleet::new(serde_json::from_slice(text)?)?);
        let index = &fleet.index;
        for c in &index.contested {
            tracing::warn!(prefix = %c.prefix, kept = %c.kept, ignored = %c.ignored, "two sites claim one network");
        }
        self.metrics.generation.set(index.generation as f64);
        let sizes = [
            ("appliances", index.appliance_count()),
            ("titles", index.title_count()),
            ("contested_prefixes", index.contested.len()),
        ];
        for (kind, size) in sizes {
            self.metrics
                .fleet_size
                .with_label_values(&[kind])
                .set(size as f64);
        }
        self.confirm(confirmed(&fleet));
        self.current.store(Some(Arc::clone(&fleet)));
        Ok(fleet)
    }

    /// The snapshot in use was still the newest at `at`.
    pub fn confirm(&self, at: Timestamp) {
        self.confirmed.store(at.as_millisecond(), Ordering::Relaxed);
    }

    /// Notes whether the source of snapshots answers, and logs when that changes.
    pub fn connected(&self, yes: bool, detail: &dyn std::fmt::Display) {
        let was = self.metrics.connected.get() > 0.5;
        self.metrics.connected.set(f64::from(u8::from(yes)));
        match (was, yes) {
            (false, true) => tracing::info!("fleet source answers"),
            (true, false) => {
                tracing::warn!("fleet source is away, going on with the last snapshot: {detail}");
            }
            (false, false) => tracing::debug!("fleet source is still away: {detail}"),
            (true, true) => {}
        }
    }
}
