//! Experiments as written.

use super::{ClassOrder, PolicyError, RawHeadroom, RawMed, class_order, enough, headroom, hysteresis, wrong};
use crate::policy::{
    Policy,
    experiment::{Arm, Experiment, GuardRule, Weights},
};
use serde::Deserialize;
use std::collections::HashSet;

/// Most arms of an experiment: each that weighs anything differently has an index of its own.
const MAX_ARMS: usize = 8;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawExperiment {
    pub name: String,
    #[serde(rename = "arm")]
    pub arms: Vec<RawArm>,
    pub guard: Option<RawGuard>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawArm {
    pub name: String,
    pub share: u32,
    pub class_order: Option<ClassOrder>,
    pub headroom: Option<RawHeadroom>,
    pub hysteresis_steps: Option<u8>,
    pub med: Option<RawMed>,
    pub enough_throughput_mbps: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawGuard {
    pub throughput_percent: Option<f64>,
    pub failovers_percent: Option<f64>,
    pub window_minutes: Option<u32>,
    pub minimum_sessions: Option<usize>,
}

/// Converts all; what an arm leaves out is as in `policy`.
pub fn experiments(raw: &[RawExperiment], policy: &Policy) -> Result<Vec<Experiment>, PolicyError> {
    let mut names = HashSet::new();
    let mut made = Vec::new();
    for (at, experiment) in raw.iter().enumerate() {
        if experiment.name.is_empty() || !names.insert(&experiment.name) {
            let key = format!("experiment[{at}].name");
            return wrong(
                key,
                "is empty or there twice",
                "give each experiment a name of its own",
            );
        }
        made.push(Experiment {
            name: experiment.name.clone(),
            arms: arms(&format!("experiment[{at}].arm"), &experiment.arms, policy)?,
            guard: match &experiment.guard {
                None => None,
                Some(raw) => Some(guard(&format!("experiment[{at}].guard"), raw)?),
            },
        });
    }
    let mut weighing = made.iter().enumerate().filter(|(_, e)| e.weighs());
    if let (Some(_), Some((at, _))) = (weighing.next(), weighing.next()) {
        let key = format!("experiment[{at}].arm");
        return wrong(
            key,
            "weighs, as an experiment before does",
            "run one such experiment at a time",
        );
    }
    Ok(made)
}

fn arms(key: &str, raw: &[RawArm], policy: &Policy) -> Result<Vec<Arm>, PolicyError> {
    let mut names = HashSet::new();
    let twice = raw
        .iter()
        .find(|arm| arm.name.is_empty() || !names.insert(&arm.name));
    if let Some(arm) = twice {
        let problem = format!("`{}` is empty or there twice", arm.name);
        return wrong(key, problem, "give each arm a name of its own");
    }
    if raw.iter().all(|arm| arm.share == 0) {
        return wrong(
            key,
            "has no share in sum",
            "give at least one arm a share above 0",
        );
    }
    if raw.len() > MAX_ARMS {
        return wrong(key, format!("has {} arms", raw.len()), "keep to 8");
    }
    let arm = |(at, raw): (usize, &RawArm)| {
        Ok(Arm {
            name: raw.name.clone(),
            share: raw.share,
            weights: weights(&format!("{key}[{at}]."), raw, policy)?,
        })
    };
    raw.iter().enumerate().map(arm).collect()
}

fn weights(under: &str, raw: &RawArm, policy: &Policy) -> Result<Weights, PolicyError> {
    let order = raw.class_order.as_ref();
    let steps = raw.headroom.as_ref();
    Ok(Weights {
        class_order: order
            .map(|o| class_order(under, o, policy.class_order))
            .transpose()?,
        headroom: steps.map(|h| headroom(under, h, policy.headroom)).transpose()?,
        hysteresis_steps: match raw.hysteresis_steps {
            None => None,
            Some(steps) => Some(hysteresis(format!("{under}hysteresis_steps"), steps)?),
        },
        med: raw.med.map(Into::into),
        enough_throughput: match raw.enough_throughput_mbps {
            None => None,
            Some(mbps) => Some(enough(format!("{under}enough_throughput_mbps"), mbps)?),
        },
    })
}

fn guard(key: &str, raw: &RawGuard) -> Result<GuardRule, PolicyError> {
    if raw.throughput_percent.is_none() && raw.failovers_percent.is_none() {
        return wrong(
            key,
            "guards nothing",
            "give throughput_percent, failovers_percent or both",
        );
    }
    for (name, percent) in [
        ("throughput_percent", raw.throughput_percent),
        ("failovers_percent", raw.failovers_percent),
    ] {
        if let Some(percent) = percent.filter(|p| !(1.0..=1000.0).contains(p)) {
            return wrong(format!("{key}.{name}"), format!("is {percent}"), "give 1 to 1000");
        }
    }
    let minutes = raw.window_minutes.unwrap_or(60);
    if !(1..=1440).contains(&minutes) {
        return wrong(
            format!("{key}.window_minutes"),
            format!("is {minutes}"),
            "give 1 to 1440",
        );
    }
    let sessions = raw.minimum_sessions.unwrap_or(200);
    if !(30..=10_000).contains(&sessions) {
        return wrong(
            format!("{key}.minimum_sessions"),
            format!("is {sessions}"),
            "give 30 to 10000",
        );
    }
    Ok(GuardRule {
        throughput_percent: raw.throughput_percent,
        failovers_percent: raw.failovers_percent,
        window_ms: i64::from(minutes) * 60_000,
        minimum_sessions: sessions,
    })
}
