//! Experiments in service: which arm a session is in, and the index that its arm's weights make.
//!
//! An arm that was stopped ([`guard`]) has no sessions any more: they are the control's, and are logged as such.

pub mod guard;
pub mod outcome;

use arc_swap::ArcSwap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use steering_core::{Index, Policy, index::Parts};

/// Arm of a session by experiment.
pub type Exposure = BTreeMap<String, String>;

/// The indexes of arms that weigh differently; all have the members of the index that they were made from.
#[derive(Debug, Default)]
pub struct ArmIndexes {
    experiment: String,
    arms: Vec<(String, Index)>,
}

impl ArmIndexes {
    /// Those that an index's policy asks for. A policy has one experiment with weights at most.
    pub fn new(index: &Index) -> Self {
        let policy = index.policy();
        let Some(experiment) = policy.experiments.iter().find(|e| e.weighs()) else {
            return Self::default();
        };
        let weighing = experiment.arms.iter().filter(|arm| !arm.weights.is_empty());
        let made = weighing.map(|arm| {
            let parts = Parts {
                policy: Arc::new(arm.weights.over(policy)),
                ..index.parts()
            };
            (arm.name.clone(), Index::join(parts, index.contested.clone()))
        });
        Self {
            experiment: experiment.name.clone(),
            arms: made.collect(),
        }
    }

    /// The index for a session; `plain` where its arm weighs nothing.
    pub fn of<'a>(&'a self, plain: &'a Index, exposure: &Exposure) -> &'a Index {
        let arm = exposure.get(&self.experiment);
        let found = self.arms.iter().find(|(name, _)| Some(name) == arm);
        found.map_or(plain, |(_, index)| index)
    }
}

/// Arms that were stopped, by policy version; another version begins anew.
#[derive(Debug, Default)]
struct Stopped {
    version: u64,
    arms: BTreeSet<(String, String)>,
}

/// Which arms run.
#[derive(Debug, Default)]
pub struct Running(ArcSwap<Stopped>);

impl Running {
    /// A session's arms: by hash, or the control where its arm was stopped.
    pub fn exposure(&self, policy: &Policy, session: &str) -> Exposure {
        if policy.experiments.is_empty() {
            return Exposure::new();
        }
        let stopped = self.0.load();
        let experiments = policy.experiments.iter().map(|experiment| {
            let arm = &experiment.arm(session).name;
            let key = (experiment.name.clone(), arm.clone());
            if stopped.version == policy.version && stopped.arms.contains(&key) {
                return (key.0, experiment.control().name.clone());
            }
            key
        });
        experiments.collect()
    }

    /// Stops an arm of this version of the policy; whether it ran.
    pub fn stop(&self, version: u64, experiment: &str, arm: &str) -> bool {
        let now = self.0.load();
        let mut arms = if now.version == version {
            now.arms.clone()
        } else {
            BTreeSet::new()
        };
        let ran = arms.insert((experiment.to_owned(), arm.to_owned()));
        self.0.store(Arc::new(Stopped { version, arms }));
        ran
    }
}
