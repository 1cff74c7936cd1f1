//! Addresses cut into ranges with one value each: the longest match of a whole table as one binary search.
//!
//! A directory over the first bits of an address, as many as the table's size is worth, says where to search, so that
//! the search is over a few neighbours in memory. When a table is made from the one before, the address space is taken in
//! equal *slots*: those in which nothing changed are copied.

use std::fmt::Debug;

/// An address of one family as a number.
pub trait Address: Copy + Ord + Debug {
    /// Bits of an address.
    const WIDTH: u8;
    /// Bits that choose the slot.
    const SLOT_BITS: u8;
    /// Bits of the directory beyond those that would do if networks were spread evenly over all addresses.
    const UNEVEN_BITS: u32;
    /// Number of slots.
    const SLOTS: usize = 1 << Self::SLOT_BITS;
    /// The first `bits` bits, 1 to 32, as a number.
    fn top(self, bits: u8) -> usize;
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
    ($number:ty, $slot_bits:expr, $uneven:expr) => {
        impl Address for $number {
            const WIDTH: u8 = <$number>::BITS as u8;
            const SLOT_BITS: u8 = $slot_bits;
            const UNEVEN_BITS: u32 = $uneven;
            fn top(self, bits: u8) -> usize {
                (self >> (Self::WIDTH - bits)) as usize
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
        }
    };
}
address!(u32, 16, 2); // half of them are announced, in blocks of /24s
address!(u128, 20, 4); // all within 2000::/3, and dense there in a few blocks

/// The ranges of one family.
#[derive(Debug)]
pub struct Ranges<A> {
    /// First address and value of each range, rising; the first range begins at address 0.
    starts: Vec<(A, u32)>,
    /// For each value of the first bits the position of the first range that begins there or after; one more entry
    /// closes the last.
    directory: Vec<u32>,
    bits: u8,
}

/// Largest directory, in bits: 4 MiB.
const MAX_BITS: u32 = 20;

impl<A: Address> Ranges<A> {
    /// One range with value 0.
    pub fn empty() -> Self {
        Writer::new(1).finish()
    }
    /// The value of an address.
    pub fn find(&self, address: A) -> u32 {
        self.starts[self.position(address)].1
    }
    /// Length of the largest network around an address within its range.
    pub fn scope(&self, address: A) -> u8 {
        let at = self.position(address);
        let next = self.starts.get(at + 1).map(|(start, _)| *start);
        let fits = |len: &u8| {
            address.first(*len) >= self.starts[at].0 && next.is_none_or(|next| address.last(*len) < next)
        };
        (0..=A::WIDTH).find(fits).unwrap_or(A::WIDTH)
    }
    fn position(&self, address: A) -> usize {
        let top = address.top(self.bits);
        let (from, to) = (self.directory[top] as usize, self.directory[top + 1] as usize);
        let within = self.starts[from..to].partition_point(|(start, _)| *start <= address);
        from + within - 1
    }
    /// First and last address and value of each range, rising.
    pub fn iter(&self) -> impl Iterator<Item = (A, A, u32)> {
        let nexts = self.starts[1..].iter().map(|(start, _)| start.before());
        let lasts = nexts.chain(std::iter::once(A::slot_start(0).last(0)));
        self.starts
            .iter()
            .zip(lasts)
            .map(|((start, value), last)| (*start, last, *value))
    }
    /// Number of ranges.
    pub fn len(&self) -> usize {
        self.starts.len()
    }
}

/// Writes ranges from the lowest address to the highest.
pub struct Writer<A> {
    starts: Vec<(A, u32)>,
}

impl<A: Address> Writer<A> {
    /// With room for about so many ranges.
    pub fn new(expected: usize) -> Self {
        let mut starts = Vec::with_capacity(expected);
        starts.push((A::slot_start(0), 0));
        Self { starts }
    }
    /// From `start` on addresses have `value`; `start` is not below that of the call before.
    pub fn begin(&mut self, start: A, value: u32) {
        if self.starts.last().is_some_and(|(last, _)| *last == start) {
            self.starts.pop();
        }
        if self.starts.last().is_none_or(|(_, before)| *before != value) {
            self.starts.push((start, value));
        }
    }
    /// Copies slots of another table.
    pub fn copy(&mut self, from: &Ranges<A>, slots: std::ops::Range<usize>) {
        let first = A::slot_start(slots.start);
        self.begin(first, from.find(first));
        let last = A::slot_start(slots.end - 1).last(A::SLOT_BITS);
        let a = from.starts.partition_point(|(start, _)| *start < first);
        let b = from.starts.partition_point(|(start, _)| *start <= last);
        let copied = &from.starts[a..b];
        let skip = usize::from(copied.first().is_some_and(|(start, _)| *start == first));
        self.starts.extend_from_slice(&copied[skip..]);
    }
    /// Ends the table.
    pub fn finish(self) -> Ranges<A> {
        let mut starts = self.starts;
        starts.shrink_to_fit();
        // About four ranges to search through.
        let bits = (starts.len().ilog2() + A::UNEVEN_BITS)
            .saturating_sub(2)
            .clamp(1, MAX_BITS) as u8;
        let mut directory = Vec::with_capacity((1 << bits) + 1);
        for (at, (start, _)) in starts.iter().enumerate() {
            let top = start.top(bits);
            // Values up to this one begin here, unless an earlier range has said so.
            if directory.len() <= top {
                directory.resize(top + 1, at as u32);
            }
        }
        directory.resize((1 << bits) + 1, starts.len() as u32);
        Ranges {
            starts,
            directory,
            bits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_from_end_to_end() {
        let mut w = Writer::new(4);
        w.begin(0x0a00_0000u32, 1);
        w.begin(0x0a00_0100, 2);
        w.begin(0x0a00_0200, 2);
        w.begin(0x0b00_0000, 0);
        w.begin(u32::MAX, 3);
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
            assert_eq!(r.find(address), value, "{address:x}");
        }
        let all: Vec<_> = r.iter().collect();
        assert_eq!(all[0], (0, 0x09ff_ffff, 0));
        assert_eq!(all[4], (u32::MAX, u32::MAX, 3));
        assert!(all.windows(2).all(|w| w[0].1 + 1 == w[1].0), "no gap, no overlap");
        let mut copy = Writer::new(4);
        copy.copy(&r, 0..u32::SLOTS);
        assert_eq!(copy.finish().starts, r.starts);
        assert_eq!(Ranges::<u128>::empty().find(u128::MAX), 0);
    }
}
