//! The fleet as this service knows it: the last good snapshot, indexed, and how sure we are that it is the newest.
//!
//! Snapshot, routes, policy and what players measured come by ways of their own; whichever changes, the others are kept and all are put together
//! anew. The whole is swapped at once, so that a request sees one fleet from beginning to end and never waits for a writer.
//! Whatever happens to the control plane, to the file or to a later snapshot, the last good one stays in use.

pub mod cache;
pub mod control;
pub mod feed;
pub mod file;

use crate::{
    experiments::{ArmIndexes, Exposure},
    metrics::Metrics,
};
use arc_swap::ArcSwapOption;
use cdn_types::{
    OcaId,
    api::v1::{
        FleetSnapshot, TitleView,
        routes::{ApplianceRoutes, RouteChanges},
    },
    time::Timestamp,
};
use serde::Serialize;
use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};
use steering_core::{
    Index, IndexError, Policy, TitleIx,
    circuit::fleet::Verdicts,
    fleet::FleetIndex,
    index::{self, Contested, Parts},
    routes::{Applied, RouteBatch, RouteBuilder, RouteError},
    throughput::Measured,
};

/// One snapshot with routes and policy, ready for requests.
#[derive(Debug)]
pub struct Fleet {
    /// For ranking.
    pub index: Index,
    /// For ranking sessions of arms that weigh differently.
    arms: ArmIndexes,
    titles: Arc<Vec<TitleView>>,
}

impl Fleet {
    /// What ranks a session of these arms.
    pub fn index_of(&self, exposure: &Exposure) -> &Index {
        self.arms.of(&self.index, exposure)
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
    /// Of the routes in use, as the control plane numbers them; 0 while it has told none.
    routes_generation: AtomicU64,
    /// Milliseconds since 1970 when these were last known to be the newest; 0 while there are none.
    routes_confirmed: AtomicI64,
    metrics: Arc<Metrics>,
    making: Mutex<Making>,
}

/// How sure we are of the routes in use.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RoutesAge {
    /// Generation as the control plane numbers it.
    pub generation: u64,
    /// Seconds since these routes were last known to be the newest.
    pub stale_seconds: f64,
}

/// What writers work on; held for as long as a new table takes to make, never by a request.
#[derive(Default)]
struct Making {
    routes: RouteBuilder,
    policy: Arc<Policy>,
    measured: Arc<Measured>,
    /// The table before, kept for decisions under it that wait for the log.
    measured_before: Arc<Measured>,
    circuits: Arc<Verdicts>,
    contested: Vec<Contested>,
}

impl FleetState {
    /// No snapshot yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            current: ArcSwapOption::empty(),
            confirmed: AtomicI64::new(0),
            routes_generation: AtomicU64::new(0),
            routes_confirmed: AtomicI64::new(0),
            metrics,
            making: Mutex::default(),
        }
    }

    /// The snapshot in use.
    pub fn current(&self) -> Option<Arc<Fleet>> {
        self.current.load_full()
    }

    /// Seconds since the snapshot in use was last known to be the newest; absent without a snapshot.
    pub fn stale_seconds(&self, now: Timestamp) -> Option<f64> {
        self.current.load().as_ref()?;
        Some(seconds_since(self.confirmed.load(Ordering::Relaxed), now))
    }

    /// The age of the routes in use; absent until a control plane has told its own.
    pub fn routes_age(&self, now: Timestamp) -> Option<RoutesAge> {
        let confirmed = self.routes_confirmed.load(Ordering::Acquire);
        (confirmed != 0).then(|| RoutesAge {
            generation: self.routes_generation.load(Ordering::Relaxed),
            stale_seconds: seconds_since(confirmed, now),
        })
    }

    /// Puts the text of a snapshot in use, as the newest at `confirmed`.
    pub fn install(
        &self,
        text: &[u8],
        confirmed: impl FnOnce(&Fleet) -> Timestamp,
    ) -> Result<Arc<Fleet>, SnapshotError> {
        let snapshot: FleetSnapshot = serde_json::from_slice(text)?;
        let members = Arc::new(FleetIndex::build(&snapshot)?);
        let titles = Arc::new(snapshot.titles);
        let mut making = self.making();
        let top = |fleet: &FleetIndex| {
            fleet
                .top()
                .iter()
                .map(|ix| fleet.title(*ix).id.clone())
                .collect::<Vec<_>>()
        };
        if self.current().is_some_and(|old| top(&old.index) != top(&members)) {
            self.metrics.title_misses.reset(); // or titles would gather over the years
        }
        making.contested = index::cover(&mut making.routes, &members);
        for c in &making.contested {
            tracing::warn!(prefix = %c.prefix, kept = %c.kept, ignored = %c.ignored, "two sites claim one network");
        }
        let fleet = self.join(&mut making, members, titles);
        let index = &fleet.index;
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
        Ok(fleet)
    }

    /// Takes in what the control plane tells of all routes. After a reset appliances that it does not name have none.
    pub fn take_routes(&self, changes: &RouteChanges) -> Vec<Result<Applied, RouteError>> {
        let told =
            |routes: &ApplianceRoutes| (routes.appliance.clone(), RouteBatch::told(routes, changes.reset));
        let mut batches: Vec<_> = changes.appliances.iter().map(told).collect();
        if changes.reset {
            let named: HashSet<_> = changes.appliances.iter().map(|r| &r.appliance).collect();
            let making = self.making();
            let gone = making.routes.appliances().filter(|id| !named.contains(id));
            let nothing = RouteBatch {
                reset: true,
                ..RouteBatch::default()
            };
            batches.extend(gone.map(|id| (id.clone(), nothing.clone())));
        }
        self.apply_routes(&batches)
    }

    /// Takes changes of appliances' routes in and puts them in use, all at once: a feed gathers what comes within some
    /// hundred milliseconds, since a table costs a moment of work. A batch that contradicts itself is counted and left
    /// out, with the reason in its place of the answer.
    pub fn apply_routes(&self, batches: &[(OcaId, RouteBatch)]) -> Vec<Result<Applied, RouteError>> {
        let mut making = self.making();
        let mut answers = Vec::with_capacity(batches.len());
        for (appliance, batch) in batches {
            let answer = making.routes.apply(appliance, batch);
            match &answer {
                Ok(applied) => self.count_routes(*applied),
                Err(error) => {
                    self.metrics.route_errors.inc();
                    tracing::error!(%appliance, "routes refused: {error}");
                }
            }
            answers.push(answer);
        }
        self.renew(&mut making);
        answers
    }

    /// Forgets the routes of an appliance that has left.
    pub fn forget_routes(&self, appliance: &OcaId) {
        let mut making = self.making();
        let withdrawn = making.routes.forget(appliance);
        self.count_routes(Applied {
            withdrawn,
            ..Applied::default()
        });
        self.renew(&mut making);
    }

    /// Puts another policy in use.
    pub fn set_policy(&self, policy: Policy) {
        self.metrics.policy_version.set(policy.version as f64);
        tracing::info!(version = policy.version, "policy taken");
        let mut making = self.making();
        making.policy = Arc::new(policy);
        self.renew(&mut making);
    }

    /// Puts what was measured of throughput in use.
    pub fn set_measured(&self, measured: Measured) {
        let mut making = self.making();
        if *making.measured != measured {
            making.measured_before = std::mem::replace(&mut making.measured, Arc::new(measured));
            self.renew(&mut making);
        }
    }

    /// Puts what circuits say in use.
    pub fn set_circuits(&self, circuits: Verdicts) {
        let mut making = self.making();
        if *making.circuits != circuits {
            making.circuits = Arc::new(circuits);
            self.renew(&mut making);
        }
    }

    fn making(&self) -> MutexGuard<'_, Making> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_routes(&self, applied: Applied) {
        for (kind, count) in [("announced", applied.announced), ("withdrawn", applied.withdrawn)] {
            self.metrics
                .route_changes
                .with_label_values(&[kind])
                .inc_by(count as u64);
        }
    }

    /// Puts the snapshot in use together with what else is new; without one there is nothing to be used yet.
    fn renew(&self, making: &mut Making) {
        if let Some(fleet) = self.current() {
            self.join(making, fleet.index.parts().fleet, Arc::clone(&fleet.titles));
        }
    }

    fn join(&self, making: &mut Making, fleet: Arc<FleetIndex>, titles: Arc<Vec<TitleView>>) -> Arc<Fleet> {
        let parts = Parts {
            fleet,
            routes: Arc::new(making.routes.publish()),
            policy: Arc::clone(&making.policy),
            measured: Arc::clone(&making.measured),
            circuits: Arc::clone(&making.circuits),
        };
        let index = Index::join(parts, making.contested.clone());
        let networks = index.routes().prefix_count();
        self.metrics
            .fleet_size
            .with_label_values(&["networks"])
            .set(networks as f64);
        let unknown = index.unknown_in_policy();
        if self
            .current()
            .is_none_or(|f| f.index.unknown_in_policy() != unknown)
        {
            for name in unknown {
                tracing::warn!("the policy has a rule about `{name}`, which the fleet does not have");
            }
        }
        let arms = ArmIndexes::new(&index);
        let fleet = Arc::new(Fleet { index, arms, titles });
        self.current.store(Some(Arc::clone(&fleet)));
        fleet
    }

    /// The snapshot in use was still the newest at `at`.
    pub fn confirm(&self, at: Timestamp) {
        self.confirmed.store(at.as_millisecond(), Ordering::Relaxed);
    }

    /// Routes of this generation are in use and were still the newest at `at`.
    pub fn confirm_routes(&self, generation: u64, at: Timestamp) {
        self.metrics.routes_generation.set(generation as f64);
        self.routes_generation.store(generation, Ordering::Relaxed);
        self.routes_confirmed
            .store(at.as_millisecond(), Ordering::Release);
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

fn seconds_since(milliseconds: i64, now: Timestamp) -> f64 {
    (now.as_millisecond() - milliseconds).max(0) as f64 / 1000.0
}
