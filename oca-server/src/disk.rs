//! Reads of file bytes for the send path, one value a worker: says what is in memory, reads that without waiting, and
//! brings the rest from the drive while the worker goes on.

use crate::{
    files::OpenFile,
    pool::{BUFFER, Pool},
};
use oca_core::range::Slice;
use std::{
    io::{self, IoSliceMut},
    ops::{Deref, Range},
    os::unix::fs::FileExt,
    rc::Rc,
    task::{Context, Poll},
};

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
#[derive(Debug, Default)]
pub struct Disk {
    pool: Rc<Pool>,
}

impl Disk {
    /// How many bytes from the slice's beginning are in memory, so that `sendfile` would not wait for the drive.
    pub fn resident(&self, _file: &OpenFile, slice: Slice) -> u64 {
        slice.len
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
        let offset = i64::try_from(offset).map_err(|_| ReadError::Short)?;
        match nix::sys::uio::preadv(&file.file, buffers, offset).map_err(io::Error::from)? {
            0 => Err(ReadError::Short),
            n => Ok(Some(n)),
        }
    }

    /// Brings a slice from the drive.
    pub fn stream(self: &Rc<Self>, file: &Rc<OpenFile>, slice: Slice) -> ColdStream {
        ColdStream {
            disk: Rc::clone(self),
            file: Rc::clone(file),
            left: slice,
        }
    }

    /// A pooled buffer.
    pub fn buffer(&self) -> Loan {
        Loan {
            buffer: self.pool.take(),
            range: 0..0,
            pool: Rc::clone(&self.pool),
        }
    }
}

/// A slice of a file that comes from the drive, piece by piece in order.
#[derive(Debug)]
pub struct ColdStream {
    disk: Rc<Disk>,
    file: Rc<OpenFile>,
    left: Slice,
}

impl ColdStream {
    /// The next piece, at least a byte; absent after the slice's end.
    pub fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Loan, ReadError>>> {
        if self.left.len == 0 {
            return Poll::Ready(None);
        }
        let mut loan = self.disk.buffer();
        let want = self.left.len.min(BUFFER as u64) as usize;
        Poll::Ready(Some(
            match self.file.file.read_at(&mut loan.buffer[..want], self.left.offset) {
                Ok(0) => Err(ReadError::Short),
                Ok(n) => {
                    self.left.offset += n as u64;
                    self.left.len -= n as u64;
                    loan.range = 0..n;
                    Ok(loan)
                }
                Err(e) => Err(e.into()),
            },
        ))
    }

    /// As [`poll_next`](Self::poll_next).
    pub async fn next(&mut self) -> Option<Result<Loan, ReadError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Bytes in a pooled buffer, which goes back to its pool however the holder ends.
#[derive(Debug)]
pub struct Loan {
    buffer: Box<[u8]>,
    range: Range<usize>,
    pool: Rc<Pool>,
}

impl Loan {
    /// The whole buffer, to be filled; then tell [`filled`](Self::filled).
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Makes the first `n` bytes the loan's bytes.
    pub fn filled(&mut self, n: usize) {
        self.range = 0..n.min(self.buffer.len());
    }
}

impl Deref for Loan {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buffer));
    }
}
