//! One row of features of a candidate.
//!
//! What carries over from one period to the next, and nothing that only tells periods apart: the day of the year of a launch,
//! for one, made a model of January to June fail on July to December. Counts that grow with the length of the history are
//! kept out for the same reason; sums stand over windows of fixed length.

use super::{
    Outlook,
    outlook::{Candidate, Listed},
    report::{Kind, ReportTitle, days},
};
use crate::titles::{Language, plain};
use cdn_types::time::Date;

const NAN: f64 = f64::NAN;
/// Hours a runtime hour that about divide what reports list (0.1 million hours) from what they leave out.
const LEAST_DENSITY: f64 = 5e4;
/// Days that a launch's first period counts as at least when its level is scaled to a whole period.
const LEAST_DAYS: i32 = 45;
/// Words of names that children watch over and over.
const CHILDREN: [&str; 16] = [
    "kids",
    "cocomelon",
    "peppa",
    "baby",
    "paw",
    "lego",
    "barbie",
    "pokemon",
    "little",
    "nursery",
    "blippi",
    "thomas",
    "dragons",
    "pony",
    "teletubbies",
    "smurfs",
];
const CHRISTMAS: [&str; 7] = [
    "christmas",
    "holiday",
    "holidays",
    "santa",
    "xmas",
    "noel",
    "navidad",
];

type Row = Vec<(&'static str, f64)>;

/// Hours viewed for each hour of runtime, on the scale that the model sees.
pub fn log_density(density: f64) -> f64 {
    (density.max(0.0) / LEAST_DENSITY).ln_1p()
}

/// The density of a [`log_density`].
pub fn density(log_density: f64) -> f64 {
    log_density.exp_m1() * LEAST_DENSITY
}

/// Features of one candidate.
pub(super) fn row(outlook: &Outlook<'_>, of: &Candidate<'_>) -> Row {
    let mut row = Row::with_capacity(64);
    title(outlook, of, &mut row);
    own_past(outlook, of, &mut row);
    let name = &of.title.name;
    let series = Relatives {
        known: outlook.known_series.get(name.series.as_str()),
        launches: outlook.launch_series.get(name.series.as_str()),
        names: &SERIES,
    };
    let franchise = Relatives {
        known: outlook.known_franchise.get(name.franchise.as_str()),
        launches: outlook.launch_franchise.get(name.franchise.as_str()),
        names: &FRANCHISE,
    };
    relatives(outlook, of, &series, &mut row);
    relatives(outlook, of, &franchise, &mut row);
    seasons(outlook, of, series.known, &mut row);
    let listed = [
        outlook.listed_name.get(&plain(&name.name)),
        outlook.listed_series.get(name.series.as_str()),
        outlook.listed_franchise.get(name.franchise.as_str()),
    ];
    for (weeks, names) in listed.into_iter().zip(&LISTED) {
        lists(weeks.map_or(&[], Vec::as_slice), names, &mut row);
    }
    row
}

/// What the title is, and when it comes.
fn title(outlook: &Outlook<'_>, of: &Candidate<'_>, row: &mut Row) {
    let (name, start) = (&of.title.name, outlook.period.start());
    let plain = plain(&name.name);
    let any = |words: &[&str]| flag(plain.split(' ').any(|w| words.contains(&w)));
    let inside = of.release.filter(|d| *d >= start);
    row.extend([
        ("kind", of.kind.map_or(NAN, |k| flag(k == Kind::Season))),
        ("global", flag(of.title.global)),
        ("log_runtime", of.runtime.ln()),
        ("release_known", flag(of.release.is_some())),
        ("limited", flag(name.limited)),
        ("season", f64::from(name.season.unwrap_or(0))),
        ("renamed_abroad", flag(!name.original.is_empty())),
        ("language", Language::of(name).code()),
        ("children", any(&CHILDREN)),
        ("christmas", any(&CHRISTMAS)),
        ("days_available", f64::from(outlook.period.available(of.release))),
        ("launch", flag(inside.is_some())),
        ("age_days", of.release.map_or(NAN, |d| f64::from(days(d, start)))),
        (
            "launch_weekday",
            inside.map_or(NAN, |d| f64::from(d.weekday().to_monday_zero_offset())),
        ),
    ]);
}

/// What it drew in the last two periods.
fn own_past(outlook: &Outlook<'_>, of: &Candidate<'_>, row: &mut Row) {
    let last = outlook.past.last().map_or(0, |r| r.half.available(of.release));
    let drew = |ago: usize| drawn(outlook, of.key, of.runtime, ago);
    let scaled = drew(1).map(|d| d * 184.0 / f64::from(last));
    row.extend([
        ("density_1", drew(1).map_or(NAN, log_density)),
        ("density_2", drew(2).map_or(NAN, log_density)),
        ("available_1", f64::from(last) / 184.0),
        ("rate_1", scaled.filter(|_| last > 0).map_or(NAN, log_density)),
    ]);
}

/// Hours a runtime hour that a title drew so many periods ago; none if no report is that old.
fn drawn(outlook: &Outlook<'_>, key: &str, runtime: f64, ago: usize) -> Option<f64> {
    let report = &outlook.past[outlook.past.len().checked_sub(ago)?];
    Some(report.titles.get(key).map_or(0.0, |t| t.hours / runtime))
}

/// Titles that share a name.
struct Relatives<'a> {
    known: Option<&'a Vec<&'a str>>,
    launches: Option<&'a Vec<&'a str>>,
    names: &'static [&'static str; 9],
}

const SERIES: [&str; 9] = [
    "series_titles",
    "series_hours",
    "series_density",
    "series_best",
    "series_peak",
    "series_since",
    "series_launches",
    "series_next_launch",
    "series_launch_runtime",
];
const FRANCHISE: [&str; 9] = [
    "franchise_titles",
    "franchise_hours",
    "franchise_density",
    "franchise_best",
    "franchise_peak",
    "franchise_since",
    "franchise_launches",
    "franchise_next_launch",
    "franchise_launch_runtime",
];

/// What the others of the series or franchise drew, and what is announced of them.
fn relatives(outlook: &Outlook<'_>, of: &Candidate<'_>, relatives: &Relatives<'_>, row: &mut Row) {
    let others = relatives
        .known
        .into_iter()
        .flatten()
        .filter(|key| **key != of.key);
    let sized: Vec<&Candidate<'_>> = others
        .filter_map(|key| outlook.known.get(*key))
        .filter(|c| c.runtime > 0.0)
        .collect();
    let start = outlook.period.start();
    let last = outlook.past.last();
    let hours = |c: &Candidate<'_>| last.and_then(|r| r.titles.get(c.key)).map_or(0.0, |t| t.hours);
    let total: f64 = sized.iter().map(|c| hours(c)).sum();
    let runtime: f64 = sized.iter().map(|c| c.runtime).sum();
    let best = sized.iter().map(|c| hours(c) / c.runtime).fold(0.0, f64::max);
    let peak = sized.iter().map(|c| peak(outlook, c)).fold(0.0, f64::max);
    let newest = sized.iter().filter_map(|c| c.release).max();
    let since = of.release.filter(|d| *d >= start).unwrap_or(start);
    let launches: Vec<&ReportTitle> = relatives
        .launches
        .into_iter()
        .flatten()
        .filter(|key| **key != of.key)
        .filter_map(|key| outlook.launches.get(*key).copied())
        .collect();
    let next: Option<Date> = launches.iter().filter_map(|l| l.release).min();
    let if_any = |value: f64| if sized.is_empty() { NAN } else { value };
    let values = [
        sized.len() as f64,
        if last.is_some() {
            (total / 1e5).ln_1p()
        } else {
            NAN
        },
        if last.is_some() {
            if_any(log_density(total / runtime))
        } else {
            NAN
        },
        if_any(log_density(best)),
        if_any(log_density(peak)),
        newest.map_or(NAN, |d| f64::from(days(d, since))),
        launches.len() as f64,
        next.map_or(NAN, |d| f64::from(days(start, d))),
        launches.iter().filter_map(|l| l.runtime).sum(),
    ];
    row.extend(relatives.names.iter().copied().zip(values));
}

/// The highest level of the last two periods, scaled to a whole one.
fn peak(outlook: &Outlook<'_>, of: &Candidate<'_>) -> f64 {
    let from = outlook.past.len().saturating_sub(2);
    let level = |report: &super::Report| {
        let there = report.half.available(of.release);
        let title = report.titles.get(of.key).filter(|_| there > 0)?;
        Some(title.hours / of.runtime * 184.0 / f64::from(there.max(LEAST_DAYS)))
    };
    outlook.past[from..].iter().filter_map(level).fold(0.0, f64::max)
}

/// The season before it and the one after it.
fn seasons(outlook: &Outlook<'_>, of: &Candidate<'_>, series: Option<&Vec<&str>>, row: &mut Row) {
    let number = |c: &Candidate<'_>| c.title.name.season.unwrap_or(1);
    let own = number(of);
    let others = || {
        let others = series.into_iter().flatten().filter(|key| **key != of.key);
        others
            .filter_map(|key| outlook.known.get(*key))
            .filter(|c| c.runtime > 0.0)
    };
    let mut before: Option<&Candidate<'_>> = None;
    let mut after: Option<&Candidate<'_>> = None;
    for other in others() {
        if number(other) < own && before.is_none_or(|b| number(other) > number(b)) {
            before = Some(other);
        }
        if number(other) > own && after.is_none_or(|a| number(other) < number(a)) {
            after = Some(other);
        }
    }
    let level = |c: Option<&Candidate<'_>>| {
        c.and_then(|c| drawn(outlook, c.key, c.runtime, 1))
            .map_or(NAN, log_density)
    };
    let age = |c: Option<&Candidate<'_>>| {
        c.and_then(|c| c.release)
            .map_or(NAN, |d| f64::from(days(d, outlook.period.start())))
    };
    // How the season before began, if a report saw its launch.
    let begun = before.and_then(|b| {
        let report = outlook
            .past
            .iter()
            .find(|r| b.release.is_some_and(|d| r.half.holds(d)))?;
        let hours = report.titles.get(b.key)?.hours;
        Some((
            log_density(hours / b.runtime),
            f64::from(report.half.available(b.release)),
        ))
    });
    row.extend([
        ("previous_density", level(before)),
        ("previous_age", age(before)),
        ("previous_launch", begun.map_or(NAN, |b| b.0)),
        ("previous_launch_days", begun.map_or(NAN, |b| b.1)),
        ("following_density", level(after)),
        ("following_age", age(after)),
    ]);
}

/// Windows of the weekly lists, in days.
const WINDOWS: [i32; 5] = [8, 28, 91, 182, 546];
const LISTED: [[&str; 6]; 3] = [
    [
        "listed_8",
        "listed_28",
        "listed_91",
        "listed_182",
        "listed_546",
        "listed_most",
    ],
    [
        "series_listed_8",
        "series_listed_28",
        "series_listed_91",
        "series_listed_182",
        "series_listed_546",
        "series_listed_most",
    ],
    [
        "franchise_listed_8",
        "franchise_listed_28",
        "franchise_listed_91",
        "franchise_listed_182",
        "franchise_listed_546",
        "franchise_listed_most",
    ],
];

/// Hours in the weekly lists, in millions on a log scale.
fn lists(weeks: &[Listed], names: &'static [&'static str; 6], row: &mut Row) {
    let log = |hours: f64| (hours / 1e6).ln_1p();
    let within = |window: i32| {
        weeks
            .iter()
            .filter(|w| w.ago <= window)
            .map(|w| w.hours)
            .sum::<f64>()
    };
    let most = weeks.iter().map(|w| w.hours).fold(0.0, f64::max);
    row.extend(
        names
            .iter()
            .copied()
            .zip(WINDOWS.map(|w| log(within(w))).into_iter().chain([log(most)])),
    );
}

fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}
