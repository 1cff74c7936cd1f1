//! Inventory reports: the whole at first and when asked for, then only what changed since the last one that the
//! control plane acknowledged. A report that was lost costs nothing, for the next starts from the same base.

use cdn_types::{ObjectDigest, api::v1::InventoryUpdate};
use std::collections::BTreeSet;

/// What the control plane is known to have.
#[derive(Debug, Default)]
pub struct InventoryDelta {
    acknowledged: Option<(u64, BTreeSet<ObjectDigest>)>,
}

impl InventoryDelta {
    /// The update from what the control plane has to `current`.
    pub fn update(&self, generation: u64, current: &BTreeSet<ObjectDigest>) -> InventoryUpdate {
        let Some((base, had)) = &self.acknowledged else {
            return InventoryUpdate {
                generation,
                base: None,
                added: current.iter().copied().collect(),
                removed: vec![],
            };
        };
        InventoryUpdate {
            generation,
            base: Some(*base),
            added: current.difference(had).copied().collect(),
            removed: had.difference(current).copied().collect(),
        }
    }

    /// The control plane took an update to `current`.
    pub fn acknowledge(&mut self, generation: u64, current: BTreeSet<ObjectDigest>) {
        self.acknowledged = Some((generation, current));
    }

    /// The control plane wants the whole.
    pub fn resync(&mut self) {
        self.acknowledged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(of: &[u8]) -> BTreeSet<ObjectDigest> {
        of.iter().map(|b| ObjectDigest::of(&[*b])).collect()
    }

    /// The control plane's rule: a delta counts only on exactly the generation that it starts from.
    fn receive(theirs: &mut Option<(u64, BTreeSet<ObjectDigest>)>, update: InventoryUpdate) -> bool {
        match (update.base, theirs) {
            (None, theirs) => *theirs = Some((update.generation, update.added.into_iter().collect())),
            (Some(base), Some((have, set))) if base == *have => {
                set.extend(update.added);
                update.removed.iter().for_each(|d| _ = set.remove(d));
                *have = update.generation;
            }
            _ => return false,
        }
        true
    }

    proptest! {
        /// Reports and answers get lost and resyncs are asked for at random: whenever a report was taken, the
        /// control plane has exactly what the appliance has, and after a refusal that was heard the next is taken.
        #[test]
        fn the_control_plane_always_ends_up_with_the_inventory(
            steps in prop::collection::vec((prop::collection::vec(0u8..12, 0..10), 0u8..5), 1..40)
        ) {
            let mut delta = InventoryDelta::default();
            let (mut theirs, mut refused) = (None, 0);
            for (generation, (held, fate)) in (1u64..).zip(steps) {
                let current = set(&held);
                let update = delta.update(generation, &current);
                if fate == 0 {
                    continue; // the report is lost on the way
                }
                let taken = receive(&mut theirs, update);
                if taken {
                    refused = 0;
                    prop_assert_eq!(&theirs.as_ref().unwrap().1, &current);
                } else if fate != 1 {
                    refused += 1;
                    prop_assert!(refused < 2);
                }
                match fate {
                    1 => {} // the answer is lost
                    2 => delta.resync(),
                    _ if taken => delta.acknowledge(generation, current),
                    _ => delta.resync(),
                }
            }
        }
    }
}
