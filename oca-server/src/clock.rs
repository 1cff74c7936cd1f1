//! The worker's view of the wall clock: the `Date` field and the log's time stamps, formatted once a second.

use std::{
    cell::RefCell,
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

#[derive(Debug, Default)]
struct Second {
    number: u64,
    http_date: String,
    rfc3339: String, // up to the seconds, without fraction and zone
}

/// Caches the texts of the current second.
#[derive(Debug, Default)]
pub struct Clock(RefCell<Second>);

impl Clock {
    /// Appends the current time as an HTTP-date (RFC 9110 §5.6.7).
    pub fn http_date(&self, out: &mut Vec<u8>) {
        self.now();
        out.extend_from_slice(self.0.borrow().http_date.as_bytes());
    }

    /// Appends the current time in RFC 3339 form with milliseconds, UTC.
    pub fn rfc3339(&self, out: &mut Vec<u8>) {
        let now = self.now();
        let _ = write!(out, "{}.{:03}Z", self.0.borrow().rfc3339, now.subsec_millis()); // memory does not fail
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut cached = self.0.borrow_mut();
        if cached.number != now.as_secs() || cached.http_date.is_empty() {
            *cached = Second::new(now.as_secs());
        }
        now
    }
}

impl Second {
    fn new(number: u64) -> Self {
        let seconds = i64::try_from(number).unwrap_or(0);
        let stamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self {
            number,
            http_date: httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(number)),
            rfc3339: stamp.to_string().trim_end_matches('Z').to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_one_second() {
        let second = Second::new(1_700_000_000);
        assert_eq!(second.http_date, "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(second.rfc3339, "2023-11-14T22:13:20");
    }
}
