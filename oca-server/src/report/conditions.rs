//! What is wrong with this appliance right now, under stable names: reported to the control plane, shown by
//! `/readyz`, logged once when it begins and once when it ends.

use cdn_types::api::v1::Condition;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The disk or the storage budget is full: the fill stands still, serving goes on.
pub const DISK_FULL: &str = "disk_full";
/// Reading or writing the data folder failed otherwise.
pub const DISK_ERROR: &str = "disk_error";
/// A drive is not used: it erred too often, did not answer, or is not there.
pub const DRIVE_EJECTED: &str = "drive_ejected";
/// A source sent bytes that do not match their digest.
pub const SOURCE_CORRUPT: &str = "source_corrupt";
/// An object on the own disk turned out damaged and is fetched again.
pub const OBJECT_DAMAGED: &str = "object_damaged";
/// The catalogue's block digests do not belong to the object.
pub const CATALOGUE_MISMATCH: &str = "catalogue_mismatch";
/// The control plane offers a plan that is not above the one executed.
pub const STALE_PLAN: &str = "stale_plan";
/// The control plane offers a plan that cannot be executed.
pub const PLAN_INVALID: &str = "plan_invalid";
/// The control plane cannot be reached; the last plan is executed.
pub const CONTROL_UNREACHABLE: &str = "control_unreachable";
/// The control plane refuses this appliance's calls.
pub const CONTROL_REFUSED: &str = "control_refused";

/// The conditions that hold; cheap to clone and share.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Conditions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The condition holds, for this reason.
    pub fn set(&self, kind: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        let before = self.lock().insert(kind, detail.clone());
        if before.is_none() {
            tracing::warn!(condition = kind, %detail, "condition begins");
        }
    }

    /// The condition does not hold.
    pub fn clear(&self, kind: &'static str) {
        if self.lock().remove(kind).is_some() {
            tracing::info!(condition = kind, "condition ends");
        }
    }

    /// All that hold, sorted by name.
    pub fn list(&self) -> Vec<Condition> {
        let condition = |(kind, detail): (&&'static str, &String)| Condition {
            kind: (*kind).to_owned(),
            detail: detail.clone(),
        };
        self.lock().iter().map(condition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_until_it_is_cleared_and_shows_its_latest_reason() {
        let conditions = Conditions::default();
        conditions.set(DISK_FULL, "first");
        conditions.clone().set(DISK_FULL, "second");
        conditions.set(CONTROL_UNREACHABLE, "away");
        let kinds: Vec<_> = conditions
            .list()
            .into_iter()
            .map(|c| (c.kind, c.detail))
            .collect();
        let expected = [("control_unreachable", "away"), ("disk_full", "second")];
        assert_eq!(kinds, expected.map(|(k, d)| (k.to_owned(), d.to_owned())));
        conditions.clear(DISK_FULL);
        assert_eq!(conditions.list().len(), 1);
    }
}
