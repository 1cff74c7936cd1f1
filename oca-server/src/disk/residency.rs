//! What of a file is in memory, so that `sendfile` never waits for a drive. `cachestat` says it in one call and touches
//! nothing; older kernels, and file systems whose pages it does not see, are asked by reads that do not wait, which makes the
//! kernel read ahead what is missing. What was seen is believed for a moment: hot files cost a call now and then, not one a
//! request. A file system that can do neither counts as cold.

use crate::{files::OpenFile, sys::cache};
use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, IoSliceMut},
    ops::Range,
    time::{Duration, Instant},
};

/// How long what was seen is believed: the kernel drops what was not used for longest, and this was just used.
const BELIEF: Duration = Duration::from_millis(100);
/// Bytes that are asked for, and believed, together.
const BLOCK: u64 = 1 << 20;
/// Fineness of the answer when a part is missing.
const FINE: u64 = 64 << 10;
/// Bytes that one asking read takes.
const SCRATCH: usize = 256 << 10;

/// Blocks of a file that were in memory a moment ago.
#[derive(Debug, Default)]
pub struct Seen {
    since: Option<Instant>,
    blocks: Vec<u64>,
}

impl Seen {
    fn expire(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.duration_since(since) > BELIEF) {
            self.blocks.fill(0);
            self.since = Some(now);
        }
    }

    fn has(&self, block: u64) -> bool {
        let word = self.blocks.get((block / 64) as usize);
        word.is_some_and(|word| word >> (block % 64) & 1 == 1)
    }

    fn add(&mut self, blocks: Range<u64>) {
        let words = (blocks.end as usize).div_ceil(64);
        if self.blocks.len() < words {
            self.blocks.resize(words, 0);
        }
        for block in blocks {
            self.blocks[(block / 64) as usize] |= 1 << (block % 64);
        }
    }
}

/// How a file system is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Cachestat,
    Read,
    /// It cannot say: everything counts as cold.
    Never,
}

/// A worker's way to ask.
#[derive(Debug)]
pub struct Residency {
    cachestat: bool,
    page: u64,
    devices: RefCell<HashMap<u64, Ask>>,
    scratch: RefCell<Vec<u8>>,
}

impl Default for Residency {
    fn default() -> Self {
        Self {
            cachestat: true,
            page: cache::page_size(),
            devices: RefCell::default(),
            scratch: RefCell::default(),
        }
    }
}

impl Residency {
    /// Without `cachestat`, as on older kernels.
    #[cfg(test)]
    pub fn by_reading() -> Self {
        Self {
            cachestat: false,
            ..Self::default()
        }
    }

    /// Bytes from the beginning of the (not empty) range that are in memory.
    pub fn prefix(&self, file: &OpenFile, wanted: Range<u64>) -> u64 {
        let length = wanted.end - wanted.start;
        if file.access.in_memory {
            return length;
        }
        let ask = self.ask(file, wanted.start);
        if ask == Ask::Never {
            return 0;
        }
        if file.access.is_kept() {
            return length;
        }
        let drive = file.access.drive.as_ref();
        if file.access.filling.get() > 0 || drive.is_some_and(|d| d.is_slow()) {
            return self.read_prefix(file, wanted);
        }
        let mut seen = file.access.seen.borrow_mut();
        seen.expire(Instant::now());
        let (first, after) = (wanted.start / BLOCK, wanted.end.div_ceil(BLOCK));
        let Some(unknown) = (first..after).find(|block| !seen.has(*block)) else {
            return length;
        };
        let whole = unknown * BLOCK..(after * BLOCK).min(file.size);
        if !whole.is_empty() && self.measure(ask, file, whole.clone()) == whole.end - whole.start {
            seen.add(unknown..after);
            return length;
        }
        let start = wanted.start.max(whole.start);
        start - wanted.start + self.measure(ask, file, start..wanted.end)
    }

    /// Notes that a file system cannot read without waiting.
    pub fn cannot(&self, file: &OpenFile) {
        tracing::debug!(
            device = file.access.device,
            "cannot say what is in memory: all of it counts as cold"
        );
        self.devices.borrow_mut().insert(file.access.device, Ask::Never);
    }

    /// How much of a range may be read without waiting, as far as can be told without reading.
    pub fn readable(&self, file: &OpenFile, wanted: Range<u64>) -> u64 {
        match self.ask(file, wanted.start) {
            Ask::Cachestat => self.prefix(file, wanted),
            Ask::Read => wanted.end - wanted.start,
            Ask::Never => 0,
        }
    }

    fn ask(&self, file: &OpenFile, offset: u64) -> Ask {
        if !file.access.prompt {
            return Ask::Never;
        }
        let known = self.devices.borrow().get(&file.access.device).copied();
        known.unwrap_or_else(|| self.find_out(file, offset))
    }

    /// Finds out how a file system is to be asked, by a byte that is in memory; without one it is not known yet. Where
    /// `cachestat` counts nothing of what was just read through the page cache, it does not see this file system's.
    fn find_out(&self, file: &OpenFile, offset: u64) -> Ask {
        let counted = if self.cachestat {
            cache::cached_pages(&file.file, offset, 1).ok()
        } else {
            None
        };
        let ask = match counted {
            Some(0) if !file.access.filled.get() => return Ask::Cachestat,
            Some(1..) => Ask::Cachestat,
            Some(0) | None => Ask::Read,
        };
        match self.read(file, &mut [0], offset) {
            Ok(1) => {
                self.devices.borrow_mut().insert(file.access.device, ask);
                ask
            }
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                self.cannot(file);
                Ask::Never
            }
            _ if counted.is_some() => Ask::Cachestat,
            _ => Ask::Read,
        }
    }

    fn read(&self, file: &OpenFile, space: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        cache::read_without_waiting(&file.file, &mut [IoSliceMut::new(space)], offset)
    }

    fn measure(&self, ask: Ask, file: &OpenFile, range: Range<u64>) -> u64 {
        match ask {
            Ask::Cachestat => counted_prefix(file, range.clone(), self.page)
                .unwrap_or_else(|_| self.read_prefix(file, range)), // not ours to ask about
            Ask::Read => self.read_prefix(file, range),
            Ask::Never => 0,
        }
    }

    fn read_prefix(&self, file: &OpenFile, range: Range<u64>) -> u64 {
        let mut scratch = self.scratch.borrow_mut();
        scratch.resize(SCRATCH, 0);
        let mut at = range.start;
        while at < range.end {
            let want = (range.end - at).min(SCRATCH as u64) as usize;
            match self.read(file, &mut scratch[..want], at) {
                Ok(n) if n > 0 => at += n as u64,
                _ => break,
            }
        }
        at - range.start
    }
}

/// All of the range by one call; else as far as whole [`FINE`] parts are there, by halving.
fn counted_prefix(file: &OpenFile, range: Range<u64>, page: u64) -> io::Result<u64> {
    let all_there = |end: u64| {
        let pages = (end - 1) / page - range.start / page + 1;
        cache::cached_pages(&file.file, range.start, end - range.start).map(|n| n >= pages)
    };
    if range.is_empty() || all_there(range.end)? {
        return Ok(range.end - range.start);
    }
    let (mut there, mut parts) = (0, (range.end - range.start - 1) / FINE);
    while there < parts {
        let middle = (there + parts).div_ceil(2);
        if all_there(range.start + middle * FINE)? {
            there = middle;
        } else {
            parts = middle - 1;
        }
    }
    Ok(there * FINE)
}
