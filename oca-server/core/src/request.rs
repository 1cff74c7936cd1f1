//! A request as the decision sees it: the method and the fields that matter, whatever protocol carried them.

use std::borrow::Cow;

/// A field's value. A field sent in several lines is joined by ", " (RFC 9110 §5.3): lists stay lists, and a
/// doubled singleton breaks its own grammar and is treated so.
pub type Value<'a> = Option<Cow<'a, [u8]>>;

/// Methods (RFC 9110 §9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// OPTIONS
    Options,
    /// Any other: answered 405.
    Other,
}

impl Method {
    /// By its name, which is case-sensitive.
    pub fn parse(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// The request fields that a decision looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// Range (§14.2)
    pub range: Value<'a>,
    /// If-Range (§13.1.5)
    pub if_range: Value<'a>,
    /// If-Match (§13.1.1)
    pub if_match: Value<'a>,
    /// If-None-Match (§13.1.2)
    pub if_none_match: Value<'a>,
    /// If-Modified-Since (§13.1.3)
    pub if_modified_since: Value<'a>,
    /// If-Unmodified-Since (§13.1.4)
    pub if_unmodified_since: Value<'a>,
}

impl<'a> Fields<'a> {
    /// Takes one field line if it is one that matters.
    pub fn take(&mut self, name: &str, value: &'a [u8]) {
        let slot = match name.len() {
            5 if name.eq_ignore_ascii_case("range") => &mut self.range,
            8 if name.eq_ignore_ascii_case("if-range") => &mut self.if_range,
            8 if name.eq_ignore_ascii_case("if-match") => &mut self.if_match,
            13 if name.eq_ignore_ascii_case("if-none-match") => &mut self.if_none_match,
            17 if name.eq_ignore_ascii_case("if-modified-since") => &mut self.if_modified_since,
            19 if name.eq_ignore_ascii_case("if-unmodified-since") => &mut self.if_unmodified_since,
            _ => return,
        };
        match slot {
            None => *slot = Some(Cow::Borrowed(value)),
            Some(first) => {
                let joined = first.to_mut();
                joined.extend_from_slice(b", ");
                joined.extend_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_field_are_joined() {
        let mut fields = Fields::default();
        fields.take("If-None-Match", b"\"a\"");
        fields.take("if-none-match", b"\"b\"");
        fields.take("RANGE", b"bytes=0-1");
        fields.take("x-range", b"bytes=0-1");
        assert_eq!(fields.if_none_match.as_deref(), Some(b"\"a\", \"b\"".as_slice()));
        assert_eq!(fields.range.as_deref(), Some(b"bytes=0-1".as_slice()));
        assert_eq!(fields.if_range, None);
    }

    #[test]
    fn method_names_are_case_sensitive() {
        assert_eq!(Method::parse("GET"), Method::Get);
        assert_eq!(Method::parse("get"), Method::Other);
    }
}
