//! Page-aligned memory for reads from drives, lent piece by piece. It grows by chunks as reads need it, up to a limit, and is
//! kept then: pages that drives write into are not worth giving back. A lent [`Span`] is its holder's alone, wherever it goes,
//! and comes back when dropped.

use std::{
    cell::{Cell, RefCell},
    fmt, io,
    ops::{Deref, DerefMut},
    ptr::{self, NonNull},
    rc::Rc,
    slice,
};
use tokio::sync::Notify;

/// Bytes of a whole piece.
pub const PIECE: usize = 256 << 10;
/// Bytes of a small piece: a part of a whole one, for consumers that are slow.
pub const SMALL: usize = 64 << 10;
/// Whole pieces of one chunk.
const CHUNK_PIECES: usize = 16;
/// Bytes by which the arena grows.
pub const CHUNK: usize = CHUNK_PIECES * PIECE;
/// All small pieces of a whole one.
const ALL: u8 = 0b1111;
const _: () = assert!(PIECE / SMALL == ALL.count_ones() as usize);

/// How much is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// [`PIECE`] bytes.
    Whole,
    /// [`SMALL`] bytes.
    Small,
}

impl Size {
    /// In bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Whole => PIECE,
            Self::Small => SMALL,
        }
    }
}

/// A huge page. A read into memory that is contiguous for the drive too is one segment of its request instead of 64: a drive of
/// virtio has 256 of them at once, which are three reads of a whole piece in small pages.
const HUGE: usize = 2 << 20;
const _: () = assert!(CHUNK.is_multiple_of(HUGE));

/// Memory straight from the kernel, in huge pages where it has them.
struct Chunk(NonNull<u8>);

impl Chunk {
    fn new() -> io::Result<Self> {
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new anonymous mapping at an address that the kernel picks touches nothing that exists; what is unmapped again is
        // the part of it before the first huge page's boundary and the part behind the chunk.
        unsafe {
            let all = libc::mmap(ptr::null_mut(), CHUNK + HUGE, protection, flags, -1, 0);
            if all == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let before = all.cast::<u8>().align_offset(HUGE);
            let start = all.cast::<u8>().add(before);
            if before > 0 {
                libc::munmap(all, before);
            }
            if before < HUGE {
                libc::munmap(start.add(CHUNK).cast(), HUGE - before);
            }
            libc::madvise(start.cast(), CHUNK, libc::MADV_HUGEPAGE); // small pages do as well
            NonNull::new(start)
                .map(Self)
                .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no span of it is lent: each holds the arena.
        unsafe { libc::munmap(self.0.as_ptr().cast(), CHUNK) };
    }
}

/// One whole piece's place: chunk and index in it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    chunk: u16,
    index: u16,
}

#[derive(Default)]
struct Free {
    whole: Vec<Place>,
    /// Pieces of which small ones are lent, with a bit for each that is not.
    split: Vec<(Place, u8)>,
}

/// The memory; see the module.
pub struct Arena {
    chunks: RefCell<Vec<Chunk>>,
    free: RefCell<Free>,
    most_chunks: usize,
    lent: Cell<usize>,
    wanted: Cell<bool>,
    back: Rc<Notify>,
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("lent", &self.lent)
            .finish_non_exhaustive()
    }
}

impl Arena {
    /// An arena of at most `bytes`, at least one chunk; `back` is notified when memory came back that was wanted in vain.
    pub fn new(bytes: usize, back: Rc<Notify>) -> Self {
        Self {
            chunks: RefCell::default(),
            free: RefCell::default(),
            most_chunks: (bytes / CHUNK).clamp(1, usize::from(u16::MAX)),
            lent: Cell::new(0),
            wanted: Cell::new(false),
            back,
        }
    }

    /// Most chunks that it may come to have.
    pub fn most_chunks(&self) -> usize {
        self.most_chunks
    }

    /// Bytes lent now.
    #[cfg(test)]
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Whether less than a quarter is left to lend.
    pub fn is_scarce(&self) -> bool {
        self.lent.get() > self.most_chunks * CHUNK / 4 * 3
    }

    /// Lends memory with old content; absent when all is lent.
    pub fn take(self: &Rc<Self>, size: Size) -> Option<Span> {
        let taken = match size {
            Size::Whole => self.take_whole().map(|place| (place, ALL)),
            Size::Small => self.take_small(),
        };
        let Some((place, parts)) = taken else {
            self.wanted.set(true);
            return None;
        };
        self.lent.set(self.lent.get() + size.bytes());
        let offset = usize::from(place.index) * PIECE + parts.trailing_zeros() as usize * SMALL;
        let base = self.chunks.borrow()[usize::from(place.chunk)].0;
        // SAFETY: place and parts are of the free lists, hence inside of the chunk.
        let start = unsafe { base.add(offset) };
        Some(Span {
            start,
            size,
            place,
            parts,
            arena: Rc::clone(self),
        })
    }

    fn take_whole(&self) -> Option<Place> {
        let free = self.free.borrow_mut().whole.pop();
        free.or_else(|| {
            self.grow().then_some(())?;
            self.free.borrow_mut().whole.pop()
        })
    }

    fn take_small(&self) -> Option<(Place, u8)> {
        if self.free.borrow().split.is_empty() {
            let place = self.take_whole()?;
            self.free.borrow_mut().split.push((place, ALL));
        }
        let mut free = self.free.borrow_mut();
        let (place, left) = free.split.last_mut()?;
        let part = 1u8 << left.trailing_zeros();
        *left &= !part;
        let taken = (*place, part);
        if *left == 0 {
            free.split.pop();
        }
        Some(taken)
    }

    fn grow(&self) -> bool {
        let mut chunks = self.chunks.borrow_mut();
        if chunks.len() == self.most_chunks {
            return false;
        }
        let Ok(chunk) = Chunk::new() else { return false };
        let number = chunks.len() as u16; // below most_chunks, which fits
        chunks.push(chunk);
        let places = (0..CHUNK_PIECES as u16)
            .rev()
            .map(|index| Place { chunk: number, index });
        self.free.borrow_mut().whole.extend(places);
        true
    }

    fn give(&self, place: Place, parts: u8) {
        let mut free = self.free.borrow_mut();
        if parts == ALL {
            free.whole.push(place);
        } else if let Some(at) = free.split.iter().position(|(p, _)| *p == place) {
            free.split[at].1 |= parts;
            if free.split[at].1 == ALL {
                free.split.swap_remove(at);
                free.whole.push(place);
            }
        } else {
            free.split.push((place, parts));
        }
        if self.wanted.replace(false) {
            self.back.notify_one();
        }
    }
}

/// Lent memory.
pub struct Span {
    start: NonNull<u8>,
    size: Size,
    place: Place,
    parts: u8,
    arena: Rc<Arena>,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Span").field("size", &self.size).finish()
    }
}

impl Span {
    /// Which chunk it is of, from 0.
    pub fn chunk(&self) -> u16 {
        self.place.chunk
    }

    /// The whole chunk that it is of, for the kernel to know beforehand.
    pub(super) fn chunk_memory(&self) -> libc::iovec {
        libc::iovec {
            iov_base: self.arena.chunks.borrow()[usize::from(self.place.chunk)]
                .0
                .as_ptr()
                .cast(),
            iov_len: CHUNK,
        }
    }
}

impl Deref for Span {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the span's part of the chunk is lent to it alone and mapped while it holds the arena; the kernel zeroed it.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.size.bytes()) }
    }
}

impl DerefMut for Span {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and the span is borrowed for writing.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.size.bytes()) }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.arena.lent.set(self.arena.lent.get() - self.size.bytes());
        self.arena.give(self.place, self.parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arena(chunks: usize) -> Rc<Arena> {
        Rc::new(Arena::new(chunks * CHUNK, Rc::default()))
    }

    #[test]
    fn all_of_it_can_be_lent_and_comes_back_whole() {
        let arena = arena(2);
        for size in [Size::Whole, Size::Small, Size::Whole] {
            let spans: Vec<Span> = std::iter::from_fn(|| arena.take(size)).collect();
            assert_eq!(spans.len() * size.bytes(), 2 * CHUNK);
            assert!(arena.is_scarce() && (spans[0].as_ptr() as usize).is_multiple_of(4096));
        }
        assert_eq!(arena.lent(), 0);
    }

    proptest! {
        #[test]
        fn no_byte_is_lent_twice(steps in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<usize>()), 1..200)) {
            let arena = arena(1);
            let mut held: Vec<(u8, Span)> = Vec::new();
            for (number, (take, small, which)) in steps.into_iter().enumerate() {
                if take {
                    let size = if small { Size::Small } else { Size::Whole };
                    if let Some(mut span) = arena.take(size) {
                        let mark = number as u8;
                        let bytes = span.len();
                        (span[0], span[bytes - 1]) = (mark, mark);
                        held.push((mark, span));
                    }
                } else if !held.is_empty() {
                    held.swap_remove(which % held.len());
                }
                for (mark, span) in &held {
                    prop_assert_eq!((span[0], span[span.len() - 1]), (*mark, *mark));
                }
            }
        }
    }
}
