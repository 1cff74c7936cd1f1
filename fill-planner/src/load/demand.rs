//! Demand: what viewers drew of each object, by region and hour (or day).

use crate::rows::{self, Layout, Row, RowsError};
use cdn_types::{Bytes, Hour, api::v1::DemandRow, time::Date};
use std::{io::Read, path::Path};

const LAYOUT: Layout = Layout::own(
    "rows of demand",
    &["region", "object", "requests", "bytes", "hour", "day"],
    4,
);
const HOUR: usize = 4;
const DAY: usize = 5;
/// What is told by days counts as drawn in this hour: planning asks for days, and an hour of the day it must be.
const NOON: i64 = 12;

/// Reads a demand file.
///
/// # Errors
/// The first wrong row, by place and column.
pub fn demand(file: &Path) -> Result<Vec<DemandRow>, RowsError> {
    let mut rows = Vec::new();
    rows::read(file, &LAYOUT, |row| {
        rows.push(demand_row(row)?);
        Ok(())
    })?;
    Ok(rows)
}

/// [`demand`] in CSV from a reader; `file` is its name in errors.
///
/// # Errors
/// As there.
pub fn demand_from(reader: impl Read, file: &Path) -> Result<Vec<DemandRow>, RowsError> {
    let mut rows = Vec::new();
    rows::csv(reader, file, &LAYOUT, |row| {
        rows.push(demand_row(row)?);
        Ok(())
    })?;
    Ok(rows)
}

fn demand_row(row: &Row<'_>) -> Result<DemandRow, RowsError> {
    let hour = match (row.has(HOUR), row.has(DAY)) {
        (true, false) => row.typed::<Hour>(HOUR)?,
        (false, true) => {
            let day: Date = row.parse(DAY, "a date such as 2026-11-22")?;
            Hour(Hour::start_of(day).0 + NOON)
        }
        (false, false) => {
            return Err(row.wrong(HOUR, "it is missing, and there is no column `day` either".into()));
        }
        (true, true) => return Err(row.wrong(DAY, "there is a column `hour` too; give one of them".into())),
    };
    Ok(DemandRow {
        hour,
        region: row.typed(0)?,
        object: row.typed(1)?,
        requests: row.count(2)?,
        bytes: Bytes(row.count(3)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    fn read(text: &str) -> Result<Vec<DemandRow>, String> {
        demand_from(text.as_bytes(), Path::new("d.csv")).map_err(|e| e.to_string())
    }

    #[test]
    fn reads_columns_in_any_order_and_skips_comments() {
        let text = format!(
            "# simulated\nbytes,hour,region,object,requests\n 9 ,2026-11-22T14Z,nl,{OBJECT},2\n# more\n0,2026-11-22T15Z,nl,{OBJECT},0\n"
        );
        let rows = read(&text).unwrap();
        assert_eq!((rows.len(), rows[0].bytes, rows[0].requests), (2, Bytes(9), 2));
        assert_eq!(read("hour,region,object,requests,bytes\n"), Ok(vec![]));
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let header = "hour,region,object,requests,bytes";
        let row = |fields: &str| format!("{header}\n2026-11-22T14Z,nl,{OBJECT},1,1\n{fields}\n");
        let table = [
            (String::new(), "line 1: column `region` is missing"),
            (
                "hour,region,object,requests\n".into(),
                "line 1: column `bytes` is missing",
            ),
            (format!("{header},views\n"), "column `views` is not known"),
            (format!("{header},hour\n"), "column `hour` stands twice"),
            (
                row(&format!("2026-11-22,nl,{OBJECT},1,1")),
                "line 3, column `hour`: `2026-11-22` is not an hour",
            ),
            (
                row(&format!("2026-11-22T24Z,nl,{OBJECT},1,1")),
                "line 3, column `hour`",
            ),
            (
                row(&format!("2026-11-22T14Z,n l,{OBJECT},1,1")),
                "line 3, column `region`: `n l` is not a region id",
            ),
            (
                row("2026-11-22T14Z,nl,abc,1,1"),
                "line 3, column `object`: `abc` is not a BLAKE3 digest",
            ),
            (
                row(&format!("2026-11-22T14Z,nl,{OBJECT},x,1")),
                "line 3, column `requests`: `x` is not a whole number",
            ),
            (
                row(&format!("2026-11-22T14Z,nl,{OBJECT},1,-5")),
                "line 3, column `bytes`: `-5` is not a whole number of 0 or more",
            ),
            (
                row(&format!("2026-11-22T14Z,nl,{OBJECT},1")),
                "line 3: 4 fields where the header has 5",
            ),
        ];
        for (text, expected) in table {
            let error = read(&text).unwrap_err();
            assert!(
                error.starts_with("d.csv: ") && error.contains(expected),
                "{error}\nwanted: {expected}"
            );
        }
    }
}
