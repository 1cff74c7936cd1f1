//! Replays history: night after night each method plans on the past only, from the contents that it left the day before, under
//! the same storage and fill cap; then the next day is served.

use super::{
    bound::Bound,
    cache,
    naive::Expected,
    panel::{HOURS, Panel},
    planned::{PlannedFleet, Room},
    store::Store,
};
use crate::{InputError, Rules, rendezvous::mix};
use serde::{Deserialize, Serialize};

/// Days after a fill in which what it serves counts for it.
pub const EARNING_DAYS: usize = 7;
/// Requests of a title that come one after the other in the replay of caches: sessions of a popular title overlap.
const SESSIONS_A_REQUEST: f64 = 4.0;
/// Requests a day of one title at most, which changes nothing for titles that are always held.
const MOST_REQUESTS: f64 = 24.0;
/// Days of requests that warm the caches.
const WARM_DAYS: usize = 14;

/// Which days are replayed, under which limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Storage of a region's site as a share of the catalogue's bytes.
    pub storage: f64,
    /// Bytes that it can fill in a night.
    pub fill: f64,
}

/// The days.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Days {
    /// First planned service day.
    pub first: usize,
    /// Nights before any is judged, so that the common start is forgotten.
    pub settle: usize,
    /// Judged nights.
    pub judged: usize,
}

impl Days {
    /// All planned days.
    pub fn all(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.settle + self.judged
    }
}

/// How a method changes its stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeper {
    /// Densest first, see [`Store::swap`].
    Swap,
    /// The planner.
    Planner,
    /// The planner, room being made before the window.
    PlannerRoomBefore,
    /// A reactive cache.
    Reactive,
}

/// A method.
#[derive(Debug, Clone)]
pub struct Method {
    /// Name in reports.
    pub name: String,
    /// Whether it knows the launch calendar.
    pub calendar: bool,
    /// Whether it counts as a baseline.
    pub baseline: bool,
    /// How it changes its stores.
    pub keeper: Keeper,
    /// Index into the forecasts.
    pub forecast: usize,
    /// The planner's rules, where it is the planner.
    pub rules: Rules,
}

/// What one method did on one day in one region; all in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DayScore {
    /// Service day.
    pub day: usize,
    /// Region.
    pub region: usize,
    /// Drawn.
    pub demand: f64,
    /// Drawn, by hour.
    pub demand_by_hour: [f32; HOURS],
    /// Served from the store.
    pub hit: f64,
    /// The same, by hour.
    pub hit_by_hour: [f32; HOURS],
    /// Brought in during the night.
    pub filled: f64,
    /// Of that, whole weeks later: what the fills of this night served within [`EARNING_DAYS`]; none if the replay ends before.
    pub earned: Option<f64>,
    /// The oracle with the same contents, storage and cap.
    pub o1: f64,
    /// The oracle without a cap.
    pub o2: f64,
    /// Titles in their first day: drawn, served, served by the oracle.
    pub first_day: [f64; 3],
    /// Titles in their first three days: drawn, served, served by the oracle.
    pub three_days: [f64; 3],
}

/// What a method did in a cell.
#[derive(Debug, Clone)]
pub struct Run {
    /// Index of the method.
    pub method: usize,
    /// One a judged day and region.
    pub scores: Vec<DayScore>,
}

/// Replays every planned method in a cell. `forecasts` are by forecaster, then by planned day.
pub fn planned(
    panel: &Panel,
    cell: Cell,
    days: Days,
    methods: &[Method],
    forecasts: &[Vec<Expected>],
) -> Result<Vec<Run>, InputError> {
    let start = start(panel, cell, days);
    let planned = methods
        .iter()
        .enumerate()
        .filter(|(_, m)| m.keeper != Keeper::Reactive);
    planned
        .map(|(m, method)| {
            let scores = replay(
                panel,
                cell,
                days,
                method,
                &forecasts[method.forecast],
                start.clone(),
            )?;
            Ok(Run { method: m, scores })
        })
        .collect()
}

/// Contents that every method starts from: the last day's densest.
fn start(panel: &Panel, cell: Cell, days: Days) -> Vec<Store> {
    let sizes = sizes(panel);
    let storage = cell.storage * panel.catalogue_bytes();
    let past = panel.past(days.first);
    (0..panel.regions.len())
        .map(|region| {
            let mut store = Store::empty(sizes.len());
            store.swap(
                past.known(1, region).unwrap_or_default(),
                &sizes,
                storage,
                f64::INFINITY,
            );
            store
        })
        .collect()
}

fn sizes(panel: &Panel) -> Vec<f64> {
    panel.titles.iter().map(|t| t.size as f64).collect()
}

fn replay(
    panel: &Panel,
    cell: Cell,
    days: Days,
    method: &Method,
    forecasts: &[Expected],
    mut stores: Vec<Store>,
) -> Result<Vec<DayScore>, InputError> {
    let (sizes, storage) = (sizes(panel), cell.storage * panel.catalogue_bytes());
    let room = if method.keeper == Keeper::Planner {
        Room::NightBefore
    } else {
        Room::Before
    };
    let mut fleet =
        PlannedFleet::new(&stores, 1, storage, cell.fill, room, method.rules).with_calendar(method.calendar);
    let mut ledger = Earnings::new(panel, days);
    let mut scores = Vec::new();
    for (day, expected) in days.all().zip(forecasts) {
        let before: Vec<Store> = stores.clone();
        let come = match method.keeper {
            Keeper::Swap => stores
                .iter_mut()
                .zip(expected)
                .map(|(store, expected)| store.swap(expected, &sizes, storage, cell.fill))
                .collect(),
            _ => fleet.night(panel.past(day), expected, &mut stores)?,
        };
        for region in 0..panel.regions.len() {
            ledger.fill(day, region, &come[region]);
            ledger.serve(panel, day, region, &stores[region].held);
            if day < days.first + days.settle {
                continue;
            }
            let filled = come[region].iter().map(|t| sizes[*t as usize]).sum();
            let mut score = score(panel, day, region, &stores[region].held);
            score.filled = filled;
            let values = panel.served.of(day, region);
            let best = Bound::new(values, &sizes, &before[region].held).best(storage, cell.fill);
            score.o1 = best.value;
            let nothing = vec![true; sizes.len()];
            score.o2 = Bound::new(values, &sizes, &nothing).best(storage, 0.0).value;
            let oracle: f64 = first_days(panel, day, region, 1, best.titles.iter().map(|t| *t as usize));
            score.first_day[2] = oracle;
            score.three_days[2] = first_days(panel, day, region, 3, best.titles.iter().map(|t| *t as usize));
            scores.push(score);
        }
    }
    for score in &mut scores {
        score.earned = ledger.earned(score.day, score.region);
    }
    Ok(scores)
}

/// Demand and hits of a day.
fn score(panel: &Panel, day: usize, region: usize, held: &[bool]) -> DayScore {
    let demand = panel.by_hour(day, region, |_| true);
    let hit = panel.by_hour(day, region, |t| held[t]);
    let drawn_and_hit = |days| {
        let all = 0..held.len();
        [
            first_days(panel, day, region, days, all.clone()),
            first_days(panel, day, region, days, all.filter(|t| held[*t])),
            0.0,
        ]
    };
    DayScore {
        day,
        region,
        demand: demand.iter().sum(),
        demand_by_hour: demand.map(|b| b as f32),
        hit: hit.iter().sum(),
        hit_by_hour: hit.map(|b| b as f32),
        first_day: drawn_and_hit(1),
        three_days: drawn_and_hit(3),
        ..DayScore::default()
    }
}

/// Bytes drawn of those of the titles that the region has shown for less than `days`.
fn first_days(
    panel: &Panel,
    day: usize,
    region: usize,
    days: i64,
    titles: impl Iterator<Item = usize>,
) -> f64 {
    let served = panel.served.of(day, region);
    let young = |t: &usize| {
        let age = panel.titles[*t].shown[region].map(|shown| day as i64 - shown);
        age.is_some_and(|age| (0..days).contains(&age))
    };
    titles.filter(young).map(|t| f64::from(served[t])).sum()
}

/// What fills served in the days after them.
struct Earnings {
    first: usize,
    end: usize,
    regions: usize,
    titles: usize,
    filled_on: Vec<Option<u32>>,
    earned: Vec<f64>,
}

impl Earnings {
    fn new(panel: &Panel, days: Days) -> Self {
        let (regions, titles) = (panel.regions.len(), panel.titles.len());
        Self {
            first: days.first,
            end: days.all().end,
            regions,
            titles,
            filled_on: vec![None; regions * titles],
            earned: vec![0.0; regions * days.all().len()],
        }
    }
    fn fill(&mut self, day: usize, region: usize, come: &[u32]) {
        for t in come {
            self.filled_on[region * self.titles + *t as usize] = Some(day as u32);
        }
    }
    fn serve(&mut self, panel: &Panel, day: usize, region: usize, held: &[bool]) {
        for (t, bytes) in panel.served.of(day, region).iter().enumerate() {
            let on = self.filled_on[region * self.titles + t].map(|on| on as usize);
            if let Some(on) = on.filter(|on| held[t] && day - on < EARNING_DAYS) {
                self.earned[(on - self.first) * self.regions + region] += f64::from(*bytes);
            }
        }
    }
    fn earned(&self, day: usize, region: usize) -> Option<f64> {
        (day + EARNING_DAYS <= self.end).then(|| self.earned[(day - self.first) * self.regions + region])
    }
}

/// Replays the reactive caches; they have no fill cap, since they fetch what viewers draw.
pub fn reactive(panel: &Panel, cell: Cell, days: Days, methods: &[Method]) -> Vec<Run> {
    let storage = (cell.storage * panel.catalogue_bytes()) as u64;
    let judged = days.first + days.settle;
    let mut runs: Vec<Run> = Vec::new();
    for region in 0..panel.regions.len() {
        let mut caches = cache::all(storage);
        for day in judged.saturating_sub(WARM_DAYS)..days.all().end {
            let requests = requests(panel, day, region);
            for cache in &mut caches {
                let Some(method) = methods
                    .iter()
                    .position(|m| m.keeper == Keeper::Reactive && m.name == cache.name())
                else {
                    continue;
                };
                let score = watch(panel, day, region, cache.as_mut(), &requests);
                if day < judged {
                    continue;
                }
                match runs.iter_mut().find(|r| r.method == method) {
                    Some(run) => run.scores.push(score),
                    None => runs.push(Run {
                        method,
                        scores: vec![score],
                    }),
                }
            }
        }
    }
    for run in &mut runs {
        run.scores.sort_by_key(|s| (s.day, s.region));
    }
    runs
}

/// Hour, title, bytes.
type Request = (u8, u32, f64);

/// A day's requests in order: each hour's in an order that depends on nothing but day, region and title.
fn requests(panel: &Panel, day: usize, region: usize) -> Vec<Request> {
    let mut out: Vec<(u64, Request)> = Vec::new();
    let shares: Vec<[f64; HOURS]> = match &panel.spread {
        super::panel::Spread::Shapes { shapes, .. } => shapes.iter().map(|s| s.map(f64::from)).collect(),
        super::panel::Spread::Measured(_) => vec![],
    };
    for (t, bytes) in panel
        .served
        .of(day, region)
        .iter()
        .enumerate()
        .filter(|(_, b)| **b > 0.0)
    {
        let bytes = f64::from(*bytes);
        let share = match &panel.spread {
            super::panel::Spread::Shapes { of, .. } => shares[usize::from(of[t])],
            super::panel::Spread::Measured(cube) => {
                std::array::from_fn(|h| f64::from(cube.of(day * HOURS + h, region)[t]) / bytes)
            }
        };
        let count = (bytes / panel.session / SESSIONS_A_REQUEST)
            .ceil()
            .clamp(1.0, MOST_REQUESTS);
        let key = mix((day * 977 + region) as u64 ^ (t as u64) << 24);
        let shift = (key >> 40) as f64 / f64::from(1u32 << 24);
        let (mut hour, mut passed) = (0, share[0]);
        for i in 0..count as usize {
            let at = (i as f64 + shift) / count;
            while passed < at && hour + 1 < HOURS {
                hour += 1;
                passed += share[hour];
            }
            out.push((mix(key ^ i as u64), (hour as u8, t as u32, bytes / count)));
        }
    }
    out.sort_unstable_by_key(|(key, r)| (r.0, *key, r.1));
    out.into_iter().map(|(_, r)| r).collect()
}

fn watch(
    panel: &Panel,
    day: usize,
    region: usize,
    cache: &mut dyn cache::Cache,
    requests: &[Request],
) -> DayScore {
    let mut score = DayScore {
        day,
        region,
        ..DayScore::default()
    };
    for (hour, title, bytes) in requests {
        let facts = &panel.titles[*title as usize];
        let hit = if cache.request(*title, facts.size) {
            *bytes
        } else {
            0.0
        };
        score.demand += bytes;
        score.hit += hit;
        score.demand_by_hour[usize::from(*hour)] += *bytes as f32;
        score.hit_by_hour[usize::from(*hour)] += hit as f32;
        let age = facts.shown[region].map(|shown| day as i64 - shown);
        for (days, young) in [(1, &mut score.first_day), (3, &mut score.three_days)] {
            if age.is_some_and(|age| (0..days).contains(&age)) {
                young[0] += bytes;
                young[1] += hit;
            }
        }
    }
    score
}
