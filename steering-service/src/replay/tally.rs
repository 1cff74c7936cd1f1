//! Sessions and bit rate of every appliance, then and now, and what moves between them.

use super::{
    Session, World,
    report::{ApplianceLoad, Load, Move, Report},
};
use cdn_types::OcaId;
use std::collections::{BTreeMap, HashMap};

/// An appliance, the fallback, or nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(usize);

/// Name of the place of viewers whom nobody serves.
const NOBODY: &str = "nobody";

#[derive(Debug, Clone, Copy, Default)]
struct Level {
    sessions: u64,
    rate: u64,
    most_sessions: u64,
    most_rate: u64,
    dns_answers: u64,
}

impl Level {
    fn enter(&mut self, rate: u64) {
        self.sessions += 1;
        self.rate += rate;
        self.most_sessions = self.most_sessions.max(self.sessions);
        self.most_rate = self.most_rate.max(self.rate);
    }
    fn leave(&mut self, rate: u64) {
        self.sessions -= 1;
        self.rate -= rate;
    }
    fn most(&self, times: f64) -> Load {
        Load {
            sessions: (self.most_sessions as f64 * times).round() as u64,
            bits_per_second: (self.most_rate as f64 * times).round() as u64,
            dns_answers: self.dns_answers,
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    name: String,
    site: Option<String>,
    capacity: Option<u64>,
    before: Level,
    after: Level,
}

/// What goes one way.
#[derive(Debug, Clone, Copy, Default)]
struct Moved {
    sessions: u64,
    bytes: f64,
    dns_answers: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Tallies {
    places: HashMap<String, Place>,
    tallies: Vec<Tally>,
    moves: BTreeMap<(Place, Place), Moved>,
    bytes: f64,
    moved_sessions: u64,
    full_from_permille: u32,
}

impl Tallies {
    pub fn new(world: &World) -> Self {
        let mut tallies = Self {
            places: HashMap::new(),
            tallies: Vec::new(),
            moves: BTreeMap::new(),
            bytes: 0.0,
            moved_sessions: 0,
            full_from_permille: world.index.policy().headroom.full_from,
        };
        for view in &world.appliances {
            let place = tallies.place(Some(view.id.as_str()));
            let tally = &mut tallies.tallies[place.0];
            tally.site = Some(view.site.to_string());
            tally.capacity = Some(view.egress).filter(|bps| *bps > 0);
        }
        tallies
    }

    /// The place of a name; a new one for a name that the fleet does not have.
    pub fn place(&mut self, name: Option<&str>) -> Place {
        let name = name.unwrap_or(NOBODY);
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = Place(self.tallies.len());
        self.places.insert(name.to_owned(), place);
        self.tallies.push(Tally {
            name: name.to_owned(),
            ..Tally::default()
        });
        place
    }

    pub fn name(&self, place: Place) -> &str {
        &self.tallies[place.0].name
    }

    /// Counts a session at its places, and that it moves if it has not moved so before.
    pub fn enter(&mut self, session: &mut Session) {
        self.tallies[session.before.0].before.enter(session.rate);
        self.tallies[session.after.0].after.enter(session.rate);
        let way = (session.before, session.after);
        if way.0 != way.1 && !session.moved.contains(&way) {
            self.moved_sessions += u64::from(session.moved.is_empty());
            session.moved.push(way);
            self.moves.entry(way).or_default().sessions += 1;
        }
    }

    pub fn leave(&mut self, session: &Session) {
        self.tallies[session.before.0].before.leave(session.rate);
        self.tallies[session.after.0].after.leave(session.rate);
    }

    /// Counts a DNS answer, then and now.
    pub fn answered(&mut self, before: Place, after: Place) {
        self.tallies[before.0].before.dns_answers += 1;
        self.tallies[after.0].after.dns_answers += 1;
        if before != after {
            self.moves.entry((before, after)).or_default().dns_answers += 1;
        }
    }

    /// A session has played for so long where it is.
    pub fn played(&mut self, session: &Session, milliseconds: i64) {
        let bytes = session.rate as f64 / 8.0 * milliseconds.max(0) as f64 / 1000.0;
        self.bytes += bytes;
        if session.before != session.after {
            self.moves
                .entry((session.before, session.after))
                .or_default()
                .bytes += bytes;
        }
    }

    pub fn finish(&self, report: &mut Report, times: f64) {
        let count = |n: u64| (n as f64 * times).round() as u64;
        let moves = self.moves.iter().map(|((from, to), moved)| Move {
            from: self.name(*from).to_owned(),
            to: self.name(*to).to_owned(),
            sessions: count(moved.sessions),
            bytes: (moved.bytes * times).round() as u64,
            dns_answers: moved.dns_answers,
        });
        report.moves = moves.collect();
        report.moves.sort_by(|a, b| {
            b.bytes
                .cmp(&a.bytes)
                .then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to)))
        });
        report.moved_sessions = count(self.moved_sessions);
        report.moved_bytes = report.moves.iter().map(|m| m.bytes).sum();
        report.bytes = (self.bytes * times).round() as u64;
        let loads = self.tallies.iter().map(|tally| self.load(tally, times));
        report.appliances = loads
            .filter(|l| l.site.is_some() || l.before != l.after || l.before != Load::default())
            .collect();
        report
            .appliances
            .sort_by(|a, b| (a.site.is_none(), &a.id).cmp(&(b.site.is_none(), &b.id)));
    }

    fn load(&self, tally: &Tally, times: f64) -> ApplianceLoad {
        let (before, after) = (tally.before.most(times), tally.after.most(times));
        let permille = |load: Load| {
            let parts = u128::from(load.bits_per_second) * 1000;
            Some((parts / u128::from(tally.capacity?)) as u64)
        };
        ApplianceLoad {
            id: tally.name.clone(),
            site: tally.site.clone(),
            capacity: tally.capacity,
            load_permille: permille(after),
            overloaded: permille(after).is_some_and(|p| p >= self.full_from_permille.into()),
            before,
            after,
        }
    }
}

/// An appliance of the fleet, as far as loads are told.
#[derive(Debug, Clone)]
pub struct Member {
    pub id: OcaId,
    pub site: cdn_types::SiteId,
    pub egress: u64,
}
