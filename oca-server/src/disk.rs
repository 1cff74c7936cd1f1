//! Reads of file bytes for the send path, one value a worker: says what is in memory, reads that without waiting, and
//! brings the rest from the drive while the worker goes on.

mod access;
mod cold;
mod engine;
mod lent;
mod queue;
mod residency;
#[cfg(test)]
mod tests;

use crate::{
    files::OpenFile,
    metrics::Metrics,
    pool::Pool,
    sys::{arena::Span, cache},
};
pub use access::Access;
use bytes::Bytes;
pub use cold::ColdStream;
use engine::Engine;
use lent::Lender;
use oca_core::range::Slice;
use queue::Queue;
use residency::Residency;
use std::{
    cell::OnceCell,
    io::{self, IoSliceMut, Seek, SeekFrom},
    ops::{Deref, Range},
    rc::Rc,
};
use tokio::task::{AbortHandle, spawn_local};

/// Why bytes of a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file ended before its recorded size.
    #[error("the file is shorter than its record")]
    Short,
    /// The drive.
    #[error("the file cannot be read: {0}")]
    Failed(#[from] io::Error),
}

impl ReadError {
    /// The cause, as counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Failed(_) => "read_error",
        }
    }
}

/// A worker's reads.
#[derive(Debug)]
pub struct Disk {
    pool: Rc<Pool>,
    residency: Residency,
    lender: Lender,
    queue: Rc<Queue>,
    /// The task that reads from drives, from the first cold read on.
    reader: OnceCell<AbortHandle>,
}

impl Disk {
    /// Nothing read yet; cold reads use at most `memory` bytes.
    pub fn new(memory: usize, metrics: &Metrics) -> Self {
        Self {
            pool: Rc::default(),
            residency: Residency::default(),
            lender: Lender::default(),
            queue: Rc::new(Queue::new(memory, metrics)),
            reader: OnceCell::new(),
        }
    }

    /// How many bytes from the slice's beginning are in memory, so that `sendfile` would not wait for the drive.
    pub fn resident(&self, file: &OpenFile, slice: Slice) -> u64 {
        let end = slice.offset.saturating_add(slice.len);
        self.residency.prefix(file, slice.offset..end)
    }

    /// Reads what is in memory from `offset` on into `buffers`, without waiting; absent = the first byte is not.
    ///
    /// # Errors
    /// When the file ends there, or cannot be read.
    pub fn read_now(
        &self,
        file: &OpenFile,
        buffers: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> Result<Option<usize>, ReadError> {
        if file.access.in_memory {
            let offset = i64::try_from(offset).map_err(|_| ReadError::Short)?;
            return match nix::sys::uio::preadv(&file.file, buffers, offset).map_err(io::Error::from)? {
                0 => Err(ReadError::Short),
                n => Ok(Some(n)),
            };
        }
        let len = buffers.iter().map(|b| b.len() as u64).sum::<u64>();
        // Past the file's end reading tells more than asking.
        let end = offset.saturating_add(len).min(file.size);
        let there = match offset < end {
            true => self.residency.readable(file, offset..end),
            false => len,
        };
        if there == 0 {
            return Ok(None);
        }
        let offset = i64::try_from(offset).map_err(|_| ReadError::Short)?;
        let read = match buffers {
            // To ask for more than is there would have the kernel read it ahead.
            [first, ..] if there < len => {
                let n = first.len().min(usize::try_from(there).unwrap_or(usize::MAX));
                cache::read_without_waiting(&file.file, &mut [IoSliceMut::new(&mut first[..n])], offset)
            }
            all => cache::read_without_waiting(&file.file, all, offset),
        };
        match read {
            Ok(0) => Err(ReadError::Short),
            Ok(n) => Ok(Some(n)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                self.residency.cannot(file);
                Ok(None)
            }
            Err(e) => Err(e.into()),
        }
    }

    /// The slice's bytes where they lie in memory, if they stay there; absent = [read](Self::read_now) them. What is lent must not
    /// leave the machine once the file [is broken](Access::is_broken).
    pub fn lend(&self, file: &OpenFile, slice: Slice) -> Option<Bytes> {
        let mapped = self.lender.mapped(file, slice.len)?;
        let (start, end) = (slice.offset, slice.offset.checked_add(slice.len)?);
        // A page that lost a part to a cut is still there, with zeros: only the length tells. Asked of the kernel by the call that
        // costs least, since it is asked for every piece; nobody reads by the position that it sets.
        let length = (&file.file).seek(SeekFrom::End(0)).ok()?;
        let is_there = length >= file.size && self.residency.prefix(file, start..end) == slice.len;
        let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        (is_there && range.end <= mapped.len()).then(|| mapped.slice(range))
    }

    /// Brings a slice from the drive.
    pub fn stream(self: &Rc<Self>, file: &Rc<OpenFile>, slice: Slice) -> ColdStream {
        self.reader.get_or_init(|| {
            let engine = Engine::new(self.queue.arena().most_chunks());
            spawn_local(Rc::clone(&self.queue).run(engine)).abort_handle()
        });
        ColdStream::new(self, file, slice)
    }

    /// Tells everybody who waits for a drive that was given up; to be called now and then.
    pub fn look_after(&self) {
        self.queue.look_after();
    }

    /// A pooled buffer.
    pub fn buffer(&self) -> Loan {
        Loan {
            memory: Memory::Pooled(self.pool.take(), Rc::clone(&self.pool)),
            range: 0..0,
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.get() {
            reader.abort();
        }
    }
}

#[derive(Debug)]
enum Memory {
    Pooled(Box<[u8]>, Rc<Pool>),
    Lent(Span),
}

/// Bytes in a pooled buffer, which goes back to its pool however the holder ends.
#[derive(Debug)]
pub struct Loan {
    memory: Memory,
    range: Range<usize>,
}

impl Loan {
    fn of_span(span: Span, range: Range<usize>) -> Self {
        Self {
            memory: Memory::Lent(span),
            range,
        }
    }

    /// The whole buffer, to be filled; then tell [`filled`](Self::filled).
    pub fn space(&mut self) -> &mut [u8] {
        match &mut self.memory {
            Memory::Pooled(buffer, _) => buffer,
            Memory::Lent(span) => span,
        }
    }

    /// Makes the first `n` bytes the loan's bytes.
    pub fn filled(&mut self, n: usize) {
        self.range = 0..n.min(self.space().len());
    }
}

impl Deref for Loan {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.memory {
            Memory::Pooled(buffer, _) => buffer,
            Memory::Lent(span) => span,
        };
        &all[self.range.clone()]
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Memory::Pooled(buffer, pool) = &mut self.memory {
            pool.give(std::mem::take(buffer));
        }
    }
}
