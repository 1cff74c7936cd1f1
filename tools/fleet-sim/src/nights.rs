//! Night after night: plan on the past alone, fill, serve the next day.
//!
//! Three fleets of equal hardware see the same viewers: one planned from the forecast, one by an oracle that knows
//! the next day (the same storage and fill cap), one planned blind, without any demand. Beside them a reactive cache
//! (LRU) has each site's whole storage in one piece. Boxes are delivered filled with the first plan; from then on the
//! fill cap holds. An appliance executes its part whole.
//!
//! Who serves is steering-core's own ranking of a snapshot of the fleet: a hit is a viewer whose first appliance
//! is in his own site.

mod fleet;
mod lru;
mod viewers;

use anyhow::Context;
use cdn_types::time::Date;
use fill_core::{DecayedMean, Forecast, History, Predictor};
use fleet::{Fleet, World};
use lru::Lru;
use serde::Serialize;
use viewers::{Day, Viewers};

/// Days that viewers watch before the first planned night: what the forecast starts from.
const WARM_UP_DAYS: i64 = 14;
/// Days of demand that a plan is given: enough for the forecast's weights, and bounded.
const HISTORY_DAYS: usize = 28;

/// A simulation's set-up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setup {
    /// Titles in the catalogue.
    pub titles: usize,
    /// Appliances, two a site.
    pub appliances: usize,
    /// Nights to plan.
    pub nights: i64,
    /// Regions; sites take turns.
    pub regions: usize,
    /// Storage of a site as a share of the catalogue.
    pub storage: f64,
    /// What an appliance can fill in a night as a share of its storage.
    pub fill: f64,
    /// Sessions a day in a region.
    pub sessions: f64,
    /// Part of the taste that changes in a week, 0 to 1.
    pub churn: f64,
    /// Share of titles that appear during the simulated time.
    pub launches: f64,
    /// Seed of everything.
    pub seed: u64,
    /// Day that the first night serves.
    pub first: Date,
}

/// What a simulation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Always true: no figure here was measured.
    pub simulated: bool,
    /// What was simulated.
    #[serde(flatten)]
    pub setup: Setup,
    /// One a night.
    pub nights: Vec<Night>,
    /// All nights together; its date is the last one's.
    pub all: Night,
}

/// One night and the day after it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Night {
    /// The day served.
    pub date: Date,
    /// Bytes that viewers drew.
    pub demand: u64,
    /// The fleet planned from the forecast.
    pub forecast: Score,
    /// The fleet planned with knowledge of the day.
    pub oracle: Score,
    /// The fleet planned without demand.
    pub blind: Score,
    /// Share of bytes that a reactive cache of the same storage served.
    pub lru_hit_share: f64,
}

/// One fleet's night and day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Score {
    /// Bytes served by the viewers' own sites.
    pub hit: u64,
    /// The same as a share of demand.
    pub hit_share: f64,
    /// Bytes filled in the night.
    pub filled: u64,
    /// The same as a share of all storage.
    pub churn: f64,
}

/// Runs a simulation.
pub fn simulate(setup: &Setup) -> anyhow::Result<Outcome> {
    let world = World::new(setup)?;
    let mut viewers = Viewers::new(setup, &world, WARM_UP_DAYS);
    let mut lrus: Vec<Lru> = (0..world.sites())
        .map(|s| Lru::new(world.site_storage(s)))
        .collect();
    let mut past: Vec<Day> = Vec::new();
    for _ in 0..WARM_UP_DAYS {
        let day = viewers.next_day();
        watch_lru(&world, &mut lrus, &day);
        past.push(day);
    }
    let mut fleets: [Fleet; 3] = std::array::from_fn(|_| Fleet::empty(&world));
    let mut nights = Vec::new();
    for number in 1..=setup.nights.unsigned_abs() {
        let day = viewers.next_day();
        let truth = Truth(day.forecast());
        let known: Vec<_> = past
            .iter()
            .rev()
            .take(HISTORY_DAYS)
            .flat_map(|d| &d.rows)
            .collect();
        let history = History::before(day.date, known);
        let nothing = History::before(day.date, &[]);
        let plans: [(&dyn Predictor, &History); 3] = [
            (&DecayedMean::default(), &history),
            (&truth, &nothing),
            (&DecayedMean::default(), &nothing),
        ];
        let mut scores = [Score::default(); 3];
        for ((fleet, score), (predictor, history)) in fleets.iter_mut().zip(&mut scores).zip(plans) {
            let delivered = number == 1;
            let filled = fleet
                .fill(&world, number, history, predictor, delivered)
                .with_context(|| format!("night {number}"))?;
            *score = Score::new(fleet.serve(&world, &day)?, day.bytes(), filled, world.storage());
        }
        let [forecast, oracle, blind] = scores;
        let lru_hit = watch_lru(&world, &mut lrus, &day);
        nights.push(Night {
            date: day.date,
            demand: day.bytes(),
            forecast,
            oracle,
            blind,
            lru_hit_share: share(lru_hit, day.bytes()),
        });
        past.push(day);
    }
    let all = sum(&nights, world.storage()).context("no night was simulated")?;
    Ok(Outcome {
        simulated: true,
        setup: setup.clone(),
        nights,
        all,
    })
}

/// The oracle.
struct Truth(Forecast);

impl Predictor for Truth {
    fn name(&self) -> &'static str {
        "oracle"
    }
    fn predict(&self, _: &History) -> Forecast {
        self.0.clone()
    }
}

impl Score {
    fn new(hit: u64, demand: u64, filled: u64, storage: u64) -> Self {
        Self {
            hit,
            hit_share: share(hit, demand),
            filled,
            churn: share(filled, storage),
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Plays a day's sessions in order through each site's cache; bytes served from them.
fn watch_lru(world: &World, lrus: &mut [Lru], day: &Day) -> u64 {
    let mut hit = 0;
    for session in &day.sessions {
        if lrus[session.site].watch(session.title, world.size(session.title)) {
            hit += world.session_bytes(session.title);
        }
    }
    hit
}

/// All nights as one: shares of all bytes, churn of a mean night. The delivery before the first night is no fill.
fn sum(nights: &[Night], storage: u64) -> Option<Night> {
    let demand = nights.iter().map(|n| n.demand).sum();
    let score = |of: fn(&Night) -> Score| {
        let hit = nights.iter().map(|n| of(n).hit).sum();
        let filled: u64 = nights.iter().map(|n| of(n).filled).sum();
        Score {
            churn: share(filled, storage) / nights.len().saturating_sub(1).max(1) as f64,
            ..Score::new(hit, demand, filled, storage)
        }
    };
    let lru: f64 = nights.iter().map(|n| n.lru_hit_share * n.demand as f64).sum();
    Some(Night {
        date: nights.last()?.date,
        demand,
        forecast: score(|n| n.forecast),
        oracle: score(|n| n.oracle),
        blind: score(|n| n.blind),
        lru_hit_share: if demand == 0 { 0.0 } else { lru / demand as f64 },
    })
}
