//! What players say when they poll, and appliances of what players say to them ([`viewers`]), on its way into rankings: throughput by
//! network and appliance, and whether sessions were served where they were sent.
//!
//! A request leaves its report in one part of a table, behind a lock that is held for the look-up of one session; a task
//! ([`worker`]) collects the parts a few times a second and makes from them what rankings read. A session counts once in
//! its TTL, however often it polls, and what it says counts for pathways that its own signed address declares. What does
//! not fit is counted and left out; nobody waits for room.

pub mod probes;
pub mod sessions;
pub mod sids;
pub mod viewers;
pub mod worker;

use crate::{
    metrics::Metrics,
    session::Session,
    steering_list::{MIN_TTL, Poll},
};
use cdn_types::{
    OcaId,
    api::v1::viewers::ViewerReport,
    viewers::{Network, SessionHash, SidHash},
};
use sessions::{Meeting, NOWHERE, Sessions, Worth};
use sids::{Found, Known, PATHWAYS, Sids};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use steering_core::{circuit::fleet::Word, index::FALLBACK_ID};

/// Parts of the table: more than there are workers, so that two seldom meet at one.
const PARTS: usize = 64;
/// Sessions that a part remembers: 64 bytes each, a quarter of a million in all.
const SESSIONS: usize = 4096;
/// Sessions that a part knows by their players' ids: 64 bytes each, 130,000 in all.
const SIDS: usize = 2048;
/// Reports of appliances that wait: each tells once in a second at most, and they are collected ten times a second.
const VIEWER_REPORTS: usize = 100_000;
/// Reports that a part keeps until they are collected.
const REPORTS: usize = 1024;
/// Seconds by which a poll may be before its TTL: players' clocks are not ours.
const EARLY: f64 = 0.5;

/// One session's report, once in its TTL.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Who.
    pub client: IpAddr,
    /// Bit/s over the pathways that it used.
    pub throughputs: Vec<(OcaId, u64)>,
    /// Whether it was served where it was sent.
    pub word: Option<Word>,
}

struct Part {
    sessions: Sessions,
    sids: Sids,
    reports: Vec<Report>,
}

/// A session that begins.
#[derive(Debug, Clone, Copy)]
pub struct Begun<'a> {
    /// Its id.
    pub session: u64,
    /// Who asks.
    pub client: IpAddr,
    /// What its player calls it, if it says so.
    pub sid: Option<&'a str>,
    /// Numbers of the appliances that it declares, by position; 0 is none.
    pub pathways: [u64; PATHWAYS],
}

/// What an appliance says of a session.
#[derive(Debug, Clone, Copy)]
pub struct Met {
    /// Which.
    pub session: SessionHash,
    /// The appliance's number.
    pub appliance: u64,
    /// When, in seconds.
    pub then: f64,
}

/// A session that has left an appliance for another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fled {
    /// Where its viewer is.
    pub network: Network,
    /// Number of the appliance that it left.
    pub from: u64,
}

/// A report of an appliance, and when it was heard, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The report.
    pub report: ViewerReport,
    /// When.
    pub at: f64,
}

/// A poll of a session.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which session.
    pub session: &'a Session,
    /// Who polls.
    pub client: IpAddr,
    /// What it says.
    pub poll: &'a Poll,
}

/// Takes reports in.
pub struct Feedback {
    parts: Box<[Mutex<Part>]>,
    heard: Mutex<Vec<Heard>>,
    began: Instant,
    metrics: Arc<Metrics>,
}

impl Feedback {
    /// Knows nobody yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let part = || Part {
            sessions: Sessions::new(SESSIONS),
            sids: Sids::new(SIDS),
            reports: Vec::with_capacity(REPORTS),
        };
        Self {
            parts: (0..PARTS).map(|_| Mutex::new(part())).collect(),
            heard: Mutex::default(),
            began: Instant::now(),
            metrics,
        }
    }

    /// Seconds on a clock that does not go back.
    pub fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// A session begins with a manifest.
    pub fn begin(&self, begun: &Begun<'_>, now: f64) {
        let session = begun.session;
        self.with_part(session, |part| {
            part.sessions.begin(session, now, f64::from(MIN_TTL) - EARLY);
        });
        if let Some(sid) = begun.sid.and_then(SidHash::of) {
            let network = Network::of(begun.client);
            let hash = sid.within(network);
            self.with_part(hash.number(), |part| {
                part.sids.begin(hash, session, network, begun.pathways, now);
            });
        }
    }

    /// An appliance has met a session that began at it.
    pub fn began_at(&self, met: &Met) {
        let Found::One(known) = self.with_part(met.session.number(), |part| part.sids.find(met.session))
        else {
            return;
        };
        if let Some(at) = known.position(met.appliance) {
            self.with_part(known.session, |part| part.sessions.began(known.session, at));
        }
    }

    /// An appliance has met a session that came to it while it played. Says whether it has left another, which counts once.
    pub fn arrived_at(&self, met: &Met) -> Option<Fled> {
        let found = self.with_part(met.session.number(), |part| part.sids.find(met.session));
        let (outcome, fled) = match found {
            Found::Nobody => ("unknown", None),
            Found::Shared => ("shared", None),
            Found::One(known) => match known.position(met.appliance) {
                None => ("undeclared", None),
                Some(at) => self.meet(&known, at, met.then),
            },
        };
        self.metrics.arrivals.with_label_values(&[outcome]).inc();
        fled
    }

    fn meet(&self, known: &Known, at: u8, then: f64) -> (&'static str, Option<Fled>) {
        let meet = |part: &mut Part| part.sessions.arrived(known.session, at, then);
        match self.with_part(known.session, meet) {
            Meeting::Unknown => ("unknown", None),
            Meeting::Expected => ("expected", None),
            Meeting::Silent => ("silent", None),
            Meeting::Again => ("again", None),
            Meeting::Fled(from) => {
                let from = known.pathways.get(usize::from(from)).copied();
                let fled = |from| Fled {
                    network: known.network,
                    from,
                };
                // The fallback has no number, and is nobody's to judge.
                ("fled", from.filter(|from| *from != 0).map(fled))
            }
        }
    }

    /// Takes in what appliances told; what there is no room for is counted.
    pub fn hear(&self, reports: Vec<ViewerReport>, at: f64) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let room = VIEWER_REPORTS.saturating_sub(heard.len());
        let lost = reports.len().saturating_sub(room);
        heard.extend(reports.into_iter().take(room).map(|report| Heard { report, at }));
        self.metrics.viewer_reports_lost.inc_by(lost as u64);
    }

    /// Takes out what appliances told.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The pathway that a session has fled from lately, by what its poll says.
    pub fn avoided<'a>(&self, session: &'a Session, poll: &Poll, now: f64) -> Option<&'a OcaId> {
        let id = u64::from_str_radix(&session.id, 16).ok()?;
        let on = position(session, poll.current());
        let at = self.with_part(id, |part| part.sessions.avoided(id, on, now))?;
        session.pathways.get(usize::from(at))
    }

    /// A session polls, and is told to use `told` for `ttl` seconds.
    pub fn note(&self, asked: &Asked<'_>, told: Option<&str>, ttl: u32, now: f64) {
        let Asked {
            session,
            client,
            poll,
        } = *asked;
        let Ok(id) = u64::from_str_radix(&session.id, 16) else {
            return;
        };
        let (on, told) = (position(session, poll.current()), position(session, told));
        let throughputs = self.throughputs(session, poll);
        let said = !throughputs.is_empty();
        let mut report = Report {
            client,
            throughputs,
            word: None,
        };
        let outcome = self.with_part(id, |part| {
            let Worth::Due { verdict } = part.sessions.poll(id, on, told, now, f64::from(ttl) - EARLY) else {
                return "early";
            };
            if part.reports.len() >= REPORTS {
                return "full";
            }
            report.word = verdict.and_then(|verdict| word(session, client, verdict));
            if said || report.word.is_some() {
                part.reports.push(report);
            }
            "taken"
        });
        if said {
            self.count(outcome);
        }
    }

    /// What a poll says of throughput, once for each appliance that the session declares.
    fn throughputs(&self, session: &Session, poll: &Poll) -> Vec<(OcaId, u64)> {
        for _ in 0..poll.bad {
            self.count("bad");
        }
        let mut found: Vec<(OcaId, u64)> = Vec::new();
        for (name, bits_per_second) in poll.measured() {
            let declared = session.pathways.iter().find(|p| p.as_str() == name);
            match declared {
                None => self.count("undeclared"),
                Some(id) if id.as_str() == FALLBACK_ID || found.iter().any(|(f, _)| f == id) => {}
                Some(id) => found.push((id.clone(), bits_per_second)),
            }
        }
        found
    }

    /// Takes all reports out.
    pub fn collect(&self) -> Vec<Report> {
        let mut all = Vec::new();
        for part in &self.parts {
            all.append(&mut part.lock().unwrap_or_else(PoisonError::into_inner).reports);
        }
        all
    }

    fn with_part<T>(&self, session: u64, f: impl FnOnce(&mut Part) -> T) -> T {
        let part = &self.parts[session as usize % PARTS];
        f(&mut part.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, outcome: &str) {
        self.metrics.player_reports.with_label_values(&[outcome]).inc();
    }
}

/// Where a pathway stands among those that a session declares.
fn position(session: &Session, name: Option<&str>) -> u8 {
    let found = session.pathways.iter().position(|p| Some(p.as_str()) == name);
    found.map_or(NOWHERE, |at| at as u8)
}

/// A session's word on a pathway by its position; the fallback is nobody's to judge.
fn word(session: &Session, client: IpAddr, (at, served): (u8, bool)) -> Option<Word> {
    let appliance = session.pathways.get(usize::from(at))?;
    (appliance.as_str() != FALLBACK_ID).then(|| Word {
        client,
        appliance: appliance.clone(),
        served,
    })
}
