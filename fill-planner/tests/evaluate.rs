//! `evaluate` from end to end: on small files that are made here everywhere, on the published ones where they are.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn evaluate(args: &[&str], data: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fill-planner"))
        .arg("evaluate")
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .unwrap()
}

/// Three half-years of series with seasons and films, weekly lists of eight countries that follow them.
fn made(dir: &Path) {
    let mut halves = "half,kind,title,glob,release,hours,runtime_min\n".to_owned();
    for (at, half) in ["2021Jan-Jun", "2021Jul-Dec", "2022Jan-Jun"]
        .into_iter()
        .enumerate()
    {
        let month = if at == 1 {
            "2021-09"
        } else if at == 0 {
            "2021-03"
        } else {
            "2022-03"
        };
        for series in 0..150 {
            let level = 100_000 * (1 + series * series);
            // Each period every third series gets a season; older seasons keep a fifth of their level.
            for season in 0..=at {
                let new = season == at && series % 3 == at;
                let date = if new {
                    format!("{month}-{:02}", 1 + series % 28)
                } else {
                    String::new()
                };
                let hours = if new { 10 * level } else { level / 5 };
                if new || season < at || at == 0 {
                    let kind = if series % 2 == 0 { "tv" } else { "film" };
                    writeln!(
                        halves,
                        "{half},{kind},Series {series}x: Season {},True,{date},{hours},{}",
                        season + 1,
                        60 + series
                    )
                    .unwrap();
                }
            }
        }
    }
    std::fs::write(dir.join("engagement-by-half-year.csv"), &halves).unwrap();
    let mut lists = "country_name,country_iso2,week,category,weekly_rank,show_title,season_title,cumulative_weeks_in_top_10\n".to_owned();
    let mut world = "week,category,weekly_rank,show_title,season_title,weekly_hours_viewed\n".to_owned();
    for week in 0..16_i64 {
        let date = "2021-07-04"
            .parse::<jiff::civil::Date>()
            .unwrap()
            .saturating_add(jiff::Span::new().weeks(week));
        for rank in 1..=10_i64 {
            // A film stays three weeks and falls by three ranks a week.
            let film = week * 3 + 20 - rank;
            writeln!(
                world,
                "{date},Films (English),{rank},Film {film}x,N/A,{}",
                1_000_000 * (11 - rank)
            )
            .unwrap();
            for country in 0..8 {
                writeln!(
                    lists,
                    "Land {country},NA,{date},Films,{rank},Film {}x,,1",
                    film + 100 * (country % 2)
                )
                .unwrap();
                writeln!(
                    lists,
                    "Land {country},NA,{date},TV,{rank},Show {rank}x,Show {rank}x: Season 1,1"
                )
                .unwrap();
            }
        }
    }
    std::fs::write(dir.join("top10-by-country.csv"), lists).unwrap();
    std::fs::write(dir.join("top10-global.csv"), world).unwrap();
}

fn json(file: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// A method's ratio at a budget.
fn ratio(scores: &serde_json::Value, method: &str, budget: f64) -> f64 {
    let at = scores["budgets"]
        .as_array()
        .unwrap()
        .iter()
        .position(|b| b.as_f64() == Some(budget))
        .unwrap();
    let row = scores["methods"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["method"] == method)
        .unwrap();
    row["ratio"][at]["value"].as_f64().unwrap()
}

fn succeed(args: &[&str], data: &Path) -> String {
    let out = evaluate(args, data);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_calendar_finds_launches_and_the_same_seed_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let run = |name: &str| {
        let [scores, model] = ["scores", "model"].map(|f| dir.path().join(format!("{name}-{f}.json")));
        let text = succeed(
            &[
                "halves",
                "--json",
                scores.to_str().unwrap(),
                "--model",
                model.to_str().unwrap(),
            ],
            dir.path(),
        );
        (
            text,
            std::fs::read(&scores).unwrap(),
            std::fs::read(&model).unwrap(),
        )
    };
    let (text, scores, model) = run("a");
    assert!(
        text.contains("judged 2022Jan-Jun to 2022Jan-Jun") && text.contains("| boosted + calendar |"),
        "{text}"
    );
    let file: serde_json::Value = serde_json::from_slice(&scores).unwrap();
    let (with, without) = (
        ratio(&file, "boosted + calendar", 0.1),
        ratio(&file, "boosted, no calendar", 0.1),
    );
    assert!(with > 0.8 && with > without + 0.2, "{with} {without}");
    assert!(ratio(&file, "all that is known or announced, by truth", 0.1) <= 1.0 + 1e-9);
    let (_, again, same) = run("b");
    assert!(scores == again && model == same);
}

#[test]
fn lists_are_forecast_beyond_last_week() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let scores = dir.path().join("scores.json");
    succeed(
        &[
            "lists",
            "--train-to",
            "12",
            "--until",
            "14",
            "--json",
            scores.to_str().unwrap(),
        ],
        dir.path(),
    );
    let file = json(&scores);
    let (boosted, last) = (
        ratio(&file, "boosted, no calendar", 10.0),
        ratio(&file, "last week", 10.0),
    );
    assert!(boosted > last, "{boosted} {last}");
    let oracle = file["oracle"][1]["value"].as_f64().unwrap();
    assert!(
        (oracle - 1.0).abs() < 1e-9,
        "twenty titles are all of a list: {oracle}"
    );
}

#[test]
fn what_cannot_be_evaluated_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], code: i32, text: &str| {
        let out = evaluate(args, dir.path());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.code() == Some(code) && said.contains(text),
            "{args:?}: {said}"
        );
    };
    fails(&["halves"], 3, "engagement-by-half-year.csv: cannot be read");
    made(dir.path());
    fails(
        &["halves", "--test", "2021Jan-Jun"],
        2,
        "no report is older than 2021Jan-Jun",
    );
    fails(
        &["halves", "--test", "2030Jan-Jun"],
        2,
        "do not have the half-year",
    );
    fails(
        &["lists", "--train-to", "3", "--until", "5"],
        2,
        "weeks are numbered 0 to 15",
    );
    fails(
        &["lists", "--train-to", "12", "--until", "16"],
        2,
        "weeks are numbered 0 to 15",
    );
}

/// The published files, which are not part of the project.
fn published() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = std::env::var_os("NIGHTFILL_DATA").map_or(beside, PathBuf::from);
    if dir.join("engagement-by-half-year.csv.gz").exists() {
        return Some(dir);
    }
    eprintln!(
        "skipped: {} does not have the published files; NIGHTFILL_DATA names their folder",
        dir.display()
    );
    None
}

#[test]
fn published_files_are_read_whole() {
    let Some(dir) = published() else { return };
    let reports = fill_planner::adapters::half_reports(&dir.join("engagement-by-half-year.csv.gz")).unwrap();
    let titles: Vec<usize> = reports.all().iter().map(|r| r.titles.len()).collect();
    assert!(
        titles.len() >= 4 && titles.iter().all(|n| *n > 15_000),
        "{titles:?}"
    );
    let lists = fill_planner::adapters::country_lists(&dir.join("top10-by-country.csv.gz")).unwrap();
    let countries: std::collections::BTreeSet<_> = lists.iter().map(|e| &e.country).collect();
    assert!(
        countries.len() >= 90 && lists.len() > 90 * 20 * 50,
        "{}",
        countries.len()
    );
    assert!(
        fill_planner::adapters::weekly_hours(&dir.join("top10-global.csv.gz"))
            .unwrap()
            .len()
            > 6000
    );
}
