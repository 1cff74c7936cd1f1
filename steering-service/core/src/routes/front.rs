//! Who covers each /24 of IPv4, found by two reads of memory instead of a search: nearly all networks are /24 or wider, and a search
//! waits for each of its reads.

use super::{ranges::Ranges, runs::Cover};

/// First bits of an address that choose the page.
const HEAD_BITS: u32 = 18;
/// /24s of a page.
const PAGE: usize = 1 << (24 - HEAD_BITS);
/// Bits of a packed cover that are its length.
const LENGTH_BITS: u32 = 6;
/// In the place of a cover: the table has to be searched.
const SEARCH: u32 = u32::MAX;

/// Covers by the first 24 bits of an address.
#[derive(Debug)]
pub struct Front {
    /// For each /18 the number of its page.
    heads: Vec<u32>,
    /// Covers of 64 /24s in a row, or [`SEARCH`]; the first page is nobody's.
    pages: Vec<u32>,
    /// /24s written so far.
    next: u32,
}

impl Front {
    /// Of a whole table, with room for about so many bytes.
    pub fn new(ranges: &Ranges<u32>, expected: usize) -> Self {
        let mut front = Self {
            heads: Vec::with_capacity(1 << HEAD_BITS),
            pages: Vec::with_capacity(expected / size_of::<u32>()),
            next: 0,
        };
        front.pages.resize(PAGE, packed(Cover::NOBODY));
        for (_, last, cover) in ranges.iter() {
            front.fill(last, packed(cover));
        }
        front.pages.shrink_to_fit();
        front
    }

    /// Size of the pages.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.pages)
    }

    /// Who covers an address, unless networks end within its /24.
    pub fn find(&self, address: u32) -> Option<Cover> {
        let page = self.heads[(address >> (32 - HEAD_BITS)) as usize] as usize * PAGE;
        let packed = self.pages[page + (address >> 8) as usize % PAGE];
        (packed != SEARCH).then_some(Cover {
            run: packed >> LENGTH_BITS,
            longest: (packed % (1 << LENGTH_BITS)) as u8,
        })
    }

    /// Writes the next range, up to its last address.
    fn fill(&mut self, last: u32, cover: u32) {
        let whole = ((u64::from(last) + 1) >> 8) as u32;
        while self.next < whole {
            self.put(cover, (whole - self.next) as usize / PAGE);
        }
        if self.next == last >> 8 {
            self.put(SEARCH, 0); // it ends within this /24
        }
    }

    /// Writes the next /24, or so many pages where it begins one.
    fn put(&mut self, cover: u32, pages: usize) {
        let at = self.next as usize % PAGE;
        if at > 0 || pages == 0 {
            if at == 0 {
                self.add_page(1, SEARCH);
            }
            let page = self.pages.len() - PAGE;
            self.pages[page + at] = cover;
            self.next += 1;
            return;
        }
        if cover == packed(Cover::NOBODY) {
            self.heads.resize(self.heads.len() + pages, 0);
        } else {
            self.add_page(pages, cover);
        }
        self.next += (pages * PAGE) as u32;
    }

    /// Adds a page with the same in all places, for so many heads.
    fn add_page(&mut self, heads: usize, cover: u32) {
        let page = (self.pages.len() / PAGE) as u32;
        self.heads.resize(self.heads.len() + heads, page);
        self.pages.resize(self.pages.len() + PAGE, cover);
    }
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

    fn cover(run: u32) -> Cover {
        Cover { run, longest: 24 }
    }

    #[test]
    fn a_cover_is_found_or_the_table_has_to_be_searched() {
        let mut w = Writer::new(8);
        for (start, run) in [
            (0x0a00_0000, 1), // a /24
            (0x0a00_0100, 2), // up to the middle of one
            (0x0a00_0280, 3), // three in one
            (0x0a00_0290, 4), // with the next one whole
            (0x0a00_0400, 5), // from within a /16 over many whole ones into another
            (0x0b10_0300, 0),
            (0x0c00_0000, 1 << 26), // more than fits
            (0x0c00_0100, (1 << 26) - 1),
            (u32::MAX, 6),
        ] {
            w.begin(start, cover(run));
        }
        let ranges = w.finish();
        let front = Front::new(&ranges, 0);
        let search = |address: u32| {
            let within = (ranges.find(address), ranges.scope(address) > 24);
            within.1 || within.0.run == 1 << 26
        };
        let mut asked = 0;
        for (start, last, _) in ranges.iter() {
            let middle = start + (last - start) / 2;
            for address in [start, start | 0xff, middle, middle | 0xffff, last & !0xff, last] {
                let wanted = (!search(address)).then(|| ranges.find(address));
                assert_eq!(front.find(address), wanted, "{address:x}");
                asked += usize::from(wanted.is_none());
            }
        }
        assert!((8..30).contains(&asked), "{asked}");
        assert_eq!(front.find(0x0a00_0210), None);
        assert_eq!(front.find(0xffff_fe00), Some(cover((1 << 26) - 1)));
        assert_eq!((front.heads.len(), front.next), (1 << HEAD_BITS, 1 << 24));
        assert!(front.pages.len() / PAGE < 16, "like ones are one page");
        let nobody = Front::new(&Ranges::empty(), 0);
        assert_eq!((nobody.find(7), nobody.pages.len()), (Some(Cover::NOBODY), PAGE));
    }
}
