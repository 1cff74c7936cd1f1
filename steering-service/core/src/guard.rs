//! Stops an arm of an experiment that does harm, from what players report.
//!
//! Sessions are the units: each counts once, by the mean of the throughput that its player reports and by whether it ever was
//! elsewhere than where it was sent first. An arm is compared with the control over the sessions of a window: the logarithm of
//! the ratio of geometric mean throughputs, and of the ratio of the shares that failed over (log risk ratio).
//!
//! Data are looked at again and again, which would soon find harm by chance in a plain 95 % interval. The interval used holds at
//! all looks together: Robbins' normal mixture ("Statistical methods related to the law of the iterated logarithm", Annals of
//! Mathematical Statistics, 1970), three to four standard errors wide. An arm is stopped when all of it is worse than the rule allows.

use crate::policy::experiment::{Experiment, GuardRule};
use foldhash::fast::FixedState;
use std::collections::HashMap;

/// Most sessions that are kept; those that begin beyond it are not looked at.
const MAX_SESSIONS: usize = 100_000;
/// Chance that an arm without harm is ever stopped.
const ALPHA: f64 = 0.05;

/// What one poll tells.
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// Milliseconds since any fixed time.
    pub at: i64,
    /// The session.
    pub session: u64,
    /// The arm that it is exposed to.
    pub arm: &'a str,
    /// Where its player says it is.
    pub current: Option<&'a str>,
    /// Bit/s that the player reports.
    pub throughput: Option<u64>,
    /// First entry of the list that is answered now.
    pub first: &'a str,
}

/// What harm an arm does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Throughput is lower.
    Throughput,
    /// More sessions fail over.
    Failovers,
}

/// An arm that is to be stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The arm.
    pub arm: String,
    /// What harm.
    pub harm: Harm,
    /// Change in per cent of the control, as estimated; at least as bad as `bound`.
    pub percent: f64,
    /// The end of the interval that is nearer to no harm, in per cent.
    pub bound: f64,
}

#[derive(Debug)]
struct Seen {
    arm: usize,
    last: i64,
    first: String,
    throughput: f64,
    reports: u32,
    /// It has said where it is, so that a failover would have been seen.
    told: bool,
    failed_over: bool,
}

/// Watches one experiment.
#[derive(Debug)]
pub struct Guard {
    rule: GuardRule,
    /// The control first.
    arms: Vec<String>,
    stopped: Vec<bool>,
    sessions: HashMap<u64, Seen, FixedState>,
}

/// Mean and its variance.
#[derive(Debug, Clone, Copy, Default)]
struct Estimate {
    count: f64,
    value: f64,
    variance: f64,
}

impl Guard {
    /// Of an experiment that has a rule.
    pub fn new(experiment: &Experiment) -> Option<Self> {
        Some(Self {
            rule: experiment.guard?,
            arms: experiment.arms.iter().map(|arm| arm.name.clone()).collect(),
            stopped: vec![false; experiment.arms.len()],
            sessions: HashMap::default(),
        })
    }

    /// Takes a poll, or the beginning of a session.
    pub fn observe(&mut self, seen: Observation<'_>) {
        let Some(arm) = self.arms.iter().position(|arm| arm == seen.arm) else {
            return;
        };
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&seen.session) {
            return;
        }
        let session = self.sessions.entry(seen.session).or_insert_with(|| Seen {
            arm,
            last: seen.at,
            first: String::new(),
            throughput: 0.0,
            reports: 0,
            told: false,
            failed_over: false,
        });
        if session.arm != arm {
            return; // its arm was stopped: what it shows from now on is neither's
        }
        session.last = seen.at;
        if let Some(bps) = seen.throughput.filter(|bps| *bps > 0) {
            session.throughput += bps as f64;
            session.reports += 1;
        }
        session.told |= seen.current.is_some();
        let elsewhere = seen.current.is_some_and(|at| at != session.first);
        session.failed_over |= elsewhere && !session.first.is_empty();
        seen.first.clone_into(&mut session.first);
    }

    /// Looks at the window that ends now; what it returns is to be stopped, and is told once.
    pub fn judge(&mut self, now: i64) -> Vec<Verdict> {
        let oldest = now - self.rule.window_ms;
        self.sessions.retain(|_, session| session.last >= oldest);
        let throughput: Vec<_> = (0..self.arms.len()).map(|arm| self.throughput(arm)).collect();
        let failovers: Vec<_> = (0..self.arms.len()).map(|arm| self.failovers(arm)).collect();
        let mut verdicts = Vec::new();
        for arm in 1..self.arms.len() {
            if self.stopped[arm] {
                continue;
            }
            let slower = self
                .rule
                .throughput_percent
                .map(|percent| (Harm::Throughput, &throughput, -percent));
            let fleeing = self
                .rule
                .failovers_percent
                .map(|percent| (Harm::Failovers, &failovers, percent));
            for (harm, estimates, allowed) in slower.into_iter().chain(fleeing) {
                if let Some((percent, bound)) = self.harm(estimates[0], estimates[arm], allowed) {
                    self.stopped[arm] = true;
                    verdicts.push(Verdict {
                        arm: self.arms[arm].clone(),
                        harm,
                        percent,
                        bound,
                    });
                    break;
                }
            }
        }
        verdicts
    }

    /// Change of the arm in per cent and the bound of it, if all of the interval is worse than allowed.
    fn harm(&self, control: Estimate, arm: Estimate, allowed_percent: f64) -> Option<(f64, f64)> {
        let least = self.rule.minimum_sessions as f64;
        if control.count < least || arm.count < least {
            return None;
        }
        let change = arm.value - control.value;
        // In units of the least number of sessions in both.
        let grown = 2.0 / least / (1.0 / control.count + 1.0 / arm.count);
        let widths = (1.0 + 1.0 / grown) * ((1.0 + grown).ln() - 2.0 * ALPHA.ln());
        let radius = (widths * (control.variance + arm.variance)).sqrt();
        let bound = if allowed_percent < 0.0 {
            change + radius
        } else {
            change - radius
        };
        let percent = |log: f64| log.exp_m1() * 100.0;
        let worse = if allowed_percent < 0.0 {
            percent(bound) < allowed_percent
        } else {
            percent(bound) > allowed_percent
        };
        worse.then(|| (percent(change), percent(bound)))
    }

    fn of(&self, arm: usize) -> impl Iterator<Item = &Seen> {
        self.sessions.values().filter(move |s| s.arm == arm)
    }

    fn throughput(&self, arm: usize) -> Estimate {
        let mut sums = (0.0, 0.0, 0.0);
        for session in self.of(arm).filter(|s| s.reports > 0) {
            let log = (session.throughput / f64::from(session.reports)).ln();
            sums = (sums.0 + 1.0, sums.1 + log, sums.2 + log * log);
        }
        let (count, sum, squares) = sums;
        if count < 2.0 {
            return Estimate::default();
        }
        Estimate {
            count,
            value: sum / count,
            variance: ((squares - sum * sum / count) / (count - 1.0) / count).max(0.0),
        }
    }

    fn failovers(&self, arm: usize) -> Estimate {
        let (mut count, mut failed) = (0.0, 0.0);
        for session in self.of(arm).filter(|s| s.told) {
            count += 1.0;
            failed += f64::from(u8::from(session.failed_over));
        }
        // Half a session more of each kind keeps the logarithm finite.
        let share = (failed + 0.5) / (count + 1.0);
        Estimate {
            count,
            value: share.ln(),
            variance: (1.0 - share) / (share * (count + 1.0)),
        }
    }
}

#[cfg(test)]
mod tests;
