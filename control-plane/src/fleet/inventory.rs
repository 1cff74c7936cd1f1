//! What a report's inventory means for the inventory that we have.
//!
//! A whole inventory replaces ours. A delta is applied only if it starts from exactly the generation that we have of
//! the same boot: anything else would leave an object that was lost in between, and viewers would be sent to it.
//! Otherwise the whole inventory is asked for, and until it comes the losses that the delta names are taken in, for
//! they are true in any case.

use super::{Appliance, dictionary::Dictionary};
use cdn_types::{ObjectDigest, api::v1::InventoryUpdate};
use std::collections::HashSet;

/// What changes in an inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InventoryChange {
    /// Objects that it did not hold and holds now.
    pub added: Vec<ObjectDigest>,
    /// Objects that it held and holds no more.
    pub removed: Vec<ObjectDigest>,
    /// Generation of this boot that we have after it; none if we do not know it.
    pub generation: Option<u64>,
    /// Whether the whole inventory must be asked for.
    pub resync: bool,
}

/// Decides what `update` of `boot` changes.
pub fn decide(
    appliance: &Appliance,
    dictionary: &Dictionary,
    boot: &str,
    update: &InventoryUpdate,
) -> InventoryChange {
    let holds = |d: &ObjectDigest| {
        dictionary
            .index(d)
            .is_some_and(|index| appliance.held.contains(&index))
    };
    let mut listed = HashSet::new();
    let added: Vec<_> = update
        .added
        .iter()
        .filter(|d| listed.insert(**d) && !holds(d))
        .copied()
        .collect();
    let ours = appliance
        .row
        .report
        .as_ref()
        .filter(|r| r.boot == boot)
        .and_then(|r| r.inventory);
    match update.base {
        None => InventoryChange {
            added,
            removed: appliance
                .held
                .iter()
                .map(|index| *dictionary.digest(*index))
                .filter(|d| !listed.contains(d))
                .collect(),
            generation: Some(update.generation),
            resync: false,
        },
        Some(base) => {
            let applies = ours == Some(base);
            let mut gone = HashSet::new();
            let removed = update.removed.iter().filter(|d| {
                let stays = applies && listed.contains(*d);
                gone.insert(**d) && holds(d) && !stays
            });
            InventoryChange {
                removed: removed.copied().collect(),
                added: if applies { added } else { Vec::new() },
                generation: applies.then_some(update.generation),
                resync: !applies,
            }
        }
    }
}
