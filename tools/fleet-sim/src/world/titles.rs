//! Titles, and when each comes: a flow of releases that began years before the simulated time, so that the catalogue
//! and its launches follow the same law.

use super::{WorldSetup, fitted};
use crate::dice::Dice;

/// What a title is. A series has no demand of its own: its seasons have, or their episodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One film.
    Film,
    /// A season, all of it at once.
    Season,
    /// One episode of a season that comes weekly.
    Episode,
}

/// Who watches when: the shapes of [`crate::day_curve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// All.
    General,
    /// Late in the evening.
    Late,
    /// Children.
    Children,
}

/// One title of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Title {
    /// What it is.
    pub kind: Kind,
    /// Films and series of one world; always given, alone or not.
    pub franchise: u32,
    /// Season, from 1; 0 for a film.
    pub season: u16,
    /// Episode, from 1; 0 if all come at once.
    pub episode: u16,
    /// Who watches.
    pub audience: Audience,
    /// Minutes of all of it.
    pub runtime: u16,
    /// The service's own.
    pub original: bool,
    /// Made for all regions.
    pub global: bool,
    /// Region that it was made in.
    pub home: usize,
    /// Day from which each region may show it; none if never. Negative if before the simulated time.
    pub shown: Vec<Option<i64>>,
    /// The first of these days.
    pub release: i64,
    /// What it weighs at its launch: unknown before.
    pub weight: f64,
    /// What the launch calendar expects it to weigh.
    pub expected: f64,
    /// Bytes of each of [`RENDITIONS`]; 0 if it does not have it.
    pub sizes: [u64; RENDITIONS.len()],
}

/// Renditions: name, and Mbit/s over all codecs and profiles that a title is kept in.
pub const RENDITIONS: [(&str, f64); 6] = [
    ("v240", 2.0),
    ("v480", 5.0),
    ("v720", 9.0),
    ("v1080", 18.0),
    ("v2160", 50.0),
    ("audio", 4.0),
];
/// Index of the rendition that only some titles have.
const UHD: usize = 4;
/// Days before the simulated time in which the catalogue came together.
const CATALOGUE_DAYS: f64 = 7.0 * 150.0;
/// Days between two seasons at least.
const SEASON_GAP: i64 = 150;

impl Title {
    /// Bytes of all renditions.
    pub fn size(&self) -> u64 {
        self.sizes.iter().sum()
    }
}

/// A franchise while the releases are made.
struct Franchise {
    level: f64,
    own: f64,
    season: u16,
    last: i64,
    series: bool,
    global: bool,
    original: bool,
    home: usize,
    audience: Audience,
    weekly: bool,
    runtime: u16,
}

/// All titles by release.
pub fn titles(setup: &WorldSetup) -> Vec<Title> {
    let mut maker = Maker {
        setup,
        dice: Dice::new(setup.seed, "titles"),
        franchises: Vec::new(),
        out: Vec::new(),
    };
    let days = setup.days() as f64;
    let count = ((CATALOGUE_DAYS + days) / 7.0 * fitted::RELEASES_A_WEEK * setup.scale).round() as usize;
    for i in 0..count {
        let week = ((i as f64 + maker.dice.even()) / count as f64 * (CATALOGUE_DAYS + days) / 7.0).floor();
        let day = week as i64 * 7 - CATALOGUE_DAYS as i64 + maker.weekday();
        maker.release(day);
    }
    let mut titles = maker.out;
    titles.retain(|t| t.release < setup.days());
    titles.sort_by_key(|t| t.release);
    titles
}

struct Maker<'a> {
    setup: &'a WorldSetup,
    dice: Dice,
    franchises: Vec<Franchise>,
    out: Vec<Title>,
}

impl Maker<'_> {
    /// Days after Monday.
    fn weekday(&mut self) -> i64 {
        let mut left = self.dice.even() * fitted::RELEASE_WEEKDAYS.iter().sum::<f64>();
        for (day, chance) in fitted::RELEASE_WEEKDAYS.iter().enumerate() {
            left -= chance;
            if left < 0.0 {
                return day as i64;
            }
        }
        4
    }

    fn release(&mut self, day: i64) {
        let film = self.dice.even() < fitted::FILMS;
        let follows = self.dice.even() < if film { 0.12 } else { 0.5 };
        let known = follows.then(|| self.follow(day, film)).flatten();
        let franchise = match known {
            Some(f) => f,
            None => self.found(film),
        };
        self.continue_with(franchise, day, film);
    }

    /// A franchise that is due for a sequel.
    fn follow(&mut self, day: i64, film: bool) -> Option<usize> {
        if self.franchises.is_empty() {
            return None;
        }
        (0..24).map(|_| self.dice.below(self.franchises.len())).find(|f| {
            let f = &self.franchises[*f];
            day - f.last >= SEASON_GAP && (film || f.series)
        })
    }

    fn found(&mut self, film: bool) -> usize {
        let d = &mut self.dice;
        let audience = match d.even() {
            p if p < 0.14 => Audience::Children,
            p if p < 0.5 => Audience::Late,
            _ => Audience::General,
        };
        self.franchises.push(Franchise {
            level: fitted::FRANCHISE_SPREAD * d.normal(),
            own: d.normal(),
            season: 0,
            last: i64::MIN / 2,
            series: !film,
            global: d.even() < fitted::GLOBAL,
            original: d.even() < fitted::ORIGINALS,
            home: d.below(self.setup.regions),
            audience,
            weekly: !film && d.even() < fitted::WEEKLY,
            runtime: (if film { 104.0 } else { 44.0 } * (0.22 * d.normal()).exp()) as u16,
        });
        self.franchises.len() - 1
    }

    fn continue_with(&mut self, index: usize, day: i64, film: bool) {
        let regions = self.setup.regions;
        let d = &mut self.dice;
        let f = &mut self.franchises[index];
        let fresh = d.normal();
        let kept = fitted::SEASON_MEMORY;
        f.own = if f.season == 0 || film {
            fresh
        } else {
            kept * f.own + (1.0 - kept * kept).sqrt() * fresh
        };
        f.last = day;
        let log = f.level
            + fitted::OWN_SPREAD * f.own
            + if f.global { fitted::GLOBAL_LEAD } else { 0.0 }
            + if f.original { 0.0 } else { fitted::LICENSED_LEAD };
        let judged = fitted::CALENDAR_TRUST * (log + fitted::CALENDAR_ERROR * d.normal());
        let mut shown: Vec<Option<i64>> = (0..regions)
            .map(|r| match (f.original, d.even() < fitted::LICENSED_HERE) {
                (true, _) => Some(day),
                (false, true) if d.even() < fitted::LICENSED_LATER.0 => {
                    Some(day + (d.even() * fitted::LICENSED_LATER.1) as i64)
                }
                (false, true) => Some(day),
                (false, false) => (r == f.home).then_some(day),
            })
            .collect();
        // The first region's day is the release.
        let lead = shown.iter().flatten().min().map_or(0, |first| first - day);
        shown.iter_mut().flatten().for_each(|later| *later -= lead);
        let episodes: u16 = if film {
            1
        } else {
            f.season += 1;
            6 + d.below(5) as u16
        };
        let uhd = d.even() < if f.original { 0.5 } else { 0.15 };
        let weekly = f.weekly && !film;
        let parts = if weekly { episodes } else { 1 };
        for part in 1..=parts {
            let runtime = if weekly {
                f.runtime
            } else {
                f.runtime.saturating_mul(episodes)
            };
            // A season's hours are spread over its episodes; the last ones are awaited more than the middle.
            let part_log = if weekly { -0.9 + 0.15 * d.normal() } else { 0.0 };
            self.out.push(Title {
                kind: match (film, weekly) {
                    (true, _) => Kind::Film,
                    (false, false) => Kind::Season,
                    (false, true) => Kind::Episode,
                },
                franchise: index as u32,
                season: if film { 0 } else { f.season },
                episode: if weekly { part } else { 0 },
                audience: f.audience,
                runtime,
                original: f.original,
                global: f.global,
                home: f.home,
                shown: shown
                    .iter()
                    .map(|d| d.map(|d| d + 7 * i64::from(part - 1)))
                    .collect(),
                release: day + 7 * i64::from(part - 1),
                weight: (log + part_log).exp(),
                expected: (judged + if weekly { -0.9 } else { 0.0 }).exp(),
                sizes: sizes(runtime, uhd),
            });
        }
    }
}

fn sizes(runtime: u16, uhd: bool) -> [u64; RENDITIONS.len()] {
    let mut sizes = RENDITIONS.map(|(_, mbit)| (mbit * 1e6 / 8.0 * 60.0 * f64::from(runtime)) as u64);
    if !uhd {
        sizes[UHD] = 0;
    }
    sizes
}
