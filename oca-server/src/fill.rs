//! The fill: executes the plan that was taken, in its window, under its rate cap, and drops what it no longer lists
//! once all is held. What is fetched next and what a failure means is decided by `oca_core::fill`; here are the
//! tasks, the clock and the disk. One task owns all state and hears from the others by messages, so nothing is
//! locked while anything waits.

pub mod fetch;
mod job;
mod open;

use crate::{
    control::Control,
    drain::Drain,
    metrics::Metrics,
    plan_watch::Plans,
    report::conditions::{self, Conditions},
    store::Store,
};
use cdn_types::{
    BitsPerSecond, PlanNumber,
    api::v1::{FillState, FillStatus},
};
use job::{Event, Job};
use oca_core::fill_rate::FillRate;
use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// How often the window and the state shown are looked at while something runs.
const TICK: Duration = Duration::from_secs(1);
/// How often the progress is counted while objects come in.
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Messages that may wait for the fill: a few for each fetch.
const QUEUE: usize = 256;

/// What the fill works with.
#[derive(Debug, Clone)]
pub struct FillContext {
    /// Where objects go.
    pub store: Arc<Store>,
    /// Who knows block digests.
    pub control: Control,
    /// Fetches from sources.
    pub fetcher: fetch::Fetcher,
    /// What is wrong.
    pub conditions: Conditions,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Bytes fetched since the start, for the report's rate.
    pub fetched: Arc<AtomicU64>,
    /// Range requests at the same time.
    pub parallel: usize,
    /// Rate cap of this machine; the plan's may be lower.
    pub rate: BitsPerSecond,
    /// Stops it for a while.
    pub hold: FillHold,
}

/// The rate cap that all fetches share.
#[derive(Debug, Clone)]
pub struct FillRateCap {
    bucket: Arc<Mutex<FillRate>>,
    start: Instant,
    fetched: Arc<AtomicU64>,
}

impl FillRateCap {
    fn new(rate: BitsPerSecond, fetched: Arc<AtomicU64>) -> Self {
        Self {
            bucket: Arc::new(Mutex::new(FillRate::new(rate, Duration::ZERO))),
            start: Instant::now(),
            fetched,
        }
    }

    fn set_rate(&self, rate: BitsPerSecond) {
        self.bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_rate(rate);
    }

    /// Counts bytes that were read and waits as long as the cap asks for.
    async fn pace(&self, bytes: u64) {
        self.fetched
            .fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        let pause = {
            let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.take(self.start.elapsed(), bytes)
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// The switch by which the fill leaves the folder to another process for a while.
#[derive(Debug, Clone, Default)]
pub struct FillHold {
    wanted: watch::Sender<bool>,
    held: watch::Sender<bool>,
}

impl FillHold {
    /// Resolves when nothing is written any more.
    pub async fn pause(&self) {
        self.wanted.send_replace(true);
        let mut held = self.held.subscribe();
        let _ = held.wait_for(|held| *held).await; // the sender lives in self
    }

    /// The fill goes on.
    pub fn resume(&self) {
        self.wanted.send_replace(false);
    }

    async fn is_wanted(&self, on: bool) {
        let mut wanted = self.wanted.subscribe();
        let _ = wanted.wait_for(|wanted| *wanted == on).await; // as above
    }

    async fn stay(&self) {
        self.held.send_replace(true);
        self.is_wanted(false).await;
        self.held.send_replace(false);
    }
}

/// What the fill shows: the state always belongs to the plan beside it.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The plan that is executed.
    pub plan: Option<PlanNumber>,
    /// How it goes.
    pub status: FillStatus,
}

/// The task that fills.
#[derive(Debug)]
pub struct Filler {
    context: FillContext,
    cap: FillRateCap,
    status: watch::Sender<Shown>,
    start: Instant,
    shown: Option<Instant>,
    corrupt_since: Option<Instant>,
}

impl Filler {
    /// A filler and what it shows.
    pub fn new(context: FillContext) -> (Self, watch::Receiver<Shown>) {
        let (status, shown) = watch::channel(Shown::default());
        let cap = FillRateCap::new(context.rate, context.fetched.clone());
        let filler = Self {
            context,
            cap,
            status,
            start: Instant::now(),
            shown: None,
            corrupt_since: None,
        };
        (filler, shown)
    }

    /// Fills until the process ends. What was verified by then is on the disk.
    pub async fn run(mut self, plans: &Plans, drain: Drain) {
        let (events, mut inbox) = mpsc::channel(QUEUE);
        let mut offered = plans.subscribe();
        offered.mark_changed();
        let mut job: Option<Job> = None;
        let hold = self.context.hold.clone();
        loop {
            let wait = match &mut job {
                Some(job) => self.step(job).await,
                None => TICK,
            };
            tokio::select! {
                changed = offered.changed() => {
                    let part = offered.borrow_and_update().clone();
                    if let (Ok(()), Some(part)) = (changed, part) {
                        if let Some(old) = job.take() {
                            old.cancel(&mut inbox).await;
                        }
                        job = self.take_up(&part, events.clone()).await;
                    }
                }
                Some(event) = inbox.recv() => self.hear(&mut job, event),
                () = self.context.store.suspected() => self.inspect(&mut job).await,
                () = tokio::time::sleep(wait) => {}
                () = hold.is_wanted(true) => {
                    if let Some(job) = job.take() {
                        job.cancel(&mut inbox).await;
                    }
                    tokio::select! {
                        () = hold.stay() => offered.mark_changed(),
                        () = drain.stopped() => break,
                    }
                }
                () = drain.stopped() => break,
            }
        }
        if let Some(job) = job {
            job.cancel(&mut inbox).await;
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Makes a plan part the one that is executed; none if it has no part for us.
    async fn take_up(
        &mut self,
        plan: &Arc<cdn_types::api::v1::PlanPart>,
        events: mpsc::Sender<Event>,
    ) -> Option<Job> {
        self.context
            .metrics
            .gauge("oca_plan_number", &[])
            .set(plan.number.0 as f64);
        for kind in [
            conditions::SOURCE_CORRUPT,
            conditions::CATALOGUE_MISMATCH,
            conditions::DISK_FULL,
        ] {
            self.context.conditions.clear(kind);
        }
        let Some(part) = &plan.part else {
            tracing::info!(plan = %plan.number, "the plan has no part for this appliance: it keeps what it has");
            let status = FillStatus {
                state: FillState::Done,
                ..FillStatus::default()
            };
            self.publish(plan.number, status);
            return None;
        };
        self.shown = None;
        self.cap.set_rate(part.fill_rate.min(self.context.rate));
        Some(Job::start(self.context.clone(), self.cap.clone(), plan.number, part, events).await)
    }

    /// Starts what can be started; answers how long nothing else is to be done.
    async fn step(&mut self, job: &mut Job) -> Duration {
        let wait = job.advance(self.now()).await;
        if self
            .corrupt_since
            .is_some_and(|t| t.elapsed() > oca_core::fill::CORRUPT_PAUSE)
        {
            self.corrupt_since = None;
            self.context.conditions.clear(conditions::SOURCE_CORRUPT);
        }
        if job.is_idle() || self.shown.is_none_or(|t| t.elapsed() > SHOW_EVERY) {
            let status = job.status(self.now());
            self.publish(job.number(), status);
            self.shown = Some(Instant::now());
        }
        wait.clamp(Duration::from_millis(10), TICK)
    }

    fn publish(&self, plan: PlanNumber, status: FillStatus) {
        let gauge = |name, value: u64| self.context.metrics.gauge(name, &[]).set(value as f64);
        gauge("oca_fill_plan_bytes", status.bytes_total.0);
        gauge("oca_fill_done_bytes", status.bytes_done.0);
        gauge("oca_fill_plan_objects", status.objects_total);
        gauge("oca_fill_done_objects", status.objects_done);
        gauge("oca_fill_stopped", u64::from(status.state == FillState::Stopped));
        self.status.send_replace(Shown {
            plan: Some(plan),
            status,
        });
    }

    fn hear(&mut self, job: &mut Option<Job>, event: Event) {
        let now = self.now();
        if let Some(job) = job.as_mut().filter(|j| j.is_from(&event)) {
            let corrupt = job.hear(event, now);
            if corrupt {
                self.corrupt_since = Some(Instant::now());
            }
        }
    }

    /// Verifies what the send path could not read, and fetches it again if it is damaged.
    async fn inspect(&mut self, job: &mut Option<Job>) {
        for digest in self.context.store.take_lost() {
            if let Some(job) = job.as_mut() {
                job.lost(&digest);
            }
        }
        for digest in self.context.store.take_suspects() {
            let right = open::off_runtime(&self.context.store, move |s| s.release(&digest)).await;
            match right {
                Ok(true) => {
                    tracing::info!(object = %digest.short(), "suspect object is right after all");
                    continue;
                }
                Ok(false) => {
                    tracing::warn!(object = %digest.short(), "suspect object is damaged; removed");
                    self.context
                        .metrics
                        .counter("oca_objects_damaged_total", &[])
                        .inc();
                }
                Err(e) => self.context.conditions.set(conditions::DISK_ERROR, e.to_string()),
            }
            if job.as_mut().is_some_and(|job| job.lost(&digest)) {
                let detail = format!("object {digest} was damaged on the disk; it is fetched again");
                self.context.conditions.set(conditions::OBJECT_DAMAGED, detail);
            }
        }
    }
}
