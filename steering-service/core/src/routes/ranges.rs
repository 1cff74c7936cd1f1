//! Addresses cut into ranges with one cover each: the longest match of a whole table as one search.
//!
//! Ranges lie in blocks of one line of the processor's cache (IPv4), which is what a look-up fetches from memory. The first address of
//! each block is kept beside them, and a directory over the first bits of an address says among which of these to search: both are
//! small enough to stay in the cache. When a table is made from the one before, the address space is taken in equal *slots*:
//! those in which nothing changed are copied.

use super::runs::Cover;
use std::{fmt::Debug, ops::Range};

/// An address of one family as a number.
pub trait Address: Copy + Ord + Debug {
    /// Bits of an address.
    const WIDTH: u8;
    /// Bits that choose the slot.
    const SLOT_BITS: u8;
    /// First bits that choose the part of the directory.
    const PART_BITS: u8;
    /// The highest address.
    const MAX: Self;
    /// Number of slots.
    const SLOTS: usize = 1 << Self::SLOT_BITS;
    /// The first `bits` bits, 0 to 32, as a number.
    fn top(self, bits: u8) -> usize;
    /// The first `bits` bits, 0 to 32, after those that choose the part, as a number.
    fn within(self, bits: u8) -> usize;
    /// The slot of an address.
    fn slot(self) -> usize {
        self.top(Self::SLOT_BITS)
    }
    /// First address of a slot.
    fn slot_start(slot: usize) -> Self;
    /// The last address with the same first `len` bits.
    fn last(self, len: u8) -> Self;
    /// The address with all but the first `len` bits cleared.
    fn first(self, len: u8) -> Self;
    /// The address after this one, if there is one.
    fn after(self) -> Option<Self>;
    /// The address before this one, which must not be the lowest.
    fn before(self) -> Self;
}

macro_rules! address {
    ($number:ty) => {
        const WIDTH: u8 = <$number>::BITS as u8;
        const MAX: Self = <$number>::MAX;
        fn top(self, bits: u8) -> usize {
            self.checked_shr(u32::from(Self::WIDTH - bits)).unwrap_or(0) as usize
        }
        fn within(self, bits: u8) -> usize {
            (self << Self::PART_BITS).top(bits)
        }
        fn slot_start(slot: usize) -> Self {
            (slot as Self) << (Self::WIDTH - Self::SLOT_BITS)
        }
        fn last(self, len: u8) -> Self {
            self | Self::MAX.checked_shr(len.into()).unwrap_or(0)
        }
        fn first(self, len: u8) -> Self {
            self & !Self::MAX.checked_shr(len.into()).unwrap_or(0)
        }
        fn after(self) -> Option<Self> {
            self.checked_add(1)
        }
        fn before(self) -> Self {
            self - 1
        }
    };
}

impl Address for u32 {
    address!(u32);
    const SLOT_BITS: u8 = 16;
    const PART_BITS: u8 = 0;
}

impl Address for u128 {
    address!(u128);
    const SLOT_BITS: u8 = 20;
    const PART_BITS: u8 = 16; // all are in a few blocks of the registries, and dense there
}

/// Ranges of a block.
const BLOCK: usize = 7;

/// Ranges in a row: where each begins, and who covers it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(align(64))]
struct Block<A> {
    starts: [A; BLOCK],
    runs: [u32; BLOCK],
    longest: [u8; BLOCK],
}

const _: () = assert!(size_of::<Block<u32>>() == 64 && size_of::<Block<u128>>() == 192);

impl<A: Address> Block<A> {
    const EMPTY: Self = Self {
        starts: [A::MAX; BLOCK],
        runs: [0; BLOCK],
        longest: [0; BLOCK],
    };

    fn cover(&self, at: usize) -> Cover {
        Cover {
            run: self.runs[at],
            longest: self.longest[at],
        }
    }
}

/// The ranges of one family.
#[derive(Debug)]
pub struct Ranges<A: Address> {
    /// All, rising; the first begins at address 0. What the last block has room for beyond them begins at the highest address.
    blocks: Vec<Block<A>>,
    len: usize,
    /// Where each block begins.
    firsts: Vec<A>,
    parts: Vec<Part>,
    /// For each value of the bits that a part looks at the first block that begins there or after, one part after the other; one
    /// more closes the last.
    directory: Vec<u32>,
}

/// Where a part of the directory begins, and at how many bits it looks.
#[derive(Debug, Clone, Copy)]
struct Part {
    at: u32,
    bits: u8,
}

impl Part {
    fn index<A: Address>(self, address: A) -> usize {
        self.at as usize + address.within(self.bits)
    }
}

/// Bits of the largest part of a directory: 4 MiB.
const MAX_BITS: u32 = 20;

impl<A: Address> Ranges<A> {
    /// One range that nobody covers.
    pub fn empty() -> Self {
        Writer::new(1).finish()
    }
    /// Who covers an address.
    pub fn find(&self, address: A) -> Cover {
        let block = self.block(address);
        // Of IPv6 a block is three lines: that the last is read with the others saves waiting for it by itself.
        let longest = std::hint::black_box(self.blocks[block].longest);
        let at = self.within(block, address);
        Cover {
            run: self.blocks[block].runs[at % BLOCK],
            longest: longest[at % BLOCK],
        }
    }
    /// Length of the largest network around an address within its range.
    pub fn scope(&self, address: A) -> u8 {
        let at = self.position(address);
        let fits = |len: &u8| [address.first(*len), address.last(*len)].map(|a| self.position(a)) == [at; 2];
        (0..=A::WIDTH).find(fits).unwrap_or(A::WIDTH)
    }
    fn position(&self, address: A) -> usize {
        let block = self.block(address);
        block * BLOCK + self.within(block, address)
    }
    /// The block with an address's range.
    fn block(&self, address: A) -> usize {
        let at = self.parts[address.top(A::PART_BITS)].index(address);
        let (from, to) = (self.directory[at] as usize, self.directory[at + 1] as usize);
        from + self.firsts[from..to].partition_point(|first| *first <= address) - 1
    }
    /// Its position there. All are compared: that is quicker than to guess which.
    fn within(&self, block: usize, address: A) -> usize {
        let begun = self.blocks[block]
            .starts
            .iter()
            .map(|start| usize::from(*start <= address));
        let used = BLOCK.min(self.len - block * BLOCK);
        begun.sum::<usize>().min(used) - 1
    }
    fn cover(&self, position: usize) -> Cover {
        self.blocks[position / BLOCK].cover(position % BLOCK)
    }
    fn start(&self, position: usize) -> A {
        self.blocks[position / BLOCK].starts[position % BLOCK]
    }
    /// The ranges that begin in some slots: first address and cover.
    pub fn starts(&self, slots: Range<usize>) -> impl Iterator<Item = (A, Cover)> {
        let (first, last) = (
            A::slot_start(slots.start),
            A::slot_start(slots.end - 1).last(A::SLOT_BITS),
        );
        let around = self.position(first);
        let from = around + usize::from(self.start(around) < first);
        let ranges = (from..self.len).map(|at| (self.start(at), self.cover(at)));
        ranges.take_while(move |(start, _)| *start <= last)
    }
    /// First and last address and cover of each range, rising.
    pub fn iter(&self) -> impl Iterator<Item = (A, A, Cover)> {
        (0..self.len).map(|at| {
            let next = at + 1;
            let last = if next < self.len {
                self.start(next).before()
            } else {
                A::MAX
            };
            (self.start(at), last, self.cover(at))
        })
    }
    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.len
    }
}

/// Writes ranges from the lowest address to the highest.
pub struct Writer<A: Address> {
    blocks: Vec<Block<A>>,
    len: usize,
    /// Where the last of the ranges begins, if it is known.
    last: Option<A>,
}

impl<A: Address> Writer<A> {
    /// With room for about so many ranges.
    pub fn new(expected: usize) -> Self {
        let mut writer = Self {
            blocks: Vec::with_capacity((expected + expected / 64).div_ceil(BLOCK)),
            len: 0,
            last: None,
        };
        writer.push(A::slot_start(0), Cover::NOBODY);
        writer
    }
    /// From `start` on addresses have `cover`; `start` is not below that of the call before.
    pub fn begin(&mut self, start: A, cover: Cover) {
        if self.last == Some(start) {
            self.pop();
        }
        if self.last_cover() != Some(cover) {
            self.push(start, cover);
        }
    }
    fn last_cover(&self) -> Option<Cover> {
        let at = self.len.checked_sub(1)?;
        Some(self.blocks[at / BLOCK].cover(at % BLOCK))
    }
    fn push(&mut self, start: A, cover: Cover) {
        let at = self.len % BLOCK;
        if at == 0 {
            self.blocks.push(Block::EMPTY);
        }
        let block = self.blocks.last_mut().expect("pushed above where there was none");
        (block.starts[at], block.runs[at], block.longest[at]) = (start, cover.run, cover.longest);
        self.len += 1;
        self.last = Some(start);
    }
    fn pop(&mut self) {
        self.len -= 1;
        match self.len % BLOCK {
            0 => drop(self.blocks.pop()),
            at => {
                let block = self.blocks.last_mut().expect("a range is in a block");
                block.starts[at] = A::MAX;
            }
        }
        self.last = None;
    }
    /// Copies slots of another table.
    pub fn copy(&mut self, from: &Ranges<A>, slots: Range<usize>) {
        let first = A::slot_start(slots.start);
        self.begin(first, from.find(first));
        for (start, cover) in from.starts(slots).skip_while(|(start, _)| *start == first) {
            self.push(start, cover);
        }
    }
    /// Ends the table.
    pub fn finish(mut self) -> Ranges<A> {
        if self.blocks.len() < self.blocks.capacity() / 8 * 7 {
            self.blocks.shrink_to_fit(); // which copies them
        }
        let firsts: Vec<A> = self.blocks.iter().map(|block| block.starts[0]).collect();
        let mut counts = vec![0u32; 1 << A::PART_BITS];
        for first in &firsts {
            counts[first.top(A::PART_BITS)] += 1;
        }
        let (mut parts, mut at) = (Vec::with_capacity(counts.len()), 0);
        for count in counts {
            // About four blocks to choose from, where addresses are in use.
            let bits = count.checked_ilog2().unwrap_or(0).min(MAX_BITS) as u8;
            parts.push(Part { at, bits });
            at += 1 << bits;
        }
        let mut directory = Vec::with_capacity(at as usize + 1);
        for (position, first) in firsts.iter().enumerate() {
            let index = parts[first.top(A::PART_BITS)].index(*first);
            // Values up to this one begin here, unless an earlier block has said so.
            if directory.len() <= index {
                directory.resize(index + 1, position as u32);
            }
        }
        directory.resize(at as usize + 1, firsts.len() as u32);
        Ranges {
            blocks: self.blocks,
            len: self.len,
            firsts,
            parts,
            directory,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(run: u32) -> Cover {
        Cover { run, longest: 24 }
    }

    #[test]
    fn ranges_are_found_from_end_to_end() {
        let mut w = Writer::new(4);
        w.begin(0x0a00_0000u32, cover(1));
        w.begin(0x0a00_0100, cover(2));
        w.begin(0x0a00_0200, cover(2));
        w.begin(0x0b00_0000, Cover::NOBODY);
        w.begin(u32::MAX, cover(3));
        let r = w.finish();
        assert_eq!(r.len(), 5, "equal neighbours are one range");
        for (address, value) in [
            (0, 0),
            (0x09ff_ffff, 0),
            (0x0a00_0000, 1),
            (0x0a00_00ff, 1),
            (0x0a00_0100, 2),
            (0x0aff_ffff, 2),
            (0x0b00_0000, 0),
            (u32::MAX - 1, 0),
            (u32::MAX, 3),
        ] {
            assert_eq!(r.find(address).run, value, "{address:x}");
        }
        let all: Vec<_> = r.iter().collect();
        assert_eq!(all[0], (0, 0x09ff_ffff, Cover::NOBODY));
        assert_eq!(all[4], (u32::MAX, u32::MAX, cover(3)));
        assert!(all.windows(2).all(|w| w[0].1 + 1 == w[1].0), "no gap, no overlap");
        let mut copy = Writer::new(4);
        copy.copy(&r, 0..u32::SLOTS);
        assert_eq!(copy.finish().blocks, r.blocks);
        assert_eq!(Ranges::<u128>::empty().find(u128::MAX), Cover::NOBODY);
    }

    #[test]
    fn parts_with_many_networks_and_with_none_are_searched_alike() {
        let block = |n: u32| 0x2a00_u128 << 112 | u128::from(n) << 80;
        let mut w = Writer::new(4);
        for n in 0..3000 {
            w.begin(block(n), cover(n + 1));
        }
        w.begin(0x2c00_u128 << 112, Cover::NOBODY);
        w.begin(u128::MAX, cover(9));
        let r = w.finish();
        for n in 0..3000 {
            let next = if n == 2999 { 0x2c00 << 112 } else { block(n + 1) };
            assert_eq!([block(n), next - 1].map(|a| r.find(a).run), [n + 1; 2], "{n}");
            assert_eq!(r.scope(block(n)), 48, "{n}");
        }
        for nobody in [0, block(0) - 1, 0x2c00 << 112, u128::MAX - 1] {
            assert_eq!(r.find(nobody), Cover::NOBODY);
        }
        assert_eq!(r.find(u128::MAX), cover(9));
        assert_eq!(r.scope(0x3000 << 112), 4);
        let mut copy = Writer::new(4);
        for slots in [0..0x2a000, 0x2a000..0x2a001, 0x2a001..u128::SLOTS] {
            copy.copy(&r, slots);
        }
        assert_eq!(copy.finish().blocks, r.blocks);
    }
}
