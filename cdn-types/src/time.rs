//! Points in time as the wire carries them. Instants are `jiff::Timestamp` (RFC 3339 text), days are
//! `jiff::civil::Date` (`2026-11-23`); demand is counted by the hour, which has a type of its own here.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

pub use jiff::{Timestamp, civil::Date};

/// One hour of universal time, counted from 1970-01-01T00Z; `2026-11-23T14Z` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^-?[0-9]{4,6}-[0-9]{2}-[0-9]{2}T[0-9]{2}Z$", example = "2026-11-23T14Z"))]
pub struct Hour(pub i64);

/// Why a text is no hour.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an hour of universal time such as 2026-11-23T14Z")]
pub struct HourError(String);

impl Hour {
    /// The hour that `at` lies in.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(3600))
    }
    /// The first hour of a day of universal time.
    pub fn start_of(date: Date) -> Self {
        let days = date
            .since((jiff::Unit::Day, Date::constant(1970, 1, 1)))
            .map_or(0, |s| i64::from(s.get_days()));
        Self(days * 24)
    }
    /// Its first instant.
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_mul(3600)).unwrap_or(Timestamp::MAX)
    }
    /// Its day of universal time.
    pub fn date(self) -> Date {
        self.start().to_zoned_datetime(jiff::tz::TimeZone::UTC).date()
    }
    /// Hour of the day, 0 to 23, universal time.
    pub fn of_day(self) -> u8 {
        self.0.rem_euclid(24) as u8
    }
}

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}T{:02}Z", self.date(), self.of_day()))
    }
}

impl FromStr for Hour {
    type Err = HourError;
    fn from_str(text: &str) -> Result<Self, HourError> {
        let wrong = || HourError(text.chars().take(80).collect());
        let (date, hour) = text
            .strip_suffix('Z')
            .and_then(|t| t.split_once('T'))
            .ok_or_else(wrong)?;
        let date: Date = date.parse().map_err(|_| wrong())?;
        let of_day: i64 = hour.parse().map_err(|_| wrong())?;
        if hour.len() != 2 || !(0..24).contains(&of_day) {
            return Err(wrong());
        }
        Ok(Self(Self::start_of(date).0 + of_day))
    }
}

impl Serialize for Hour {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Hour {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_read_as_they_are_written() {
        let h: Hour = "2026-11-23T14Z".parse().unwrap();
        assert_eq!(h.to_string(), "2026-11-23T14Z");
        assert_eq!(Hour::of("2026-11-23T14:59:59.9Z".parse().unwrap()), h);
        assert_eq!(Hour::of(h.start()), h);
        assert_eq!(h.of_day(), 14);
        for bad in [
            "",
            "2026-11-23",
            "2026-11-23T24Z",
            "2026-13-01T00Z",
            "2026-11-23T1Z",
            "2026-11-23T14",
        ] {
            assert!(bad.parse::<Hour>().is_err(), "{bad}");
        }
        assert_eq!("1969-12-31T23Z".parse::<Hour>(), Ok(Hour(-1)));
    }
}
