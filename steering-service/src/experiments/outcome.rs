//! What the arms of experiments came to: from a decision log, and from appliances' access logs for what players met.
//!
//! Sessions are the units. Intervals are bootstrapped: sessions are drawn anew with replacement, a thousand times, and the middle 95 %
//! of what comes out is told. Of more than `MAX_UNITS` sessions groups by hash are drawn instead, which are as good as
//! sessions once each has some and cost the same however long the log is. Pure; the seed is an argument.

mod cmcd;

pub use cmcd::{AccessLine, AccessLogError};

use super::Exposure;
use crate::{
    decisions::record::{Decision, SessionId},
    random::Random,
};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// Most units that are drawn from.
const MAX_UNITS: usize = 2000;
/// Times that they are drawn.
const ROUNDS: usize = 1000;

#[derive(Debug, Default)]
struct Seen {
    arms: Exposure,
    /// Its arms changed: one was stopped, or the policy was changed.
    crossed: bool,
    first: String,
    throughput: f64,
    reports: f64,
    told: bool,
    failed_over: bool,
    requests: f64,
    starved: f64,
}

/// Sessions of an arm.
type Sessions<'a> = Vec<(SessionId, &'a Seen)>;

/// Sessions of a log, as far as it was read.
#[derive(Debug, Default)]
pub struct Outcomes {
    sessions: HashMap<SessionId, Seen>,
    /// Whose id in CMCD it is; absent inside where sessions of unlike arms have the same.
    by_player: HashMap<String, Option<SessionId>>,
    joined: u64,
    unjoined: u64,
}

/// A value with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// As measured.
    pub value: f64,
    /// The 2.5th percentile of the bootstrap.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

/// One measure of one arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// `throughput` in bit/s (mean of sessions' means), `failovers` (share of sessions), `rebuffer` (share of requests).
    pub name: &'static str,
    /// Sessions that it is known of.
    pub sessions: u64,
    /// The arm's; absent where nothing is known.
    pub arm: Option<Interval>,
    /// The arm's less the control's; absent for the control.
    pub difference: Option<Interval>,
}

/// One arm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArmReport {
    /// The experiment.
    pub experiment: String,
    /// The arm.
    pub arm: String,
    /// It is the one that the others are compared with.
    pub control: bool,
    /// Sessions that were in no other arm.
    pub sessions: u64,
    /// What they came to.
    pub measures: Vec<Measure>,
}

/// The report; `nightfill steer report --json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ExperimentReport {
    /// Sessions of the log.
    pub sessions: u64,
    /// Sessions that were in two arms of an experiment, and are left out.
    pub crossed: u64,
    /// Requests of the access logs whose session is in the decision log.
    pub joined_requests: u64,
    /// Requests with a session that is not.
    pub unjoined_requests: u64,
    /// Arms, by experiment, the control first.
    pub arms: Vec<ArmReport>,
    /// Files of the log that were cut off.
    pub cuts: Vec<String>,
}

impl Outcomes {
    /// Takes a decision of a session.
    pub fn decision(&mut self, decision: &Decision) {
        let (Some(id), Some(first)) = (decision.session, decision.answered.first()) else {
            return;
        };
        if let Some(player) = &decision.player_id {
            // A player that loads its manifest again begins another session: its requests count for the last one.
            let alike =
                |before: &SessionId| self.sessions.get(before).is_some_and(|s| s.arms == decision.arms);
            self.by_player
                .entry(player.clone())
                .and_modify(|owner| *owner = owner.filter(alike).map(|_| id))
                .or_insert(Some(id));
        }
        let session = self.sessions.entry(id).or_insert_with(|| Seen {
            arms: decision.arms.clone(),
            ..Seen::default()
        });
        session.crossed |= session.arms != decision.arms;
        if let Some(bps) = decision.used.last().and_then(|(_, throughput)| *throughput) {
            session.throughput += bps as f64;
            session.reports += 1.0;
        }
        if let Some(at) = decision.current() {
            session.told = true;
            session.failed_over |= !session.first.is_empty() && at != session.first;
        }
        session.first.clone_from(first);
    }

    /// Takes a line of an appliance's access log; only those with CMCD tell anything.
    pub fn access(&mut self, line: &AccessLine) {
        let Some(sid) = &line.sid else {
            return;
        };
        let id = match self.by_player.get(sid) {
            Some(owner) => *owner,
            None => SessionId::parse(sid),
        };
        match id.and_then(|id| self.sessions.get_mut(&id)) {
            None => self.unjoined += 1,
            Some(session) => {
                self.joined += 1;
                session.requests += 1.0;
                session.starved += f64::from(u8::from(line.starved()));
            }
        }
    }

    /// The report. `control` is the name of the arm that others are compared with; an experiment without such an arm takes
    /// its first by name.
    pub fn report(&self, control: Option<&str>, seed: u64) -> ExperimentReport {
        let mut arms: BTreeMap<&str, BTreeMap<&str, Sessions<'_>>> = BTreeMap::new();
        for (id, session) in self.sessions.iter().filter(|(_, s)| !s.crossed) {
            for (experiment, arm) in &session.arms {
                arms.entry(experiment)
                    .or_default()
                    .entry(arm)
                    .or_default()
                    .push((*id, session));
            }
        }
        let mut report = ExperimentReport {
            sessions: self.sessions.len() as u64,
            crossed: self.sessions.values().filter(|s| s.crossed).count() as u64,
            joined_requests: self.joined,
            unjoined_requests: self.unjoined,
            ..ExperimentReport::default()
        };
        for (experiment, mut arms) in arms {
            // Draws must not depend on the order of a table.
            arms.values_mut()
                .for_each(|list| list.sort_unstable_by_key(|(id, _)| *id));
            let first = arms.keys().next().copied();
            let control = control
                .filter(|name| arms.contains_key(name))
                .or(first)
                .unwrap_or_default();
            let drawn =
                |arm: &str| -> Vec<Drawn> { MEASURES.map(|m| Drawn::new(&arms[arm], m, seed)).into() };
            let base = drawn(control);
            let others = arms.keys().filter(|arm| **arm != control);
            for arm in [control].iter().chain(others) {
                let own = drawn(arm);
                let pairs = own.iter().zip(&base).zip(MEASURES);
                let measures = pairs.map(|((own, base), (name, _))| Measure {
                    name,
                    sessions: own.sessions,
                    arm: own.interval(),
                    difference: if *arm == control { None } else { own.less(base) },
                });
                report.arms.push(ArmReport {
                    experiment: experiment.to_owned(),
                    arm: (*arm).to_owned(),
                    control: *arm == control,
                    sessions: arms[arm].len() as u64,
                    measures: measures.collect(),
                });
            }
        }
        report
    }
}

/// What a session adds above and below the line of a ratio; nothing below it: not known.
type Parts = fn(&Seen) -> (f64, f64);

const MEASURES: [(&str, Parts); 3] = [
    ("throughput", |s| {
        if s.reports > 0.0 {
            (s.throughput / s.reports, 1.0)
        } else {
            (0.0, 0.0)
        }
    }),
    ("failovers", |s| {
        (f64::from(u8::from(s.failed_over)), f64::from(u8::from(s.told)))
    }),
    ("rebuffer", |s| (s.starved, s.requests)),
];

/// A ratio of sums over sessions, as measured and as drawn anew.
struct Drawn {
    sessions: u64,
    value: Option<f64>,
    rounds: Vec<f64>,
}

impl Drawn {
    fn new(sessions: &[(SessionId, &Seen)], (name, parts): (&str, Parts), seed: u64) -> Self {
        let known: Vec<_> = sessions
            .iter()
            .map(|(_, s)| parts(s))
            .filter(|(_, below)| *below > 0.0)
            .collect();
        let ratio = |(above, below): (f64, f64)| above / below;
        let sum = |a: (f64, f64), b: &(f64, f64)| (a.0 + b.0, a.1 + b.1);
        // Sessions' numbers are random, so that every n-th of their order is a group by hash.
        let count = known.len().min(MAX_UNITS);
        let mut units = vec![(0.0, 0.0); count];
        for (at, part) in known.iter().enumerate() {
            units[at % count] = sum(units[at % count], part);
        }
        let name_seed = name
            .bytes()
            .fold(seed, |seed, byte| seed.wrapping_mul(31) ^ u64::from(byte));
        let random = Random::new(name_seed ^ sessions.first().map_or(0, |(id, _)| id.0));
        let draw = |_| {
            let drawn = (0..count).map(|_| &units[(random.next() % count as u64) as usize]);
            ratio(drawn.fold((0.0, 0.0), sum))
        };
        Self {
            sessions: known.len() as u64,
            value: (count > 0).then(|| ratio(units.iter().fold((0.0, 0.0), sum))),
            rounds: if count > 0 {
                (0..ROUNDS).map(draw).collect()
            } else {
                Vec::new()
            },
        }
    }

    fn interval(&self) -> Option<Interval> {
        Some(Interval::around(self.value?, self.rounds.clone()))
    }

    fn less(&self, control: &Self) -> Option<Interval> {
        let rounds = self
            .rounds
            .iter()
            .zip(&control.rounds)
            .map(|(own, base)| own - base);
        Some(Interval::around(self.value? - control.value?, rounds.collect()))
    }
}

impl Interval {
    fn around(value: f64, mut rounds: Vec<f64>) -> Self {
        rounds.sort_unstable_by(f64::total_cmp);
        let at = |permille: usize| rounds[(rounds.len() - 1) * permille / 1000];
        Self {
            value,
            low: at(25),
            high: at(975),
        }
    }
}

#[cfg(test)]
mod tests;
