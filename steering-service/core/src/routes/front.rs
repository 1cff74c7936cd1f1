//! Who covers each /24 of IPv4, found by one read of memory instead of a search: nearly all networks are /24 or wider, and a search
//! waits for each of its reads, and guesses between them.

use super::{
    ranges::{Address, Ranges},
    runs::Cover,
};
use std::{iter::once, sync::Arc};

/// First bits of an address that choose the page.
const PAGE_BITS: u32 = 12;
/// /24s of a page.
const PAGE: usize = 1 << (24 - PAGE_BITS);
/// Slots of a table's changes in a page.
const SLOTS: usize = u32::SLOTS >> PAGE_BITS;
/// Bits of a packed cover that are its length.
const LENGTH_BITS: u32 = 6;
/// In the place of a cover: the table has to be searched.
const SEARCH: u32 = u32::MAX;

/// Packed covers of /24s in a row, or [`SEARCH`].
type Page = [u32; PAGE];

/// Covers by the first 24 bits of an address. Tables share the pages that are the same.
#[derive(Debug)]
pub struct Front(Vec<Arc<Page>>);

impl Front {
    /// Of a table without networks.
    pub fn empty() -> Self {
        let page = Arc::new([packed(Cover::NOBODY); PAGE]);
        Self(vec![page; 1 << PAGE_BITS])
    }

    /// Of a table that differs from this front's in the slots whose bits are set.
    pub fn changed(&self, ranges: &Ranges<u32>, slots: &[u64]) -> Self {
        let page = |(number, before): (usize, &Arc<Page>)| {
            let first = number * SLOTS;
            let changed = slots[first / 64] >> (first % 64) & ((1 << SLOTS) - 1) != 0;
            if changed {
                let page = page(ranges, first);
                if page != **before {
                    return Arc::new(page);
                }
            }
            Arc::clone(before)
        };
        Self(self.0.iter().enumerate().map(page).collect())
    }

    /// Who covers an address, unless networks end within its /24.
    pub fn find(&self, address: u32) -> Option<Cover> {
        let page = &self.0[(address >> (32 - PAGE_BITS)) as usize];
        let packed = page[(address >> 8) as usize % PAGE];
        (packed != SEARCH).then_some(Cover {
            run: packed >> LENGTH_BITS,
            longest: (packed % (1 << LENGTH_BITS)) as u8,
        })
    }
}

/// The page that begins with a slot.
fn page(ranges: &Ranges<u32>, slot: usize) -> Page {
    let mut page = [SEARCH; PAGE];
    let first = u32::slot_start(slot);
    let end = u64::from(first) + ((PAGE as u64) << 8);
    let starts = ranges.starts(slot..slot + SLOTS);
    let starts = starts.map(|(start, cover)| (u64::from(start), cover));
    let (mut from, mut cover) = (u64::from(first), ranges.find(first));
    for (start, next) in starts.chain(once((end, Cover::NOBODY))) {
        let within = |address: u64| ((address - u64::from(first)) >> 8) as usize;
        let (begin, end) = (within(from + 255), within(start));
        if begin < end {
            page[begin..end].fill(packed(cover));
        }
        (from, cover) = (start, next);
    }
    page
}

fn packed(Cover { run, longest }: Cover) -> u32 {
    if run >> (u32::BITS - LENGTH_BITS) != 0 {
        return SEARCH; // a table with so many different covers is searched
    }
    run << LENGTH_BITS | u32::from(longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::ranges::Writer;

    fn table(starts: &[(u32, u32)]) -> Ranges<u32> {
        let mut w = Writer::new(8);
        for (start, run) in starts {
            w.begin(
                *start,
                Cover {
                    run: *run,
                    longest: 24,
                },
            );
        }
        w.finish()
    }

    #[test]
    fn a_cover_is_found_or_the_table_has_to_be_searched() {
        let ranges = table(&[
            (0x0a00_0000, 1), // a /24
            (0x0a00_0100, 2), // up to the middle of one
            (0x0a00_0280, 3), // three in one
            (0x0a00_0290, 4), // with the next one whole
            (0x0a00_0400, 5), // from within a page over whole ones into another
            (0x0b10_0300, 0),
            (0x0c00_0000, 1 << 26), // more than fits
            (0x0c00_0100, (1 << 26) - 1),
            (u32::MAX, 6),
        ]);
        let front = Front::empty().changed(&ranges, &[u64::MAX; u32::SLOTS / 64]);
        let search = |address: u32| ranges.scope(address) > 24 || ranges.find(address).run == 1 << 26;
        let mut searched = 0;
        for (start, last, _) in ranges.iter() {
            let middle = start + (last - start) / 2;
            for address in [start, start | 0xff, middle, middle | 0xffff, last & !0xff, last] {
                let wanted = (!search(address)).then(|| ranges.find(address));
                assert_eq!(front.find(address), wanted, "{address:x}");
                searched += usize::from(wanted.is_none());
            }
        }
        assert!((8..30).contains(&searched), "{searched}");
        assert_eq!(front.find(0x0a00_0210), None);
        assert_eq!(front.find(0xffff_fe00).unwrap().run, (1 << 26) - 1);
        assert_eq!(Front::empty().find(7), Some(Cover::NOBODY));
    }

    #[test]
    fn tables_share_what_is_the_same() {
        let (one, other) = (
            table(&[(0x0a00_0000, 1)]),
            table(&[(0x0a00_0000, 1), (0x0b00_0000, 2)]),
        );
        let front = Front::empty().changed(&one, &[u64::MAX; u32::SLOTS / 64]);
        let mut slots = [0; u32::SLOTS / 64];
        slots[0x0b00 / 64] |= 1 << (0x0b00 % 64);
        let next = front.changed(&other, &slots);
        let differ = |a: &Front, b: &Front| a.0.iter().zip(&b.0).filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert_eq!(differ(&front, &next), 1);
        assert_eq!(
            (
                next.find(0x0b00_0000).unwrap().run,
                next.find(0x0b10_0000).unwrap().run
            ),
            (2, 1)
        );
        let anew = front.changed(&one, &[u64::MAX; u32::SLOTS / 64]);
        assert_eq!(differ(&front, &anew), 0);
    }
}
