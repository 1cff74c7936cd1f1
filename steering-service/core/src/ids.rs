//! Positions by id. The ids lie one behind the other, and the table has positions only: a question reads a few hundred kilobytes
//! for thousands of ids instead of a piece of the heap for each.

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};
use std::hash::BuildHasher;

/// Different ids, each with its position in the order in which they were added.
#[derive(Debug, Default)]
pub struct Ids {
    text: String,
    ends: Vec<u32>,
    positions: HashTable<u32>,
    hasher: FixedState,
}

impl Ids {
    /// Adds an id as the next one, unless it is there already; whether it was new.
    pub fn add(&mut self, id: &str) -> bool {
        let (text, ends, hasher) = (&self.text, &self.ends, &self.hasher);
        let at = |n: u32| nth(text, ends, n);
        let entry = self
            .positions
            .entry(hasher.hash_one(id), |n| at(*n) == id, |n| hasher.hash_one(at(*n)));
        let Entry::Vacant(vacant) = entry else {
            return false;
        };
        vacant.insert(self.ends.len() as u32);
        self.text.push_str(id);
        self.ends.push(self.text.len() as u32);
        true
    }
    /// The position of an id.
    pub fn position(&self, id: &str) -> Option<u32> {
        let found = self.positions.find(self.hasher.hash_one(id), |n| {
            nth(&self.text, &self.ends, *n) == id
        });
        found.copied()
    }
}

fn nth<'a>(text: &'a str, ends: &[u32], n: u32) -> &'a str {
    let n = n as usize;
    let from = n.checked_sub(1).map_or(0, |before| ends[before]);
    &text[from as usize..ends[n] as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_the_position_at_which_it_was_added() {
        let mut ids = Ids::default();
        let name = |n: u32| format!("title-{n}");
        assert!((0..1000).all(|n| ids.add(&name(n))));
        assert!(!ids.add("title-7"), "it is there already");
        assert!(ids.add(""));
        assert!((0..1000).all(|n| ids.position(&name(n)) == Some(n)));
        assert_eq!([ids.position(""), ids.position("title-")], [Some(1000), None]);
    }
}
