//! Numbers objects, so that inventories and titles are sets of small integers.

use cdn_types::ObjectDigest;
use std::collections::HashMap;

/// Entries below which the dictionary is never compacted: the work would not pay.
const COMPACT_ABOVE: usize = 4096;

/// Objects in the order in which they were first seen.
#[derive(Debug, Default)]
pub struct Dictionary {
    digests: Vec<ObjectDigest>,
    indices: HashMap<ObjectDigest, u32>,
    live: usize,
}

impl Dictionary {
    /// The number of an object, a new one if it has none.
    pub fn intern(&mut self, digest: &ObjectDigest) -> u32 {
        *self.indices.entry(*digest).or_insert_with(|| {
            self.digests.push(*digest);
            u32::try_from(self.digests.len() - 1).expect("limits on inventories keep this far below 2^32")
        })
    }

    /// The number of an object, if it has one.
    pub fn index(&self, digest: &ObjectDigest) -> Option<u32> {
        self.indices.get(digest).copied()
    }

    /// The object of a number that this dictionary gave out.
    pub fn digest(&self, index: u32) -> &ObjectDigest {
        &self.digests[index as usize]
    }

    /// All objects by number.
    pub fn digests(&self) -> &[ObjectDigest] {
        &self.digests
    }

    /// Whether it has doubled since the last compaction, which is when half of it may be of no use any more.
    pub fn wants_compaction(&self) -> bool {
        self.digests.len() > COMPACT_ABOVE.max(2 * self.live)
    }

    /// Notes that every entry is in use now.
    pub fn compacted(&mut self) {
        self.live = self.digests.len();
    }
}
