//! What players say when they poll, on its way into rankings: throughput by network and appliance, and whether they were
//! served where they were sent.
//!
//! A request leaves its report in one part of a table, behind a lock that is held for the look-up of one session; a task
//! ([`worker`]) collects the parts a few times a second and makes from them what rankings read. A session counts once in
//! its TTL, however often it polls, and what it says counts for pathways that its own signed address declares. What does
//! not fit is counted and left out; nobody waits for room.

pub mod probes;
pub mod sessions;
pub mod worker;

use crate::{
    metrics::Metrics,
    session::Session,
    steering_list::{MIN_TTL, Poll},
};
use cdn_types::OcaId;
use sessions::{NOWHERE, Sessions, Worth};
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use steering_core::{circuit::fleet::Word, index::FALLBACK_ID};

/// Parts of the table: more than there are workers, so that two seldom meet at one.
const PARTS: usize = 64;
/// Sessions that a part remembers: 40 bytes each, a quarter of a million in all.
const SESSIONS: usize = 4096;
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
    reports: Vec<Report>,
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
    began: Instant,
    metrics: Arc<Metrics>,
}

impl Feedback {
    /// Knows nobody yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        let part = || Part {
            sessions: Sessions::new(SESSIONS),
            reports: Vec::with_capacity(REPORTS),
        };
        Self {
            parts: (0..PARTS).map(|_| Mutex::new(part())).collect(),
            began: Instant::now(),
            metrics,
        }
    }

    /// Seconds on a clock that does not go back.
    pub fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// A session begins with a manifest.
    pub fn begin(&self, session: u64, now: f64) {
        self.with_part(session, |part| {
            part.sessions.begin(session, now, f64::from(MIN_TTL) - EARLY);
        });
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
