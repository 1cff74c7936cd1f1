//! Whether one appliance fails the viewers that are sent to it: a circuit breaker.
//!
//! Closed: it is ranked as ever. Open: it is not in the answer, for a back-off that doubles each time. Trial (half open):
//! a share of sessions gets it, and the share grows while that goes well; then it is closed again.
//!
//! What opens it is a cumulative sum test (Page, "Continuous inspection schemes", Biometrika 1954): each observation adds
//! how much better "half of all fail" explains it than "one in twenty fails", and the sum never falls below zero. Ordinary
//! noise therefore never adds up, however long it lasts, while an appliance that is gone needs nine failures, and one that
//! fails half of its viewers some twenty-five observations. What players say and what probes find are summed apart: a probe
//! that is answered does not excuse a viewer who was not. Time is an argument.

pub mod fleet;

use crate::policy::circuit::CircuitPolicy;
use serde::{Deserialize, Serialize};

/// Seconds in which evidence loses half its weight: what is old says little of now.
const HALF_LIFE_SECONDS: f64 = 60.0;
/// Good observations that a trial needs to close the circuit before all sessions have tried.
const TRIAL_SUCCESSES: f64 = 3.0;
/// How much the share of a trial grows when nothing speaks against it.
const TRIAL_GROWTH: u32 = 4;
/// Seconds for which a probe says how an appliance is.
const PROBE_COUNTS_SECONDS: f64 = 5.0;
/// Share of the evidence from which on an appliance looks bad, and at which a trial ends badly.
const SUSPICION: f64 = 0.5;

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Sessions that stayed where they were sent, or fled from there.
    Players,
    /// This service's own requests.
    Probes,
}

impl Signal {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Players, Self::Probes];
    /// Stable name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Players => "players",
            Self::Probes => "probes",
        }
    }
}

/// Observations of one kind, counted by weight.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Seen {
    /// That went wrong.
    pub failures: f64,
    /// That went well.
    pub successes: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed {
        since: f64,
    },
    Open {
        until: f64,
        by: Signal,
    },
    Trial {
        since: f64,
        permille: u32,
        successes: f64,
        by: Signal,
    },
}

/// What a circuit says to rankings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Verdict {
    /// Nothing speaks against it.
    #[default]
    Closed,
    /// It fails.
    Open {
        /// Who says so.
        by: Signal,
    },
    /// A share of sessions tries it.
    Trial {
        /// The share in thousandths.
        permille: u32,
        /// Who said that it failed.
        by: Signal,
    },
    /// It seems to fail, but so does too much of its site: not believed.
    Distrusted {
        /// Who says so.
        by: Signal,
    },
}

/// The circuit of one appliance.
#[derive(Debug, Clone)]
pub struct Circuit {
    state: State,
    /// Sums of evidence, by signal.
    evidence: [f64; 2],
    /// When the sums were last faded.
    at: f64,
    /// How often the next back-off is doubled.
    level: i32,
    last_probe: Option<(f64, bool)>,
}

impl Circuit {
    /// Closed.
    pub fn new(now: f64) -> Self {
        Self {
            state: State::Closed { since: now },
            evidence: [0.0; 2],
            at: now,
            level: 0,
            last_probe: None,
        }
    }

    /// Takes observations in. `late`: the control plane has not heard of it lately, half the evidence will do. Returns
    /// whether they opened it.
    pub fn observe(
        &mut self,
        policy: &CircuitPolicy,
        signal: Signal,
        seen: Seen,
        late: bool,
        now: f64,
    ) -> bool {
        if signal == Signal::Probes {
            self.last_probe = Some((now, seen.failures <= 0.0));
        }
        let needed = match &mut self.state {
            State::Open { .. } => return false,
            State::Closed { .. } if late => policy.evidence * SUSPICION,
            State::Closed { .. } => policy.evidence,
            State::Trial { successes, by, .. } => {
                if signal == *by {
                    *successes += seen.successes;
                }
                policy.evidence * SUSPICION
            }
        };
        self.fade(now);
        let sum = &mut self.evidence[signal as usize];
        *sum = (*sum + weight(policy, seen)).max(0.0);
        let enough = *sum >= needed;
        if enough {
            self.open(policy, signal, now);
        }
        enough
    }

    /// Does what time does.
    pub fn advance(&mut self, policy: &CircuitPolicy, now: f64) {
        match &mut self.state {
            State::Closed { since } => {
                if now - *since >= policy.longest_back_off {
                    // One step at a time: who comes and goes shall not begin anew with each good while.
                    self.level = (self.level - 1).max(0);
                    *since = now;
                }
            }
            State::Open { until, by } => {
                let down = |(at, answered): (f64, bool)| !answered && now - at < PROBE_COUNTS_SECONDS;
                if now >= *until && !self.last_probe.is_some_and(down) {
                    self.state = State::Trial {
                        since: now,
                        permille: policy.trial_permille,
                        successes: 0.0,
                        by: *by,
                    };
                }
            }
            State::Trial {
                since,
                permille,
                successes,
                by,
            } => {
                let doubtful = self.evidence[*by as usize] >= policy.evidence * SUSPICION / 2.0;
                if now - *since < policy.trial || doubtful {
                    return;
                }
                *permille *= TRIAL_GROWTH;
                *since = now;
                if *successes >= TRIAL_SUCCESSES || *permille >= 1000 {
                    self.state = State::Closed { since: now };
                }
            }
        }
    }

    /// The control plane has taken it back: an open one may be tried at once.
    pub fn returned(&mut self, now: f64) {
        self.evidence = [0.0; 2];
        self.last_probe = None;
        if let State::Open { until, .. } = &mut self.state {
            *until = now;
        }
    }

    /// Whether it looks bad, opened or about to be.
    pub fn suspicious(&self, policy: &CircuitPolicy) -> Option<Signal> {
        match self.state {
            State::Open { by, .. } => Some(by),
            State::Closed { .. } | State::Trial { .. } => {
                let heavy = |s: &Signal| self.evidence[*s as usize] >= policy.evidence * SUSPICION;
                Signal::ALL.into_iter().find(heavy)
            }
        }
    }

    /// Whether anything at all speaks against it now.
    fn doubted(&self) -> bool {
        !matches!(self.state, State::Open { .. }) && self.evidence.iter().any(|sum| *sum > 0.5)
    }

    /// What rankings should do.
    pub fn verdict(&self) -> Verdict {
        match self.state {
            State::Closed { .. } => Verdict::Closed,
            State::Open { by, .. } => Verdict::Open { by },
            State::Trial { permille, by, .. } => Verdict::Trial { permille, by },
        }
    }

    fn open(&mut self, policy: &CircuitPolicy, by: Signal, now: f64) {
        let back_off = (policy.back_off * 2f64.powi(self.level)).min(policy.longest_back_off);
        if back_off < policy.longest_back_off {
            self.level += 1;
        }
        self.evidence = [0.0; 2];
        self.state = State::Open {
            until: now + back_off,
            by,
        };
    }

    fn fade(&mut self, now: f64) {
        let factor = faded(now - self.at);
        self.evidence.iter_mut().for_each(|sum| *sum *= factor);
        self.at = self.at.max(now);
    }
}

/// What is left of evidence after so many seconds.
fn faded(seconds: f64) -> f64 {
    0.5f64.powf(seconds.max(0.0) / HALF_LIFE_SECONDS)
}

/// How much more observations speak for an appliance that fails than for one with ordinary noise.
fn weight(policy: &CircuitPolicy, seen: Seen) -> f64 {
    let (noise, failing) = (
        f64::from(policy.noise_permille) / 1000.0,
        f64::from(policy.failing_permille) / 1000.0,
    );
    seen.failures * (failing / noise).ln() + seen.successes * ((1.0 - failing) / (1.0 - noise)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CircuitPolicy = CircuitPolicy {
        enabled: true,
        noise_permille: 50,
        failing_permille: 500,
        evidence: 20.0,
        network_failures: 4.0,
        back_off: 10.0,
        longest_back_off: 40.0,
        trial_permille: 50,
        trial: 10.0,
        distrust_permille: 500,
        late_report: 30.0,
        probe: 1.0,
    };
    const BAD: Seen = Seen {
        failures: 1.0,
        successes: 0.0,
    };
    const GOOD: Seen = Seen {
        failures: 0.0,
        successes: 1.0,
    };

    /// Failures in a row until it opens.
    fn failures(c: &mut Circuit, signal: Signal, late: bool, now: f64) -> usize {
        let opens = |c: &mut Circuit| c.observe(&POLICY, signal, BAD, late, now);
        (1..100).find(|_| opens(c)).unwrap()
    }

    #[test]
    fn nine_failures_open_five_where_the_report_is_late_or_on_trial() {
        for signal in Signal::ALL {
            assert_eq!(failures(&mut Circuit::new(0.0), signal, false, 1.0), 9);
            assert_eq!(failures(&mut Circuit::new(0.0), signal, true, 1.0), 5);
        }
        let mut c = Circuit::new(0.0);
        failures(&mut c, Signal::Players, false, 0.0);
        c.advance(&POLICY, 10.0);
        assert_eq!(
            c.verdict(),
            Verdict::Trial {
                permille: 50,
                by: Signal::Players
            }
        );
        assert_eq!(failures(&mut c, Signal::Players, false, 11.0), 5);
    }

    #[test]
    fn probes_that_are_answered_do_not_excuse_lost_viewers() {
        let mut c = Circuit::new(0.0);
        for _ in 0..8 {
            c.observe(&POLICY, Signal::Players, BAD, false, 0.0);
            for _ in 0..50 {
                c.observe(&POLICY, Signal::Probes, GOOD, false, 0.0);
            }
        }
        assert!(c.observe(&POLICY, Signal::Players, BAD, false, 0.0));
    }

    #[test]
    fn back_offs_double_up_to_the_longest_and_good_conduct_is_remembered() {
        let mut c = Circuit::new(0.0);
        let mut now = 0.0;
        for wanted in [10.0, 20.0, 40.0, 40.0] {
            failures(&mut c, Signal::Players, false, now);
            c.advance(&POLICY, now + wanted - 0.1);
            assert_eq!(c.verdict(), Verdict::Open { by: Signal::Players });
            now += wanted;
            c.advance(&POLICY, now);
            assert!(matches!(c.verdict(), Verdict::Trial { .. }));
        }
        for _ in 0..3 {
            c.observe(&POLICY, Signal::Players, GOOD, false, now);
        }
        c.advance(&POLICY, now + 10.0);
        assert_eq!(c.verdict(), Verdict::Closed);
        // Each 40 s without trouble halve it.
        for later in [51.0, 92.0] {
            c.advance(&POLICY, now + later);
        }
        failures(&mut c, Signal::Players, false, now + 92.0);
        c.advance(&POLICY, now + 101.0);
        assert_eq!(c.verdict(), Verdict::Open { by: Signal::Players });
        c.advance(&POLICY, now + 102.0);
        assert!(matches!(c.verdict(), Verdict::Trial { .. }), "short again");
    }

    #[test]
    fn a_trial_grows_where_nobody_says_anything() {
        let mut c = Circuit::new(0.0);
        failures(&mut c, Signal::Players, false, 0.0);
        let mut seen = Vec::new();
        for second in 0..60 {
            c.advance(&POLICY, f64::from(second));
            seen.push(c.verdict());
        }
        seen.dedup();
        let by = Signal::Players;
        let trial = |permille| Verdict::Trial { permille, by };
        let wanted = [
            Verdict::Open { by },
            trial(50),
            trial(200),
            trial(800),
            Verdict::Closed,
        ];
        assert_eq!(seen, wanted);
    }

    #[test]
    fn who_does_not_answer_probes_is_not_tried() {
        let mut c = Circuit::new(0.0);
        failures(&mut c, Signal::Probes, false, 0.0);
        for second in 1..1000 {
            let now = f64::from(second);
            c.observe(&POLICY, Signal::Probes, BAD, false, now);
            c.advance(&POLICY, now);
            assert_eq!(c.verdict(), Verdict::Open { by: Signal::Probes });
        }
        c.observe(&POLICY, Signal::Probes, GOOD, false, 1000.0);
        c.advance(&POLICY, 1000.0);
        assert!(matches!(c.verdict(), Verdict::Trial { .. }));
        c.returned(1000.0);
        assert!(matches!(c.verdict(), Verdict::Trial { .. }), "is on trial anyway");
    }
}
