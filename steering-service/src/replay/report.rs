//! What a replay tells.

use super::World;
use crate::decisions::record::{Decision, Door};
use cdn_types::time::Timestamp;
use serde::Serialize;

/// The report; `nightfill steer replay --json` prints it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Decisions of the log.
    pub decisions: u64,
    /// Sessions of the log; an answer of a door without sessions is one, but not of DNS.
    pub sessions: u64,
    /// DNS answers among the decisions: each for viewers whom nobody has counted.
    pub dns_answers: u64,
    /// Time of the first decision.
    pub from: Option<Timestamp>,
    /// Time of the last one.
    pub to: Option<Timestamp>,
    /// Decisions whose first entry is another one.
    pub changed_first: u64,
    /// Decisions about titles that the given fleet does not have: not ranked, or left as declared.
    pub unknown_titles: u64,
    /// Decisions that were made with another generation of the fleet than the given one.
    pub other_generation: u64,
    /// Decisions that were made under another version of the policy than the given one.
    pub other_policy: u64,
    /// Decisions of logs that do not tell throughput and circuits, as older versions wrote them.
    pub untold: u64,
    /// Bytes of all sessions, by their rates.
    pub bytes: u64,
    /// Sessions that are elsewhere for a part of their time at least.
    pub moved_sessions: u64,
    /// Bytes that come from elsewhere.
    pub moved_bytes: u64,
    /// Every appliance of the fleet, and other places that had or get viewers.
    pub appliances: Vec<ApplianceLoad>,
    /// From where to where, most bytes first.
    pub moves: Vec<Move>,
    /// Files of the log that were cut off.
    pub cuts: Vec<String>,
}

/// The most of one appliance at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Load {
    /// Sessions.
    pub sessions: u64,
    /// Bit/s.
    pub bits_per_second: u64,
    /// DNS answers of the whole time.
    pub dns_answers: u64,
}

/// One appliance's load; peaks of the log's time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ApplianceLoad {
    /// Its id; `origin` is the fallback, `nobody` where a viewer got nothing.
    pub id: String,
    /// Its site; absent for what is not in the given fleet.
    pub site: Option<String>,
    /// Bit/s that it can send, if told.
    pub capacity: Option<u64>,
    /// As it was answered.
    pub before: Load,
    /// As it would be answered.
    pub after: Load,
    /// `after` in thousandths of the capacity.
    pub load_permille: Option<u64>,
    /// Whether that is where the policy's `full_from_permille` begins, or more.
    pub overloaded: bool,
}

/// What moves from one place to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Move {
    /// Where it was answered to be.
    pub from: String,
    /// Where it would be.
    pub to: String,
    /// Sessions that do so at least once.
    pub sessions: u64,
    /// Bytes that they draw there.
    pub bytes: u64,
    /// DNS answers that do so.
    pub dns_answers: u64,
}

impl Report {
    pub(super) fn count(&mut self, decision: &Decision, world: &World) {
        let index = &world.index;
        self.decisions += 1;
        self.dns_answers += u64::from(decision.door == Door::Dns);
        let at = Timestamp::from_millisecond(decision.at).ok();
        self.from = self.from.or(at);
        self.to = at.or(self.to);
        self.unknown_titles += u64::from(index.title_ix(decision.title.as_str()).is_none());
        self.other_generation += u64::from(decision.generation != index.generation);
        self.other_policy += u64::from(decision.policy != index.policy().version);
        self.untold += u64::from(!world.is_told());
    }
}
