//! KuaiRec's `item_daily_features.csv`: plays of short videos by day, with playing times and upload dates (KuaiRec 2.0; data
//! description at its publisher's). Times are milliseconds. The upload date is a launch calendar that was known in time.

use super::service::{Object, Service, bytes_of};
use crate::rows::{self, Layout, Row, RowsError};
use cdn_types::{Hour, time::Date};
use std::path::Path;

const LAYOUT: Layout = Layout::published(
    "daily figures of videos",
    &[
        "video_id",
        "date",
        "upload_dt",
        "video_duration",
        "play_cnt",
        "play_duration",
    ],
);
/// Figures of a day stand at its noon.
const NOON: i64 = 12;

/// Reads the file; playing time becomes bytes at `rate` bit/s. Videos without a playing time (pictures) are left out.
///
/// # Errors
/// The first wrong row, by line and column.
pub fn kuairec(file: &Path, rate: u64) -> Result<Service, RowsError> {
    let mut service = Service::new("kuairec");
    rows::read(file, &LAYOUT, |row| {
        let video: u64 = row.parse(0, "the number of a video")?;
        let day = day(row)?;
        let uploaded: Option<Date> = row.optional(2, "a date such as 2020-03-30")?;
        if row.text(3).is_empty() {
            return Ok(());
        }
        let seconds = row.amount(3)? / 1000.0;
        if seconds <= 0.0 {
            return Ok(());
        }
        service.objects.insert(
            video,
            Object {
                size: bytes_of(seconds, rate).max(1),
                season: false,
                minutes: (seconds / 60.0) as u64,
                shown: uploaded.map(Hour::start_of),
            },
        );
        let (plays, played) = (row.amount(4)?, row.amount(5)? / 1000.0);
        let noon = Hour(Hour::start_of(day).0 + NOON);
        service.draw(noon, video, plays as u64, bytes_of(played, rate));
        Ok(())
    })?;
    Ok(service)
}

/// `20200705`.
fn day(row: &Row<'_>) -> Result<Date, RowsError> {
    let number: u32 = row.parse(1, "a date such as 20200705")?;
    let date = Date::new(
        (number / 10_000) as i16,
        (number / 100 % 100) as i8,
        (number % 100) as i8,
    );
    date.map_err(|_| row.wrong(1, format!("`{number}` is not a date such as 20200705")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &str) -> Result<Service, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("daily.csv");
        let header =
            "video_id,date,author_id,video_type,upload_dt,video_duration,show_cnt,play_cnt,play_duration";
        std::fs::write(&file, format!("{header}\n{rows}\n")).unwrap();
        kuairec(&file, 8_000).map_err(|e| e.to_string())
    }

    #[test]
    fn days_become_demand_and_upload_dates_a_calendar() {
        let service = read(
            "3,20200705,1,NORMAL,2020-07-05,10000.0,90,20,50000\n3,20200706,1,NORMAL,2020-07-05,10000.0,90,5,7000\n\
             4,20200705,1,NORMAL,2020-07-01,,9,1,1000",
        )
        .unwrap();
        let noon: Hour = "2020-07-05T12Z".parse().unwrap();
        assert_eq!(service.objects.len(), 1, "a picture has no playing time");
        assert_eq!(service.objects[&3].size, 10_000);
        assert_eq!(service.objects[&3].shown, Some("2020-07-05T00Z".parse().unwrap()));
        assert_eq!(service.drawn[&(noon, 3)], (20, 50_000));
        assert_eq!(service.drawn.len(), 2);
    }

    #[test]
    fn mistakes_are_named_with_line_and_column() {
        let error = read("3,20201301,1,NORMAL,2020-07-05,10000.0,90,20,50000").unwrap_err();
        assert!(
            error.contains("line 2, column `date`: `20201301` is not a date"),
            "{error}"
        );
        let error = read("3,20200705,1,NORMAL,2020-07-05,10000.0,90,-20,50000").unwrap_err();
        assert!(
            error.contains("column `play_cnt`: `-20` is not a number of 0 or more"),
            "{error}"
        );
    }
}
