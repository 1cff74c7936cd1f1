//! Weekly lists: the ten first films and seasons of each country by rank, and the world's with hours.
//!
//! Countries are told apart by their names. Namibia's ISO code is `NA`, which many tools write as an empty field or read as none, so
//! the code is not looked at.

use crate::rows::{self, Layout, Row, RowsError};
use cdn_types::time::Date;
use fill_core::{
    halves::WeeklyHours,
    lists::{Entry, RANKS},
    titles::TitleName,
};
use std::path::Path;

const COUNTRY: Layout = Layout::published(
    "lists by country",
    &[
        "country_name",
        "week",
        "category",
        "weekly_rank",
        "show_title",
        "season_title",
    ],
);
const HOURS: Layout = Layout::published(
    "weekly lists with hours",
    &[
        "week",
        "category",
        "show_title",
        "season_title",
        "weekly_hours_viewed",
    ],
);

/// Reads lists by country.
pub fn country_lists(file: &Path) -> Result<Vec<Entry>, RowsError> {
    let mut entries = Vec::new();
    rows::read(file, &COUNTRY, |row| {
        let country = row.text(0);
        if country.is_empty() {
            return Err(row.wrong(0, "a list needs a country".to_owned()));
        }
        let rank: usize = row.parse(3, "a rank")?;
        if !(1..=RANKS).contains(&rank) {
            return Err(row.wrong(3, format!("`{rank}` is not a rank from 1 to {RANKS}")));
        }
        entries.push(Entry {
            country: country.to_owned(),
            week: date(row, 1)?,
            film: film(row, 2)?,
            rank,
            show: named(row, 4)?.to_owned(),
            season: season(row.text(5)).to_owned(),
        });
        Ok(())
    })?;
    Ok(entries)
}

/// Reads the world's lists with hours.
pub fn weekly_hours(file: &Path) -> Result<Vec<WeeklyHours>, RowsError> {
    let mut weeks = Vec::new();
    rows::read(file, &HOURS, |row| {
        let show = named(row, 2)?;
        let season = season(row.text(3));
        weeks.push(WeeklyHours {
            week: date(row, 0)?,
            film: film(row, 1)?,
            show: show.to_owned(),
            season: season.to_owned(),
            name: TitleName::parse(if season.is_empty() { show } else { season }),
            hours: row.amount(4)?,
        });
        Ok(())
    })?;
    Ok(weeks)
}

fn date(row: &Row<'_>, column: usize) -> Result<Date, RowsError> {
    row.parse(column, "a date such as 2022-06-26")
}

/// Category: `Films`, `Films (English)`, `TV`, `TV (Non-English)`.
fn film(row: &Row<'_>, column: usize) -> Result<bool, RowsError> {
    match row.text(column).split(' ').next() {
        Some("Films") => Ok(true),
        Some("TV") => Ok(false),
        _ => Err(row.wrong(column, format!("`{}` is not Films or TV", row.text(column)))),
    }
}

fn named<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, RowsError> {
    match row.text(column) {
        "" => Err(row.wrong(column, "a title needs a name".to_owned())),
        name => Ok(name),
    }
}

/// Films have no season: an empty field or `N/A`.
fn season(text: &str) -> &str {
    if text == "N/A" { "" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "country_name,country_iso2,week,category,weekly_rank,show_title,season_title,cumulative_weeks_in_top_10";

    fn read(rows: &str) -> Result<Vec<Entry>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lists.csv");
        std::fs::write(&file, format!("{HEADER}\n{rows}\n")).unwrap();
        country_lists(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn namibia_is_a_country_whatever_its_code_became() {
        for code in ["NA", "", "NaN"] {
            let lists = read(&format!("Namibia,{code},2022-06-26,TV,3,Elite,Elite: Season 5,2")).unwrap();
            assert_eq!(
                (lists[0].country.as_str(), lists[0].rank, lists[0].film),
                ("Namibia", 3, false)
            );
        }
        assert!(
            read(",NA,2022-06-26,TV,3,Elite,Elite: Season 5,2")
                .unwrap_err()
                .contains("line 2, column `country_name`")
        );
    }

    #[test]
    fn errors_name_line_and_column() {
        let table = [
            (
                "Peru,PE,2022-06-31,Films,1,A,,1",
                "line 2, column `week`: `2022-06-31` is not a date",
            ),
            (
                "Peru,PE,2022-06-26,Games,1,A,,1",
                "line 2, column `category`: `Games` is not Films or TV",
            ),
            (
                "Peru,PE,2022-06-26,Films,11,A,,1",
                "line 2, column `weekly_rank`: `11` is not a rank from 1 to 10",
            ),
            (
                "Peru,PE,2022-06-26,Films,x,A,,1",
                "line 2, column `weekly_rank`: `x` is not a rank",
            ),
            (
                "Peru,PE,2022-06-26,Films,1,,,1",
                "line 2, column `show_title`: a title needs a name",
            ),
        ];
        for (row, expected) in table {
            let error = read(row).unwrap_err();
            assert!(error.contains(expected), "{row}: {error}");
        }
    }

    #[test]
    fn hours_of_the_world_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("global.csv");
        let header = "week,category,weekly_rank,show_title,season_title,weekly_hours_viewed,runtime";
        let rows = "2024-06-30,Films (English),1,A Family Affair,N/A,50900000,1.9\n2021-07-04,TV (Non-English),8,Elite,Elite: Season 2,10140000,";
        std::fs::write(&file, format!("{header}\n{rows}\n")).unwrap();
        let weeks = weekly_hours(&file).unwrap();
        assert_eq!(
            (weeks[0].film, weeks[0].name.name.as_str(), weeks[0].hours),
            (true, "A Family Affair", 50_900_000.0)
        );
        assert_eq!(
            (weeks[1].film, weeks[1].name.season, weeks[1].season.as_str()),
            (false, Some(2), "Elite: Season 2")
        );
    }
}
