//! Reports of half-years, and weekly lists with hours, as the adapters hand them over.

use crate::titles::TitleName;
use cdn_types::time::Date;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// January to June or July to December of a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Half {
    year: i16,
    second: bool,
}

impl Half {
    /// First day.
    pub fn start(self) -> Date {
        Date::constant(self.year, if self.second { 7 } else { 1 }, 1)
    }
    /// The day after its last.
    pub fn end(self) -> Date {
        self.next().start()
    }
    /// The one after it.
    pub fn next(self) -> Self {
        Self {
            year: self.year + i16::from(self.second),
            second: !self.second,
        }
    }
    /// Days in it.
    pub fn days(self) -> i32 {
        days(self.start(), self.end())
    }
    /// Whether a day is in it.
    pub fn holds(self, date: Date) -> bool {
        (self.start()..self.end()).contains(&date)
    }
    /// Days of it that a title is there. One without a release date is always there.
    pub fn available(self, release: Option<Date>) -> i32 {
        match release {
            Some(date) if date >= self.end() => 0,
            Some(date) if date > self.start() => days(date, self.end()),
            _ => self.days(),
        }
    }
}

/// Days from one date to another.
pub fn days(from: Date, to: Date) -> i32 {
    from.until(to).map_or(0, |span| span.get_days())
}

impl FromStr for Half {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no half-year such as 2024Jan-Jun or 2024Jul-Dec");
        let (year, months) = text.split_at_checked(4).ok_or_else(wrong)?;
        let second = match months {
            "Jan-Jun" => false,
            "Jul-Dec" => true,
            _ => return Err(wrong()),
        };
        match year.parse() {
            Ok(year @ 1900..2200) => Ok(Self { year, second }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Half {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.year,
            if self.second { "Jul-Dec" } else { "Jan-Jun" }
        )
    }
}

/// What a title is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A film.
    Film,
    /// A season of a series.
    Season,
}

/// A title in a report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportTitle {
    /// Its name.
    pub name: TitleName,
    /// What it is, if the report says so.
    pub kind: Option<Kind>,
    /// Whether it is to be had everywhere.
    pub global: bool,
    /// When it came out, if the report says so: mostly for titles made for the service.
    pub release: Option<Date>,
    /// Hours viewed in the period.
    pub hours: f64,
    /// Hours that it runs, which its files' bytes are proportional to.
    pub runtime: Option<f64>,
}

/// One half-year: its titles by key.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which half-year.
    pub half: Half,
    /// Its titles.
    pub titles: BTreeMap<String, ReportTitle>,
}

impl Report {
    /// Hours of all titles.
    pub fn hours(&self) -> f64 {
        self.titles.values().map(|t| t.hours).sum()
    }
    /// Adds a title. Namesakes in one report are one title.
    pub fn add(&mut self, title: ReportTitle) {
        match self.titles.entry(title.name.key()) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(title);
            }
            std::collections::btree_map::Entry::Occupied(mut taken) => {
                let there = taken.get_mut();
                there.hours += title.hours;
                there.runtime = there.runtime.into_iter().chain(title.runtime).reduce(f64::max);
            }
        }
    }
}

/// A title's week in a global list.
#[derive(Debug, Clone, PartialEq)]
pub struct WeeklyHours {
    /// Last day of the week.
    pub week: Date,
    /// A film, not a season.
    pub film: bool,
    /// The film or the series, as the list names it.
    pub show: String,
    /// The season, as the list names it; empty for films.
    pub season: String,
    /// The season or film, taken apart.
    pub name: TitleName,
    /// Hours viewed.
    pub hours: f64,
}

/// Consecutive half-years, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Reports(Vec<Report>);

/// Reports that are no sequence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no report of {missing}, between {before} and {after}")]
pub struct GapError {
    missing: String,
    before: String,
    after: String,
}

impl Reports {
    /// Orders reports, and links renamed titles.
    pub fn new(mut reports: Vec<Report>) -> Result<Self, GapError> {
        reports.sort_by_key(|r| r.half);
        for pair in reports.windows(2) {
            if pair[0].half.next() != pair[1].half {
                return Err(GapError {
                    missing: pair[0].half.next().to_string(),
                    before: pair[0].half.to_string(),
                    after: pair[1].half.to_string(),
                });
            }
        }
        let mut linked = Self(reports);
        linked.link();
        Ok(linked)
    }
    /// The reports.
    pub fn all(&self) -> &[Report] {
        &self.0
    }
    /// The reports before `period`, each with what the others of them know of a title's runtime and kind: the first
    /// reports told neither.
    pub fn before(&self, period: Half) -> Vec<Report> {
        let known: Vec<&Report> = self.0.iter().filter(|r| r.half < period).collect();
        let fill = |report: &Report| {
            let mut report = report.clone();
            for (key, title) in &mut report.titles {
                let told = || known.iter().filter_map(|r| r.titles.get(key));
                title.runtime = title.runtime.or_else(|| told().find_map(|t| t.runtime));
                title.kind = title.kind.or_else(|| told().find_map(|t| t.kind));
            }
            report
        };
        known.iter().map(|r| fill(r)).collect()
    }

    /// Gives a title that was renamed since the reports before the key that it had there: same series and season, same name
    /// at home, no contradiction in kind or year, and the old name is gone. A release inside the period is a new title.
    fn link(&mut self) {
        let mut past: BTreeMap<String, ReportTitle> = BTreeMap::new();
        for report in &mut self.0 {
            let mut gone: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
            for (key, title) in past.iter().filter(|(key, _)| !report.titles.contains_key(*key)) {
                if let Some(alias) = title.name.alias() {
                    gone.entry(alias).or_default().push(key.clone());
                }
            }
            let start = report.half.start();
            let fresh = |key: &String, t: &ReportTitle| {
                !past.contains_key(key) && t.release.is_none_or(|d| d < start)
            };
            let renamed: Vec<(String, String)> = report
                .titles
                .iter()
                .filter(|(key, title)| fresh(key, title))
                .filter_map(|(key, title)| {
                    let old = gone.get(&title.name.alias()?)?;
                    let mut same = old
                        .iter()
                        .filter(|old| past.get(*old).is_some_and(|p| agree(p, title)));
                    let only = same.next()?;
                    same.next().is_none().then(|| (key.clone(), only.clone()))
                })
                .collect();
            for (new, old) in renamed {
                if !report.titles.contains_key(&old)
                    && let Some(title) = report.titles.remove(&new)
                {
                    report.titles.insert(old, title);
                }
            }
            for (key, title) in &report.titles {
                let kind = title.kind.or_else(|| past.get(key).and_then(|p| p.kind));
                past.insert(
                    key.clone(),
                    ReportTitle {
                        kind,
                        ..title.clone()
                    },
                );
            }
        }
    }
}

/// Whether two titles may be one.
fn agree(a: &ReportTitle, b: &ReportTitle) -> bool {
    let same = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    (a.kind.is_none() || b.kind.is_none() || a.kind == b.kind) && same(a.name.year, b.name.year)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn title(name: &str, release: Option<&str>, hours: f64) -> ReportTitle {
        ReportTitle {
            name: TitleName::parse(name),
            kind: None,
            global: true,
            release: release.map(|d| d.parse().unwrap()),
            hours,
            runtime: Some(2.0),
        }
    }
    fn report(half: &str, titles: &[ReportTitle]) -> Report {
        let mut report = Report {
            half: half.parse().unwrap(),
            titles: BTreeMap::new(),
        };
        titles.iter().for_each(|t| report.add(t.clone()));
        report
    }

    #[test]
    fn half_years_count_their_days() {
        let half: Half = "2024Jan-Jun".parse().unwrap();
        assert_eq!(
            (half.days(), half.next().days(), half.next().to_string().as_str()),
            (182, 184, "2024Jul-Dec")
        );
        assert_eq!(half.next().next().to_string(), "2025Jan-Jun");
        let available = |d: &str| half.available(Some(d.parse().unwrap()));
        assert_eq!(
            (
                available("2024-06-30"),
                available("2023-01-01"),
                available("2024-07-01")
            ),
            (1, 182, 0)
        );
        assert_eq!(half.available(None), 182);
        for wrong in ["2024", "2024Jan-Jul", "x", "été!Jan-Jun", "0024Jan-Jun"] {
            assert!(wrong.parse::<Half>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_renamed_title_is_linked_and_a_new_namesake_is_not() {
        let reports = Reports::new(vec![
            report(
                "2023Jul-Dec",
                &[
                    title("Healer: Limited Series // 힐러: 리미티드 시리즈", None, 2.0),
                    title("Avatar The Last Airbender: Season 1", Some("2023-08-01"), 9.0),
                ],
            ),
            report(
                "2023Jan-Jun",
                &[
                    title("Healer: Season 1 // 힐러: 시즌 1", None, 1.0),
                    title("Avatar: The Last Airbender: Book 1", None, 1.0),
                ],
            ),
        ])
        .unwrap();
        let second = &reports.all()[1];
        assert_eq!(second.titles["healer season 1"].hours, 2.0);
        assert!(second.titles.contains_key("avatar the last airbender season 1"));
    }

    #[test]
    fn a_missing_half_year_is_named() {
        let gap = Reports::new(vec![report("2023Jan-Jun", &[]), report("2024Jan-Jun", &[])]).unwrap_err();
        assert!(gap.to_string().contains("2023Jul-Dec"), "{gap}");
    }
}
