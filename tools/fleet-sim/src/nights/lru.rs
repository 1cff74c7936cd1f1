//! The reactive yardstick: a site's storage as one cache of whole titles, the least recently watched goes first. One
//! cache for the site is kinder to it than a cache in each box.

use std::collections::{BTreeMap, HashMap};

/// A cache of titles.
#[derive(Debug, Clone)]
pub struct Lru {
    room: u64,
    used: u64,
    clock: u64,
    last: HashMap<usize, (u64, u64)>,
    order: BTreeMap<u64, usize>,
}

impl Lru {
    /// An empty cache of `room` bytes.
    pub fn new(room: u64) -> Self {
        Self {
            room,
            used: 0,
            clock: 0,
            last: HashMap::new(),
            order: BTreeMap::new(),
        }
    }

    /// Watches a title of `size` bytes; whether the cache had it.
    pub fn watch(&mut self, title: usize, size: u64) -> bool {
        self.clock += 1;
        let before = self.last.insert(title, (self.clock, size));
        if let Some((at, _)) = before {
            self.order.remove(&at);
        } else if size > self.room {
            self.last.remove(&title);
            return false;
        } else {
            self.used += size;
        }
        self.order.insert(self.clock, title);
        while self.used > self.room {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            self.used -= self.last.remove(&oldest).map_or(0, |(_, size)| size);
        }
        before.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_watched_goes() {
        let mut lru = Lru::new(10);
        assert!(!lru.watch(1, 5) && !lru.watch(2, 5) && lru.watch(1, 5));
        assert!(!lru.watch(3, 5)); // 2 goes
        assert!(lru.watch(1, 5) && !lru.watch(2, 5)); // 3 goes
        assert!(
            !lru.watch(9, 11) && lru.watch(1, 5) && lru.watch(2, 5),
            "too large to be kept, displaces nothing"
        );
    }
}
