//! The fill window: the hours of a site's local night in which its appliances may fill.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, Time},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

/// Hours of local time in which a site's appliances fill, every day. `start` = `end` means the whole day.
///
/// JSON: `{"start": "02:00", "end": "14:00", "time_zone": "Europe/Amsterdam"}`. A window may pass midnight. On the
/// days that the clock changes the window keeps its wall-clock limits, so it is an hour shorter or longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct FillWindow {
    start: Time,
    end: Time,
    zone: TimeZone,
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
struct Raw {
    start: String,
    end: String,
    time_zone: String,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for FillWindow {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        Raw::schema()
    }
}
#[cfg(feature = "openapi")]
impl utoipa::ToSchema for FillWindow {}

/// Why this is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not a wall-clock time.
    #[error("`{0}` is not a time of day such as 02:00")]
    Time(String),
    /// Not in the time-zone database.
    #[error("`{0}` is not a time zone such as Europe/Amsterdam or UTC")]
    Zone(String),
}

impl FillWindow {
    /// From `02:00`, `14:00`, `Europe/Amsterdam`.
    pub fn new(start: &str, end: &str, time_zone: &str) -> Result<Self, WindowError> {
        let time = |s: &str| match (s.len(), s.parse::<Time>()) {
            (5, Ok(t)) => Ok(t),
            _ => Err(WindowError::Time(s.to_owned())),
        };
        let zone = TimeZone::get(time_zone).map_err(|_| WindowError::Zone(time_zone.to_owned()))?;
        Ok(Self {
            start: time(start)?,
            end: time(end)?,
            zone,
        })
    }

    /// Open at every hour: for tests, demos and sites without a quiet time.
    pub fn always() -> Self {
        Self {
            start: Time::midnight(),
            end: Time::midnight(),
            zone: TimeZone::UTC,
        }
    }

    /// Whether an appliance may fill at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let t = now.to_zoned_datetime(self.zone.clone()).time();
        match self.start.cmp(&self.end) {
            std::cmp::Ordering::Equal => true,
            std::cmp::Ordering::Less => self.start <= t && t < self.end,
            std::cmp::Ordering::Greater => t >= self.start || t < self.end,
        }
    }

    /// The next instant at or after `now` at which filling may go on.
    pub fn next_open(&self, now: Timestamp) -> Timestamp {
        if self.is_open(now) {
            return now;
        }
        let local = now.to_zoned_datetime(self.zone.clone());
        let today = local.date();
        let days = [today, today.checked_add(1.day()).unwrap_or(today)];
        days.into_iter()
            .filter_map(|d| {
                d.to_datetime(self.start)
                    .to_zoned_datetime(self.zone.clone())
                    .ok()
            })
            .map(|z| z.timestamp())
            .find(|t| *t > now)
            .unwrap_or(now)
    }

    /// Length in seconds of the window that ends on this day: an hour less or more where the clock changes in it.
    pub fn seconds_until(&self, end_day: Date) -> u64 {
        let at = |day: Date, time: Time| day.to_datetime(time).to_zoned_datetime(self.zone.clone()).ok();
        let start_day = match self.start < self.end {
            true => end_day,
            false => end_day.yesterday().unwrap_or(end_day),
        };
        let length = at(start_day, self.start)
            .zip(at(end_day, self.end))
            .map(|(start, end)| {
                let seconds = end.timestamp().as_second() - start.timestamp().as_second();
                u64::try_from(seconds).unwrap_or(0) // a window in the hour that is left out
            });
        length.unwrap_or_else(|| self.seconds())
    }

    /// Length on an ordinary day, in seconds (1 to 86,400).
    pub fn seconds(&self) -> u64 {
        let of_day = |t: Time| i64::from(t.hour()) * 3600 + i64::from(t.minute()) * 60;
        match (of_day(self.end) - of_day(self.start)).rem_euclid(86_400) {
            0 => 86_400,
            n => n as u64,
        }
    }
}

impl TryFrom<Raw> for FillWindow {
    type Error = WindowError;
    fn try_from(r: Raw) -> Result<Self, WindowError> {
        Self::new(&r.start, &r.end, &r.time_zone)
    }
}
impl From<FillWindow> for Raw {
    fn from(w: FillWindow) -> Raw {
        let text = |t: Time| format!("{:02}:{:02}", t.hour(), t.minute());
        Raw {
            start: text(w.start),
            end: text(w.end),
            time_zone: w.zone.iana_name().unwrap_or("UTC").to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: &str) -> Timestamp {
        s.parse().unwrap()
    }

    #[test]
    fn opens_by_local_time_and_past_midnight() {
        let w = FillWindow::new("02:00", "14:00", "Europe/Amsterdam").unwrap();
        assert!(!w.is_open(at("2026-11-23T00:59:59Z")));
        assert!(w.is_open(at("2026-11-23T01:00:00Z")));
        assert!(!w.is_open(at("2026-11-23T13:00:00Z")));
        let night = FillWindow::new("22:00", "06:00", "UTC").unwrap();
        assert!(night.is_open(at("2026-11-23T23:00:00Z")) && night.is_open(at("2026-11-23T05:59:00Z")));
        assert!(!night.is_open(at("2026-11-23T12:00:00Z")));
        assert_eq!(night.seconds(), 8 * 3600);
        assert_eq!(FillWindow::always().seconds(), 86_400);
    }

    #[test]
    fn next_opening_skips_to_the_morning_and_follows_the_clock_change() {
        let w = FillWindow::new("02:00", "14:00", "Europe/Amsterdam").unwrap();
        assert_eq!(
            w.next_open(at("2026-11-23T13:30:00Z")),
            at("2026-11-24T01:00:00Z")
        );
        assert_eq!(
            w.next_open(at("2026-11-23T02:00:00Z")),
            at("2026-11-23T02:00:00Z")
        );
        // 29 March 2026, 02:00 does not exist in Amsterdam: the window opens at 03:00 summer time = 01:00Z.
        assert_eq!(
            w.next_open(at("2026-03-28T20:00:00Z")),
            at("2026-03-29T01:00:00Z")
        );
    }

    #[test]
    fn a_window_is_as_long_as_the_clock_makes_it() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        let hours = |start, end, day| {
            let w = FillWindow::new(start, end, "Europe/Amsterdam").unwrap();
            w.seconds_until(day) as f64 / 3600.0
        };
        let (spring, autumn, plain) = (day("2026-03-29"), day("2026-10-25"), day("2026-11-24"));
        for (start, end, wanted) in [
            ("02:00", "14:00", [11.0, 13.0, 12.0]),
            ("22:00", "06:00", [7.0, 9.0, 8.0]),
            ("14:00", "20:00", [6.0, 6.0, 6.0]),
            ("02:00", "02:00", [24.0, 24.0, 24.0]), // a whole day, to the hour before the clock changes
            ("02:10", "02:50", [40.0 / 60.0, 40.0 / 60.0, 40.0 / 60.0]), // moved into the hour that there is
        ] {
            let found = [spring, autumn, plain].map(|d| hours(start, end, d));
            assert_eq!(found, wanted, "{start} to {end}");
        }
    }

    #[test]
    fn wrong_text_is_named() {
        assert!(
            FillWindow::new("2", "14:00", "UTC")
                .unwrap_err()
                .to_string()
                .contains("`2`")
        );
        assert!(
            FillWindow::new("02:00", "14:00", "Mars/Olympus")
                .unwrap_err()
                .to_string()
                .contains("Mars")
        );
        let j = r#"{"start":"02:00","end":"14:00","time_zone":"Europe/Amsterdam"}"#;
        let w: FillWindow = serde_json::from_str(j).unwrap();
        assert_eq!(serde_json::to_string(&w).unwrap(), j);
    }
}
