//! What synthetic demand looks like, measured as the public figures were: see [`super::fitted`].

use super::{
    World,
    titles::{Kind, Title},
};
use crate::day_curve;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Part of a list's hours by rank: from the hours of the public global lists.
const RANK_WEIGHTS: [f64; 10] = [
    0.296, 0.162, 0.119, 0.091, 0.075, 0.064, 0.056, 0.050, 0.046, 0.040,
];
/// Weeks of lists that are known before "never seen before" means anything; the same as in the public figures.
const KNOWN_WEEKS: usize = 8;

/// The figures.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measures {
    /// Always true.
    pub simulated: bool,
    /// Part of the entries of a region's two top-10 lists (films, series) that were not there the week before.
    pub weekly_change: f64,
    /// The same of films and of series.
    pub weekly_change_of: [f64; 2],
    /// Jaccard index of two regions' lists of the same week.
    pub jaccard: f64,
    /// Part of the lists' demand on titles that the region's lists never had before.
    pub cold_here: f64,
    /// The same, on titles that no region's lists ever had.
    pub cold_anywhere: f64,
    /// Part of all hours on the top 1, 5, 10, 20 % of titles.
    pub top: [f64; 4],
    /// Part of all hours on titles that were released inside the simulated time.
    pub released_inside: f64,
    /// Busiest five minutes over the mean.
    pub peak_to_mean: f64,
    /// Titles, and their bytes.
    pub titles: usize,
    /// Bytes of all titles.
    pub bytes: u64,
}

/// A list's entry: episodes count for their season.
type Entry = (u32, u16, bool);

fn entry(title: &Title, index: usize) -> Entry {
    match title.kind {
        Kind::Film => (index as u32, 0, true),
        Kind::Season | Kind::Episode => (title.franchise, title.season, false),
    }
}

/// Measures a world.
pub fn measure(world: &World) -> Measures {
    let lists = lists(world);
    let change = |films: Option<bool>| {
        let pairs = lists
            .iter()
            .flat_map(|region| region.windows(2).skip(KNOWN_WEEKS - 1));
        mean(pairs.filter_map(|pair| {
            let now: Vec<_> = pair[1]
                .iter()
                .filter(|e| films.is_none_or(|f| f == e.2))
                .collect();
            (!now.is_empty())
                .then(|| now.iter().filter(|e| !pair[0].contains(e)).count() as f64 / now.len() as f64)
        }))
    };
    let (cold_here, cold_anywhere) = cold(&lists);
    Measures {
        simulated: true,
        weekly_change: change(None),
        weekly_change_of: [change(Some(true)), change(Some(false))],
        jaccard: jaccard(&lists),
        cold_here,
        cold_anywhere,
        top: [0.01, 0.05, 0.1, 0.2].map(|share| top(world, share)),
        released_inside: released_inside(world),
        peak_to_mean: peak_to_mean(world),
        titles: world.titles.len(),
        bytes: world.titles.iter().map(Title::size).sum(),
    }
}

/// Lists by region and week: ten films, then ten series.
fn lists(world: &World) -> Vec<Vec<Vec<Entry>>> {
    let d = &world.demand;
    (0..d.regions)
        .map(|region| {
            (0..d.days / 7)
                .map(|week| {
                    let mut sums: BTreeMap<Entry, f64> = BTreeMap::new();
                    for day in 7 * week..7 * week + 7 {
                        for (t, bytes) in d.of(day, region).iter().enumerate().filter(|(_, b)| **b > 0.0) {
                            *sums.entry(entry(&world.titles[t], t)).or_default() += f64::from(*bytes);
                        }
                    }
                    let mut ranked: Vec<_> = sums.into_iter().collect();
                    ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                    let of = |films: bool| {
                        let of = ranked.iter().map(|(e, _)| *e).filter(move |e| e.2 == films);
                        of.take(RANK_WEIGHTS.len())
                    };
                    of(true).chain(of(false)).collect()
                })
                .collect()
        })
        .collect()
}

fn jaccard(lists: &[Vec<Vec<Entry>>]) -> f64 {
    let mut pairs = Vec::new();
    for (a, first) in lists.iter().enumerate() {
        for second in &lists[..a] {
            for (x, y) in first.iter().zip(second).skip(KNOWN_WEEKS) {
                let (x, y): (BTreeSet<_>, BTreeSet<_>) = (x.iter().collect(), y.iter().collect());
                pairs.push(x.intersection(&y).count() as f64 / x.union(&y).count().max(1) as f64);
            }
        }
    }
    mean(pairs)
}

fn cold(lists: &[Vec<Vec<Entry>>]) -> (f64, f64) {
    let mut seen: Vec<BTreeSet<Entry>> = vec![BTreeSet::new(); lists.len()];
    let (mut here, mut anywhere) = (Vec::new(), Vec::new());
    for week in 0..lists.first().map_or(0, Vec::len) {
        let all: BTreeSet<Entry> = seen.iter().flatten().copied().collect();
        for (region, known) in lists.iter().zip(&seen) {
            let weight = |new: &dyn Fn(&Entry) -> bool| -> f64 {
                let of = |(i, e): (usize, &Entry)| if new(e) { RANK_WEIGHTS[i % 10] } else { 0.0 };
                region[week].iter().enumerate().map(of).sum::<f64>() / 2.0
            };
            if week >= KNOWN_WEEKS {
                here.push(weight(&|e| !known.contains(e)));
                anywhere.push(weight(&|e| !all.contains(e)));
            }
        }
        for (region, known) in lists.iter().zip(&mut seen) {
            known.extend(region[week].iter().copied());
        }
    }
    (mean(here), mean(anywhere))
}

/// Hours by title over the whole time and all regions.
fn totals(world: &World) -> Vec<f64> {
    let d = &world.demand;
    let mut totals = vec![0.0; d.titles];
    for (day, region) in (0..d.days).flat_map(|day| (0..d.regions).map(move |r| (day, r))) {
        for (total, bytes) in totals.iter_mut().zip(d.of(day, region)) {
            *total += f64::from(*bytes);
        }
    }
    totals
}

/// The public reports list seasons, not episodes.
fn top(world: &World, share: f64) -> f64 {
    let mut sums: BTreeMap<Entry, f64> = BTreeMap::new();
    for (t, bytes) in totals(world).into_iter().enumerate() {
        *sums.entry(entry(&world.titles[t], t)).or_default() += bytes;
    }
    let mut sums: Vec<f64> = sums.into_values().filter(|b| *b > 0.0).collect();
    sums.sort_by(|a, b| b.total_cmp(a));
    let count = (share * sums.len() as f64).round() as usize;
    sums[..count].iter().sum::<f64>() / sums.iter().sum::<f64>()
}

fn released_inside(world: &World) -> f64 {
    let totals = totals(world);
    let inside = totals
        .iter()
        .zip(&world.titles)
        .filter(|(_, t)| t.release >= 0)
        .map(|(b, _)| b);
    inside.sum::<f64>() / totals.iter().sum::<f64>()
}

/// Busiest five minutes of a mean day over its mean, as the audiences mix.
fn peak_to_mean(world: &World) -> f64 {
    let mut of_audience = [0.0; 3];
    for (bytes, title) in totals(world).iter().zip(&world.titles) {
        of_audience[title.audience as usize] += bytes;
    }
    let all: f64 = of_audience.iter().sum();
    let rate = |bin: usize| -> f64 {
        let parts = of_audience.iter().zip(day_curve::AUDIENCES);
        parts
            .map(|(b, audience)| b / all * day_curve::rate(audience, bin as f64 / 12.0))
            .sum()
    };
    let rates: Vec<f64> = (0..288).map(rate).collect();
    rates.iter().copied().fold(0.0, f64::max) / (rates.iter().sum::<f64>() / 288.0)
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values {
        sum += value;
        count += 1.0;
    }
    if count > 0.0 { sum / count } else { 0.0 }
}
