//! Conditional requests in the order of RFC 9110 §13.2.2. A field that cannot be parsed where the RFC says "MUST
//! ignore" counts as absent.

use crate::{
    etag::{Comparison, list_matches},
    request::Fields,
};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the current representation is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators<'a> {
    /// Strong entity tag with its quotes.
    pub etag: &'a str,
    /// Last-Modified in whole seconds since 1970.
    pub modified: u64,
}

/// What the preconditions of a GET or HEAD come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Go on, to `Range` and `If-Range`.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates steps 1 to 4 of §13.2.2 for a GET or HEAD.
pub fn evaluate(fields: &Fields<'_>, current: Validators<'_>) -> Outcome {
    let unmodified_since = |date: &[u8]| parse_date(date).is_none_or(|date| current.modified <= date);
    let goes_on = match (&fields.if_match, &fields.if_unmodified_since) {
        (Some(list), _) => list_matches(list, current.etag, Comparison::Strong), // steps 1 and 2
        (None, Some(date)) => unmodified_since(date),
        (None, None) => true,
    };
    if !goes_on {
        return Outcome::Failed;
    }
    let not_modified = match (&fields.if_none_match, &fields.if_modified_since) {
        (Some(list), _) => list_matches(list, current.etag, Comparison::Weak), // steps 3 and 4
        (None, Some(date)) => parse_date(date).is_some_and(|date| current.modified <= date),
        (None, None) => false,
    };
    if not_modified {
        Outcome::NotModified
    } else {
        Outcome::Proceed
    }
}

/// Whether an `If-Range` value names exactly the current representation (§13.1.5): a strong tag that is equal, or
/// the very date of Last-Modified. Anything else, a weak tag included, makes `Range` be ignored.
pub fn if_range(value: &[u8], current: Validators<'_>) -> bool {
    let value = value.trim_ascii();
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return value == current.etag.as_bytes();
    }
    parse_date(value) == Some(current.modified)
}

/// Seconds since 1970 of an HTTP-date in any of its three forms (§5.6.7).
fn parse_date(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failed, NotModified, Proceed};

    const CURRENT: Validators<'static> = Validators {
        etag: "\"now\"",
        modified: 1_700_000_000, // Tue, 14 Nov 2023 22:13:20 GMT
    };
    const SAME: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
    const OLDER: &str = "Tue, 14 Nov 2023 22:13:19 GMT";
    const NEWER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";

    #[test]
    fn the_order_of_section_13_2_2() {
        // If-Match, If-Unmodified-Since, If-None-Match, If-Modified-Since
        let table: &[([&str; 4], Outcome)] = &[
            (["", "", "", ""], Proceed),
            (["\"now\"", "", "", ""], Proceed),
            (["*", "", "", ""], Proceed),
            (["\"old\"", "", "", ""], Failed),
            (["W/\"now\"", "", "", ""], Failed),
            (["\"now\"", OLDER, "", ""], Proceed), // If-Unmodified-Since is not looked at
            (["\"old\"", NEWER, "", ""], Failed),
            (["", SAME, "", ""], Proceed),
            (["", NEWER, "", ""], Proceed),
            (["", OLDER, "", ""], Failed),
            (["", "yesterday", "", ""], Proceed),
            (["", "", "\"now\"", ""], NotModified),
            (["", "", "W/\"now\"", ""], NotModified),
            (["", "", "*", ""], NotModified),
            (["", "", "\"old\"", ""], Proceed),
            (["", "", "\"old\"", NEWER], Proceed), // If-Modified-Since is not looked at
            (["", "", "\"now\"", OLDER], NotModified),
            (["", "", "", SAME], NotModified),
            (["", "", "", NEWER], NotModified),
            (["", "", "", OLDER], Proceed),
            (["", "", "", "never"], Proceed),
            (["", "", "", "Tuesday, 14-Nov-23 22:13:20 GMT"], NotModified),
            (["", "", "", "Tue Nov 14 22:13:20 2023"], NotModified),
            (["\"old\"", "", "\"now\"", ""], Failed), // If-Match comes first
            (["\"now\"", "", "\"now\"", ""], NotModified),
            (["", OLDER, "\"now\"", ""], Failed),
        ];
        for ([im, ius, inm, ims], expected) in table {
            let field = |text: &'static str| (!text.is_empty()).then(|| text.as_bytes().into());
            let fields = Fields {
                if_match: field(im),
                if_unmodified_since: field(ius),
                if_none_match: field(inm),
                if_modified_since: field(ims),
                ..Fields::default()
            };
            assert_eq!(evaluate(&fields, CURRENT), *expected, "{im} {ius} {inm} {ims}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        for (value, expected) in [
            ("\"now\"", true),
            ("\"old\"", false),
            ("W/\"now\"", false),
            (SAME, true),
            (NEWER, false),
            (OLDER, false),
            ("now", false),
            ("", false),
            ("\"now\", \"old\"", false),
        ] {
            assert_eq!(if_range(value.as_bytes(), CURRENT), expected, "{value}");
        }
    }
}
