//! Request targets: from the request line to a path that a namespace can look up. The path comes out percent-decoded,
//! without dot segments, doubled slashes or NUL; what could mean two things to two programs is refused.

use std::borrow::Cow;

/// A request target, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// Decoded and normalised; starts with `/`. `*` for the asterisk form.
    pub path: Cow<'a, str>,
    /// What follows `?`, as sent.
    pub query: Option<&'a str>,
}

/// Why a target is refused with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Neither a path, nor a URL of ours, nor `*`.
    #[error("the target is neither a path nor an http(s) URL")]
    Form,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a % that is not followed by two hexadecimal digits")]
    Escape,
    /// NUL, an encoded slash, or bytes that are no UTF-8.
    #[error("the path has an encoded slash, a NUL or bytes that are not UTF-8")]
    Character,
    /// More `..` than segments before them.
    #[error("the path leads out of the root")]
    Outside,
}

impl<'a> Target<'a> {
    /// Parses a target in origin, absolute or asterisk form (RFC 9112 §3.2).
    ///
    /// # Errors
    /// When it is none of these or its path cannot be decoded.
    pub fn parse(target: &'a str) -> Result<Self, TargetError> {
        if target == "*" {
            return Ok(Self {
                path: Cow::Borrowed("*"),
                query: None,
            });
        }
        let target = target.split('#').next().unwrap_or(target);
        let (raw, query) = match target.split_once('?') {
            Some((raw, query)) => (raw, Some(query)),
            None => (target, None),
        };
        let path = decode(origin_form(raw)?)?;
        Ok(Self {
            path: normalise(path)?,
            query,
        })
    }
}

/// The path of an origin-form or absolute-form target.
fn origin_form(raw: &str) -> Result<&str, TargetError> {
    if raw.starts_with('/') {
        return Ok(raw);
    }
    let (scheme, rest) = raw.split_once("://").ok_or(TargetError::Form)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(TargetError::Form);
    }
    match rest.find('/') {
        Some(0) => Err(TargetError::Form), // no authority
        Some(slash) => Ok(&rest[slash..]),
        None if rest.is_empty() => Err(TargetError::Form),
        None => Ok("/"),
    }
}

fn decode(path: &str) -> Result<Cow<'_, str>, TargetError> {
    if !path.contains('%') {
        return if path.contains('\0') {
            Err(TargetError::Character)
        } else {
            Ok(path.into())
        };
    }
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            escaped(bytes.next(), bytes.next())?
        } else {
            byte
        };
        out.push(byte);
    }
    let text = String::from_utf8(out).map_err(|_| TargetError::Character)?;
    if text.contains('\0') {
        Err(TargetError::Character)
    } else {
        Ok(text.into())
    }
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Result<u8, TargetError> {
    let hex = |b: Option<u8>| {
        b.and_then(|b| char::from(b).to_digit(16))
            .ok_or(TargetError::Escape)
    };
    match (hex(high)? << 4 | hex(low)?) as u8 {
        b'/' | 0 => Err(TargetError::Character),
        byte => Ok(byte),
    }
}

fn normalise(path: Cow<'_, str>) -> Result<Cow<'_, str>, TargetError> {
    if !path.contains("//") && !path.contains("/.") {
        return Ok(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop().ok_or(TargetError::Outside)?;
            }
            name => kept.push(name),
        }
    }
    let is_dir = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if is_dir || out.is_empty() {
        out.push('/');
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_decoded_and_normalised() {
        for (target, path) in [
            ("/a/b.mp4", "/a/b.mp4"),
            ("/", "/"),
            ("/a%20b", "/a b"),
            ("/%C3%BC.mp4", "/ü.mp4"),
            ("//a///b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/a/", "/a/"),
            ("/.hidden", "/.hidden"),
            ("/a..b", "/a..b"),
            ("http://host/a", "/a"),
            ("HTTPS://host:1/a", "/a"),
            ("http://host", "/"),
            ("/a#fragment", "/a"),
            ("*", "*"),
        ] {
            assert_eq!(Target::parse(target).unwrap().path, path, "{target}");
        }
        let t = Target::parse("/a?x=%00&y=?").unwrap();
        assert_eq!((t.path.as_ref(), t.query), ("/a", Some("x=%00&y=?")));
        assert!(
            matches!(Target::parse("/plain").unwrap().path, Cow::Borrowed(_)),
            "no allocation"
        );
    }

    #[test]
    fn what_is_ambiguous_is_refused() {
        for (target, error) in [
            ("", TargetError::Form),
            ("a", TargetError::Form),
            ("ftp://host/a", TargetError::Form),
            ("http:///a", TargetError::Form),
            ("host:443", TargetError::Form),
            ("/%", TargetError::Escape),
            ("/%4", TargetError::Escape),
            ("/%zz", TargetError::Escape),
            ("/%+1", TargetError::Escape),
            ("/a%00", TargetError::Character),
            ("/a%2fb", TargetError::Character),
            ("/%ff", TargetError::Character),
            ("/..", TargetError::Outside),
            ("/a/../../b", TargetError::Outside),
            ("/%2e%2e/b", TargetError::Outside),
        ] {
            assert_eq!(Target::parse(target), Err(error), "{target}");
        }
    }

    proptest! {
        #[test]
        fn a_path_that_comes_out_is_safe(target in "/([a-c./%]|%2[eEfF]|%00|%41){0,24}") {
            if let Ok(t) = Target::parse(&target) {
                prop_assert!(t.path.starts_with('/'));
                prop_assert!(!t.path.contains('\0') && !t.path.contains("//"));
                prop_assert!(t.path.split('/').all(|s| s != "." && s != ".."));
            }
        }
    }
}
