//! Addresses cut into ranges with one cover each: the longest match of a whole table as one binary search.
//!
//! A directory over the first bits of an address, as many as the table's size is worth, says where to search, so that
//! the search is over a few neighbours in memory. When a table is made from the one before, the address space is taken in
//! equal *slots*: those in which nothing changed are copied.

use super::covering::Cover;
use std::{fmt::Debug, ops::Range};

/// An address of one family as a number.
pub trait Address: Copy + Ord + Debug {
    /// Bits of an address.
    const WIDTH: u8;
    /// Bits that choose the slot.
    const SLOT_BITS: u8;
    /// First bits that choose the part of the directory.
    const PART_BITS: u8;
    /// Bits of a part of the directory beyond those that would do if networks were spread evenly over it.
    const UNEVEN_BITS: u32;
    /// First bits that are not kept with a range, since the directory knows them.
    const HEAD_BITS: u8;
    /// The bits that are kept.
    type Tail: Copy + Ord + Debug;
    /// Number of slots.
    const SLOTS: usize = 1 << Self::SLOT_BITS;
    /// The bits after the head.
    fn tail(self) -> Self::Tail;
    /// The address of a head and a tail.
    fn joined(head: usize, tail: Self::Tail) -> Self;
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
    const UNEVEN_BITS: u32 = 2; // half of them are announced, in blocks of /24s
    const HEAD_BITS: u8 = 16; // so that a range is eight bytes
    type Tail = u16;
    fn tail(self) -> u16 {
        self as u16
    }
    fn joined(head: usize, tail: u16) -> Self {
        (head as u32) << 16 | u32::from(tail)
    }
}

impl Address for u128 {
    address!(u128);
    const SLOT_BITS: u8 = 20;
    const PART_BITS: u8 = 16; // all are in a few blocks of the registries, and dense there
    const UNEVEN_BITS: u32 = 2;
    const HEAD_BITS: u8 = 0;
    type Tail = [u64; 2]; // one number of 128 bits would be padded to twice its size
    fn tail(self) -> [u64; 2] {
        [(self >> 64) as u64, self as u64]
    }
    fn joined(_: usize, [high, low]: [u64; 2]) -> Self {
        u128::from(high) << 64 | u128::from(low)
    }
}

/// Where a range begins, and who covers it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry<T> {
    tail: T,
    run: u32,
    longest: u8,
}

const _: () = assert!(size_of::<Entry<u16>>() == 8 && size_of::<Entry<[u64; 2]>>() == 24);

impl<T> Entry<T> {
    fn cover(&self) -> Cover {
        Cover {
            run: self.run,
            longest: self.longest,
        }
    }
}

/// The ranges of one family.
#[derive(Debug)]
pub struct Ranges<A: Address> {
    /// All, rising; the first begins at address 0.
    entries: Vec<Entry<A::Tail>>,
    /// For each head the position of the first range that begins there or after; one more closes the last.
    heads: Vec<u32>,
    parts: Vec<Part>,
    /// The same for each value of the bits that a part looks at, one part after the other.
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
        self.entries[self.position(address)].cover()
    }
    /// Length of the largest network around an address within its range.
    pub fn scope(&self, address: A) -> u8 {
        let at = self.position(address);
        let fits = |len: &u8| [address.first(*len), address.last(*len)].map(|a| self.position(a)) == [at; 2];
        (0..=A::WIDTH).find(fits).unwrap_or(A::WIDTH)
    }
    fn position(&self, address: A) -> usize {
        let at = self.parts[address.top(A::PART_BITS)].index(address);
        let (from, to) = (self.directory[at] as usize, self.directory[at + 1] as usize);
        let tail = address.tail();
        from + self.entries[from..to].partition_point(|e| e.tail <= tail) - 1
    }
    /// The ranges that begin in some slots: first address and cover.
    fn starts(&self, slots: Range<usize>) -> impl Iterator<Item = (A, Cover)> {
        let (first, last) = (
            A::slot_start(slots.start),
            A::slot_start(slots.end - 1).last(A::SLOT_BITS),
        );
        let of_head = move |head: usize| {
            let start = move |e: &Entry<A::Tail>| A::joined(head, e.tail);
            let entries = &self.entries[self.heads[head] as usize..self.heads[head + 1] as usize];
            let (from, to) = (
                entries.partition_point(|e| start(e) < first),
                entries.partition_point(|e| start(e) <= last),
            );
            entries[from..to].iter().map(move |e| (start(e), e.cover()))
        };
        (first.top(A::HEAD_BITS)..=last.top(A::HEAD_BITS)).flat_map(of_head)
    }
    /// First and last address and cover of each range, rising.
    pub fn iter(&self) -> impl Iterator<Item = (A, A, Cover)> {
        let starts = || self.starts(0..A::SLOTS);
        let nexts = starts().skip(1).map(|(start, _)| start.before());
        let lasts = nexts.chain(std::iter::once(A::slot_start(0).last(0)));
        starts()
            .zip(lasts)
            .map(|((start, cover), last)| (start, last, cover))
    }
    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Writes ranges from the lowest address to the highest.
pub struct Writer<A: Address> {
    entries: Vec<Entry<A::Tail>>,
    /// For each head so far the position of the first range that begins there or after.
    heads: Vec<u32>,
    /// Where the last of the ranges begins, if it is known.
    last: Option<A>,
}

impl<A: Address> Writer<A> {
    /// With room for about so many ranges.
    pub fn new(expected: usize) -> Self {
        let mut writer = Self {
            entries: Vec::with_capacity(expected),
            heads: Vec::with_capacity(1 << A::HEAD_BITS),
            last: None,
        };
        writer.push(A::slot_start(0), Cover::NOBODY);
        writer
    }
    /// From `start` on addresses have `cover`; `start` is not below that of the call before.
    pub fn begin(&mut self, start: A, cover: Cover) {
        if self.last == Some(start) {
            self.entries.pop();
            self.last = None;
        }
        if self.entries.last().is_none_or(|before| before.cover() != cover) {
            self.push(start, cover);
        }
    }
    fn push(&mut self, start: A, Cover { run, longest }: Cover) {
        let heads = start.top(A::HEAD_BITS) + 1;
        if self.heads.len() < heads {
            self.heads.resize(heads, self.entries.len() as u32);
        }
        self.entries.push(Entry {
            tail: start.tail(),
            run,
            longest,
        });
        self.last = Some(start);
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
        self.entries.shrink_to_fit();
        self.heads
            .resize((1 << A::HEAD_BITS) + 1, self.entries.len() as u32);
        let mut ranges = Ranges::<A> {
            entries: self.entries,
            heads: self.heads,
            parts: Vec::new(),
            directory: Vec::new(),
        };
        let mut counts = vec![0u32; 1 << A::PART_BITS];
        for (start, _) in ranges.starts(0..A::SLOTS) {
            counts[start.top(A::PART_BITS)] += 1;
        }
        let mut at = 0;
        for count in counts {
            // About four ranges to search through.
            let even = count.checked_ilog2().map_or(0, |bits| bits + A::UNEVEN_BITS);
            let least = u32::from(A::HEAD_BITS - A::PART_BITS.min(A::HEAD_BITS));
            let bits = even.saturating_sub(2).clamp(least, MAX_BITS) as u8;
            ranges.parts.push(Part { at, bits });
            at += 1 << bits;
        }
        let mut directory = Vec::with_capacity(at as usize + 1);
        for (position, (start, _)) in ranges.starts(0..A::SLOTS).enumerate() {
            let index = ranges.parts[start.top(A::PART_BITS)].index(start);
            // Values up to this one begin here, unless an earlier range has said so.
            if directory.len() <= index {
                directory.resize(index + 1, position as u32);
            }
        }
        directory.resize(at as usize + 1, ranges.len() as u32);
        ranges.directory = directory;
        ranges
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
        assert_eq!(copy.finish().entries, r.entries);
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
        assert_eq!(copy.finish().entries, r.entries);
    }
}
