//! What is to be read from drives, and what is being read: first come, first served within a drive, at most so many reads
//! at once for each, so that a drive that is slow keeps back nobody who reads from another. Reads whose stream is gone are
//! not begun. Who waits for a drive that was given up is told so. One task a worker starts all that was asked for in a turn by one system call and hands out what ended.

use super::{Loan, ReadError, access::Via, engine::Engine};
use crate::{
    drive::{Drive, Oldest},
    files::OpenFile,
    metrics::Metrics,
    sys::{
        arena::{Arena, Size, Span},
        ring::Aim,
    },
};
use nix::errno::Errno;
use prometheus::{Gauge, IntCounter};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, VecDeque},
    fmt, io,
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Most reads of a worker under way on one drive: 6 MiB, enough for 3 GB/s of a drive that takes 2 ms. More waits here
/// rather than there: a drive that answers many at once leaves everybody without bytes, and then itself without work.
const DEPTH: usize = 24;
/// Pause when the kernel took less than it was given.
const PAUSE: Duration = Duration::from_millis(1);

/// Where a stream waits for one piece.
#[derive(Debug)]
pub struct Ticket(RefCell<State>);

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Done(Result<Loan, ReadError>),
}

impl Default for Ticket {
    fn default() -> Self {
        Self(RefCell::new(State::Waiting(None)))
    }
}

impl Ticket {
    /// What was read, once.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Result<Loan, ReadError>> {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut *state, State::Waiting(Some(cx.waker().clone()))) {
            State::Done(result) => Poll::Ready(result),
            State::Waiting(_) => Poll::Pending,
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(*self.0.borrow(), State::Waiting(_))
    }

    fn done(&self, result: Result<Loan, ReadError>) {
        let before = self.0.replace(State::Done(result));
        if let State::Waiting(Some(waker)) = before {
            waker.wake();
        }
    }
}

/// One piece that is wanted.
pub struct Demand {
    ticket: Rc<Ticket>,
    file: Rc<OpenFile>,
    via: Via,
    /// Offset in the file at which the memory begins.
    start: u64,
    /// What is wanted of the memory.
    wanted: Range<usize>,
    /// Bytes of the memory that are read already.
    got: usize,
    size: Size,
    /// Memory of a read that goes on.
    span: Option<Span>,
    /// Number of its read under way.
    number: u64,
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand")
            .field("start", &self.start)
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl AsFd for Demand {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.access.descriptor(&self.file.file, self.via)
    }
}

impl Demand {
    /// Nothing of it read yet.
    pub fn new(
        ticket: Rc<Ticket>,
        file: Rc<OpenFile>,
        via: Via,
        start: u64,
        wanted: Range<usize>,
        size: Size,
    ) -> Self {
        Self {
            ticket,
            file,
            via,
            start,
            wanted,
            got: 0,
            size,
            span: None,
            number: 0,
        }
    }

    /// What the next read of it is.
    pub fn aim(&self) -> Aim {
        let alignment = self.file.access.alignment(self.via) as usize;
        let skip = self.got / alignment * alignment;
        Aim {
            offset: self.start + skip as u64,
            skip,
            len: (self.wanted.end - skip).next_multiple_of(alignment),
            flags: self.via.flags(),
            may_wait: !self.file.access.prompt,
        }
    }

    fn is_wanted(&self) -> bool {
        Rc::strong_count(&self.ticket) > 1
    }
}

#[derive(Debug)]
struct Lane {
    device: u64,
    drive: Option<(Arc<Drive>, Arc<Oldest>)>,
    waiting: VecDeque<Demand>,
    /// Reads under way by their number, which grows: since when, and who waits.
    flying: BTreeMap<u64, (Instant, Weak<Ticket>)>,
    next: u64,
}

impl Lane {
    fn new(file: &OpenFile) -> Self {
        let drive = file.access.drive.as_ref();
        Self {
            device: file.access.device,
            drive: drive.map(|d| (Arc::clone(d), d.reader())),
            waiting: VecDeque::new(),
            flying: BTreeMap::new(),
            next: 0,
        }
    }

    fn is_of(&self, file: &OpenFile) -> bool {
        match (&self.drive, &file.access.drive) {
            (Some((mine, _)), Some(its)) => Arc::ptr_eq(mine, its),
            (None, None) => self.device == file.access.device,
            _ => false,
        }
    }

    fn begins(&mut self, number: u64, ticket: Weak<Ticket>) {
        self.flying.insert(number, (Instant::now(), ticket));
        if let Some((drive, _)) = &self.drive {
            drive.begins();
        }
        self.tell_oldest();
    }

    fn ends(&mut self, number: u64, failed: bool) {
        let Some((began, _)) = self.flying.remove(&number) else {
            return;
        };
        if let Some((drive, _)) = &self.drive {
            drive.ends(began.elapsed());
            if failed {
                drive.failed();
            }
        }
        self.tell_oldest();
    }

    fn tell_oldest(&self) {
        if let Some((drive, oldest)) = &self.drive {
            drive.set_oldest(
                oldest,
                self.flying.first_key_value().map(|(_, (began, _))| *began),
            );
        }
    }

    /// Tells everybody who waits for a drive that was given up.
    fn clear_if_given_up(&mut self) {
        if !self.drive.as_ref().is_some_and(|(d, _)| d.is_given_up()) {
            return;
        }
        let waiting = self.waiting.drain(..).map(|demand| demand.ticket);
        let flying = self.flying.values().filter_map(|(_, ticket)| ticket.upgrade());
        for ticket in waiting.chain(flying) {
            if ticket.is_waiting() {
                ticket.done(Err(io::Error::other("its drive was given up").into()));
            }
        }
    }
}

/// The reads of a worker; see the module.
#[derive(Debug)]
pub struct Queue {
    arena: Rc<Arena>,
    lanes: RefCell<Vec<Lane>>,
    /// Notified when something was asked for, or memory came back.
    wake: Rc<Notify>,
    bytes: HashMap<Via, IntCounter>,
    waiting: Gauge,
    shown: Cell<usize>,
}

impl Queue {
    /// Nothing asked for yet; memory for at most `memory` bytes.
    pub fn new(memory: usize, metrics: &Metrics) -> Self {
        let wake = Rc::<Notify>::default();
        let counter = |via: Via| (via, metrics.counter("oca_drive_read_bytes_total", &[via.name()]));
        Self {
            arena: Rc::new(Arena::new(memory, Rc::clone(&wake))),
            lanes: RefCell::default(),
            wake,
            bytes: [Via::Direct, Via::Passing, Via::Cached]
                .map(counter)
                .into_iter()
                .collect(),
            waiting: metrics.gauge("oca_drive_reads_waiting", &[]),
            shown: Cell::new(0),
        }
    }

    /// The memory that is read into.
    pub fn arena(&self) -> &Rc<Arena> {
        &self.arena
    }

    /// Whether memory is short.
    pub fn is_scarce(&self) -> bool {
        self.arena.is_scarce()
    }

    /// Whether memory and the file's drive have room for reads that nobody waits for yet.
    pub fn has_room(&self, file: &OpenFile) -> bool {
        let lanes = self.lanes.borrow();
        let lane = lanes.iter().find(|l| l.is_of(file));
        !self.is_scarce() && lane.is_none_or(|l| l.waiting.len() + l.flying.len() < DEPTH)
    }

    /// Asks for a piece.
    pub fn add(&self, demand: Demand) {
        let file = Rc::clone(&demand.file);
        self.with_lane(&file, |lane| {
            lane.waiting.push_back(demand);
            lane.clear_if_given_up();
        });
        self.wake.notify_one();
    }

    fn with_lane<T>(&self, file: &OpenFile, act: impl FnOnce(&mut Lane) -> T) -> T {
        let mut lanes = self.lanes.borrow_mut();
        let at = lanes.iter().position(|l| l.is_of(file)).unwrap_or_else(|| {
            lanes.push(Lane::new(file));
            lanes.len() - 1
        });
        act(&mut lanes[at])
    }

    /// Tells everybody who waits for a drive that was given up; to be called now and then.
    pub fn look_after(&self) {
        for lane in self.lanes.borrow_mut().iter_mut() {
            lane.clear_if_given_up();
        }
    }

    /// Runs the reads until the task is aborted.
    pub async fn run(self: Rc<Self>, mut engine: Engine) {
        loop {
            while let Some((demand, span, result)) = engine.reap() {
                self.landed(demand, span, result);
            }
            self.start(&mut engine);
            if engine.submit() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            engine.wait(&self.wake).await;
        }
    }

    /// Begins what drives and memory have room for.
    fn start(&self, engine: &mut Engine) {
        let mut lanes = self.lanes.borrow_mut();
        if !lanes.is_empty() {
            lanes.rotate_left(1); // memory that comes back goes to another drive's reads each time
        }
        'lanes: for lane in lanes.iter_mut() {
            while lane.flying.len() < DEPTH
                && let Some(mut demand) = lane.waiting.pop_front()
            {
                if !demand.is_wanted() {
                    continue;
                }
                let span = demand.span.take().or_else(|| self.arena.take(demand.size));
                let Some(span) = span else {
                    lane.waiting.push_front(demand); // memory that comes back wakes us
                    break 'lanes;
                };
                count_filling(&demand, 1);
                demand.number = lane.next;
                lane.next += 1;
                let (number, ticket) = (demand.number, Rc::downgrade(&demand.ticket));
                if let Err((mut demand, span)) = engine.push(demand, span) {
                    count_filling(&demand, -1);
                    demand.span = Some(span);
                    lane.waiting.push_front(demand);
                    break 'lanes;
                }
                lane.begins(number, ticket);
            }
        }
        let waiting = lanes.iter().map(|lane| lane.waiting.len()).sum::<usize>();
        let shown = self.shown.replace(waiting);
        if shown != waiting {
            self.waiting.add(waiting as f64 - shown as f64); // the gauge is all workers'
        }
    }

    fn landed(&self, mut demand: Demand, span: Span, result: io::Result<usize>) {
        count_filling(&demand, -1);
        let file = Rc::clone(&demand.file);
        let errno = |e: &io::Error| e.raw_os_error().map(Errno::from_raw);
        let failed = result.as_ref().is_err_and(|e| errno(e) == Some(Errno::EIO));
        self.with_lane(&file, |lane| lane.ends(demand.number, failed));
        if !demand.is_wanted() || !demand.ticket.is_waiting() {
            return;
        }
        let verdict = match result {
            Ok(n) => {
                self.bytes[&demand.via].inc_by(n as u64);
                demand
                    .file
                    .access
                    .filled
                    .set(demand.via == Via::Cached || demand.file.access.filled.get());
                let got = demand.aim().skip + n;
                if got >= demand.wanted.end {
                    Some(Ok(()))
                } else if got > demand.got {
                    demand.got = got; // it goes on from there
                    None
                } else {
                    Some(Err(ReadError::Short))
                }
            }
            Err(e) => match errno(&e) {
                Some(Errno::EAGAIN | Errno::EINTR) => None,
                Some(Errno::EINVAL | Errno::EOPNOTSUPP) => match demand.file.access.refused(demand.via) {
                    Some(next) => {
                        demand.via = next;
                        None
                    }
                    None => Some(Err(e.into())),
                },
                _ => Some(Err(e.into())),
            },
        };
        match verdict {
            Some(Ok(())) => {
                let loan = Loan::of_span(span, demand.wanted.clone());
                demand.ticket.done(Ok(loan));
            }
            Some(Err(error)) => demand.ticket.done(Err(error)),
            None => {
                demand.span = Some(span);
                self.with_lane(&file, |lane| lane.waiting.push_front(demand));
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for lane in self.lanes.get_mut() {
            let numbers: Vec<u64> = lane.flying.keys().copied().collect();
            numbers.into_iter().for_each(|number| lane.ends(number, false));
        }
        self.waiting.sub(self.shown.get() as f64);
    }
}

fn count_filling(demand: &Demand, change: i32) {
    if demand.via == Via::Cached {
        let filling = &demand.file.access.filling;
        filling.set(filling.get().saturating_add_signed(change));
    }
}
