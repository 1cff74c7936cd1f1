//! The execution of one plan part: its tasks and what they tell. A new plan ends the job and starts another; what
//! was verified stays on the disk and is found again.

use super::{
    FillContext, FillRateCap, fetch,
    open::{self, Opened, Unopened},
};
use crate::{
    report::conditions,
    store::{Store, layout, partial::Partial},
};
use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, PlanNumber,
    api::v1::{FillState, FillStatus},
    plan::{AppliancePlan, FillSource, PlanItem, SourceKind},
    time::Timestamp,
};
use oca_core::fill::{End, Fetch, Fill, FlightId, Hindrance, Limits, Sealed, Step, Wanted};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

/// Most blocks (1 MiB) of one range request: long enough that its latency does not count, short enough that several
/// sources share a large object.
const RANGE_BLOCKS: u32 = 8;
/// A pause shorter than this is part of filling and not shown as a stop.
const SHORT_PAUSE: Duration = Duration::from_secs(2);

/// What a task of a job tells.
#[derive(Debug)]
pub struct Event {
    plan: PlanNumber,
    what: What,
}

#[derive(Debug)]
enum What {
    Opened(usize, Result<Opened, Unopened>),
    Verified(FlightId, u32),
    Ended(FlightId, fetch::Outcome),
    Sealed(usize, io::Result<Sealed>),
}

/// One plan part being executed.
#[derive(Debug)]
pub struct Job {
    context: FillContext,
    cap: FillRateCap,
    number: PlanNumber,
    part: AppliancePlan,
    /// Index into the part's items of each wanted object; an object is wanted once, however many paths it has.
    items: Vec<usize>,
    by_digest: HashMap<ObjectDigest, usize>,
    fill: Fill,
    hindrance: Option<(Hindrance, Duration)>,
    why: String,
    partials: HashMap<usize, Arc<Partial>>,
    flights: BTreeMap<FlightId, (Fetch, AbortHandle)>,
    events: mpsc::Sender<Event>,
    fetches: JoinSet<()>,
    /// Opening and sealing: never aborted, for they change the disk.
    disk: JoinSet<()>,
    done: bool,
}

impl Job {
    /// Takes up a part: its paths are served from now on as far as their objects are held.
    pub async fn start(
        context: FillContext,
        cap: FillRateCap,
        number: PlanNumber,
        part: &AppliancePlan,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let part = part.clone();
        let drops: Vec<_> = part.drops.iter().map(|d| d.digest).collect();
        let listed = part.items.clone();
        if let Err(e) = open::off_runtime(&context.store, move |s| s.adopt(&listed, &drops)).await {
            context.conditions.set(conditions::DISK_ERROR, e.to_string());
        }
        let (mut items, mut by_digest, mut wanted) = (Vec::new(), HashMap::new(), Vec::new());
        for (index, item) in part.items.iter().enumerate() {
            if by_digest.contains_key(&item.digest) {
                continue;
            }
            by_digest.insert(item.digest, items.len());
            items.push(index);
            wanted.push(Wanted {
                size: item.size,
                from: item.from.clone(),
                held: context.store.offers(&item.digest),
            });
        }
        let limits = Limits {
            parallel: context.parallel,
            range_blocks: RANGE_BLOCKS,
        };
        let fill = Fill::new(wanted, part.sources.len(), limits);
        let job = Self {
            context,
            cap,
            number,
            items,
            by_digest,
            fill,
            hindrance: None,
            why: String::new(),
            partials: HashMap::new(),
            flights: BTreeMap::new(),
            events,
            fetches: JoinSet::new(),
            disk: JoinSet::new(),
            done: false,
            part,
        };
        let p = job.fill.progress();
        tracing::info!(plan = %number, held = p.objects_done, objects = p.objects_total, missing = %Bytes(p.bytes_total.0 - p.bytes_done.0), "executing plan");
        job
    }

    /// Ends the job: fetches are cut off, work on the disk is waited for, and what they tell is thrown away.
    pub async fn cancel(mut self, inbox: &mut mpsc::Receiver<Event>) {
        self.fetches.shutdown().await;
        loop {
            tokio::select! {
                ended = self.disk.join_next() => if ended.is_none() { return },
                _ = inbox.recv() => {}
            }
        }
    }

    /// Whether a message is of this job.
    pub fn is_from(&self, event: &Event) -> bool {
        event.plan == self.number
    }

    /// The plan that it executes.
    pub fn number(&self) -> PlanNumber {
        self.number
    }

    fn item(&self, index: usize) -> &PlanItem {
        &self.part.items[self.items[index]]
    }

    fn partial(&self, index: usize) -> Arc<Partial> {
        let partial = self.partials.get(&index);
        partial
            .expect("an object is fetched and sealed after it was opened")
            .clone()
    }

    /// Starts what can be started; answers how long nothing else is to be done.
    pub async fn advance(&mut self, now: Duration) -> Duration {
        while self.fetches.try_join_next().is_some() {}
        while self.disk.try_join_next().is_some() {}
        let open = self.part.window.is_open(Timestamp::now());
        if !open {
            self.land_all(now);
        }
        loop {
            self.hindrance = None;
            match self.fill.poll(now, open) {
                Step::Open(item) => self.open(item),
                Step::Fetch(fetch) => self.fetch(fetch),
                Step::Seal(item) => self.seal(item),
                Step::Busy(until) => return until.saturating_sub(now),
                Step::Blocked(until, why) => {
                    self.hindrance = Some((why, until));
                    return until.saturating_sub(now);
                }
                Step::Done => {
                    self.finish().await;
                    return Duration::MAX;
                }
            }
        }
    }

    /// The window has closed: what is on its way is cut off.
    fn land_all(&mut self, now: Duration) {
        let flights = std::mem::take(&mut self.flights);
        for (flight, (_, task)) in &flights {
            task.abort();
            self.fill.ended(*flight, now, End::Cancelled);
        }
        // What was written and not yet told counts.
        for item in flights.values().map(|(fetch, _)| fetch.item) {
            if let Some(partial) = self.partials.get(&item) {
                self.fill.opened(item, partial.verified());
            }
        }
    }

    fn open(&mut self, index: usize) {
        let (context, events) = (self.context.clone(), self.events.clone());
        let (plan, digest, size) = (self.number, self.item(index).digest, self.item(index).size);
        self.disk.spawn(async move {
            let opened = open::open(&context.store, &context.control, digest, size).await;
            let what = What::Opened(index, opened);
            let _ = events.send(Event { plan, what }).await; // nobody listens when the process ends
        });
    }

    fn seal(&mut self, index: usize) {
        let partial = self.partial(index);
        let (context, events, plan) = (self.context.clone(), self.events.clone(), self.number);
        self.disk.spawn(async move {
            let sealed = open::off_runtime(&context.store, move |s| s.seal(&partial)).await;
            let what = What::Sealed(index, sealed);
            let _ = events.send(Event { plan, what }).await; // as above
        });
    }

    fn fetch(&mut self, fetch: Fetch) {
        let source = &self.part.sources[usize::from(fetch.source)];
        let order = fetch::Order {
            url: format!("{}{}", source.base_url, self.item(fetch.item).path),
            blocks: fetch.blocks.clone(),
            partial: self.partial(fetch.item),
        };
        tracing::debug!(url = %order.url, blocks = ?order.blocks, "fetching");
        let (fetcher, cap, events) = (
            self.context.fetcher.clone(),
            self.cap.clone(),
            self.events.clone(),
        );
        let (plan, flight) = (self.number, fetch.flight);
        let task = self.fetches.spawn(async move {
            let (verified, mut blocks) = mpsc::channel(1);
            let forward = async {
                while let Some(block) = blocks.recv().await {
                    let what = What::Verified(flight, block);
                    let _ = events.send(Event { plan, what }).await; // nobody listens when the job ends
                }
            };
            let work = async {
                let verified = verified;
                fetch::fetch(&fetcher, &cap, &order, &verified).await
            };
            let (outcome, ()) = tokio::join!(work, forward);
            let what = What::Ended(flight, outcome);
            let _ = events.send(Event { plan, what }).await; // as above
        });
        self.flights.insert(flight, (fetch, task));
    }

    /// Takes in what a task tells; answers whether a source was found corrupt.
    pub fn hear(&mut self, event: Event, now: Duration) -> bool {
        match event.what {
            What::Opened(item, result) => self.heard_opened(item, result, now),
            What::Verified(flight, block) => self.heard_verified(flight, block),
            What::Ended(flight, outcome) => return self.heard_ended(flight, &outcome, now),
            What::Sealed(item, result) => self.heard_sealed(item, result, now),
        }
        false
    }

    fn heard_opened(&mut self, item: usize, result: Result<Opened, Unopened>, now: Duration) {
        match result {
            Ok(Opened::Held) => self.fill.sealed(item, now, &Sealed::Held),
            Ok(Opened::Partial(partial)) => {
                self.context.conditions.clear(conditions::DISK_FULL);
                self.fill.opened(item, partial.verified());
                self.partials.insert(item, partial);
            }
            Err(e) => {
                self.why = e.to_string();
                match &e {
                    Unopened::Full(why) => self.context.conditions.set(conditions::DISK_FULL, why.clone()),
                    Unopened::Disk(e) => self.context.conditions.set(conditions::DISK_ERROR, e.to_string()),
                    Unopened::Mismatch(..) => {
                        self.context
                            .conditions
                            .set(conditions::CATALOGUE_MISMATCH, self.why.clone());
                    }
                    Unopened::NoBlocks(_) => {}
                }
                tracing::warn!(path = %self.item(item).path, error = %e, "cannot open object for filling");
                self.fill.open_failed(item, now, e.kind());
            }
        }
    }

    fn heard_verified(&mut self, flight: FlightId, block: u32) {
        self.fill.block_verified(flight, block);
        if let Some((fetch, _)) = self.flights.get(&flight) {
            let kind = kind_name(self.source(fetch.source).kind);
            self.context
                .metrics
                .counter("oca_fill_blocks_total", &[kind])
                .inc();
        }
    }

    fn source(&self, index: u16) -> &FillSource {
        &self.part.sources[usize::from(index)]
    }

    fn heard_ended(&mut self, flight: FlightId, outcome: &fetch::Outcome, now: Duration) -> bool {
        self.fill.ended(flight, now, outcome.end);
        let Some((fetch, _)) = self.flights.remove(&flight) else {
            return false;
        };
        if outcome.end == End::Complete {
            return false;
        }
        let source = self.source(fetch.source);
        let (kind, from, path) = (
            kind_name(source.kind),
            &source.base_url,
            &self.item(fetch.item).path,
        );
        tracing::warn!(source = %from, %path, why = %outcome.why, "fetch failed");
        self.context
            .metrics
            .counter("oca_fill_failures_total", &[kind, end_name(outcome.end)])
            .inc();
        let detail = format!("{from} for {path}: {}", outcome.why);
        let conditions = &self.context.conditions;
        match outcome.end {
            End::Corrupt => conditions.set(conditions::SOURCE_CORRUPT, detail.clone()),
            End::Full => conditions.set(conditions::DISK_FULL, outcome.why.clone()),
            End::DiskFailed => conditions.set(conditions::DISK_ERROR, outcome.why.clone()),
            _ => {}
        }
        self.why = detail;
        outcome.end == End::Corrupt
    }

    fn heard_sealed(&mut self, item: usize, result: io::Result<Sealed>, now: Duration) {
        let (digest, path) = (self.item(item).digest, self.item(item).path.clone());
        let sealed = result.unwrap_or_else(|e| {
            let kind = if layout::is_full(&e) {
                conditions::DISK_FULL
            } else {
                conditions::DISK_ERROR
            };
            self.context.conditions.set(kind, e.to_string());
            self.why = e.to_string();
            Sealed::Failed
        });
        match &sealed {
            Sealed::Held => tracing::info!(%path, object = %digest.short(), "held"),
            Sealed::Damaged(blocks) => {
                tracing::warn!(%path, ?blocks, "blocks went wrong on the disk: fetching again");
            }
            Sealed::Foreign => {
                self.why = format!("object {digest} is not what its block digests make");
                self.context
                    .conditions
                    .set(conditions::CATALOGUE_MISMATCH, self.why.clone());
            }
            Sealed::Failed => tracing::warn!(%path, why = %self.why, "cannot put object in place"),
        }
        if !matches!(sealed, Sealed::Damaged(_)) {
            self.partials.remove(&item);
        }
        self.fill.sealed(item, now, &sealed);
    }

    /// An object was damaged on its drive or went with it; answers whether it will be fetched again.
    pub fn lost(&mut self, digest: &ObjectDigest) -> bool {
        let item = self.by_digest.get(digest);
        if let Some(item) = item {
            if let Some(void) = self.fill.lost(*item) {
                let void = void.iter().filter_map(|flight| self.flights.remove(flight));
                void.for_each(|(_, task)| task.abort());
                self.partials.remove(item);
            }
            self.done = false;
        }
        item.is_some()
    }

    /// All is held: what the plan does not list goes.
    async fn finish(&mut self) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        for kind in [
            conditions::DISK_FULL,
            conditions::DISK_ERROR,
            conditions::OBJECT_DAMAGED,
        ] {
            self.context.conditions.clear(kind);
        }
        match open::off_runtime(&self.context.store, Store::drop_unlisted).await {
            Ok(dropped) => tracing::info!(plan = %self.number, dropped, "all of the plan is held"),
            Err(e) => self.context.conditions.set(conditions::DISK_ERROR, e.to_string()),
        }
    }

    /// Whether nothing runs: all is held, or something is in the way.
    pub fn is_idle(&self) -> bool {
        self.done || self.hindrance.is_some()
    }

    /// What to show.
    pub fn status(&self, now: Duration) -> FillStatus {
        let p = self.fill.progress();
        let (state, detail) = match self.hindrance {
            None if self.done => (FillState::Done, None),
            None => (FillState::Filling, None),
            Some((Hindrance::Closed, _)) => {
                let opens = self.part.window.next_open(Timestamp::now());
                (
                    FillState::WaitingForWindow,
                    Some(format!("the fill window opens at {opens}")),
                )
            }
            Some((Hindrance::Item(_), until)) if until.saturating_sub(now) < SHORT_PAUSE => {
                (FillState::Filling, None)
            }
            Some((Hindrance::Item(item), _)) => {
                let path = &self.item(item).path;
                (
                    FillState::Stopped,
                    Some(format!("no source gives {path} now; last: {}", self.why)),
                )
            }
            Some((Hindrance::Full, _)) => (FillState::Stopped, Some(self.why.clone())),
        };
        FillStatus {
            state,
            objects_done: p.objects_done,
            objects_total: p.objects_total,
            bytes_done: p.bytes_done,
            bytes_total: p.bytes_total,
            rate: BitsPerSecond(0), // the reporter knows over which time
            detail,
        }
    }
}

fn kind_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Peer => "peer",
        SourceKind::Site => "site",
        SourceKind::Origin => "origin",
    }
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Complete => "complete",
        End::Refused(_) => "refused",
        End::Absent => "absent",
        End::Broken => "broken",
        End::Corrupt => "corrupt",
        End::Full | End::DiskFailed => "disk",
        End::Cancelled => "cancelled",
    }
}
