//! A synthetic service, fitted to public figures: titles that come by a calendar, and what each region's viewers
//! draw of them day by day. Everything here is SIMULATED.
//!
//! A simulated day begins at 14:00, when the night's fill ends and what it brought is there, and what is released that
//! day is released then.

pub mod export;
pub mod fitted;
pub mod measure;
pub mod titles;
pub mod viewers;

use cdn_types::time::Date;
use jiff::ToSpan;
use titles::Title;

/// What a world is made of.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct WorldSetup {
    /// Seed of everything.
    pub seed: u64,
    /// Regions.
    pub regions: usize,
    /// Weeks of viewing.
    pub weeks: usize,
    /// Sessions a day in a region of middle size.
    pub sessions: f64,
    /// Size of catalogue and calendar; 1 is what was fitted.
    pub scale: f64,
    /// The first day, a Monday.
    pub first: Date,
}

impl WorldSetup {
    /// Days of viewing.
    pub fn days(&self) -> i64 {
        7 * self.weeks as i64
    }
    /// Date of a day.
    pub fn date(&self, day: i64) -> Date {
        self.first.saturating_add(day.days())
    }
    /// Regions that share taste.
    pub fn neighbours(&self) -> usize {
        2
    }
}

/// A world.
#[derive(Debug, Clone)]
pub struct World {
    /// What it was made of.
    pub setup: WorldSetup,
    /// By release.
    pub titles: Vec<Title>,
    /// What was drawn.
    pub demand: Demand,
    /// What one could expect who knows everything but chance.
    pub expected: Demand,
}

impl World {
    /// Makes a world.
    pub fn new(setup: WorldSetup) -> Self {
        let titles = titles::titles(&setup);
        let [demand, expected] = viewers::demand(&setup, &titles);
        Self {
            setup,
            titles,
            demand,
            expected,
        }
    }
}

/// Bytes by day, region and title.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// Days.
    pub days: usize,
    /// Regions.
    pub regions: usize,
    /// Titles.
    pub titles: usize,
    bytes: Vec<f32>,
}

impl Demand {
    fn new(days: usize, regions: usize, titles: usize) -> Self {
        Self {
            days,
            regions,
            titles,
            bytes: vec![0.0; days * regions * titles],
        }
    }
    fn set(&mut self, day: usize, region: usize, title: usize, bytes: f32) {
        let at = (day * self.regions + region) * self.titles + title;
        self.bytes[at] = bytes;
    }
    /// Bytes of every title in a region on a day.
    pub fn of(&self, day: usize, region: usize) -> &[f32] {
        let from = (day * self.regions + region) * self.titles;
        &self.bytes[from..from + self.titles]
    }
}
