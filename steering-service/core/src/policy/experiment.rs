//! Experiments: sessions are divided among arms, and an arm may weigh what decides differently.
//!
//! The arm of a session is a hash of the two names, so that every replica agrees and no list is kept. The first arm is the
//! *control*: what the others are compared with, and where the sessions of an arm that was stopped go.

use super::{HeadroomSteps, MedRule, Policy};
use crate::rendezvous::Seed;

/// What an arm weighs differently; what is absent is as in the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weights {
    /// Place of each site class.
    pub class_order: Option<[u8; 4]>,
    /// Steps of load.
    pub headroom: Option<HeadroomSteps>,
    /// Steps that a session may be worse and stay.
    pub hysteresis_steps: Option<u8>,
    /// What MED decides.
    pub med: Option<MedRule>,
    /// Throughput in bit/s from which on appliances count alike.
    pub enough_throughput: Option<u64>,
}

impl Weights {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
    /// A policy with these in the place of its own.
    pub fn over(&self, policy: &Policy) -> Policy {
        Policy {
            class_order: self.class_order.unwrap_or(policy.class_order),
            headroom: self.headroom.unwrap_or(policy.headroom),
            hysteresis_steps: self.hysteresis_steps.unwrap_or(policy.hysteresis_steps),
            med: self.med.unwrap_or(policy.med),
            enough_throughput: self.enough_throughput.unwrap_or(policy.enough_throughput),
            ..policy.clone()
        }
    }
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// Its name.
    pub name: String,
    /// Its share of all sessions, in whole parts of the sum.
    pub share: u32,
    /// What it weighs differently.
    pub weights: Weights,
}

/// When an arm is stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuardRule {
    /// Percent by which throughput may fall below the control's.
    pub throughput_percent: Option<f64>,
    /// Percent by which the share of sessions that failed over may rise above the control's.
    pub failovers_percent: Option<f64>,
    /// Milliseconds that are looked back on.
    pub window_ms: i64,
    /// Sessions that an arm and the control must have each before they are compared.
    pub minimum_sessions: usize,
}

/// An experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct Experiment {
    /// Its name.
    pub name: String,
    /// The arms, the control first; shares are above 0 in sum.
    pub arms: Vec<Arm>,
    /// When an arm is stopped; never if absent.
    pub guard: Option<GuardRule>,
}

impl Experiment {
    /// The arm of a session: always the same, and independent of its arm in other experiments.
    pub fn arm(&self, session: &str) -> &Arm {
        let whole: u64 = self.arms.iter().map(|arm| u64::from(arm.share)).sum();
        let mut at = Seed::of(&format!("experiment\0{}", self.name), session).0 % whole;
        for arm in &self.arms {
            match at.checked_sub(u64::from(arm.share)) {
                Some(rest) => at = rest,
                None => return arm,
            }
        }
        unreachable!("at is below the sum of the shares")
    }
    /// The arm that the others are compared with.
    pub fn control(&self) -> &Arm {
        &self.arms[0]
    }
    /// Whether an arm weighs anything differently.
    pub fn weighs(&self) -> bool {
        self.arms.iter().any(|arm| !arm.weights.is_empty())
    }
}
