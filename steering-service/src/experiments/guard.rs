//! Guards in service: what players report goes to the guards of the policy's experiments, and an arm that one stops has no
//! sessions from then on.
//!
//! Each replica judges by its own sessions, and knows no more of it after a restart, or under another version of the policy:
//! an arm that was stopped shall be taken out of the policy.

use super::Running;
use crate::{decisions::record::Decision, fleet::FleetState, metrics::Metrics};
use std::sync::Arc;
use steering_core::{
    Policy,
    guard::{Guard, Harm, Observation, Verdict},
};

/// Milliseconds between two looks.
const LOOK_EVERY_MS: i64 = 10_000;

/// Whether a policy has anything to watch.
pub fn wanted(policy: &Policy) -> bool {
    policy.experiments.iter().any(|e| e.guard.is_some())
}

/// The guards of the policy in use.
pub struct Guards {
    fleet: Arc<FleetState>,
    running: Arc<Running>,
    metrics: Arc<Metrics>,
    version: u64,
    guards: Vec<(String, Guard)>,
    next_look: i64,
}

impl Guards {
    /// None yet: the first decision brings the policy.
    pub fn new(fleet: Arc<FleetState>, running: Arc<Running>, metrics: Arc<Metrics>) -> Self {
        Self {
            fleet,
            running,
            metrics,
            version: 0,
            guards: Vec::new(),
            next_look: 0,
        }
    }

    /// Takes a decision, and looks when it is time.
    pub fn take(&mut self, decision: &Decision) {
        if decision.policy != self.version && !self.renew(decision.policy) {
            return;
        }
        let (Some(session), Some(first)) = (decision.session, decision.answered.first()) else {
            return;
        };
        for (experiment, guard) in &mut self.guards {
            if let Some(arm) = decision.arms.get(experiment) {
                guard.observe(Observation {
                    at: decision.at,
                    session: session.0,
                    arm,
                    current: decision.current(),
                    throughput: decision.used.last().and_then(|(_, throughput)| *throughput),
                    first,
                });
            }
        }
        if decision.at >= self.next_look {
            self.next_look = decision.at + LOOK_EVERY_MS;
            self.look(decision.at);
        }
    }

    /// Takes another version of the policy up, if it is the one in use; decisions of an older one may still come.
    fn renew(&mut self, version: u64) -> bool {
        let Some(fleet) = self
            .fleet
            .current()
            .filter(|f| f.index.policy().version == version)
        else {
            return false;
        };
        let experiments = fleet.index.policy().experiments.iter();
        self.guards = experiments
            .filter_map(|e| Some((e.name.clone(), Guard::new(e)?)))
            .collect();
        self.version = version;
        true
    }

    fn look(&mut self, now: i64) {
        for (experiment, guard) in &mut self.guards {
            for Verdict {
                arm,
                harm,
                percent,
                bound,
            } in guard.judge(now)
            {
                self.running.stop(self.version, experiment, &arm);
                self.metrics
                    .arms_stopped
                    .with_label_values(&[experiment.as_str(), arm.as_str()])
                    .inc();
                let harm = match harm {
                    Harm::Throughput => "throughput",
                    Harm::Failovers => "failovers",
                };
                tracing::warn!(
                    experiment,
                    arm,
                    harm,
                    percent,
                    bound,
                    "an arm does harm: it is stopped, and its sessions are the control's; take it out of the policy"
                );
            }
        }
    }
}
