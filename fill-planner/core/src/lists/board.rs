//! The lists of all weeks and countries.

use crate::{
    halves::{Kind, Reports, WeeklyHours},
    titles::{Language, TitleName, plain},
};
use cdn_types::time::Date;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Ranks of a list.
pub const RANKS: usize = 10;
/// What a rank is worth: its share of the hours of the ten, in the world's lists.
pub const WEIGHTS: [f64; RANKS] = [
    0.296, 0.162, 0.119, 0.091, 0.075, 0.064, 0.056, 0.050, 0.046, 0.040,
];

/// A row of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the country.
    pub country: String,
    /// Last day of the week.
    pub week: Date,
    /// A film, not a season.
    pub film: bool,
    /// From 1.
    pub rank: usize,
    /// The film or series.
    pub show: String,
    /// The season; empty for films.
    pub season: String,
}

/// A title with its release date: what a launch calendar holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Its name.
    pub name: TitleName,
    /// What it is.
    pub kind: Option<Kind>,
    /// When it comes out.
    pub release: Date,
    /// Hours that it runs.
    pub runtime: Option<f64>,
    /// Whether it comes out everywhere.
    pub global: bool,
}

impl Launch {
    /// The release dates that reports know, by key. Of hours viewed nothing is read.
    pub fn all(reports: &Reports) -> BTreeMap<String, Self> {
        let mut launches: BTreeMap<String, Self> = BTreeMap::new();
        for title in reports.all().iter().flat_map(|r| r.titles.values()) {
            let Some(release) = title.release else { continue };
            let launch = launches.entry(plain(&title.name.name)).or_insert_with(|| Self {
                name: title.name.clone(),
                kind: None,
                release,
                runtime: None,
                global: title.global,
            });
            launch.kind = title.kind.or(launch.kind);
            launch.runtime = title.runtime.or(launch.runtime);
        }
        launches
    }
}

/// What may stand in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its name.
    pub name: TitleName,
    /// 1 for films, 0 for seasons, between if the calendar does not say.
    pub film: f64,
    /// Number of its series.
    pub series: usize,
    /// Its language, if the calendar knows it.
    pub language: Option<Language>,
    /// What the calendar says.
    pub launch: Option<Launch>,
}

/// All lists, by week and country, with the items they name and those that the calendar names.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// Last days of the weeks, in order.
    pub weeks: Vec<Date>,
    /// Names of the countries, in order.
    pub countries: Vec<String>,
    /// The items.
    pub items: Vec<Item>,
    /// Number of series.
    pub series: usize,
    lists: Vec<Vec<Vec<(usize, f64)>>>,
    hours: Vec<HashMap<usize, f64>>,
}

impl Board {
    /// Puts lists together. Films and seasons of a country and week together weigh 1.
    pub fn new(entries: &[Entry], hours: &[WeeklyHours], calendar: &BTreeMap<String, Launch>) -> Self {
        let sorted = |set: BTreeSet<_>| set.into_iter().collect::<Vec<_>>();
        let weeks: Vec<Date> = sorted(entries.iter().map(|e| e.week).collect());
        let countries: BTreeSet<&String> = entries.iter().map(|e| &e.country).collect();
        let mut board = Self {
            lists: vec![vec![vec![]; countries.len()]; weeks.len()],
            hours: vec![HashMap::new(); weeks.len()],
            weeks,
            countries: countries.into_iter().cloned().collect(),
            ..Self::default()
        };
        let keys: BTreeSet<(bool, &str, &str)> =
            entries.iter().map(|e| (e.film, &*e.show, &*e.season)).collect();
        let keys: BTreeMap<_, usize> = keys.into_iter().enumerate().map(|(at, key)| (key, at)).collect();
        board.learn_items(&keys, calendar);
        for entry in entries {
            let (week, country) = (
                board.weeks.binary_search(&entry.week),
                board.countries.binary_search(&entry.country),
            );
            let item = keys.get(&(entry.film, &*entry.show, &*entry.season));
            let (Ok(week), Ok(country), Some(item)) = (week, country, item) else {
                continue;
            };
            let weight = WEIGHTS.get(entry.rank.wrapping_sub(1)).copied().unwrap_or(0.0) / 2.0;
            let list = &mut board.lists[week][country];
            match list.iter_mut().find(|(there, _)| there == item) {
                Some((_, known)) => *known = known.max(weight),
                None => list.push((*item, weight)),
            }
        }
        for week in hours {
            let item = keys.get(&(week.film, &*week.show, &*week.season));
            if let (Ok(at), Some(item)) = (board.weeks.binary_search(&week.week), item) {
                board.hours[at].insert(*item, week.hours / 1e6);
            }
        }
        board
    }
    /// A country's list: items with their weights.
    pub fn list(&self, week: usize, country: usize) -> &[(usize, f64)] {
        self.lists
            .get(week)
            .and_then(|w| w.get(country))
            .map_or(&[], Vec::as_slice)
    }
    /// Hours of an item in the world's list of a week, in millions.
    pub fn hours(&self, week: usize, item: usize) -> f64 {
        self.hours
            .get(week)
            .and_then(|w| w.get(&item))
            .copied()
            .unwrap_or(0.0)
    }
    /// Items with hours in a week.
    pub(super) fn with_hours(&self, week: usize) -> impl Iterator<Item = (usize, f64)> {
        self.hours
            .get(week)
            .into_iter()
            .flatten()
            .map(|(item, hours)| (*item, *hours))
    }

    /// Items of the lists under their numbers, then those of the calendar that no list names.
    fn learn_items(
        &mut self,
        keys: &BTreeMap<(bool, &str, &str), usize>,
        calendar: &BTreeMap<String, Launch>,
    ) {
        let mut series: HashMap<String, usize> = HashMap::new();
        let mut number = |name: &TitleName| {
            let next = series.len();
            *series.entry(name.series.clone()).or_insert(next)
        };
        let mut listed: BTreeSet<String> = BTreeSet::new();
        for (film, show, season) in keys.keys() {
            let name = TitleName::parse(if season.is_empty() { show } else { season });
            let key = plain(&name.name);
            let launch = calendar.get(&key).cloned();
            self.items.push(Item {
                film: if *film { 1.0 } else { 0.0 },
                series: number(&name),
                language: launch.as_ref().map(|l| Language::of(&l.name)),
                launch,
                name,
            });
            listed.insert(key);
        }
        for (_, launch) in calendar
            .iter()
            .filter(|(key, _)| !key.is_empty() && !listed.contains(*key))
        {
            let film = match launch.kind {
                Some(Kind::Film) => 1.0,
                Some(Kind::Season) => 0.0,
                None if launch.name.season.is_some() || launch.name.limited => 0.0,
                None => 0.5,
            };
            self.items.push(Item {
                film,
                series: number(&launch.name),
                language: Some(Language::of(&launch.name)),
                launch: Some(launch.clone()),
                name: launch.name.clone(),
            });
        }
        self.series = series.len();
    }
}
