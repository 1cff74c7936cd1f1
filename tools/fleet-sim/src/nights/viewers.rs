//! The viewers of a synthetic fleet, day by day.

use super::{Setup, fleet::World};
use crate::{
    day_curve,
    dice::Dice,
    taste::{Taste, TasteSetup},
};
use cdn_types::{Bytes, Hour, api::v1::DemandRow, time::Date};
use fill_core::Forecast;
use std::collections::BTreeMap;

/// One session.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// Index of the viewer's site.
    pub site: usize,
    /// Index of the title.
    pub title: usize,
}

/// What was watched on one day.
#[derive(Debug, Clone)]
pub struct Day {
    /// The day.
    pub date: Date,
    /// In the order in which they began.
    pub sessions: Vec<Session>,
    /// The same as demand history.
    pub rows: Vec<DemandRow>,
}

impl Day {
    /// Bytes of all sessions.
    pub fn bytes(&self) -> u64 {
        self.rows.iter().map(|r| r.bytes.0).sum()
    }

    /// The day as a forecast that is right.
    pub fn forecast(&self) -> Forecast {
        let mut drawn: BTreeMap<_, f64> = BTreeMap::new();
        for row in &self.rows {
            *drawn.entry((&row.region, row.object)).or_default() += row.bytes.0 as f64;
        }
        let mut forecast = Forecast::default();
        for ((region, object), bytes) in drawn {
            forecast.set(region, object, bytes);
        }
        forecast
    }
}

/// Makes one day after the other.
pub struct Viewers<'a> {
    world: &'a World,
    taste: Taste,
    sessions: f64,
    seed: u64,
    first: Hour,
    day: i64,
}

impl<'a> Viewers<'a> {
    /// Viewers whose first day is `warm_up` days before the first planned one.
    pub fn new(setup: &Setup, world: &'a World, warm_up: i64) -> Self {
        Self {
            world,
            taste: Taste::new(&TasteSetup {
                seed: setup.seed,
                titles: setup.titles,
                regions: setup.regions,
                days: warm_up + setup.nights,
                churn: setup.churn,
                launches: setup.launches,
            }),
            sessions: setup.sessions,
            seed: setup.seed,
            first: Hour(Hour::start_of(setup.first).0 - 24 * warm_up),
            day: 0,
        }
    }

    /// The next day.
    pub fn next_day(&mut self) -> Day {
        let first = Hour(self.first.0 + 24 * self.day);
        let date = first.date();
        let mut dice = Dice::new(self.seed, &format!("day {}", self.day));
        let sessions = self.sessions * day_curve::of_day(date);
        let shares: Vec<Vec<f64>> = (0..self.world.regions().len())
            .map(|r| self.taste.shares(r, self.day))
            .collect();
        let mut day = Day {
            date,
            sessions: Vec::new(),
            rows: Vec::new(),
        };
        for hour in 0..24 {
            let of_hour = sessions * day_curve::of_hour(hour);
            let from = day.sessions.len();
            for site in 0..self.world.sites() {
                let of_site = of_hour * self.world.site_share(site);
                for (title, share) in shares[self.world.region_of(site)].iter().enumerate() {
                    let count = dice.count(of_site * share);
                    day.sessions.extend((0..count).map(|_| Session { site, title }));
                }
            }
            dice.shuffle(&mut day.sessions[from..]);
            let rows = self.rows(Hour(first.0 + i64::from(hour)), &day.sessions[from..]);
            day.rows.extend(rows);
        }
        self.day += 1;
        day
    }

    fn rows(&self, hour: Hour, sessions: &[Session]) -> Vec<DemandRow> {
        let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for s in sessions {
            *counts.entry((self.world.region_of(s.site), s.title)).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|((region, title), requests)| DemandRow {
                hour,
                region: self.world.regions()[region].clone(),
                object: self.world.object(title),
                requests,
                bytes: Bytes(requests * self.world.session_bytes(title)),
            })
            .collect()
    }
}
