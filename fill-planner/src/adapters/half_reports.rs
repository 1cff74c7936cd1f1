//! Engagement reports: the whole catalogue with the hours viewed in each half-year.
//!
//! Early reports tell neither kind (`?`) nor runtime (empty); later ones do for most titles. Hours are rounded to 100,000 by their
//! publisher, and what drew less than half of that is left out.

use super::AdapterError;
use crate::rows::{self, Layout, Row, RowsError};
use fill_core::{
    halves::{Half, Kind, Report, ReportTitle, Reports},
    titles::TitleName,
};
use std::{collections::BTreeMap, path::Path};

const LAYOUT: Layout = Layout::published(
    "half-year reports",
    &["half", "kind", "title", "glob", "release", "hours", "runtime_min"],
);

/// Reads all half-years of a file.
pub fn half_reports(file: &Path) -> Result<Reports, AdapterError> {
    let mut reports: BTreeMap<Half, Report> = BTreeMap::new();
    rows::read(file, &LAYOUT, |row| {
        let (half, title) = title(row)?;
        let report = reports.entry(half).or_insert_with(|| Report {
            half,
            titles: BTreeMap::new(),
        });
        report.add(title);
        Ok(())
    })?;
    Reports::new(reports.into_values().collect()).map_err(|source| AdapterError::Gap {
        file: file.to_owned(),
        source,
    })
}

fn title(row: &Row<'_>) -> Result<(Half, ReportTitle), RowsError> {
    let half = row.text(0).parse().map_err(|problem| row.wrong(0, problem))?;
    let kind = match row.text(1) {
        "film" => Some(Kind::Film),
        "tv" => Some(Kind::Season),
        "?" | "" => None,
        other => return Err(row.wrong(1, format!("`{other}` is not film, tv or ?"))),
    };
    if row.text(2).is_empty() {
        return Err(row.wrong(2, "a title needs a name".to_owned()));
    }
    let global = match row.text(3) {
        "True" => true,
        "False" => false,
        other => return Err(row.wrong(3, format!("`{other}` is not True or False"))),
    };
    let minutes = if row.text(6).is_empty() {
        0.0
    } else {
        row.amount(6)?
    };
    let title = ReportTitle {
        name: TitleName::parse(row.text(2)),
        kind,
        global,
        release: row.optional(4, "a date such as 2024-11-15")?,
        hours: row.amount(5)?,
        runtime: (minutes > 0.0).then_some(minutes / 60.0),
    };
    Ok((half, title))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const HEADER: &str = "half,kind,title,glob,release,hours,runtime_min";

    fn read(rows: &str) -> Result<Reports, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reports.csv");
        std::fs::write(&file, rows).unwrap();
        half_reports(&file).map_err(|e| e.to_string().replace(&dir.path().display().to_string(), ""))
    }

    #[test]
    fn rows_become_titles_and_namesakes_one() {
        let reports = read(&format!(
            "{HEADER}\n2023Jan-Jun,?,Lupin: Part 2,True,2021-06-11,300000,\n2023Jul-Dec,film,Monster,True,,200000,85\n\
             2023Jul-Dec,film,Monster,True,,100000,99\n"
        ))
        .unwrap();
        let [first, second] = reports.all() else {
            panic!("two half-years")
        };
        let lupin = &first.titles["lupin part 2"];
        assert_eq!(
            (lupin.kind, lupin.runtime, lupin.name.season),
            (None, None, Some(2))
        );
        let monster = &second.titles["monster"];
        assert_eq!(
            (monster.hours, monster.runtime, monster.kind),
            (300_000.0, Some(1.65), Some(Kind::Film))
        );
    }

    #[test]
    fn packed_files_are_read_and_broken_ones_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reports.csv.gz");
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
        write!(
            packed,
            "{HEADER}\n2024Jan-Jun,tv,표적: Season 1,False,,100000,60\n"
        )
        .unwrap();
        let packed = packed.finish().unwrap();
        std::fs::write(&file, &packed).unwrap();
        assert_eq!(half_reports(&file).unwrap().all()[0].titles.len(), 1);
        std::fs::write(&file, &packed[..packed.len() / 2]).unwrap();
        assert!(
            half_reports(&file)
                .unwrap_err()
                .to_string()
                .contains("reports.csv.gz: line")
        );
    }

    #[test]
    fn errors_name_line_and_column() {
        let row = |r: &str| read(&format!("{HEADER}\n2024Jan-Jun,tv,A,True,,1,60\n{r}\n")).unwrap_err();
        let table = [
            (
                "2024,tv,B,True,,1,60",
                "/reports.csv: line 3, column `half`: `2024` is no half-year",
            ),
            (
                "2024Jan-Jun,radio,B,True,,1,60",
                "line 3, column `kind`: `radio` is not film, tv or ?",
            ),
            (
                "2024Jan-Jun,tv,,True,,1,60",
                "line 3, column `title`: a title needs a name",
            ),
            (
                "2024Jan-Jun,tv,B,yes,,1,60",
                "line 3, column `glob`: `yes` is not True or False",
            ),
            (
                "2024Jan-Jun,tv,B,True,2024-13-01,1,60",
                "line 3, column `release`: `2024-13-01` is not a date",
            ),
            (
                "2024Jan-Jun,tv,B,True,,-1,60",
                "line 3, column `hours`: `-1` is not a number of 0 or more",
            ),
            (
                "2024Jan-Jun,tv,B,True,,1,NaN",
                "line 3, column `runtime_min`: `NaN` is not a number of 0 or more",
            ),
            ("2024Jan-Jun,tv,B,True,,1", "line 3: "),
            ("2025Jan-Jun,tv,B,True,,1,60", "there is no report of 2024Jul-Dec"),
        ];
        for (text, expected) in table {
            let error = row(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let lacking = read("half,kind,title,glob,release,hours\n").unwrap_err();
        assert!(
            lacking.contains(
                "line 1: column `runtime_min` is missing; half-year reports have the columns half,"
            )
        );
        assert!(
            read(HEADER)
                .unwrap_err()
                .contains("there is no row; expected half-year reports")
        );
    }
}
