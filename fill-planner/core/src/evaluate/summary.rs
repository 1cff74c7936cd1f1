//! From scores to the figures of a report.

use super::{
    bootstrap::{Estimate, estimate},
    panel::HOURS,
    replay::{Cell, DayScore, Keeper, Method, Run},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Part of the hours that count as the peak: the busiest of the whole time.
const PEAK_SHARE: f64 = 0.05;
/// Weights of a filled byte against a served one.
pub const ALPHAS: [f64; 4] = [0.0, 0.1, 0.25, 1.0];
/// Bits a second in a gigabit.
const GIGA: f64 = 1e9;

/// One history's runs in a cell.
#[derive(Debug, Clone)]
pub struct CellRuns {
    /// The limits.
    pub cell: Cell,
    /// Which history (a simulation's seed).
    pub history: u64,
    /// One a method that was replayed.
    pub runs: Vec<Run>,
}

/// What a method reached in a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The method.
    pub method: String,
    /// Whether it knows the launch calendar.
    pub calendar: bool,
    /// Whether it is a baseline.
    pub baseline: bool,
    /// How it changes its stores.
    pub keeper: Keeper,
    /// Bytes served from the store over bytes drawn.
    pub byte_hit: Estimate,
    /// The same in the busiest hours.
    pub peak_hit: f64,
    /// Bytes served over the oracle's with the same start, storage and cap; none for reactive caches.
    pub of_o1: Option<Estimate>,
    /// Bytes served over the oracle's without a cap.
    pub of_o2: Option<f64>,
    /// Gap between the best baseline and the oracle that is closed; none if the oracle, from this method's contents, is below
    /// that baseline.
    pub gap_closed: Option<Estimate>,
    /// The same from the best baseline without a calendar.
    pub gap_to_plain: Option<Estimate>,
    /// Bytes filled a night and region.
    pub fill: f64,
    /// Bytes filled over the best baseline's.
    pub fill_of_best: f64,
    /// Bytes filled over those of the best baseline without a calendar.
    pub fill_of_plain: f64,
    /// (hit - alpha fill) / demand, for [`ALPHAS`].
    pub net: [f64; 4],
    /// Bytes served within a week per byte filled.
    pub earned: Option<f64>,
    /// Byte hit of titles in their first day, and in their first three.
    pub cold: [f64; 2],
    /// The same over the oracle's.
    pub cold_of_o1: Option<[f64; 2]>,
    /// Byte hit of the region that only a tenth of the regions are below.
    pub p10_region: f64,
    /// The worst region's.
    pub worst_region: f64,
    /// 95th percentile of what all regions draw from upstream, in Gbit/s.
    pub upstream_p95: f64,
    /// Bytes served over the oracle's on titles older than a day.
    pub settled_of_o1: Option<f64>,
}

/// A cell's table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The limits.
    pub cell: Cell,
    /// The best baseline's name.
    pub best_baseline: String,
    /// The best baseline without a calendar that plans ahead.
    pub best_plain: String,
    /// Part of demand on titles in their first day, and in their first three.
    pub young_demand: [f64; 2],
    /// By method.
    pub rows: Vec<Row>,
}

/// Sums of one block.
type Block = [f64; 5];
/// Their places.
const DEMAND: usize = 0;
const HIT: usize = 1;
const O1: usize = 2;
const BEST: usize = 3;
const PLAIN: usize = 4;

/// Summarises the runs of one cell over all histories.
pub fn table(methods: &[Method], cells: &[CellRuns], seed: u64) -> Option<Table> {
    let cell = cells.first()?.cell;
    let of = |method: usize| -> Vec<(u64, &DayScore)> {
        let runs = cells
            .iter()
            .flat_map(|c| c.runs.iter().map(move |r| (c.history, r)));
        let runs = runs.filter(move |(_, r)| r.method == method);
        runs.flat_map(|(h, r)| r.scores.iter().map(move |s| (h, s)))
            .collect()
    };
    let all: Vec<Vec<(u64, &DayScore)>> = (0..methods.len()).map(of).collect();
    let total = |m: usize, f: &dyn Fn(&DayScore) -> f64| all[m].iter().map(|(_, s)| f(s)).sum::<f64>();
    let best_of = |allowed: &dyn Fn(&Method) -> bool| {
        (0..methods.len())
            .filter(|m| methods[*m].baseline && allowed(&methods[*m]) && !all[*m].is_empty())
            .max_by(|a, b| total(*a, &|s| s.hit).total_cmp(&total(*b, &|s| s.hit)))
    };
    let best = best_of(&|_| true)?;
    let plain = best_of(&|m| !m.calendar && m.keeper != Keeper::Reactive)?;
    let rows = (0..methods.len())
        .filter(|m| !all[*m].is_empty())
        .map(|m| row(&methods[m], &all[m], &all[best], &all[plain], seed))
        .collect();
    let demand = total(best, &|s| s.demand);
    Some(Table {
        cell,
        best_baseline: label(&methods[best]),
        best_plain: label(&methods[plain]),
        young_demand: [
            total(best, &|s| s.first_day[0]) / demand,
            total(best, &|s| s.three_days[0]) / demand,
        ],
        rows,
    })
}

/// A method's name with what it knows.
pub fn label(method: &Method) -> String {
    let calendar = if method.calendar { " + calendar" } else { "" };
    format!("{}{calendar}", method.name)
}

/// Scores with the history that they are of.
type Scores<'a> = [(u64, &'a DayScore)];

fn row(method: &Method, scores: &Scores<'_>, best: &Scores<'_>, plain: &Scores<'_>, seed: u64) -> Row {
    let blocks = blocks(scores, best, plain);
    let fill_of = |other: &Scores<'_>| other.iter().map(|(_, s)| s.filled).sum::<f64>();
    let sum = |f: &dyn Fn(&DayScore) -> f64| scores.iter().map(|(_, s)| f(s)).sum::<f64>();
    let (demand, hit, filled) = (sum(&|s| s.demand), sum(&|s| s.hit), sum(&|s| s.filled));
    let (o1, o2) = (sum(&|s| s.o1), sum(&|s| s.o2));
    let planned = method.keeper != Keeper::Reactive;
    let regions = by_region(scores);
    let earning: Vec<_> = scores
        .iter()
        .filter_map(|(_, s)| Some((s.earned?, s.filled)))
        .collect();
    let (earned, cost) = earning.iter().fold((0.0, 0.0), |a, e| (a.0 + e.0, a.1 + e.1));
    let young = |i: usize| [sum(&|s| s.first_day[i]), sum(&|s| s.three_days[i])];
    // From contents so bad that even the oracle stays below the baseline there is no gap to close.
    let gap = |base: usize| {
        let (oracle, other) = (blocks.iter().map(|b| b[O1]), blocks.iter().map(|b| b[base]));
        let open = planned && oracle.sum::<f64>() > other.sum::<f64>();
        open.then(|| estimate(&blocks, seed, |b| over(b[HIT] - b[base], b[O1] - b[base])))
    };
    let ratio = |a: [f64; 2], b: [f64; 2]| [over(a[0], b[0]), over(a[1], b[1])];
    Row {
        method: label(method),
        calendar: method.calendar,
        baseline: method.baseline,
        keeper: method.keeper,
        byte_hit: estimate(&blocks, seed, |b| over(b[HIT], b[DEMAND])),
        peak_hit: peak_hit(scores),
        of_o1: planned.then(|| estimate(&blocks, seed, |b| over(b[HIT], b[O1]))),
        of_o2: planned.then(|| over(hit, o2)),
        gap_closed: gap(BEST),
        gap_to_plain: gap(PLAIN),
        fill: filled / scores.len() as f64,
        fill_of_best: over(filled, fill_of(best)),
        fill_of_plain: over(filled, fill_of(plain)),
        net: ALPHAS.map(|alpha| over(hit - alpha * filled, demand)),
        earned: (cost > 0.0).then(|| earned / cost),
        cold: ratio(young(1), young(0)),
        cold_of_o1: planned.then(|| ratio(young(1), young(2))),
        p10_region: regions.get(regions.len() / 10).copied().unwrap_or(0.0),
        worst_region: regions.first().copied().unwrap_or(0.0),
        upstream_p95: upstream_p95(scores),
        settled_of_o1: planned.then(|| over(hit - young(1)[0], o1 - young(2)[0])),
    }
}

fn over(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Blocks of a week of one region of one history, with the best baselines' of the same block.
fn blocks(scores: &Scores<'_>, best: &Scores<'_>, plain: &Scores<'_>) -> Vec<Block> {
    let mut blocks: BTreeMap<(u64, usize, usize), Block> = BTreeMap::new();
    let first = scores.iter().map(|(_, s)| s.day).min().unwrap_or(0);
    let key = |h: &u64, s: &DayScore| (*h, s.region, (s.day - first) / 7);
    for (h, s) in scores {
        let block = blocks.entry(key(h, s)).or_default();
        for (sum, part) in block.iter_mut().zip([s.demand, s.hit, s.o1]) {
            *sum += part;
        }
    }
    for (place, other) in [(BEST, best), (PLAIN, plain)] {
        for (h, s) in other {
            if let Some(block) = blocks.get_mut(&key(h, s)) {
                block[place] += s.hit;
            }
        }
    }
    blocks.into_values().collect()
}

/// Byte hit of each region of each history, worst first.
fn by_region(scores: &Scores<'_>) -> Vec<f64> {
    let mut sums: BTreeMap<(u64, usize), [f64; 2]> = BTreeMap::new();
    for (h, s) in scores {
        let sum = sums.entry((*h, s.region)).or_default();
        sum[0] += s.hit;
        sum[1] += s.demand;
    }
    let mut out: Vec<f64> = sums
        .into_values()
        .map(|[hit, demand]| over(hit, demand))
        .collect();
    out.sort_by(f64::total_cmp);
    out
}

/// Demand and hits of each hour of each history, all regions together.
fn hours(scores: &Scores<'_>) -> Vec<[f64; 2]> {
    let mut sums: BTreeMap<(u64, usize), [[f64; 2]; HOURS]> = BTreeMap::new();
    for (h, s) in scores {
        let day = sums.entry((*h, s.day)).or_insert([[0.0; 2]; HOURS]);
        for (hour, (demand, hit)) in day.iter_mut().zip(s.demand_by_hour.iter().zip(s.hit_by_hour)) {
            hour[0] += f64::from(*demand);
            hour[1] += f64::from(hit);
        }
    }
    sums.into_values().flatten().collect()
}

fn peak_hit(scores: &Scores<'_>) -> f64 {
    let mut hours = hours(scores);
    hours.sort_by(|a, b| b[0].total_cmp(&a[0]));
    let count = ((hours.len() as f64 * PEAK_SHARE).round() as usize).max(1);
    let peak = hours
        .iter()
        .take(count)
        .fold([0.0; 2], |a, h| [a[0] + h[0], a[1] + h[1]]);
    over(peak[1], peak[0])
}

fn upstream_p95(scores: &Scores<'_>) -> f64 {
    let mut missed: Vec<f64> = hours(scores)
        .iter()
        .map(|h| (h[0] - h[1]) * 8.0 / 3600.0 / GIGA)
        .collect();
    missed.sort_by(f64::total_cmp);
    let at = (missed.len() as f64 * 0.95).ceil() as usize;
    missed.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}
