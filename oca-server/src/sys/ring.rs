//! An io_uring that reads files into lent memory. What the kernel may still write into is out of reach of everybody: memory
//! and file stand in the table of flights from the push to the completion, whoever has lost interest in between.

use super::arena::Span;
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use std::{
    fmt, io, mem,
    os::fd::{AsFd, AsRawFd, RawFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// A read that is under way.
struct Flight<K> {
    /// What it is for; it holds the file open.
    what: K,
    span: Span,
}

/// What was read: for what, into which memory, how many bytes.
pub type Landed<K> = (K, Span, io::Result<usize>);

/// The ring; see the module.
pub struct Ring<K> {
    ring: IoUring,
    flights: Vec<Option<Flight<K>>>,
    vacant: Vec<u32>,
    /// Whether the kernel knows a chunk of memory beforehand, by its number; absent = not asked yet.
    known: Vec<Option<bool>>,
}

impl<K> fmt::Debug for Ring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("flights", &(self.flights.len() - self.vacant.len()))
            .finish_non_exhaustive()
    }
}

impl<K> AsRawFd for Ring<K> {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// Where a read goes.
#[derive(Debug, Clone, Copy)]
pub struct Aim {
    /// Offset in the file.
    pub offset: u64,
    /// Offset in the memory.
    pub skip: usize,
    /// Bytes to read, at most what is left of the memory.
    pub len: usize,
    /// `RWF_*`.
    pub flags: i32,
    /// Whether the file system may wait though it is asked not to: then a thread of the kernel does it from the start.
    pub may_wait: bool,
}

impl<K: AsFd> Ring<K> {
    /// A ring of `reads` reads at once, into memory of at most `chunks` chunks.
    ///
    /// # Errors
    /// When the kernel has none, or forbids it.
    pub fn new(reads: u32, chunks: usize) -> io::Result<Self> {
        let built = IoUring::<squeue::Entry, cqueue::Entry>::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .build(reads);
        let ring = match built {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => IoUring::new(reads)?, // before Linux 6.0
            other => other?,
        };
        // A drive whose reads the kernel must hand to threads of its own shall not use up those of the others.
        let _ = ring.submitter().register_iowq_max_workers(&mut [reads, 0]);
        let sparse = u32::try_from(chunks).is_ok_and(|n| ring.submitter().register_buffers_sparse(n).is_ok());
        let reads = ring.params().sq_entries();
        Ok(Self {
            flights: (0..reads).map(|_| None).collect(),
            vacant: (0..reads).rev().collect(),
            known: vec![if sparse { None } else { Some(false) }; chunks],
            ring,
        })
    }

    /// Has the current runtime watch for reads that ended.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub fn watched(self) -> io::Result<AsyncFd<Self>> {
        // SAFETY: the descriptor is the ring's own, always the same, open until the ring is dropped with the `AsyncFd`.
        unsafe { AsyncFd::register_with_interest(self, Interest::READABLE) }.map_err(|e| e.into_parts().1)
    }

    /// Queues a read, to go with the next [`submit`](Self::submit). All is given back if the ring is full.
    pub fn push(&mut self, what: K, span: Span, aim: Aim) -> Result<(), (K, Span)> {
        let len = aim.len.min(span.len().saturating_sub(aim.skip));
        let Some(number) = self.vacant.pop() else {
            return Err((what, span));
        };
        let entry = self.entry(&what, &span, Aim { len, ..aim });
        // SAFETY: the entry points into `span`, `len` bytes from `skip` on, all inside of it; span and file go into the table
        // of flights and stay there until the read's completion was seen, or for good (see `drop`).
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(u64::from(number))) };
        if pushed.is_err() {
            self.vacant.push(number);
            return Err((what, span));
        }
        self.flights[number as usize] = Some(Flight { what, span });
        Ok(())
    }

    fn entry(&mut self, what: &K, span: &Span, aim: Aim) -> squeue::Entry {
        let file = types::Fd(what.as_fd().as_raw_fd());
        let start = span[aim.skip.min(span.len())..].as_ptr().cast_mut();
        let len = aim.len as u32; // at most a span's
        let how = if aim.may_wait {
            squeue::Flags::ASYNC
        } else {
            squeue::Flags::empty()
        };
        let entry = if self.knows(span) {
            opcode::ReadFixed::new(file, start, len, span.chunk())
                .offset(aim.offset)
                .rw_flags(aim.flags)
                .build()
        } else {
            opcode::Read::new(file, start, len)
                .offset(aim.offset)
                .rw_flags(aim.flags)
                .build()
        };
        entry.flags(how)
    }

    /// Has the kernel pin the span's chunk once, if it lets us (`RLIMIT_MEMLOCK`).
    fn knows(&mut self, span: &Span) -> bool {
        let Some(known) = self.known.get_mut(usize::from(span.chunk())) else {
            return false;
        };
        *known.get_or_insert_with(|| {
            let (number, memory) = (u32::from(span.chunk()), [span.chunk_memory()]);
            // SAFETY: the kernel pins the pages itself until the ring is gone; no mapping outlives that need.
            unsafe {
                self.ring
                    .submitter()
                    .register_buffers_update(number, &memory, None)
            }
            .is_ok()
        })
    }

    /// Starts all that was queued, by one system call. Answers whether something is left for a later call.
    pub fn submit(&mut self) -> bool {
        if self.ring.submission().is_empty() {
            return false;
        }
        let _ = self.ring.submit(); // interrupted or short of memory: what is left in the queue says so
        !self.ring.submission().is_empty()
    }

    /// A read that has ended.
    pub fn reap(&mut self) -> Option<Landed<K>> {
        loop {
            let done = self.ring.completion().next()?;
            let number = u32::try_from(done.user_data()).ok();
            let flight = number.and_then(|n| self.flights.get_mut(n as usize)?.take());
            if let (Some(number), Some(Flight { what, span })) = (number, flight) {
                self.vacant.push(number);
                let result = match done.result() {
                    n if n < 0 => Err(io::Error::from_raw_os_error(-n)),
                    n => Ok(n as usize),
                };
                return Some((what, span, result));
            }
        }
    }
}

impl<K> Drop for Ring<K> {
    fn drop(&mut self) {
        // The kernel ends what is under way in its own time: that memory is never used again.
        for flight in self.flights.drain(..).flatten() {
            mem::forget(flight.span);
        }
    }
}
