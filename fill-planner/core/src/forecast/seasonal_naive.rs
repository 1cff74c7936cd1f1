//! The yardstick: tomorrow is what the same weekday was last week, or the newest day where there is no last week.

use super::{Forecast, Predictor};
use crate::history::History;

/// Days in a season.
const WEEK: u32 = 7;

/// Same day last week.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeasonalNaive;

impl Predictor for SeasonalNaive {
    fn name(&self) -> &str {
        "seasonal naive"
    }

    fn predict(&self, history: &History) -> Forecast {
        let mut forecast = Forecast::default();
        let last_week = (0..history.days().len()).find(|d| history.age(*d).is_multiple_of(WEEK));
        let day = last_week.unwrap_or(0);
        for region in history.regions() {
            for (object, series) in history.objects(region) {
                // What was first drawn within the week has no last week of its own.
                let bytes = series.get(day).or(series.first()).copied().unwrap_or(0);
                forecast.set(region, *object, bytes as f64);
            }
        }
        forecast
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::{Bytes, Hour, ObjectDigest, RegionId, api::v1::DemandRow, time::Date};

    #[test]
    fn takes_the_same_weekday_and_the_newest_day_of_the_new() {
        let planned: Date = "2026-11-23".parse().unwrap();
        let region = RegionId::new("r").unwrap();
        let row = |object: &[u8], days_ago: i64, bytes| DemandRow {
            hour: Hour(Hour::start_of(planned).0 - 24 * days_ago + 23),
            region: region.clone(),
            object: ObjectDigest::of(object),
            requests: 1,
            bytes: Bytes(bytes),
        };
        let mut rows: Vec<_> = (1..=10).map(|d| row(b"old", d, d as u64 * 10)).collect();
        rows.push(row(b"new", 1, 5));
        let f = SeasonalNaive.predict(&History::before(planned, &rows));
        assert_eq!(f.get(&region, &ObjectDigest::of(b"old")), 70.0);
        assert_eq!(f.get(&region, &ObjectDigest::of(b"new")), 5.0);
        assert_eq!(
            SeasonalNaive.predict(&History::before(planned, &[])),
            Forecast::default()
        );
    }
}
