//! Ranks a decision log again, under another policy or with another fleet, and tells what would have been different.
//!
//! Every decision is put to the same functions that answered it, in the log's order. A session lives on in the replay: where
//! its manifest would have declared other appliances, its polls order those, and where its player followed the answer then,
//! it follows the answer now. The load of appliances is that of the given snapshot throughout: what moves does not push
//! others out in turn. Throughput and circuits are those of the log, as they were then: what moves is not measured anew.
//! Same fleet, routes and policy as then: nothing moves.
//!
//! A DNS answer is a decision like others, but nobody knows how many viewers it stands for: all who ask the resolver
//! while it keeps it, or none. So it is no session and draws nothing, and is counted as an answer.
//!
//! Pure: the log is handed in decision by decision, time is what the decisions say.

mod report;
mod tally;
mod world;

pub use report::{ApplianceLoad, Move, Report};
pub use world::{Without, World, WorldError};

use crate::{
    decisions::{
        inputs::Told,
        record::{Decision, Door, SessionId},
    },
    dns::zone,
    http::{play, rank, ways},
    steering_list::{priorities, put_last},
};
use cdn_types::OcaId;
use std::collections::{HashMap, VecDeque};
use steering_core::Options;
use tally::{Place, Tallies};

/// What is assumed where the log does not say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assumptions {
    /// Viewers for each one of the log.
    pub viewers: f64,
    /// A session that says nothing for so many milliseconds has ended; it then counts as played for [`TAIL_MS`] more.
    pub idle_ms: i64,
    /// Bit/s of a session whose title's manifests tell none.
    pub rate: u64,
}

impl Default for Assumptions {
    fn default() -> Self {
        Self {
            viewers: 1.0,
            idle_ms: 30_000,
            rate: 5_000_000,
        }
    }
}

/// Milliseconds that a session is taken to play on after its last decision: the usual time between two polls.
pub const TAIL_MS: i64 = 10_000;

/// A session, as far as the log was read.
struct Session {
    /// What its manifest declares in the replay; absent if its beginning is not in the log.
    declared: Option<Vec<OcaId>>,
    before: Place,
    after: Place,
    rate: u64,
    last: i64,
    /// Ways that it was counted to have moved.
    moved: Vec<(Place, Place)>,
}

/// Names a session; doors without sessions begin one with every answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Session(SessionId),
    Single(u64),
}

/// A replay under way.
pub struct Replay {
    world: World,
    assumed: Assumptions,
    tallies: Tallies,
    sessions: HashMap<Key, Session>,
    /// Decisions by time: whose last one is old has ended.
    order: VecDeque<(i64, Key)>,
    report: Report,
}

impl Replay {
    /// Of nothing yet.
    pub fn new(world: World, assumed: Assumptions) -> Self {
        Self {
            tallies: Tallies::new(&world),
            world,
            assumed,
            sessions: HashMap::new(),
            order: VecDeque::new(),
            report: Report::default(),
        }
    }

    /// Takes what the next decisions were made under.
    pub fn told(&mut self, told: &Told) {
        self.world.told(told);
    }

    /// Takes the next decision of the log.
    pub fn take(&mut self, decision: &Decision) {
        self.end_before(decision.at - self.assumed.idle_ms);
        self.world.put_together();
        self.report.count(decision, &self.world);
        let key = match decision.session {
            Some(id) => Key::Session(id),
            None => Key::Single(self.report.decisions),
        };
        let session = self.sessions.get(&key);
        let Some(list) = self.answer(decision, session) else {
            return;
        };
        let before = self.tallies.place(decision.answered.first().map(String::as_str));
        let after = self.tallies.place(list.first().map(String::as_str));
        self.report.changed_first += u64::from(before != after);
        if decision.door == Door::Dns {
            return self.tallies.answered(before, after);
        }
        let rate = self.rate(decision);
        let declared = match decision.door {
            Door::Play => Some(list.into_iter().filter_map(|id| OcaId::new(id).ok()).collect()),
            _ => None,
        };
        if let Some(session) = self.sessions.get_mut(&key) {
            let played = decision.at - session.last;
            self.tallies.played(session, played);
            self.tallies.leave(session);
            session.declared = declared.or(session.declared.take());
            (session.before, session.after) = (before, after);
            (session.rate, session.last) = (rate, decision.at);
        } else {
            self.report.sessions += 1;
            let session = Session {
                declared,
                before,
                after,
                rate,
                last: decision.at,
                moved: Vec::new(),
            };
            self.sessions.insert(key, session);
        }
        if let Some(session) = self.sessions.get_mut(&key) {
            self.tallies.enter(session);
        }
        self.order.push_back((decision.at, key));
    }

    /// Ends all sessions.
    pub fn finish(mut self) -> Report {
        self.end_before(i64::MAX);
        self.tallies.finish(&mut self.report, self.assumed.viewers);
        self.report
    }

    fn end_before(&mut self, time: i64) {
        while let Some((at, key)) = self.order.front().copied().filter(|(at, _)| *at < time) {
            self.order.pop_front();
            if self.sessions.get(&key).is_some_and(|s| s.last == at)
                && let Some(session) = self.sessions.remove(&key)
            {
                self.tallies.played(&session, TAIL_MS);
                self.tallies.leave(&session);
            }
        }
    }

    /// The list that would be answered; none for a title that the fleet does not have.
    fn answer(&self, decision: &Decision, session: Option<&Session>) -> Option<Vec<String>> {
        let index = self.world.index_of(decision);
        let mut options = Options {
            session: decision.session.map(|s| s.0),
            country: decision.country.as_deref().and_then(|c| c.parse().ok()),
            ..Options::default()
        };
        match decision.door {
            Door::Steer => return Some(self.poll(decision, session, options)),
            Door::Dns => {
                let title = index.title_ix(decision.title.as_str())?;
                let best = zone::best(index, index.scope(decision.network.addr()), title).flatten();
                return Some(best.map(|(id, _)| id.to_owned()).into_iter().collect());
            }
            Door::Play => options.limit = play::DECLARED,
            Door::Rank => options.limit = rank::LIMIT,
            Door::Go => {}
        }
        let ranking =
            steering_core::rank(index, decision.network.network(), &decision.title, &options).ok()?;
        if !ranking.licensed {
            return Some(Vec::new());
        }
        let ways = ways(index, &ranking).into_iter();
        Some(ways.map(|(id, _)| id.to_owned()).collect())
    }

    fn poll(&self, decision: &Decision, session: Option<&Session>, options: Options<'_>) -> Vec<String> {
        let index = self.world.index_of(decision);
        let declared = session.and_then(|s| s.declared.as_ref());
        let declared = declared.unwrap_or(&decision.declared);
        let only: Vec<_> = declared.iter().filter_map(|id| index.appliance_ix(id)).collect();
        let current = self.current(decision, session, declared);
        let options = Options {
            limit: usize::MAX,
            complete: true,
            only: Some(&only),
            current: current.and_then(|id| index.appliance_ix(&id)),
            ..options
        };
        let ranked = steering_core::rank(index, decision.network.network(), &decision.title, &options);
        let mut list = ranked.map_or_else(|_| Vec::new(), |ranking| priorities(index, &ranking, declared));
        if list.is_empty() {
            list = declared.iter().map(ToString::to_string).collect();
        }
        if let Some(fled) = &decision.fled {
            put_last(&mut list, fled);
        }
        list
    }

    /// Where the session is: where the answers put it if its player followed them, else where the player fled to.
    fn current(&self, decision: &Decision, session: Option<&Session>, declared: &[OcaId]) -> Option<OcaId> {
        let said = decision.current().and_then(|id| OcaId::new(id).ok())?;
        let Some(session) = session else {
            return Some(said);
        };
        let followed = self.tallies.name(session.before) == said.as_str();
        if followed || !declared.contains(&said) {
            return OcaId::new(self.tallies.name(session.after)).ok();
        }
        Some(said)
    }

    /// Bit/s that the session draws: the title's best rendition, or what the player measured if that is less.
    fn rate(&self, decision: &Decision) -> u64 {
        let wanted = self.world.rate(&decision.title).unwrap_or(self.assumed.rate);
        let measured = decision.used.last().and_then(|(_, throughput)| *throughput);
        measured.map_or(wanted, |measured| wanted.min(measured))
    }
}

#[cfg(test)]
mod tests;
