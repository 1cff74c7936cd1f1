//! A set of an object's blocks: which of them are verified, which are on their way.
//!
//! One bit a block, in the byte order of the journal beside a partial object, so that the journal is the set.

/// Blocks of one object, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSet {
    bytes: Vec<u8>,
    blocks: u32,
    count: u32,
}

impl BlockSet {
    /// No block of an object of `blocks` blocks.
    pub fn empty(blocks: u32) -> Self {
        Self {
            bytes: vec![0; blocks.div_ceil(8) as usize],
            blocks,
            count: 0,
        }
    }

    /// Every block of an object of `blocks` blocks.
    pub fn full(blocks: u32) -> Self {
        let mut set = Self::empty(blocks);
        (0..blocks).for_each(|b| set.insert(b));
        set
    }

    /// From the journal's bytes; bits beyond the object are ignored and missing bytes are empty.
    pub fn from_journal(journal: &[u8], blocks: u32) -> Self {
        let mut set = Self::empty(blocks);
        let set_in_journal = |b: &u32| {
            journal
                .get((b / 8) as usize)
                .is_some_and(|byte| byte >> (b % 8) & 1 == 1)
        };
        for block in (0..blocks).filter(set_in_journal) {
            set.insert(block);
        }
        set
    }

    /// The journal's whole text.
    pub fn journal(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds a block; blocks beyond the object are ignored.
    pub fn insert(&mut self, block: u32) {
        if block < self.blocks && !self.contains(block) {
            self.bytes[(block / 8) as usize] |= 1 << (block % 8);
            self.count += 1;
        }
    }

    /// Takes a block out.
    pub fn remove(&mut self, block: u32) {
        if self.contains(block) {
            self.bytes[(block / 8) as usize] &= !(1 << (block % 8));
            self.count -= 1;
        }
    }

    /// Whether a block is in the set.
    pub fn contains(&self, block: u32) -> bool {
        block < self.blocks && self.bytes[(block / 8) as usize] >> (block % 8) & 1 == 1
    }

    /// Number of blocks in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number of blocks of the object.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Whether every block of the object is in the set.
    pub fn is_full(&self) -> bool {
        self.count == self.blocks
    }

    /// The blocks in the set, rising.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.blocks).filter(|b| self.contains(*b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn is_a_set_and_survives_its_journal(blocks in 0u32..70, ops in prop::collection::vec((any::<bool>(), 0u32..80), 0..60)) {
            let mut set = BlockSet::empty(blocks);
            let mut model = BTreeSet::new();
            for (add, block) in ops {
                if add {
                    set.insert(block);
                    if block < blocks { model.insert(block); }
                } else {
                    set.remove(block);
                    model.remove(&block);
                }
                prop_assert_eq!(set.count() as usize, model.len());
            }
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(set.is_full(), model.len() == blocks as usize);
            prop_assert_eq!(BlockSet::from_journal(set.journal(), blocks), set);
        }
    }

    #[test]
    fn a_short_or_long_journal_is_read_as_far_as_it_goes() {
        assert_eq!(BlockSet::from_journal(&[], 9).count(), 0);
        let set = BlockSet::from_journal(&[0xff, 0xff, 0xff], 9);
        assert!(set.is_full());
        assert_eq!(set.journal(), [0xff, 1]);
    }
}
