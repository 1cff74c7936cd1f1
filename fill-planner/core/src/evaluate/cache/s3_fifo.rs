//! S3-FIFO: three queues. A title comes into a small one (a tenth of the room); if it was drawn again before it reaches the
//! end it moves to the main one, else only its name is remembered. A remembered one comes into the main one at once. In the main
//! queue a title is passed over as often as it was drawn, three times at most.

use super::Cache;
use std::collections::{HashMap, VecDeque};

/// Counted draws at most.
const MOST: u8 = 3;

/// S3-FIFO by bytes.
#[derive(Debug, Clone)]
pub struct S3Fifo {
    room: u64,
    small_room: u64,
    small: Queue,
    main: Queue,
    held: HashMap<u32, Entry>,
    ghosts: VecDeque<(u32, u64)>,
    ghost_bytes: u64,
    ghost_of: HashMap<u32, u64>,
    clock: u64,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    titles: VecDeque<u32>,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    size: u64,
    drawn: u8,
}

impl S3Fifo {
    /// An empty cache.
    pub fn new(room: u64) -> Self {
        Self {
            room,
            small_room: room / 10,
            small: Queue::default(),
            main: Queue::default(),
            held: HashMap::new(),
            ghosts: VecDeque::new(),
            ghost_bytes: 0,
            ghost_of: HashMap::new(),
            clock: 0,
        }
    }

    fn make_room(&mut self, size: u64) {
        while self.small.bytes + self.main.bytes + size > self.room {
            if self.small.bytes > self.small_room || self.main.titles.is_empty() {
                self.shrink_small();
            } else {
                self.shrink_main();
            }
        }
    }

    /// Moves what was drawn again, until one goes.
    fn shrink_small(&mut self) {
        while let Some(title) = self.small.titles.pop_front() {
            let Some(entry) = self.held.get_mut(&title) else {
                continue;
            };
            self.small.bytes -= entry.size;
            if entry.drawn > 0 {
                entry.drawn = 0;
                self.main.bytes += entry.size;
                self.main.titles.push_back(title);
            } else {
                let size = entry.size;
                self.held.remove(&title);
                self.remember(title, size);
                return;
            }
        }
    }

    fn shrink_main(&mut self) {
        while let Some(title) = self.main.titles.pop_front() {
            let Some(entry) = self.held.get_mut(&title) else {
                continue;
            };
            if entry.drawn > 0 {
                entry.drawn -= 1;
                self.main.titles.push_back(title);
            } else {
                self.main.bytes -= entry.size;
                self.held.remove(&title);
                return;
            }
        }
    }

    /// Names are remembered for as many bytes as the main queue may hold.
    fn remember(&mut self, title: u32, size: u64) {
        self.clock += 1;
        self.ghosts.push_back((title, self.clock));
        if self.ghost_of.insert(title, self.clock).is_none() {
            self.ghost_bytes += size;
        }
        while self.ghost_bytes > self.room - self.small_room {
            let Some((oldest, at)) = self.ghosts.pop_front() else {
                break;
            };
            if self.ghost_of.get(&oldest) == Some(&at) {
                self.ghost_of.remove(&oldest);
                self.ghost_bytes = self.ghost_bytes.saturating_sub(size);
            }
        }
    }
}

impl Cache for S3Fifo {
    fn name(&self) -> &'static str {
        "S3-FIFO"
    }

    fn request(&mut self, title: u32, size: u64) -> bool {
        if let Some(entry) = self.held.get_mut(&title) {
            entry.drawn = (entry.drawn + 1).min(MOST);
            return true;
        }
        if size > self.room {
            return false;
        }
        self.make_room(size);
        let known = self.ghost_of.remove(&title).is_some();
        if known {
            self.ghost_bytes = self.ghost_bytes.saturating_sub(size);
        }
        let queue = if known { &mut self.main } else { &mut self.small };
        queue.titles.push_back(title);
        queue.bytes += size;
        self.held.insert(title, Entry { size, drawn: 0 });
        false
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::play, *};

    #[test]
    fn one_hit_titles_pass_through_and_the_remembered_come_to_stay() {
        // Room for five of 10, the small queue's part is half of one. 1 is drawn again and moves to the main queue when room is
        // needed; 2 was drawn once, goes and is remembered; it returns into the main queue while 3 goes.
        let mut cache = S3Fifo::new(50);
        assert_eq!(play(&mut cache, 10, &[1, 2, 3, 4, 5, 1]), "-----h");
        assert_eq!(play(&mut cache, 10, &[6, 1, 2, 1, 3, 2]), "-h-h-h");
        // A scan of once drawn titles displaces none of those in the main queue.
        assert_eq!(
            play(&mut cache, 10, &[11, 12, 13, 14, 15, 16, 1, 2, 3]),
            "------hhh"
        );
    }
}
