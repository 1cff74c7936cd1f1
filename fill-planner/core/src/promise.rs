//! What a plan promises, and what came of it. The promise is the share of the day's bytes that viewers will find at their own sites,
//! with an interval around it: the same method is let plan each of the last days from what was known before it, and by how much it
//! was off then says how far tomorrow may be off.

use crate::{InputError, Inputs, Predictor, assemble::plan, fleet::Fleet, history::History};
use cdn_types::{
    BitsPerSecond, Bytes, Hour, ObjectDigest, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{DemandRow, FleetSnapshot},
    plan::Plan,
    time::Date,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Days that are planned again to see how far off the method is.
const DAYS: usize = 14;
/// Least days for an interval: below that it would say nothing.
const LEAST_DAYS: usize = 3;
/// Days of history that a day must have before it to be planned again.
const LEAST_HISTORY: usize = 3;
/// Objects times appliances above which days are not planned again: it would take longer than the night's plan itself.
const MOST_WORK: usize = 10_000_000;
/// Fill that never binds, in bits a second: days are planned again for boxes that were delivered filled.
const FREE_FILL: u64 = 1 << 50;
/// Student's t for a two-sided 90 % interval, by degrees of freedom from 2 on.
const STUDENT: [f64; 12] = [
    2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771,
];
/// What two shares differ by at least in order to differ.
const EXACT: f64 = 1e-6;
/// Titles that a review names.
const MISSES: usize = 20;

/// What a plan promises.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Share of the day's bytes that is expected to be served by the viewers' own sites, 0 to 1.
    pub hit_share: f64,
    /// Below this in one day of twenty.
    pub low: f64,
    /// Above this in one day of twenty.
    pub high: f64,
    /// Days that were planned again to learn the interval.
    pub days: usize,
}

/// What came of a plan on its day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The plan.
    pub number: PlanNumber,
    /// Its day.
    pub date: Date,
    /// Whether the demand was given by hand (replayed, simulated) instead of counted by the fleet.
    #[serde(default)]
    pub replayed: bool,
    /// Bytes that viewers drew, where the fleet has a site.
    pub demand: Bytes,
    /// Bytes of them of objects that the plan gave to the viewers' own sites.
    pub hit: Bytes,
    /// What the plan promised, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promise: Option<Promise>,
    /// Whether the outcome lies within the promise's interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
    /// By region, in order.
    pub regions: Vec<RegionReview>,
    /// Titles whose bytes were missed most.
    pub misses: Vec<Miss>,
}

/// One region's day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionReview {
    /// The region.
    pub region: RegionId,
    /// Bytes drawn.
    pub demand: Bytes,
    /// Bytes of them that its own sites had.
    pub hit: Bytes,
}

/// Bytes of a title that were drawn where the plan had not put them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Miss {
    /// The region.
    pub region: RegionId,
    /// The title; absent = no object of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<TitleId>,
    /// Bytes drawn and missed.
    pub bytes: Bytes,
}

impl Review {
    /// Share of the day's bytes that were hits; absent when nothing was drawn.
    pub fn hit_share(&self) -> Option<f64> {
        (self.demand.0 > 0).then(|| self.hit.0 as f64 / self.demand.0 as f64)
    }
}

/// Sets a plan against the demand of its day. Rows of other days are not looked at.
///
/// # Errors
/// When the fleet contradicts itself.
pub fn review(
    plan: &Plan,
    fleet: &FleetSnapshot,
    titles: &BTreeMap<ObjectDigest, TitleId>,
    promise: Option<Promise>,
    rows: &[DemandRow],
) -> Result<Review, InputError> {
    let fleet = Fleet::new(fleet, plan.date)?;
    let mut held: BTreeMap<&SiteId, BTreeSet<ObjectDigest>> = BTreeMap::new();
    for part in &plan.appliances {
        let objects = part.items.iter().map(|i| i.digest);
        held.entry(&part.site).or_default().extend(objects);
    }
    let start = Hour::start_of(plan.date);
    let mut drawn: BTreeMap<&RegionId, BTreeMap<ObjectDigest, u64>> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|r| (start.0..start.0 + 24).contains(&r.hour.0))
    {
        let bytes = drawn
            .entry(&row.region)
            .or_default()
            .entry(row.object)
            .or_default();
        *bytes = bytes.saturating_add(row.bytes.0);
    }
    let (mut regions, mut misses) = (Vec::new(), Vec::new());
    for (region, objects) in drawn {
        let sites: Vec<_> = fleet.sites.iter().filter(|s| s.region == *region).collect();
        if sites.is_empty() {
            continue; // its viewers are another fleet's
        }
        let (mut demand, mut hit) = (0u64, 0.0);
        let mut missed: BTreeMap<Option<&TitleId>, f64> = BTreeMap::new();
        for (object, bytes) in objects {
            let has = |site: &SiteId| held.get(site).is_some_and(|h| h.contains(&object));
            let share: f64 = sites.iter().filter(|s| has(&s.id)).map(|s| s.share).sum();
            demand = demand.saturating_add(bytes);
            hit += share * bytes as f64;
            *missed.entry(titles.get(&object)).or_default() += (1.0 - share).max(0.0) * bytes as f64;
        }
        misses.extend(
            missed
                .into_iter()
                .filter(|(_, b)| *b >= 1.0)
                .map(|(title, bytes)| Miss {
                    region: region.clone(),
                    title: title.cloned(),
                    bytes: Bytes(bytes as u64),
                }),
        );
        regions.push(RegionReview {
            region: region.clone(),
            demand: Bytes(demand),
            hit: Bytes(hit.round() as u64),
        });
    }
    misses.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.title.cmp(&b.title)));
    misses.truncate(MISSES);
    let sum = |of: fn(&RegionReview) -> Bytes| regions.iter().map(of).sum::<Bytes>();
    let mut review = Review {
        number: plan.number,
        date: plan.date,
        replayed: false,
        demand: sum(|r| r.demand),
        hit: sum(|r| r.hit),
        promise,
        kept: None,
        regions,
        misses,
    };
    // Bytes are whole, shares are not: a byte more or less breaks no promise.
    let within = |share: f64, p: Promise| share >= p.low - EXACT && share <= p.high + EXACT;
    review.kept = review
        .hit_share()
        .zip(promise)
        .map(|(share, promise)| within(share, promise));
    Ok(review)
}

/// Promises for the plan that `inputs` make, whose report expects `expected` (0 to 1): plans the days before it anew by the same
/// method from `rows`, all the demand that is known. Of its own day and the hours before it each of them is told as little as
/// tonight is. Absent where too little is known, or to find out would take too long.
///
/// # Errors
/// When catalogue or fleet contradict themselves.
pub fn promise(
    inputs: &Inputs<'_>,
    predictor: &dyn Predictor,
    rows: &[DemandRow],
    expected: Option<f64>,
) -> Result<Option<Promise>, InputError> {
    let Some(expected) = expected else { return Ok(None) };
    let work = inputs
        .catalogue
        .objects
        .len()
        .saturating_mul(inputs.fleet.appliances.len());
    if work > MOST_WORK {
        return Ok(None);
    }
    let fleet = as_delivered(inputs.fleet);
    let known = inputs.history.end();
    // Tonight knows nothing of the hours between the newest known one and the day that it plans.
    let unknown = Hour::start_of(inputs.history.planned()).0 - known.0;
    let mut ratios = Vec::new();
    let mut date = known.date(); // not all of its demand has come yet; that of the days before it has
    for _ in 0..DAYS {
        let Ok(before) = date.yesterday() else { break };
        date = before;
        let told = Hour::start_of(date).0 - unknown;
        let history = History::before(date, rows.iter().filter(|r| r.hour.0 < told));
        if history.days().len() < LEAST_HISTORY {
            break;
        }
        let planned = plan(
            &Inputs {
                history: &history,
                fleet: &fleet,
                previous: None,
                ..*inputs
            },
            predictor,
        )?;
        let came = review(&planned.plan, &fleet, &BTreeMap::new(), None, rows)?;
        let promised = planned.report.hit_share().filter(|p| *p > 0.0);
        if let (Some(promised), Some(came)) = (promised, came.hit_share()) {
            ratios.push(came / promised);
        }
    }
    Ok(interval(expected, &ratios))
}

/// Where the next of such ratios is to be expected (Student's prediction interval), around what is expected.
fn interval(expected: f64, ratios: &[f64]) -> Option<Promise> {
    let n = ratios.len();
    if n < LEAST_DAYS {
        return None;
    }
    let mean = ratios.iter().sum::<f64>() / n as f64;
    let variance = ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
    let student = STUDENT[(n - LEAST_DAYS).min(STUDENT.len() - 1)];
    let half = student * (variance * (1.0 + 1.0 / n as f64)).sqrt();
    let share = |ratio: f64| (expected * ratio).clamp(0.0, 1.0);
    Some(Promise {
        hit_share: share(mean),
        low: share(mean - half),
        high: share(mean + half),
        days: n,
    })
}

/// The fleet with empty appliances that fill whatever they are told.
fn as_delivered(fleet: &FleetSnapshot) -> FleetSnapshot {
    let mut fleet = fleet.clone();
    for appliance in &mut fleet.appliances {
        appliance.holds.clear();
        appliance.capacity.fill_rate = BitsPerSecond(FREE_FILL);
    }
    fleet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students_and_needs_three_days() {
        assert_eq!(interval(0.5, &[1.0, 1.0]), None);
        let sure = interval(0.5, &[0.9; 7]).unwrap();
        assert!(
            [sure.low, sure.hit_share, sure.high]
                .iter()
                .all(|s| (s - 0.45).abs() < 1e-9)
        );
        // Mean 1, sample variance 0.01, n = 3: t = 2.920, times sqrt(0.01 * 4/3).
        let three = interval(0.5, &[0.9, 1.0, 1.1]).unwrap();
        assert!((three.high - three.hit_share - 0.5 * 2.920 * 0.115_470).abs() < 1e-5);
        let wide = interval(0.9, &[0.2, 1.0, 1.8]).unwrap();
        assert_eq!((wide.low, wide.high), (0.0, 1.0), "a share stays one");
    }
}
