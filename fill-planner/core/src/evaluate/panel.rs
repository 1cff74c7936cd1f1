//! Everything that a replay needs, as arrays by index, and the view of it that a forecast may have.
//!
//! A **service day** begins when the night's fill ends (14:00) and ends 24 hours later: what a plan is judged by. A
//! **known day** is the 24 hours that end when a plan is made from what has been reported until then (22:00), and
//! bears the date of its evening: at the decision for service day `d` the newest known day is `d - 1`. So sixteen hours lie
//! between the last thing known and the first thing served.

use cdn_types::{ObjectDigest, RegionId, TitleId, time::Date};
use std::sync::Arc;

/// Hours of a day.
pub const HOURS: usize = 24;
/// Hour of universal time at which a service day begins, unless another is given.
pub const SERVICE_FROM: usize = 14;
/// Hour at which knowledge ends.
pub const KNOWN_UNTIL: usize = 22;

/// What a title is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A film, or unknown.
    Film,
    /// A season, all at once.
    Season,
    /// An episode of a season that comes weekly.
    Episode,
}

/// What is known of a title beside its demand.
#[derive(Debug, Clone, PartialEq)]
pub struct TitleFacts {
    /// Its id.
    pub id: TitleId,
    /// Bytes of all that is placed together, at least 1.
    pub size: u64,
    /// What it is.
    pub kind: Kind,
    /// Films and series that belong together; its own number if it is alone.
    pub franchise: u32,
    /// From 1; 0 for a film.
    pub season: u16,
    /// From 1; 0 if all come at once.
    pub episode: u16,
    /// Minutes; 0 if unknown.
    pub runtime: u16,
    /// The service's own.
    pub original: bool,
    /// Made for all regions.
    pub global: bool,
    /// Index of the region that it was made in.
    pub home: Option<usize>,
    /// Service day on which each region may show it first; none if never.
    pub shown: Vec<Option<i64>>,
    /// Weight that the launch calendar expects, in units of its own; 0 if it says nothing.
    pub expected: f64,
}

/// Bytes by day, region and title. Copies share their bytes until one is written to.
#[derive(Debug, Clone, PartialEq)]
pub struct Cube {
    first: usize,
    days: usize,
    regions: usize,
    titles: usize,
    bytes: Arc<Vec<f32>>,
}

impl Cube {
    /// Nothing drawn.
    pub fn new(days: usize, regions: usize, titles: usize) -> Self {
        let bytes = Arc::new(vec![0.0; days * regions * titles]);
        Self {
            first: 0,
            days,
            regions,
            titles,
            bytes,
        }
    }
    /// Days.
    pub fn days(&self) -> usize {
        self.days
    }
    /// Bytes of every title.
    pub fn of(&self, day: usize, region: usize) -> &[f32] {
        &self.bytes[self.range(day, region)]
    }
    /// The same, to write.
    pub fn of_mut(&mut self, day: usize, region: usize) -> &mut [f32] {
        let range = self.range(day, region);
        &mut Arc::make_mut(&mut self.bytes)[range]
    }
    /// The same bytes without the first days.
    #[must_use]
    pub fn without_first(&self, days: usize) -> Self {
        Self {
            first: self.first + days.min(self.days),
            days: self.days.saturating_sub(days),
            ..self.clone()
        }
    }
    fn range(&self, day: usize, region: usize) -> std::ops::Range<usize> {
        let from = ((self.first + day) * self.regions + region) * self.titles;
        from..from + self.titles
    }
}

/// How a title's service day spreads over its hours, the first one being [`SERVICE_FROM`].
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// Shapes, and which one each title has.
    Shapes {
        /// By title.
        of: Vec<u8>,
        /// Shares that sum to 1.
        shapes: Vec<[f32; HOURS]>,
    },
    /// Measured bytes of every hour: 24 days of one hour each to a service day.
    Measured(Cube),
}

/// A service's titles, regions and demand.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// Date of service day 0.
    pub first: Date,
    /// Regions.
    pub regions: Vec<RegionId>,
    /// For each region the others that are nearest in taste.
    pub neighbours: Vec<Vec<usize>>,
    /// Titles.
    pub titles: Vec<TitleFacts>,
    /// One object a title.
    pub objects: Vec<ObjectDigest>,
    /// Service days.
    pub served: Cube,
    /// Known days.
    pub known: Cube,
    /// What was to be expected of each service day by one who knows everything but the day's chance; only a simulator can tell.
    pub rates: Option<Cube>,
    /// Hours of service days.
    pub spread: Spread,
    /// Bytes of one session, about.
    pub session: f64,
    /// Days from the newest known day to the one that is planned from it, at least 1.
    pub lead: usize,
    /// Days from a service day to the first decision that knows all that it drew.
    pub settled: usize,
}

/// [`Panel::lead`] of the days described above.
pub const LEAD: usize = 1;
/// [`Panel::settled`] of the days described above: a service day ends sixteen hours after the newest known hour of the evening after
/// it began.
pub const SETTLED: usize = 2;

impl Panel {
    /// Date of a service day.
    pub fn date(&self, day: usize) -> Date {
        let days = jiff::Span::new().try_days(day as i64).unwrap_or_default();
        self.first.saturating_add(days)
    }
    /// Bytes of all titles.
    pub fn catalogue_bytes(&self) -> f64 {
        self.titles.iter().map(|t| t.size as f64).sum()
    }
    /// Bytes of the titles that `held` names, by hour of a service day.
    pub fn by_hour(&self, day: usize, region: usize, held: impl Fn(usize) -> bool) -> [f64; HOURS] {
        let mut out = [0.0; HOURS];
        match &self.spread {
            Spread::Shapes { of, shapes } => {
                let mut sums = vec![0.0; shapes.len()];
                for (t, bytes) in self.served.of(day, region).iter().enumerate() {
                    if held(t) {
                        sums[usize::from(of[t])] += f64::from(*bytes);
                    }
                }
                for (sum, shape) in sums.iter().zip(shapes) {
                    for (hour, share) in out.iter_mut().zip(shape) {
                        *hour += sum * f64::from(*share);
                    }
                }
            }
            Spread::Measured(hours) => {
                for (h, hour) in out.iter_mut().enumerate() {
                    let bytes = hours.of(day * HOURS + h, region).iter().enumerate();
                    *hour = bytes.filter(|(t, _)| held(*t)).map(|(_, b)| f64::from(*b)).sum();
                }
            }
        }
        out
    }
    /// What is known when `day` is planned.
    pub fn past(&self, day: usize) -> Past<'_> {
        Past { panel: self, day }
    }
}

/// What is known when a service day is planned, and nothing else: the only way from a [`Panel`] to a forecast. The
/// launch calendar and the titles' facts are known ahead; demand is not.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    panel: &'a Panel,
    day: usize,
}

impl<'a> Past<'a> {
    /// The service day to plan.
    pub fn day(&self) -> usize {
        self.day
    }
    /// Its date.
    pub fn date(&self) -> Date {
        self.panel.date(self.day)
    }
    /// 0 = Monday.
    pub fn weekday(&self, back: usize) -> usize {
        let monday = i64::from(self.panel.first.weekday().to_monday_zero_offset());
        (monday + self.day as i64 - back as i64).rem_euclid(7) as usize
    }
    /// Titles.
    pub fn titles(&self) -> &'a [TitleFacts] {
        &self.panel.titles
    }
    /// Regions.
    pub fn regions(&self) -> &'a [RegionId] {
        &self.panel.regions
    }
    /// Neighbours of a region.
    pub fn neighbours(&self, region: usize) -> &'a [usize] {
        &self.panel.neighbours[region]
    }
    /// Objects by title.
    pub fn objects(&self) -> &'a [ObjectDigest] {
        &self.panel.objects
    }
    /// Bytes of one session, about.
    pub fn session(&self) -> f64 {
        self.panel.session
    }
    /// Days from the newest known day to the planned one.
    pub fn lead(&self) -> usize {
        self.panel.lead
    }
    /// Date of a known day, 1 = the newest.
    pub fn known_date(&self, back: usize) -> Date {
        let back = i64::try_from(back + self.panel.lead).unwrap_or(i64::MAX) - 1;
        let days = jiff::Span::new().try_days(-back).unwrap_or_default();
        self.date().saturating_add(days)
    }
    /// Known days.
    pub fn days(&self) -> usize {
        self.day.min(self.panel.known.days())
    }
    /// A known day, 1 = the newest; none before the first.
    pub fn known(&self, back: usize, region: usize) -> Option<&'a [f32]> {
        let day = self.day.checked_sub(back.max(1))?;
        (day < self.panel.known.days()).then(|| self.panel.known.of(day, region))
    }
    /// What an earlier decision knew.
    pub fn earlier(&self, day: usize) -> Past<'a> {
        Past {
            panel: self.panel,
            day: day.min(self.day),
        }
    }
    /// What came of an earlier decision's service day, once that is over and known.
    pub fn outcome(&self, day: usize, region: usize) -> Option<&'a [f32]> {
        let known = day + self.panel.settled <= self.day && day < self.panel.served.days();
        known.then(|| self.panel.served.of(day, region))
    }
}
