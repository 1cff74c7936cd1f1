//! The fill's decisions: which blocks of which object are fetched next, from which source, and when to try again.
//!
//! The plan leaves the executor no choice of what and in which order: items are worked on in the plan's order, each
//! from the best ranked source that is fit at the moment. What is decided here is only how failures are met:
//!
//! - A source that refuses (429), breaks off or cannot be reached pauses for every object, twice as long each time.
//! - A source that lacks an object (404), or sent one wrong block of it, is passed over for that object only.
//! - An object that no source can give now is left for later, and the next one in the plan goes on.
//! - A full disk stops everything that needs room until it is tried again; nothing listed is dropped for it.
//!
//! The caller has the sockets, the disk and the clock: it asks [`Fill::poll`] what to do and tells how it went.
//! Times are durations since a start of the caller's choosing.

use crate::fill_blocks::BlockSet;
use cdn_types::{BLOCK_SIZE, Bytes};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

/// First pause of a source that failed; it doubles with every failure in a row.
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause of a source, also when it asks for more by `Retry-After`: a fill window is short.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a source that lacks an object is passed over for it: peers fill at the same time and may get it.
pub const ABSENT_PAUSE: Duration = Duration::from_secs(30);
/// How long a source that sent a wrong block is passed over for that object.
pub const CORRUPT_PAUSE: Duration = Duration::from_secs(600);
/// How long a full disk, or an object that failed on our own side, is left alone.
pub const DISK_PAUSE: Duration = Duration::from_secs(20);

/// Most objects open at once for each parallel fetch, where some of them wait for a source.
const OPEN_PER_FETCH: usize = 4;

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Fetches at the same time.
    pub parallel: usize,
    /// Most blocks (1 MiB) of one fetch.
    pub range_blocks: u32,
}

/// One object to be held.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its size.
    pub size: Bytes,
    /// Indices of its sources, best first.
    pub from: Vec<u16>,
    /// Whether it is held already.
    pub held: bool,
}

/// Names one fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlightId(u64);

/// A range of blocks to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Its name in later calls.
    pub flight: FlightId,
    /// Index of the object.
    pub item: usize,
    /// Index of the source.
    pub source: u16,
    /// Blocks to fetch.
    pub blocks: Range<u32>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make room for the object, learn its block digests and what of it is on the disk; then call
    /// [`Fill::opened`] or [`Fill::open_failed`].
    Open(usize),
    /// Fetch a range; call [`Fill::block_verified`] for each block and at last [`Fill::ended`].
    Fetch(Fetch),
    /// All blocks are there: verify the whole and put it in place; then call [`Fill::sealed`].
    Seal(usize),
    /// Nothing to start before something that runs has ended, or before this time.
    Busy(Duration),
    /// Nothing runs and nothing can be started before this time, for the reason given.
    Blocked(Duration, Hindrance),
    /// Everything is held.
    Done,
}

/// Why nothing can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hindrance {
    /// The disk or the storage budget is full.
    Full,
    /// No source can give this object now, or it failed on our side.
    Item(usize),
    /// The window is closed.
    Closed,
}

/// Why an object could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// No room for it.
    Full,
    /// Its block digests could not be learnt, or the disk failed.
    Failed,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All its blocks were verified and written.
    Complete,
    /// The source is busy (429, 503), perhaps with a `Retry-After`.
    Refused(Option<Duration>),
    /// The source has no such object (404, 410, 403).
    Absent,
    /// Unreachable, broken off, too slow, or an answer that makes no sense.
    Broken,
    /// A block did not match its digest.
    Corrupt,
    /// The disk is full.
    Full,
    /// The disk failed otherwise.
    DiskFailed,
    /// The caller ended it: the window closed or a new plan came.
    Cancelled,
}

/// How sealing an object ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sealed {
    /// Verified, in place, served.
    Held,
    /// These blocks are wrong on the disk and must be fetched again.
    Damaged(Vec<u32>),
    /// Every block matches and the whole does not: the block digests are another object's. Started anew, much later.
    Foreign,
    /// The disk failed: tried again later.
    Failed,
}

#[derive(Debug)]
enum State {
    Missing,
    Opening,
    Open { verified: BlockSet, flying: BlockSet },
    Sealing,
    Held,
}

#[derive(Debug)]
struct Item {
    size: u64,
    from: Vec<u16>,
    state: State,
    retry_at: Duration,
    /// Sources passed over for this object, and until when.
    shunned: Vec<(u16, Duration)>,
}

#[derive(Debug, Default, Clone)]
struct Source {
    failures: u32,
    retry_at: Duration,
}

#[derive(Debug)]
struct Flight {
    item: usize,
    source: u16,
    blocks: Range<u32>,
}

/// Objects and bytes of a fill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects held.
    pub objects_done: u64,
    /// Objects wanted.
    pub objects_total: u64,
    /// Bytes verified: of held objects, and blocks of others.
    pub bytes_done: Bytes,
    /// Bytes wanted.
    pub bytes_total: Bytes,
}

/// The state of one plan's fill.
#[derive(Debug)]
pub struct Fill {
    limits: Limits,
    items: Vec<Item>,
    sources: Vec<Source>,
    flights: BTreeMap<FlightId, Flight>,
    next_flight: u64,
    full_until: Duration,
    /// Items being opened, fetched or sealed.
    active: BTreeSet<usize>,
    /// Ends of pauses, to know when to look again.
    wakes: BTreeSet<Duration>,
    /// Every item before this one is held.
    first_open: usize,
}

impl Fill {
    /// A fill of `wanted` in its order from `sources` sources (indices in `from` beyond them are ignored).
    pub fn new(wanted: Vec<Wanted>, sources: usize, limits: Limits) -> Self {
        let item = |w: Wanted| Item {
            size: w.size.0,
            from: w.from.into_iter().filter(|s| usize::from(*s) < sources).collect(),
            state: if w.held { State::Held } else { State::Missing },
            retry_at: Duration::ZERO,
            shunned: Vec::new(),
        };
        Self {
            limits: Limits {
                parallel: limits.parallel.max(1),
                range_blocks: limits.range_blocks.max(1),
            },
            items: wanted.into_iter().map(item).collect(),
            sources: vec![Source::default(); sources],
            flights: BTreeMap::new(),
            next_flight: 0,
            full_until: Duration::ZERO,
            active: BTreeSet::new(),
            wakes: BTreeSet::new(),
            first_open: 0,
        }
    }

    /// What to do next at `now`; call it again until it answers other than with something to start. While the window is closed nothing is opened or fetched; what is complete is
    /// still sealed.
    pub fn poll(&mut self, now: Duration, window_open: bool) -> Step {
        while self
            .items
            .get(self.first_open)
            .is_some_and(|i| matches!(i.state, State::Held))
        {
            self.first_open += 1;
        }
        self.wakes.retain(|t| *t > now);
        if let Some(item) = self.complete_item() {
            self.items[item].state = State::Sealing;
            return Step::Seal(item);
        }
        let may_start = window_open && self.running() < self.limits.parallel;
        let started = may_start.then(|| self.start(now)).flatten();
        started.unwrap_or_else(|| self.idle(now, window_open))
    }

    fn complete_item(&self) -> Option<usize> {
        let complete =
            |i: &usize| matches!(&self.items[*i].state, State::Open { verified, .. } if verified.is_full());
        self.active.iter().copied().find(complete)
    }

    fn count_active(&self, state: fn(&State) -> bool) -> usize {
        self.active
            .iter()
            .filter(|i| state(&self.items[**i].state))
            .count()
    }

    fn running(&self) -> usize {
        self.flights.len() + self.count_active(|s| matches!(s, State::Opening))
    }

    fn start(&mut self, now: Duration) -> Option<Step> {
        let may_open = self.may_open(now);
        for index in self.first_open..self.items.len() {
            let item = &self.items[index];
            if item.retry_at > now {
                continue;
            }
            match &item.state {
                State::Open { verified, flying } => {
                    let run = first_run(verified, flying, self.limits.range_blocks);
                    if let (Some(blocks), Some(source)) = (run, self.source_for(item, now)) {
                        return Some(Step::Fetch(self.take_off(index, source, blocks)));
                    }
                }
                State::Missing if may_open && self.source_for(item, now).is_some() => {
                    self.items[index].state = State::Opening;
                    self.active.insert(index);
                    return Some(Step::Open(index));
                }
                _ => {}
            }
        }
        None
    }

    /// Objects are opened one after the other, so that room goes to the plan's first. Those that no source can give
    /// now do not keep the next ones from being opened, up to a limit.
    fn may_open(&self, now: Duration) -> bool {
        let moving = |i: &&usize| match &self.items[**i].state {
            State::Open { flying, .. } => {
                flying.count() > 0 || self.source_for(&self.items[**i], now).is_some()
            }
            _ => true,
        };
        now >= self.full_until
            && self.count_active(|s| matches!(s, State::Opening)) == 0
            && self.active.iter().filter(moving).count() < self.limits.parallel
            && self.active.len() < self.limits.parallel * OPEN_PER_FETCH
    }

    fn take_off(&mut self, item: usize, source: u16, blocks: Range<u32>) -> Fetch {
        let flight = FlightId(self.next_flight);
        self.next_flight += 1;
        if let State::Open { flying, .. } = &mut self.items[item].state {
            blocks.clone().for_each(|b| flying.insert(b));
        }
        self.flights.insert(
            flight,
            Flight {
                item,
                source,
                blocks: blocks.clone(),
            },
        );
        Fetch {
            flight,
            item,
            source,
            blocks,
        }
    }

    /// The best ranked source that is fit for the item.
    fn source_for(&self, item: &Item, now: Duration) -> Option<u16> {
        let shunned = |s: u16| {
            item.shunned
                .iter()
                .any(|(shun, until)| *shun == s && *until > now)
        };
        item.from
            .iter()
            .copied()
            .find(|&s| self.sources[usize::from(s)].retry_at <= now && !shunned(s))
    }

    fn idle(&self, now: Duration, window_open: bool) -> Step {
        if self.first_open == self.items.len() {
            return Step::Done;
        }
        let wake = self.wakes.first().copied().unwrap_or(now + LONGEST_PAUSE);
        let sealing = self.count_active(|s| matches!(s, State::Sealing));
        if self.running() + sealing > 0 {
            Step::Busy(wake)
        } else if !window_open {
            Step::Blocked(wake, Hindrance::Closed)
        } else if self.full_until > now {
            Step::Blocked(wake, Hindrance::Full)
        } else {
            Step::Blocked(wake, Hindrance::Item(self.first_open))
        }
    }

    /// The object is ready to take blocks; `verified` are on the disk already.
    /// While it is sealed, or held, nothing is news.
    pub fn opened(&mut self, item: usize, verified: BlockSet) {
        if !matches!(self.items[item].state, State::Sealing | State::Held) {
            self.take_blocks(item, verified);
        }
    }

    fn take_blocks(&mut self, item: usize, verified: BlockSet) {
        let flying = BlockSet::empty(verified.blocks());
        self.items[item].state = State::Open { verified, flying };
    }

    /// The object could not be opened.
    pub fn open_failed(&mut self, item: usize, now: Duration, error: OpenError) {
        let retry_at = self.wake_at(now + DISK_PAUSE);
        match error {
            OpenError::Full => self.full_until = retry_at,
            OpenError::Failed => self.items[item].retry_at = retry_at,
        }
        self.put_away(item, State::Missing);
    }

    fn wake_at(&mut self, at: Duration) -> Duration {
        self.wakes.insert(at);
        at
    }

    fn put_away(&mut self, item: usize, state: State) {
        self.items[item].state = state;
        self.active.remove(&item);
    }

    /// A block of a fetch was verified and written.
    pub fn block_verified(&mut self, flight: FlightId, block: u32) {
        let Some(item) = self.flights.get(&flight).map(|f| f.item) else {
            return;
        };
        if let State::Open { verified, flying } = &mut self.items[item].state {
            verified.insert(block);
            flying.remove(block);
        }
    }

    /// A fetch ended; its blocks that were not verified will be fetched again.
    pub fn ended(&mut self, flight: FlightId, now: Duration, end: End) {
        let Some(f) = self.flights.remove(&flight) else {
            return;
        };
        if let State::Open { flying, .. } = &mut self.items[f.item].state {
            f.blocks.for_each(|b| flying.remove(b));
        }
        match end {
            End::Complete => self.sources[usize::from(f.source)].failures = 0,
            End::Refused(after) => self.pause_source(f.source, now, after),
            End::Broken => self.pause_source(f.source, now, None),
            End::Absent => self.shun(f.item, f.source, now + ABSENT_PAUSE),
            End::Corrupt => self.shun(f.item, f.source, now + CORRUPT_PAUSE),
            End::Full => {
                self.full_until = self.wake_at(now + DISK_PAUSE);
                self.items[f.item].retry_at = self.full_until;
            }
            End::DiskFailed => self.items[f.item].retry_at = self.wake_at(now + DISK_PAUSE),
            End::Cancelled => {}
        }
    }

    /// Fetches that break off together count as one failure.
    fn pause_source(&mut self, source: u16, now: Duration, asked: Option<Duration>) {
        let s = &mut self.sources[usize::from(source)];
        if s.retry_at > now {
            return;
        }
        let pause = asked.unwrap_or_else(|| FIRST_PAUSE * 2u32.pow(s.failures.min(10)));
        s.retry_at = now + pause.clamp(FIRST_PAUSE, LONGEST_PAUSE);
        s.failures += 1;
        self.wakes.insert(s.retry_at);
    }

    fn shun(&mut self, item: usize, source: u16, until: Duration) {
        let shunned = &mut self.items[item].shunned;
        shunned.retain(|(s, _)| *s != source);
        shunned.push((source, until));
        self.wakes.insert(until);
    }

    /// Sealing ended.
    pub fn sealed(&mut self, item: usize, now: Duration, sealed: &Sealed) {
        match sealed {
            Sealed::Held => self.put_away(item, State::Held),
            Sealed::Damaged(wrong) => {
                let mut verified = BlockSet::full(block_count(self.items[item].size));
                wrong.iter().for_each(|b| verified.remove(*b));
                self.take_blocks(item, verified);
            }
            Sealed::Foreign | Sealed::Failed => {
                let pause = if *sealed == Sealed::Foreign {
                    CORRUPT_PAUSE
                } else {
                    DISK_PAUSE
                };
                self.items[item].retry_at = self.wake_at(now + pause);
                self.put_away(item, State::Missing);
            }
        }
    }

    /// An object was lost, held or half fetched (found damaged, or its drive was given up): it is fetched anew, at once, for
    /// where it goes now may have the room that was missing. Answers which fetches no longer count;
    /// nothing while it is being opened or sealed, for the end of that tells.
    pub fn lost(&mut self, item: usize) -> Option<Vec<FlightId>> {
        if matches!(self.items[item].state, State::Opening | State::Sealing) {
            return None;
        }
        self.put_away(item, State::Missing);
        self.items[item].retry_at = Duration::ZERO;
        self.full_until = Duration::ZERO;
        self.first_open = self.first_open.min(item);
        let void = self.flights.extract_if(.., |_, f| f.item == item);
        Some(void.map(|(flight, _)| flight).collect())
    }

    /// Whether an object is held.
    pub fn is_held(&self, item: usize) -> bool {
        matches!(self.items[item].state, State::Held)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let mut p = Progress::default();
        for item in &self.items {
            p.objects_total += 1;
            p.bytes_total.0 += item.size;
            match &item.state {
                State::Held => {
                    p.objects_done += 1;
                    p.bytes_done.0 += item.size;
                }
                State::Open { verified, .. } => p.bytes_done.0 += verified_bytes(verified, item.size),
                State::Sealing => p.bytes_done.0 += item.size,
                State::Missing | State::Opening => {}
            }
        }
        p
    }
}

/// Number of blocks of an object of `size` bytes.
pub fn block_count(size: u64) -> u32 {
    u32::try_from(size.div_ceil(BLOCK_SIZE)).unwrap_or(u32::MAX)
}

/// Byte range of blocks of an object of `size` bytes.
pub fn byte_range(blocks: &Range<u32>, size: u64) -> Range<u64> {
    let at = |block: u32| (u64::from(block) * BLOCK_SIZE).min(size);
    at(blocks.start)..at(blocks.end)
}

fn verified_bytes(verified: &BlockSet, size: u64) -> u64 {
    let full = u64::from(verified.count()) * BLOCK_SIZE;
    let short_last = verified
        .blocks()
        .checked_sub(1)
        .is_some_and(|last| verified.contains(last));
    let missing_of_last = u64::from(verified.blocks()) * BLOCK_SIZE - size;
    full - if short_last { missing_of_last } else { 0 }
}

/// The first blocks in a row that are neither there nor on their way, at most `most`.
fn first_run(verified: &BlockSet, flying: &BlockSet, most: u32) -> Option<Range<u32>> {
    let missing = |b: &u32| !verified.contains(*b) && !flying.contains(*b);
    let start = (0..verified.blocks()).find(missing)?;
    let end = (start..verified.blocks())
        .take(most as usize)
        .take_while(missing)
        .last()?;
    Some(start..end + 1)
}

#[cfg(test)]
mod tests;
