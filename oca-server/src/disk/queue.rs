//! What is to be read from drives, and what is being read: first come, first served within a drive, at most so many reads
//! at once for each, so that a drive that is slow keeps back nobody who reads from another. Reads whose stream is gone are
//! not begun. One task a worker starts all that was asked for in a turn by one system call and hands out what ended.

use super::{Loan, ReadError, access::Via, engine::Engine};
use crate::{
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
    collections::{HashMap, VecDeque},
    fmt, io,
    ops::Range,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;

/// Most reads of a worker under way on one drive: of 256 KiB each, as much as saturates an NVMe drive.
const DEPTH: usize = 64;
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
        }
    }

    fn is_wanted(&self) -> bool {
        Rc::strong_count(&self.ticket) > 1
    }
}

#[derive(Debug)]
struct Lane {
    device: u64,
    waiting: VecDeque<Demand>,
    flying: usize,
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
        let lane = lanes.iter().find(|l| l.device == file.access.device);
        !self.is_scarce() && lane.is_none_or(|l| l.waiting.len() + l.flying < DEPTH)
    }

    /// Asks for a piece.
    pub fn add(&self, demand: Demand) {
        self.with_lane(demand.file.access.device, |lane| lane.waiting.push_back(demand));
        self.wake.notify_one();
    }

    fn with_lane<T>(&self, device: u64, act: impl FnOnce(&mut Lane) -> T) -> T {
        let mut lanes = self.lanes.borrow_mut();
        let at = lanes.iter().position(|l| l.device == device).unwrap_or_else(|| {
            lanes.push(Lane {
                device,
                waiting: VecDeque::new(),
                flying: 0,
            });
            lanes.len() - 1
        });
        act(&mut lanes[at])
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
            while lane.flying < DEPTH
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
                if let Err((mut demand, span)) = engine.push(demand, span) {
                    count_filling(&demand, -1);
                    demand.span = Some(span);
                    lane.waiting.push_front(demand);
                    break 'lanes;
                }
                lane.flying += 1;
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
        let device = demand.file.access.device;
        self.with_lane(device, |lane| lane.flying -= 1);
        if !demand.is_wanted() {
            return;
        }
        let errno = |e: &io::Error| e.raw_os_error().map(Errno::from_raw);
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
                self.with_lane(device, |lane| lane.waiting.push_front(demand));
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.waiting.sub(self.shown.get() as f64);
    }
}

fn count_filling(demand: &Demand, change: i32) {
    if demand.via == Via::Cached {
        let filling = &demand.file.access.filling;
        filling.set(filling.get().saturating_add_signed(change));
    }
}
