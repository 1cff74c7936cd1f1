//! Features of an item in a country for the week after `week`. Nothing later than `week` is read but the calendar.

use super::Board;
use crate::{
    halves::days,
    table::{RowError, Table},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

const NAN: f64 = f64::NAN;
/// Weeks over which countries are compared and languages are counted.
const SEASON: usize = 12;
/// Weeks that an item stays a candidate everywhere after it was listed anywhere.
const RECENT: usize = 3;
/// Weeks that fade into the decayed weight, and what is left of a week after another.
const FADING: usize = 8;
const FADE: f64 = 0.6;
/// Of rows that have never been listed in their country one in so many is learnt from, with so much more weight.
const THINNED: usize = 4;
/// Days after which a release is just old.
const OLD: i32 = 60;

/// A candidate of a country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Number of the country.
    pub country: usize,
    /// Number of the item.
    pub item: usize,
}

/// The candidates of all countries for the week after `week`, with their features. Targets are that week's weights, where the
/// board has them. `thin` leaves most of the rows out that a country has never listed; for learning.
pub fn candidates(board: &Board, week: usize, thin: bool) -> Result<(Table, Vec<Row>), RowError> {
    let known = Known::new(board, week);
    let mut table = Table::default();
    let mut rows = Vec::new();
    for country in 0..board.countries.len() {
        let here = Here::new(board, &known, country);
        for item in known.candidates(&here) {
            let weak = !here.past.contains_key(&item) && !known.launching(item);
            if thin && weak && !(country * 7919 + item * 104_729 + week * 31).is_multiple_of(THINNED) {
                continue;
            }
            let target = weight(board.list(week + 1, country), item);
            let counts = if thin && weak { THINNED as f64 } else { 1.0 };
            table.push(&known.row(&here, item), target, counts)?;
            rows.push(Row { country, item });
        }
    }
    Ok((table, rows))
}

fn weight(list: &[(usize, f64)], item: usize) -> f64 {
    list.iter()
        .find(|(there, _)| *there == item)
        .map_or(0.0, |(_, w)| *w)
}

/// What is known of all countries after a week.
struct Known<'a> {
    board: &'a Board,
    week: usize,
    /// First week of each item in any list.
    first: Vec<Option<usize>>,
    /// First week of each series' newest item.
    newest: Vec<Option<usize>>,
    /// Items listed anywhere lately.
    recent: BTreeSet<usize>,
    /// Items that come out, or have just come out and are in no list yet.
    launches: BTreeSet<usize>,
    /// Launches of the coming week, by series.
    coming: HashMap<usize, usize>,
    /// Per lag: lists that name an item, and the sum of its weights.
    world: [HashMap<usize, (f64, f64)>; 3],
    /// Most weight that a series' items had, by series and country; in order, since sums of floats depend on it.
    series_most: BTreeMap<(usize, usize), f64>,
    series_world: Vec<f64>,
    series_hours: Vec<f64>,
    /// How alike two countries watch; a country's sum is 1.
    alike: Vec<Vec<f64>>,
    /// Weight by language and country, of films and seasons.
    languages: BTreeMap<(usize, usize), [f64; 2]>,
    /// Weight by language of the mean country.
    language_mean: HashMap<usize, f64>,
}

/// An item's past in a country.
#[derive(Debug, Clone, Copy, Default)]
struct Past {
    first: usize,
    last: usize,
    weeks: usize,
    faded: f64,
    most: f64,
}

/// What is known of one country.
struct Here<'a> {
    country: usize,
    lists: [&'a [(usize, f64)]; 3],
    past: HashMap<usize, Past>,
    alike: [HashMap<usize, f64>; 3],
    series: HashMap<usize, f64>,
    turnover: f64,
}

impl<'a> Known<'a> {
    fn new(board: &'a Board, week: usize) -> Self {
        let countries = board.countries.len();
        let mut known = Self {
            board,
            week,
            first: vec![None; board.items.len()],
            newest: vec![None; board.series],
            recent: BTreeSet::new(),
            launches: BTreeSet::new(),
            coming: HashMap::new(),
            world: Default::default(),
            series_most: BTreeMap::new(),
            series_world: vec![0.0; board.series],
            series_hours: vec![0.0; board.series],
            alike: alike(board, week),
            languages: BTreeMap::new(),
            language_mean: HashMap::new(),
        };
        for at in 0..=week {
            for country in 0..countries {
                for (item, weight) in board.list(at, country) {
                    known.read(at, country, *item, *weight);
                }
            }
            for (item, hours) in board.with_hours(at) {
                let most = &mut known.series_hours[board.items[item].series];
                *most = most.max(hours);
            }
        }
        for ((series, _), most) in &known.series_most {
            known.series_world[*series] += most / countries as f64;
        }
        for ((language, _), [films, seasons]) in &known.languages {
            *known.language_mean.entry(*language).or_default() += (films + seasons) / countries as f64;
        }
        known.read_calendar();
        known
    }

    fn read(&mut self, at: usize, country: usize, item: usize, weight: f64) {
        let about = &self.board.items[item];
        self.first[item].get_or_insert(at);
        self.newest[about.series] = self.newest[about.series].max(self.first[item]);
        let ago = self.week - at;
        if ago < RECENT {
            self.recent.insert(item);
            let world = self.world[ago].entry(item).or_default();
            *world = (world.0 + 1.0, world.1 + weight);
        }
        let most = self.series_most.entry((about.series, country)).or_default();
        *most = most.max(weight);
        if ago < SEASON {
            let cell = self
                .languages
                .entry((language(self.board, item), country))
                .or_default();
            cell[usize::from(about.film < 0.5)] += weight / SEASON as f64;
        }
    }

    fn read_calendar(&mut self) {
        for (item, about) in self.board.items.iter().enumerate() {
            let Some(in_days) = about
                .launch
                .as_ref()
                .map(|l| days(self.board.weeks[self.week], l.release))
            else {
                continue;
            };
            if self.first[item].is_none() && (-6..=7).contains(&in_days) {
                self.launches.insert(item);
                if in_days > 0 {
                    *self.coming.entry(about.series).or_default() += 1;
                }
            }
        }
    }

    fn launching(&self, item: usize) -> bool {
        self.launches.contains(&item)
    }

    fn candidates(&self, here: &Here<'_>) -> BTreeSet<usize> {
        let own = here
            .past
            .iter()
            .filter(|(_, p)| self.week - p.last < SEASON)
            .map(|(item, _)| *item);
        own.chain(self.recent.iter().copied())
            .chain(self.launches.iter().copied())
            .collect()
    }

    fn row(&self, here: &Here<'_>, item: usize) -> Vec<(&'static str, f64)> {
        let mut row = Vec::with_capacity(48);
        self.lists(here, item, &mut row);
        self.series(here, item, &mut row);
        self.calendar(here, item, &mut row);
        row
    }

    /// Its weeks in this country, in those that watch alike and in the world.
    fn lists(&self, here: &Here<'_>, item: usize, row: &mut Vec<(&'static str, f64)>) {
        let countries = self.board.countries.len() as f64;
        let own = here.lists.map(|l| weight(l, item));
        let alike = [0, 1, 2].map(|lag| here.alike[lag].get(&item).copied().unwrap_or(0.0));
        let world = [0, 1, 2].map(|lag| self.world[lag].get(&item).copied().unwrap_or_default());
        let mean = world.map(|w| w.1 / countries);
        let past = here.past.get(&item);
        let since = |week: Option<usize>, never: f64| week.map_or(never, |w| (self.week - w) as f64);
        row.extend([
            ("weight_1", own[0]),
            ("weight_2", own[1]),
            ("weight_3", own[2]),
            ("weeks", past.map_or(0.0, |p| p.weeks as f64)),
            ("weeks_since", since(past.map(|p| p.last), 99.0)),
            ("age_here", since(past.map(|p| p.first), -1.0)),
            ("age", since(self.first[item], -1.0)),
            ("faded", past.map_or(0.0, |p| p.faded)),
            ("most", past.map_or(0.0, |p| p.most)),
            ("countries_1", world[0].0),
            ("countries_2", world[1].0),
            ("countries_3", world[2].0),
            ("mean_1", mean[0]),
            ("mean_2", mean[1]),
            ("mean_3", mean[2]),
            ("alike_1", alike[0]),
            ("alike_2", alike[1]),
            ("alike_3", alike[2]),
            ("alike_change", alike[0] - alike[1]),
            ("mean_change", mean[0] - mean[1]),
            ("over_alike", own[0] - alike[0]),
            (
                "mean_place",
                if world[0].0 > 0.0 {
                    world[0].1 / world[0].0
                } else {
                    0.0
                },
            ),
            ("hours_1", self.board.hours(self.week, item)),
            (
                "hours_2",
                self.week
                    .checked_sub(1)
                    .map_or(0.0, |w| self.board.hours(w, item)),
            ),
            ("turnover", here.turnover),
        ]);
    }

    /// What it is, and what its series did.
    fn series(&self, here: &Here<'_>, item: usize, row: &mut Vec<(&'static str, f64)>) {
        let about = &self.board.items[item];
        let series = about.series;
        let newer = match (self.first[item], self.newest[series]) {
            (Some(first), Some(newest)) => (newest - first) as f64,
            _ => -9.0,
        };
        row.extend([
            ("film", about.film),
            ("season", f64::from(about.name.season.unwrap_or(0))),
            (
                "siblings",
                here.series.get(&series).copied().unwrap_or(0.0) - weight(here.lists[0], item),
            ),
            (
                "series_here",
                self.series_most
                    .get(&(series, here.country))
                    .copied()
                    .unwrap_or(0.0),
            ),
            ("series_world", self.series_world[series]),
            ("series_hours", self.series_hours[series]),
            ("newer_season", newer),
        ]);
    }

    /// What the calendar says of it, and how its language does here.
    fn calendar(&self, here: &Here<'_>, item: usize, row: &mut Vec<(&'static str, f64)>) {
        let about = &self.board.items[item];
        let language = language(self.board, item);
        let [films, seasons] = self
            .languages
            .get(&(language, here.country))
            .copied()
            .unwrap_or_default();
        let mean = self
            .language_mean
            .get(&language)
            .copied()
            .unwrap_or(0.0)
            .max(1e-6);
        let launch = about.launch.as_ref();
        let in_days = launch.map(|l| days(self.board.weeks[self.week], l.release));
        let flag = |yes: bool| f64::from(u8::from(yes));
        row.extend([
            ("language_films", films),
            ("language_seasons", seasons),
            ("language_share", (films + seasons) / mean),
            (
                "language",
                about.language.map_or(NAN, crate::titles::Language::code),
            ),
            ("release_in", in_days.map_or(NAN, |d| f64::from(d.max(-OLD)))),
            ("runtime", launch.and_then(|l| l.runtime).unwrap_or(NAN)),
            ("global", launch.map_or(NAN, |l| flag(l.global))),
            ("limited", flag(about.name.limited)),
            ("launch", flag(self.launching(item))),
            (
                "series_launch",
                flag(self.coming.contains_key(&about.series) && !self.launching(item)),
            ),
            ("rivals", self.coming.values().sum::<usize>() as f64),
        ]);
    }
}

impl<'a> Here<'a> {
    fn new(board: &'a Board, known: &Known<'a>, country: usize) -> Self {
        let week = known.week;
        let list = |lag: usize| week.checked_sub(lag).map_or(&[][..], |w| board.list(w, country));
        let mut here = Self {
            country,
            lists: [list(0), list(1), list(2)],
            past: HashMap::new(),
            alike: Default::default(),
            series: HashMap::new(),
            turnover: turnover(board, week, country),
        };
        for at in 0..=week {
            let ago = week - at;
            for (item, weight) in board.list(at, country) {
                let past = here.past.entry(*item).or_insert(Past {
                    first: at,
                    ..Past::default()
                });
                past.last = at;
                past.weeks += 1;
                if ago < FADING {
                    past.faded += weight * FADE.powi(i32::try_from(ago).unwrap_or(i32::MAX));
                }
                if ago < SEASON {
                    past.most = past.most.max(*weight);
                }
            }
        }
        for (lag, alike) in here.alike.iter_mut().enumerate() {
            for (other, share) in known.alike[country].iter().enumerate() {
                for (item, weight) in week.checked_sub(lag).map_or(&[][..], |w| board.list(w, other)) {
                    *alike.entry(*item).or_default() += share * weight;
                }
            }
        }
        for (item, weight) in here.lists[0] {
            *here.series.entry(board.items[*item].series).or_default() += weight;
        }
        here
    }
}

/// Share of the lists that stayed from week to week lately.
fn turnover(board: &Board, week: usize, country: usize) -> f64 {
    let weeks = week.min(6);
    let stayed = |ago: usize| {
        let before = board.list(week - ago - 1, country);
        let now = board.list(week - ago, country);
        now.iter()
            .filter(|(item, _)| before.iter().any(|(b, _)| b == item))
            .count()
    };
    let sum: usize = (0..weeks).map(stayed).sum();
    sum as f64 / (weeks.max(1) * 2 * super::RANKS) as f64
}

/// Language by number; what the calendar does not know is a language of its own.
fn language(board: &Board, item: usize) -> usize {
    board.items[item].language.map_or(usize::MAX, |l| l as usize)
}

/// How alike each two countries watched over the last weeks: the cosine of their lists' root weights, cubed so that the nearest
/// count most.
fn alike(board: &Board, week: usize) -> Vec<Vec<f64>> {
    let countries = board.countries.len();
    let weeks = week.saturating_sub(SEASON - 1)..=week;
    let dot = |a: usize, b: usize| -> f64 {
        let shared = |w: usize| {
            board
                .list(w, a)
                .iter()
                .map(|(item, x)| (x * weight(board.list(w, b), *item)).sqrt())
                .sum::<f64>()
        };
        weeks.clone().map(shared).sum()
    };
    let norms: Vec<f64> = (0..countries).map(|c| dot(c, c).sqrt()).collect();
    let mut alike = vec![vec![0.0; countries]; countries];
    for a in 0..countries {
        for b in 0..a {
            let cosine = dot(a, b) / (norms[a] * norms[b]).max(1e-9);
            alike[a][b] = cosine.powi(3);
            alike[b][a] = alike[a][b];
        }
    }
    for row in &mut alike {
        let sum: f64 = row.iter().sum::<f64>().max(1e-9);
        row.iter_mut().for_each(|share| *share /= sum);
    }
    alike
}
