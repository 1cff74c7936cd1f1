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
    /// Of `period`, from the reports and weeks before it.
    pub fn new(past: &'a [Report], lists: &'a [WeeklyHours], period: Half) -> Self {
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
        outlook.read_lists(lists);
        outlook
    }

    /// Takes the size of a title of the last report that told none from the period's own report: an operator knows the
    /// sizes of the files that he has.
    #[must_use]
    pub fn with_sizes(mut self, own: &'a Report) -> Self {
        for key in self.past.last().into_iter().flat_map(|r| r.titles.keys()) {
            let size = own.titles.get(key).and_then(|t| t.runtime);
            if let (Some(known), Some(size)) = (self.known.get_mut(key.as_str()), size)
                && known.runtime <= 0.0
            {
                known.runtime = size;
            }
        }
        self
    }

    /// Takes what the period's own report says of releases inside the period, but for their hours: the launch calendar.
    #[must_use]
    pub fn with_calendar(mut self, own: &'a Report) -> Self {
        for (key, title) in &own.titles {
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
        self
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::titles::TitleName;

    fn title(name: &str, release: Option<&str>, hours: f64, runtime: Option<f64>) -> ReportTitle {
        ReportTitle {
            name: TitleName::parse(name),
            kind: Some(Kind::Season),
            global: true,
            release: release.map(|d| d.parse().unwrap()),
            hours,
            runtime,
        }
    }
    fn report(half: &str, titles: Vec<ReportTitle>) -> Report {
        let mut report = Report {
            half: half.parse().unwrap(),
            titles: BTreeMap::new(),
        };
        titles.into_iter().for_each(|t| report.add(t));
        report
    }
    fn past() -> Vec<Report> {
        let old = vec![
            title("Elite: Season 1", Some("2023-02-01"), 8e6, Some(8.0)),
            title("Gone", None, 4e6, Some(2.0)),
        ];
        let newer = vec![
            title("Elite: Season 1", Some("2023-02-01"), 2e6, Some(8.0)),
            title("Unsized", None, 9e6, None),
        ];
        vec![report("2023Jan-Jun", old), report("2023Jul-Dec", newer)]
    }
    fn own(hours: f64) -> Report {
        let titles = vec![
            title("Elite: Season 2", Some("2024-04-01"), hours, Some(7.0)),
            title("Elite: Season 1", Some("2023-02-01"), hours, Some(8.0)),
            title("Licensed Anew", None, hours, Some(1.0)),
            title("Unsized", None, hours, Some(3.0)),
        ];
        report("2024Jan-Jun", titles)
    }
    fn week(week: &str, hours: f64) -> WeeklyHours {
        WeeklyHours {
            week: week.parse().unwrap(),
            film: false,
            show: "Elite".into(),
            season: "Elite: Season 1".into(),
            name: TitleName::parse("Elite: Season 1"),
            hours,
        }
    }
    fn cell(table: &Table, row: usize, name: &str) -> f64 {
        table.row(row)[table.names().iter().position(|n| *n == name).unwrap()]
    }

    #[test]
    fn candidates_are_the_known_and_the_announced() {
        let (past, own) = (past(), own(1e6));
        let keys = |outlook: Outlook<'_>| {
            outlook
                .table(None)
                .unwrap()
                .1
                .iter()
                .map(|c| c.key.to_owned())
                .collect::<Vec<_>>()
        };
        let outlook = || Outlook::new(&past, &[], own.half);
        assert_eq!(keys(outlook()), ["elite season 1", "gone"]);
        assert_eq!(
            keys(outlook().with_sizes(&own)),
            ["elite season 1", "gone", "unsized"]
        );
        assert_eq!(
            keys(outlook().with_calendar(&own)),
            ["elite season 1", "gone", "elite season 2"]
        );
    }

    #[test]
    fn a_new_season_sees_the_one_before_it() {
        let (past, own) = (past(), own(1e6));
        let lists = [week("2023-12-31", 5e6), week("2024-01-07", 7e9)];
        let (table, _) = Outlook::new(&past, &lists, own.half)
            .with_calendar(&own)
            .table(Some(&own))
            .unwrap();
        assert_eq!(
            (cell(&table, 2, "launch"), cell(&table, 2, "days_available")),
            (1.0, 91.0)
        );
        assert!((features::density(cell(&table, 2, "previous_density")) - 2.5e5).abs() < 1.0);
        assert!((features::density(cell(&table, 2, "previous_launch")) - 1e6).abs() < 1.0);
        assert_eq!(cell(&table, 2, "previous_launch_days"), 150.0);
        assert!(
            (cell(&table, 2, "series_listed_8") - 6f64.ln()).abs() < 1e-9,
            "the week within the period is not seen"
        );
        assert_eq!(cell(&table, 0, "series_launches"), 1.0);
        assert!(cell(&table, 1, "series_best").is_nan());
        assert_eq!(table.target, [1e6 / 8.0, 0.0, 1e6 / 7.0]);
    }

    #[test]
    fn hours_of_the_period_reach_the_targets_alone() {
        let (past, low, high) = (past(), own(1.0), own(1e9));
        let rows = |own: &Report| {
            let (table, _) = Outlook::new(&past, &[], own.half)
                .with_sizes(own)
                .with_calendar(own)
                .table(None)
                .unwrap();
            format!("{:?}", table.columns())
        };
        assert_eq!(rows(&low), rows(&high));
    }
}
