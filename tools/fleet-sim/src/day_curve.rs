//! When viewers watch: the hours of a day, and the days of a week.
//!
//! The hours follow the shape of two published 5-minute curves of a video CDN (US and EU metro), whose peak over mean
//! is 1.94 and 2.00: lowest before dawn, rising from the afternoon, highest between 20 and 22. A region's clock is taken
//! to be universal time.

use cdn_types::time::Date;

/// Relative demand of each hour.
const HOURS: [f64; 24] = [
    0.97, 0.67, 0.52, 0.44, 0.40, 0.42, 0.50, 0.62, 0.74, 0.84, 0.92, 1.00, 1.08, 1.12, 1.14, 1.20, 1.32,
    1.52, 1.77, 2.02, 2.17, 2.12, 1.82, 1.37,
];

/// Relative demand of each day, Monday first: more at the week-end, as with every service that publishes it.
const DAYS: [f64; 7] = [0.93, 0.91, 0.93, 0.96, 1.05, 1.14, 1.08];

/// Share of a day's demand that falls into an hour (0 to 23).
pub fn of_hour(hour: u8) -> f64 {
    HOURS[usize::from(hour) % 24] / HOURS.iter().sum::<f64>()
}

/// Demand of a day over the mean day's.
pub fn of_day(date: Date) -> f64 {
    let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
    DAYS[weekday] * 7.0 / DAYS.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_over_mean_is_as_measured() {
        let peak = (0..24).map(of_hour).fold(0.0, f64::max) * 24.0;
        assert!((1.9..=2.0).contains(&peak), "{peak}");
        let whole: f64 = (0..24).map(of_hour).sum();
        assert!((whole - 1.0).abs() < 1e-12);
        let monday: Date = "2026-11-23".parse().unwrap();
        let saturday: Date = "2026-11-28".parse().unwrap();
        assert!(of_day(saturday) > 1.1 * of_day(monday));
    }
}
