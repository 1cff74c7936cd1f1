//! The claims that both kinds of token share, checked in one place: issuer, audience, time.

use crate::{Millis, Reason};

/// What a token said of itself, whatever its kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// First instant at which it is no longer valid.
    pub(crate) end: Option<Millis>,
    /// First instant at which it is.
    pub(crate) start: Option<Millis>,
}

impl Times {
    /// Whether it is valid now, without any leeway (RFC 9246 §2.1.4: an end equal to now has come).
    pub(crate) fn check(self, now: Millis) -> Result<(), Reason> {
        if self.end.is_some_and(|end| end <= now) {
            return Err(Reason::Expired);
        }
        if self.start.is_some_and(|start| start > now) {
            return Err(Reason::NotBefore);
        }
        Ok(())
    }
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction. An end is rounded down and a start up, so that rounding
/// never prolongs.
pub(crate) fn millis(seconds: f64, round_up: bool) -> Option<Millis> {
    let millis = seconds * 1000.0;
    let millis = if round_up { millis.ceil() } else { millis.floor() };
    // `as` saturates: the year 292,000,000 will do for all that is later.
    millis.is_finite().then_some(millis as Millis)
}

/// Whether an audience is ours: absent, or it names `own` (RFC 9246 §2.1.3).
pub(crate) fn check_audience(said: Option<&[&str]>, own: Option<&str>) -> Result<(), Reason> {
    match said {
        Some(names) if !own.is_some_and(|own| names.contains(&own)) => Err(Reason::Audience),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_equal_to_now_has_come() {
        let times = Times {
            end: Some(1000),
            start: Some(500),
        };
        assert_eq!(times.check(999), Ok(()));
        assert_eq!(times.check(500), Ok(()));
        assert_eq!(times.check(1000), Err(Reason::Expired));
        assert_eq!(times.check(499), Err(Reason::NotBefore));
        assert_eq!(Times::default().check(i64::MAX), Ok(()));
    }

    #[test]
    fn rounding_never_prolongs() {
        assert_eq!(millis(1.0009, false), Some(1000));
        assert_eq!(millis(1.0001, true), Some(1001));
        assert_eq!(millis(1e300, false), Some(i64::MAX));
        assert_eq!(millis(f64::NAN, false), None);
    }

    #[test]
    fn an_audience_must_name_us() {
        assert_eq!(check_audience(None, None), Ok(()));
        assert_eq!(check_audience(Some(&["a", "b"]), Some("b")), Ok(()));
        assert_eq!(check_audience(Some(&["a"]), Some("b")), Err(Reason::Audience));
        assert_eq!(check_audience(Some(&["a"]), None), Err(Reason::Audience));
        assert_eq!(check_audience(Some(&[]), Some("b")), Err(Reason::Audience));
    }
}
