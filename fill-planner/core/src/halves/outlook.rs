//! What is known when a period is decided.

use super::{
    features,
    report::{Half, Kind, Report, ReportTitle, WeeklyHours},
};
use crate::table::{RowError, Table};
use cdn_types::time::Date;
use std::collections::{BTreeMap, HashMap};

/// A title that may be placed.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Its key in the reports.
    pub key: &'a str,
    /// The newest that earlier reports, or else the calendar, say of it.
    pub title: &'a ReportTitle,
    pub(super) kind: Option<Kind>,
    /// When it came or comes out.
    pub release: Option<Date>,
    /// Hours that it runs.
    pub runtime: f64,
}

/// A week of a name in the global lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed {
    /// Days from the week's end to the period's start.
    pub(super) ago: i32,
    pub(super) hours: f64,
}

/// Everything that a period may be forecast from.
pub struct Outlook<'a> {
    pub(super) period: Half,
    pub(super) past: &'a [Report],
    pub(super) known: BTreeMap<&'a str, Candidate<'a>>,
    pub(super) launches: BTreeMap<&'a str, &'a ReportTitle>,
    pub(super) known_series: HashMap<&'a str, Vec<&'a str>>,
    pub(super) known_franchise: HashMap<&'a str, Vec<&'a str>>,
    pub(super) launch_series: HashMap<&'a str, Vec<&'a str>>,
    pub(super) launch_franchise: HashMap<&'a str, Vec<&'a str>>,
    pub(super) listed_name: HashMap<String, Vec<Listed>>,
    pub(super) listed_series: HashMap<&'a str, Vec<Listed>>,
    pub(super) listed_franchise: HashMap<&'a str, Vec<Listed>>,
}

impl<'a> Outlook<'a> {
    /// Of `period`, from the reports before it. Of `calendar`, the period's own report, it takes releases inside the period,
    /// without their hours, and the size of a title of the last report that told none.
    pub fn new(
        past: &'a [Report],
        calendar: Option<&'a Report>,
        lists: &'a [WeeklyHours],
        period: Half,
    ) -> Self {
        let past = &past[..past.partition_point(|r| r.half < period)];
        let mut outlook = Self {
            period,
            past,
            known: BTreeMap::new(),
            launches: BTreeMap::new(),
            known_series: HashMap::new(),
            known_franchise: HashMap::new(),
            launch_series: HashMap::new(),
            launch_franchise: HashMap::new(),
            listed_name: HashMap::new(),
            listed_series: HashMap::new(),
            listed_franchise: HashMap::new(),
        };
        outlook.learn_titles();
        outlook.read_calendar(calendar);
        outlook.read_lists(lists);
        outlook
    }

    /// A table of the candidates, with the candidates in its order. `truth` gives targets: hours a runtime hour, weighted by
    /// runtime; a title that it lacks drew nothing.
    pub fn table(&self, truth: Option<&Report>) -> Result<(Table, Vec<Candidate<'a>>), RowError> {
        let mut table = Table::default();
        let mut candidates = Vec::new();
        for candidate in self.candidates() {
            let hours = truth
                .and_then(|r| r.titles.get(candidate.key))
                .map_or(0.0, |t| t.hours);
            table.push(
                &features::row(self, &candidate),
                hours / candidate.runtime,
                candidate.runtime,
            )?;
            candidates.push(candidate);
        }
        Ok((table, candidates))
    }

    /// Titles of earlier reports, and those of the calendar, whose size is known.
    fn candidates(&self) -> impl Iterator<Item = Candidate<'a>> {
        let old = self.known.values().map(|known| {
            let launch = self.launches.get(known.key);
            Candidate {
                release: known.release.or_else(|| launch.and_then(|l| l.release)),
                runtime: if known.runtime > 0.0 {
                    known.runtime
                } else {
                    launch.and_then(|l| l.runtime).unwrap_or(0.0)
                },
                ..known.clone()
            }
        });
        let new = self
            .launches
            .iter()
            .filter(|(key, _)| !self.known.contains_key(*key))
            .map(|(key, title)| Candidate {
                key,
                title,
                kind: title.kind,
                release: title.release,
                runtime: title.runtime.unwrap_or(0.0),
            });
        old.chain(new).filter(|c| c.runtime > 0.0)
    }

    fn learn_titles(&mut self) {
        for report in self.past {
            for (key, title) in &report.titles {
                let before = self.known.get(key.as_str());
                let candidate = Candidate {
                    key,
                    title,
                    kind: title.kind.or_else(|| before.and_then(|b| b.kind)),
                    release: title.release.or_else(|| before.and_then(|b| b.release)),
                    runtime: title.runtime.or_else(|| before.map(|b| b.runtime)).unwrap_or(0.0),
                };
                self.known.insert(key, candidate);
            }
        }
        for candidate in self.known.values() {
            let name = &candidate.title.name;
            self.known_series
                .entry(&name.series)
                .or_default()
                .push(candidate.key);
            self.known_franchise
                .entry(&name.franchise)
                .or_default()
                .push(candidate.key);
        }
    }

    fn read_calendar(&mut self, calendar: Option<&'a Report>) {
        let Some(calendar) = calendar else { return };
        for (key, title) in &calendar.titles {
            if title.release.is_some_and(|d| self.period.holds(d)) {
                self.launches.insert(key, title);
                self.launch_series
                    .entry(&title.name.series)
                    .or_default()
                    .push(key);
                self.launch_franchise
                    .entry(&title.name.franchise)
                    .or_default()
                    .push(key);
            }
        }
        let Some(last) = self.past.last() else { return };
        for key in last.titles.keys() {
            let size = calendar.titles.get(key).and_then(|t| t.runtime);
            if let (Some(known), Some(size)) = (self.known.get_mut(key.as_str()), size)
                && known.runtime <= 0.0
            {
                known.runtime = size;
            }
        }
    }

    fn read_lists(&mut self, lists: &'a [WeeklyHours]) {
        let start = self.period.start();
        for week in lists.iter().filter(|w| w.week < start) {
            let listed = Listed {
                ago: super::report::days(week.week, start),
                hours: week.hours,
            };
            let name = crate::titles::plain(&week.name.name);
            self.listed_name.entry(name).or_default().push(listed);
            self.listed_series
                .entry(&week.name.series)
                .or_default()
                .push(listed);
            self.listed_franchise
                .entry(&week.name.franchise)
                .or_default()
                .push(listed);
        }
    }
}
