//! The least recently drawn goes.

use super::Cache;
use std::collections::{BTreeMap, HashMap};

/// LRU.
#[derive(Debug, Clone)]
pub struct Lru {
    room: u64,
    used: u64,
    clock: u64,
    last: HashMap<u32, (u64, u64)>,
    order: BTreeMap<u64, u32>,
}

impl Lru {
    /// An empty cache.
    pub fn new(room: u64) -> Self {
        Self {
            room,
            used: 0,
            clock: 0,
            last: HashMap::new(),
            order: BTreeMap::new(),
        }
    }
}

impl Cache for Lru {
    fn name(&self) -> &'static str {
        "LRU"
    }

    fn request(&mut self, title: u32, size: u64) -> bool {
        if size > self.room {
            return false;
        }
        self.clock += 1;
        let before = self.last.insert(title, (self.clock, size));
        match before {
            Some((at, _)) => drop(self.order.remove(&at)),
            None => self.used += size,
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
    use super::{super::tests::play, *};

    #[test]
    fn the_least_recent_goes() {
        // Room for two: 3 displaces 2, then 2 displaces 1.
        assert_eq!(play(&mut Lru::new(10), 5, &[1, 2, 1, 3, 1, 2, 3, 1]), "--h-h---");
    }
}
