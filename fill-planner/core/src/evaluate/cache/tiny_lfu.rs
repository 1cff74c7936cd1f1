//! W-TinyLFU: a small window (a hundredth of the room, least recently drawn first) before a main part in two segments. What leaves
//! the window enters the main part only if it was drawn more often, of late, than what would have to go for it. How often is
//! counted in four rows of 4-bit counters that are halved from time to time, so that old fame fades.

use super::Cache;
use crate::rendezvous::mix;
use std::collections::{BTreeMap, HashMap};

/// Counters in a row.
const WIDTH: usize = 1 << 14;
/// A counter's most.
const MOST: u8 = 15;
/// Requests after which all counters are halved: ten for each counter of a row.
const AGE_AFTER: usize = 10 * WIDTH;

/// W-TinyLFU by bytes.
#[derive(Debug, Clone)]
pub struct TinyLfu {
    room: u64,
    rows: [Vec<u8>; 4],
    counted: usize,
    clock: u64,
    held: HashMap<u32, Entry>,
    segments: [Segment; 3],
}

#[derive(Debug, Clone, Default)]
struct Segment {
    order: BTreeMap<u64, u32>,
    bytes: u64,
    room: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    size: u64,
    at: u64,
    segment: usize,
}

/// Segments: the window, and the main part's two.
const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

impl TinyLfu {
    /// An empty cache.
    pub fn new(room: u64) -> Self {
        let window = room / 100;
        let segment = |room| Segment {
            room,
            ..Segment::default()
        };
        Self {
            room,
            rows: std::array::from_fn(|_| vec![0; WIDTH]),
            counted: 0,
            clock: 0,
            held: HashMap::new(),
            segments: [segment(window), segment(0), segment((room - window) / 5 * 4)],
        }
    }

    fn counter(row: usize, title: u32) -> usize {
        mix(u64::from(title) ^ (row as u64) << 56) as usize % WIDTH
    }

    fn count(&mut self, title: u32) {
        for (row, counters) in self.rows.iter_mut().enumerate() {
            let counter = &mut counters[Self::counter(row, title)];
            *counter = (*counter + 1).min(MOST);
        }
        self.counted += 1;
        if self.counted >= AGE_AFTER {
            self.counted /= 2;
            self.rows.iter_mut().flatten().for_each(|c| *c /= 2);
        }
    }

    fn often(&self, title: u32) -> u8 {
        let rows = self.rows.iter().enumerate();
        rows.map(|(row, counters)| counters[Self::counter(row, title)])
            .min()
            .unwrap_or(0)
    }

    fn put(&mut self, title: u32, size: u64, segment: usize) {
        self.clock += 1;
        let at = self.clock;
        self.segments[segment].order.insert(at, title);
        self.segments[segment].bytes += size;
        self.held.insert(title, Entry { size, at, segment });
    }

    fn take(&mut self, title: u32) -> Option<Entry> {
        let entry = self.held.remove(&title)?;
        let segment = &mut self.segments[entry.segment];
        segment.order.remove(&entry.at);
        segment.bytes -= entry.size;
        Some(entry)
    }

    fn oldest(&self, segment: usize) -> Option<u32> {
        self.segments[segment].order.values().next().copied()
    }

    fn main_bytes(&self) -> u64 {
        self.segments[PROBATION].bytes + self.segments[PROTECTED].bytes
    }

    /// What has no room in the window asks for the main part.
    fn settle(&mut self) {
        while self.segments[WINDOW].bytes > self.segments[WINDOW].room {
            let Some(title) = self.oldest(WINDOW) else { return };
            let Some(Entry { size, .. }) = self.take(title) else {
                return;
            };
            self.admit(title, size);
        }
    }

    /// Into the main part if it is wanted more than all that must go for it.
    fn admit(&mut self, title: u32, size: u64) {
        let room = self.room - self.segments[WINDOW].room;
        let needed = (self.main_bytes() + size).saturating_sub(room);
        let (mut victims, mut freed) = (Vec::new(), 0);
        let probation = self.segments[PROBATION].order.values();
        for victim in probation.chain(self.segments[PROTECTED].order.values()) {
            if freed >= needed {
                break;
            }
            if self.often(*victim) >= self.often(title) {
                return;
            }
            freed += self.held.get(victim).map_or(0, |e| e.size);
            victims.push(*victim);
        }
        if freed >= needed {
            for victim in victims {
                self.take(victim);
            }
            self.put(title, size, PROBATION);
        }
    }

    /// Drawn again: up one segment; what overflows the upper one goes down.
    fn promote(&mut self, title: u32) {
        let Some(entry) = self.take(title) else { return };
        let to = if entry.segment == WINDOW {
            WINDOW
        } else {
            PROTECTED
        };
        self.put(title, entry.size, to);
        while self.segments[PROTECTED].bytes > self.segments[PROTECTED].room {
            let Some(down) = self.oldest(PROTECTED) else { break };
            if let Some(entry) = self.take(down) {
                self.put(down, entry.size, PROBATION);
            }
        }
    }
}

impl Cache for TinyLfu {
    fn name(&self) -> &'static str {
        "W-TinyLFU"
    }

    fn request(&mut self, title: u32, size: u64) -> bool {
        self.count(title);
        if self.held.contains_key(&title) {
            self.promote(title);
            return true;
        }
        if size <= self.room {
            self.put(title, size, WINDOW);
            self.settle();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::play, *};

    #[test]
    fn only_what_is_wanted_more_comes_in() {
        // Room for two; the window holds none. 3 comes only when it was drawn more often than the oldest of 1 and 2.
        let mut cache = TinyLfu::new(20);
        assert_eq!(play(&mut cache, 10, &[1, 1, 2, 2]), "-h-h");
        assert_eq!(play(&mut cache, 10, &[3, 3, 1, 2]), "--hh");
        // Drawn four times now, 3 displaces 1 (drawn three times), the less recent of the two.
        assert_eq!(play(&mut cache, 10, &[3, 3, 3, 2, 1]), "--hh-");
    }
}
