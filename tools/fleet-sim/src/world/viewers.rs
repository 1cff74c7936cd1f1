//! What is watched of each title, per region and day: its weight at launch, the region's taste, its age, slow drift,
//! revivals by new seasons, surges that nobody foresaw, the weekday, and the chance of single sessions.

use super::{
    Demand, WorldSetup, fitted,
    titles::{Audience, Kind, Title},
};
use crate::{day_curve, dice::Dice};
use std::collections::BTreeMap;

/// Bytes of one session: an hour at 5 Mbit/s.
pub const SESSION_BYTES: f64 = 2.25e9;

/// All demand of the simulated time, and what was to be expected of each day by one who knows everything but the day's chance.
pub fn demand(setup: &WorldSetup, titles: &[Title]) -> [Demand; 2] {
    let taste = taste(setup, titles);
    let drift = Drift::new(setup, titles.len());
    let revived = revivals(setup, titles);
    let surges = surges(setup, titles);
    let mut out = Demand::new(setup.days() as usize, setup.regions, titles.len());
    let mut expected = out.clone();
    let mean_noise = (fitted::DAY_NOISE.powi(2) / 2.0).exp();
    for (region, taste) in taste.iter().enumerate() {
        let mut size_dice = Dice::new(setup.seed, &format!("region {region}"));
        let sessions = setup.sessions * (0.6 + 0.8 * size_dice.even());
        for day in 0..setup.days() {
            let mut dice = Dice::new(setup.seed, &format!("day {day} {region}"));
            let date = setup.date(day);
            let mut means: Vec<f64> = titles
                .iter()
                .enumerate()
                .map(|(t, title)| {
                    let Some(age) = title.shown[region].map(|from| day - from).filter(|age| *age >= 0) else {
                        return 0.0;
                    };
                    let lift = revived[t]
                        .iter()
                        .map(|since| pulse(day - since, fitted::REVIVAL, fitted::REVIVAL_DAYS));
                    let lift = 1.0 + lift.sum::<f64>();
                    let surge = surges.get(&(region, t)).into_iter().flatten();
                    let surge = surge.map(|since| pulse(day - since, fitted::SURGE.0, fitted::SURGE.1));
                    taste[t]
                        * shape(title, age as f64)
                        * (lift + surge.sum::<f64>())
                        * drift.at(region, t, day)
                        * weekend(title, date)
                })
                .collect();
            // Viewers have the same hours whatever is new.
            let today = sessions * day_curve::of_day(date) * (0.04 * dice.normal()).exp();
            let all: f64 = means.iter().sum();
            for (t, mean) in means.iter_mut().enumerate() {
                if *mean > 0.0 {
                    let sessions = today * *mean / all;
                    expected.set(
                        day as usize,
                        region,
                        t,
                        (sessions * mean_noise * SESSION_BYTES) as f32,
                    );
                    let noise = (fitted::DAY_NOISE * dice.normal()).exp();
                    let count = dice.count(sessions * noise);
                    out.set(day as usize, region, t, (count as f64 * SESSION_BYTES) as f32);
                }
            }
        }
    }
    [out, expected]
}

/// Level of a title at an age, in days, over that of its launch.
fn shape(title: &Title, age: f64) -> f64 {
    let fade = fitted::FADE_DAYS[match title.kind {
        Kind::Film => 0,
        Kind::Season => 1,
        Kind::Episode => 2,
    }];
    let film = if title.kind == Kind::Film {
        fitted::SETTLED_FILM
    } else {
        1.0
    };
    let settled = film * fitted::SETTLED[usize::from(!title.original)];
    let (days, power) = fitted::SLOW_FALL;
    (1.0 - settled) * (-age / fade).exp() + settled * (1.0 + age / days).powf(-power)
}

fn pulse(age: i64, height: f64, days: f64) -> f64 {
    if age < 0 {
        0.0
    } else {
        height * (-(age as f64) / days).exp()
    }
}

/// Films and children's titles are week-end titles.
fn weekend(title: &Title, date: cdn_types::time::Date) -> f64 {
    let late_week = date.weekday().to_monday_zero_offset() >= 4;
    match (title.kind, title.audience, late_week) {
        (_, Audience::Children, true) => 1.2,
        (Kind::Film, _, true) => 1.1,
        (Kind::Film, _, false) | (_, Audience::Children, false) => 0.95,
        _ => 1.0,
    }
}

/// Weight by region and title: what it weighs anywhere, and the region's taste, part of which its neighbours share.
fn taste(setup: &WorldSetup, titles: &[Title]) -> Vec<Vec<f64>> {
    let groups = setup.regions.div_ceil(setup.neighbours());
    let draw = |name: String| -> Vec<f64> {
        let mut dice = Dice::new(setup.seed, &name);
        titles.iter().map(|_| dice.normal()).collect()
    };
    let shared: Vec<Vec<f64>> = (0..groups).map(|g| draw(format!("taste of group {g}"))).collect();
    let (common, own_part) = (
        fitted::NEIGHBOUR_SHARE.sqrt(),
        (1.0 - fitted::NEIGHBOUR_SHARE).sqrt(),
    );
    (0..setup.regions)
        .map(|region| {
            let own = draw(format!("taste of region {region}"));
            let group = &shared[region / setup.neighbours()];
            titles
                .iter()
                .enumerate()
                .map(|(t, title)| {
                    let taste = fitted::TASTE_SPREAD * (common * group[t] + own_part * own[t]);
                    let abroad = !title.global && title.home != region;
                    title.weight * (taste + if abroad { fitted::FOREIGN } else { 0.0 }).exp()
                })
                .collect()
        })
        .collect()
}

/// Days on which a later season of the same franchise comes.
fn revivals(setup: &WorldSetup, titles: &[Title]) -> Vec<Vec<i64>> {
    let mut seasons: BTreeMap<u32, Vec<(i64, u16)>> = BTreeMap::new();
    for title in titles.iter().filter(|t| t.episode <= 1) {
        seasons
            .entry(title.franchise)
            .or_default()
            .push((title.release, title.season));
    }
    let soon = -4 * fitted::REVIVAL_DAYS as i64;
    titles
        .iter()
        .map(|title| {
            let later = seasons[&title.franchise].iter();
            later
                .filter(|(day, season)| {
                    *day > title.release && *season != title.season && (soon..setup.days()).contains(day)
                })
                .map(|(day, _)| *day)
                .collect()
        })
        .collect()
}

/// Days of surges by region and title.
fn surges(setup: &WorldSetup, titles: &[Title]) -> BTreeMap<(usize, usize), Vec<i64>> {
    let mut dice = Dice::new(setup.seed, "surges");
    let count = dice.count(fitted::SURGES_A_WEEK * setup.scale * setup.days() as f64 / 7.0);
    let mut out: BTreeMap<(usize, usize), Vec<i64>> = BTreeMap::new();
    for _ in 0..count {
        let (day, title) = (dice.below(setup.days() as usize) as i64, dice.below(titles.len()));
        let only = (dice.even() < 0.6).then(|| dice.below(setup.regions));
        for region in (0..setup.regions).filter(|r| only.is_none_or(|o| o == *r)) {
            out.entry((region, title)).or_default().push(day);
        }
    }
    out
}

/// Slow change of popularity, everywhere and in a region: by week, straight in between.
struct Drift {
    weeks: usize,
    titles: usize,
    everywhere: Vec<f32>,
    regions: Vec<Vec<f32>>,
}

impl Drift {
    fn new(setup: &WorldSetup, titles: usize) -> Self {
        let weeks = setup.days() as usize / 7 + 2;
        let walk = |name: String, step: f64| {
            let mut dice = Dice::new(setup.seed, &name);
            let kept = fitted::DRIFT_KEPT;
            let usual = step / (1.0 - kept * kept).sqrt();
            let mut out = vec![0f32; weeks * titles];
            for t in 0..titles {
                let mut now = usual * dice.normal();
                for week in 0..weeks {
                    out[week * titles + t] = now as f32;
                    now = kept * now + step * dice.normal();
                }
            }
            out
        };
        Self {
            weeks,
            titles,
            everywhere: walk("drift".into(), fitted::DRIFT[0]),
            regions: (0..setup.regions)
                .map(|r| walk(format!("drift of region {r}"), fitted::DRIFT[1]))
                .collect(),
        }
    }

    fn at(&self, region: usize, title: usize, day: i64) -> f64 {
        let (week, part) = (day as usize / 7, (day % 7) as f64 / 7.0);
        let log = |week: usize| {
            let i = week.min(self.weeks - 1) * self.titles + title;
            f64::from(self.everywhere[i] + self.regions[region][i])
        };
        (log(week) * (1.0 - part) + log(week + 1) * part).exp()
    }
}
