//! The one place where the fleet changes: database first, then memory, one change at a time.
//!
//! SQLite writes one transaction at a time anyway, so a lock around "decide, write, apply" costs nothing and makes
//! memory and database agree: what a change decided from is still true when it is written, and memory moves only
//! when the transaction is on disk. A change runs in a task of its own: a caller who hangs up cannot leave it half
//! applied.

mod join;
mod plans;
mod refusal;
mod report;
mod titles;

pub use refusal::{Refusal, at_most};
pub use report::check_boot;

use crate::{
    config,
    fleet::Fleet,
    limits,
    metrics::Metrics,
    store::{Store, StoreError},
};
use cdn_types::{
    Hour, OcaId, PlanNumber,
    api::v1::{ApplianceView, DemandRow, Imported, LOST_AFTER_REPORTS, Site, SteeringReport},
    plan::Plan,
    time::Timestamp,
};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, watch};

/// How far back demand counts as a title's heat.
const HOURS_OF_A_DAY: i64 = 24;

/// What only the change whose turn it is may look at.
struct Turn {
    /// Highest number ever published.
    highest: Option<PlanNumber>,
}

/// The fleet in the database and in memory.
pub struct Registry {
    store: Store,
    metrics: Arc<Metrics>,
    report_seconds: u64,
    started: Instant,
    turn: Mutex<Turn>,
    fleet: RwLock<Fleet>,
    generation: watch::Sender<u64>,
    active: watch::Sender<Option<Arc<Plan>>>,
}

impl Registry {
    /// Reads the fleet from the database. Appliances that were not lost get a whole term of patience anew.
    pub async fn open(
        store: Store,
        metrics: Arc<Metrics>,
        report_seconds: u64,
        first_generation: u64,
    ) -> Result<Arc<Self>, StoreError> {
        let mut fleet = Fleet::new(first_generation);
        for site in store.sites().await? {
            fleet.put_site(site);
        }
        fleet.set_titles(store.titles().await?, &store.known_objects().await?);
        let mut held: HashMap<OcaId, Vec<_>> = HashMap::new();
        for (appliance, object) in store.holdings().await? {
            held.entry(appliance).or_default().push(object);
        }
        for row in store.appliances().await? {
            let held = held.remove(&row.id).unwrap_or_default();
            fleet.restore(row, &held, Duration::ZERO);
        }
        let plans = store.plans().await?;
        let active = match plans.iter().find(|p| p.active) {
            Some(summary) => store.plan(summary.number).await?.map(Arc::new),
            None => None,
        };
        Ok(Arc::new(Self {
            report_seconds,
            metrics,
            started: Instant::now(),
            turn: Mutex::new(Turn {
                highest: plans.iter().map(|p| p.number).max(),
            }),
            generation: watch::Sender::new(fleet.generation()),
            fleet: RwLock::new(fleet),
            active: watch::Sender::new(active),
            store,
        }))
    }

    /// The database, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The fleet as it is now; hold it for no await.
    pub fn fleet(&self) -> RwLockReadGuard<'_, Fleet> {
        self.fleet.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes when the fleet's generation grows.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// The active plan; wakes when another becomes active.
    pub fn active_plan(&self) -> watch::Receiver<Option<Arc<Plan>>> {
        self.active.subscribe()
    }

    /// Changes memory, after the database, and wakes who waits for news.
    fn apply<T>(&self, edit: impl FnOnce(&mut Fleet) -> T) -> T {
        let (result, generation) = {
            let mut fleet = self.fleet.write().unwrap_or_else(PoisonError::into_inner);
            (edit(&mut fleet), fleet.generation())
        };
        self.generation.send_if_modified(|told| {
            let news = *told != generation;
            *told = generation;
            news
        });
        result
    }

    fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Adds or replaces a site.
    pub async fn put_site(self: &Arc<Self>, site: Site) -> Result<Site, Refusal> {
        at_most("prefixes", limits::SITE_PREFIXES, site.prefixes.len())?;
        if let Some(prefix) = site.prefixes.iter().find(|p| p.trunc() != **p) {
            return Err(Refusal::HostBits(*prefix));
        }
        self.unbroken(|this| async move {
            let _turn = this.turn.lock().await;
            this.store.put_site(&site).await?;
            this.apply(|fleet| fleet.put_site(site.clone()));
            Ok(site)
        })
        .await
    }

    /// Sets whether the operator wants an appliance drained.
    pub async fn set_drain(self: &Arc<Self>, id: OcaId, drain: bool) -> Result<ApplianceView, Refusal> {
        self.unbroken(move |this| async move {
            let _turn = this.turn.lock().await;
            if this.fleet().appliance(&id).is_none() {
                return Err(Refusal::NoAppliance(id));
            }
            this.store.set_drain(&id, drain).await?;
            this.apply(|fleet| {
                fleet.set_drain(&id, drain);
                fleet.view(&id)
            })
            .ok_or(Refusal::NoAppliance(id))
        })
        .await
    }

    /// Notes which appliances have missed [`LOST_AFTER_REPORTS`] reports.
    pub async fn find_lost(self: &Arc<Self>) -> Result<(), Refusal> {
        let patience = Duration::from_secs(self.report_seconds * LOST_AFTER_REPORTS);
        if self.fleet().overdue(self.uptime(), patience).is_empty() {
            return Ok(());
        }
        self.unbroken(move |this| async move {
            let _turn = this.turn.lock().await;
            let lost = this.fleet().overdue(this.uptime(), patience);
            this.store.set_lost(&lost).await?;
            for id in &lost {
                tracing::warn!(appliance = %id, "lost: it has missed its reports");
                this.apply(|fleet| fleet.set_lost(id));
            }
            Ok(())
        })
        .await
    }

    /// Tells steering what was drawn of each title in the day before `hour`.
    pub async fn note_demand(self: &Arc<Self>, hour: Hour) -> Result<(), Refusal> {
        self.unbroken(move |this| async move {
            let drawn = this.store.object_bytes(Hour(hour.0 - HOURS_OF_A_DAY)).await?;
            this.apply(|fleet| fleet.set_demand(&drawn));
            Ok(())
        })
        .await
    }

    /// Takes in history.
    pub async fn import_demand(self: &Arc<Self>, rows: Vec<DemandRow>) -> Result<Imported, Refusal> {
        at_most("rows", limits::IMPORT_ROWS, rows.len())?;
        if let Some(row) = rows
            .iter()
            .position(|r| r.requests.max(r.bytes.0) > limits::COUNT_MAX)
        {
            return Err(Refusal::CountTooLarge(row));
        }
        self.unbroken(|this| async move {
            this.store.import_demand(&rows).await?;
            Ok(Imported {
                rows: rows.len() as u64,
            })
        })
        .await
    }

    /// Takes in a steering service's counters; those of hours that cannot be are left out.
    pub async fn steering_report(self: &Arc<Self>, mut report: SteeringReport) -> Result<(), Refusal> {
        at_most("counts", limits::STEERING_COUNTS, report.counts.len())?;
        check_boot(&report.boot)?;
        let now = Hour::of(Timestamp::now());
        report.counts.retain(|count| report::is_recent(count.hour, now));
        for count in &mut report.counts {
            count.sessions = count.sessions.min(limits::COUNT_MAX);
        }
        self.unbroken(|this| async move { Ok(this.store.write_steering(&report).await?) })
            .await
    }

    /// Runs a change to its end, whatever becomes of the caller.
    async fn unbroken<T, F, W>(self: &Arc<Self>, work: W) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Refusal>> + Send + 'static,
        W: FnOnce(Arc<Self>) -> F,
    {
        let task = tokio::spawn(work(Arc::clone(self)));
        task.await.unwrap_or(Err(Refusal::Interrupted))
    }
}

/// Checks an appliance's address as it will stand in manifests and plans.
fn checked_address(text: &str) -> Result<String, Refusal> {
    config::base_url(text).map_err(|why| Refusal::Address {
        text: text.chars().take(limits::TEXT).collect(),
        why,
    })
}
