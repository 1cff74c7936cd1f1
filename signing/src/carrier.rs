//! Where a token travels: in the query, in the path as a parameter, or in a cookie; and the address without it.

use crate::Reason;
use std::borrow::Cow;

/// Reserved characters (RFC 3986 §2.2).
const RESERVED: &[u8] = b":/?#[]@!$&'()*+,;=";
/// The sub-delimiters among them.
const SUB_DELIMITERS: &[u8] = b"!$&'()*+,;=";

/// A token found in a request target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried<'a> {
    /// The token.
    pub token: &'a str,
    /// The target without it.
    pub target: Cow<'a, str>,
}

/// Why a name cannot be an attribute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a token: give one or more of A-Z a-z 0-9 . _ ~ -, e.g. URISigningPackage")]
pub struct ParameterError(String);

/// Whether `name` can be the attribute's name.
///
/// # Errors
/// If it is empty or has a character that ends names in addresses or cookies.
pub fn check_attribute(name: &str) -> Result<(), ParameterError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    if !name.is_empty() && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(ParameterError(name.to_owned()))
    }
}

/// Finds the token in a target's path or query and removes it as RFC 9246 §2.1.15 says: with the reserved character
/// before the attribute; or, if a sub-delimiter ends the token, with that one instead.
///
/// # Errors
/// If there are two: which one another program took could not be said.
pub fn find_in_target<'a>(attribute: &str, target: &'a str) -> Result<Option<Carried<'a>>, Reason> {
    let mut starts = occurrences(attribute, target);
    let Some(start) = starts.next() else {
        return Ok(None);
    };
    if starts.next().is_some() {
        return Err(Reason::TwoTokens);
    }
    let value = start + attribute.len() + 1;
    let bytes = target.as_bytes();
    let end = bytes[value..]
        .iter()
        .position(|b| RESERVED.contains(b))
        .map_or(target.len(), |at| value + at);
    let ended_by_sub_delimiter = bytes.get(end).is_some_and(|b| SUB_DELIMITERS.contains(b));
    let (from, to) = if ended_by_sub_delimiter {
        (start, end + 1)
    } else {
        (start - 1, end)
    };
    let target = if to == target.len() {
        Cow::Borrowed(&target[..from])
    } else {
        Cow::Owned([&target[..from], &target[to..]].concat())
    };
    let token = token_of(bytes, value, end);
    Ok(Some(Carried { token, target }))
}

/// The bytes of a range whose ends are ASCII characters or the text's own.
fn token_of(bytes: &[u8], from: usize, to: usize) -> &str {
    std::str::from_utf8(&bytes[from..to]).unwrap_or_default()
}

/// Where `attribute=` stands after a reserved character.
fn occurrences(attribute: &str, target: &str) -> impl Iterator<Item = usize> {
    let bytes = target.as_bytes();
    target
        .match_indices(attribute)
        .map(|(at, _)| at)
        .filter(move |at| {
            bytes.get(at + attribute.len()) == Some(&b'=') && *at > 0 && RESERVED.contains(&bytes[at - 1])
        })
}

/// The first cookie of that name in a `Cookie` field (RFC 6265 §4.2): browsers send the most specific path's first.
pub fn find_in_cookies<'a>(attribute: &str, field: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(field)
        .ok()?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == attribute)
        .map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(target: &str) -> (String, String) {
        let carried = find_in_target("Pkg", target).unwrap().expect("a token");
        (carried.token.to_owned(), carried.target.into_owned())
    }

    #[test]
    fn a_token_is_removed_as_the_rfc_says() {
        for (target, rest) in [
            ("/a?Pkg=x.y", "/a"),
            ("/a?Pkg=x.y&b=1", "/a?b=1"),
            ("/a?b=1&Pkg=x.y", "/a?b=1"),
            ("/a?b=1&Pkg=x.y&c=2", "/a?b=1&c=2"),
            ("/t;Pkg=x.y/a/b", "/t/a/b"),
            ("/t;Pkg=x.y;v=1/a", "/t;v=1/a"),
            ("/t/Pkg=x.y/a", "/t/a"),
            ("/t/a;Pkg=x.y", "/t/a"),
            ("/t/a;Pkg=x.y?b=1", "/t/a?b=1"),
            ("http://h/t;Pkg=x.y/a", "http://h/t/a"),
            ("/t;Pkg=x.y#z", "/t#z"),
        ] {
            assert_eq!(found(target), ("x.y".to_owned(), rest.to_owned()), "{target}");
        }
        assert_eq!(found("/a?Pkg="), (String::new(), "/a".to_owned()));
    }

    #[test]
    fn names_that_only_look_alike_are_not_tokens() {
        for target in [
            "/a",
            "/aPkg=x",
            "/a?xPkg=x",
            "/a?Pkg",
            "/a?Pkgs=x",
            "/a?pkg=x",
            "Pkg=x",
        ] {
            assert_eq!(find_in_target("Pkg", target), Ok(None), "{target}");
        }
    }

    #[test]
    fn two_tokens_are_refused() {
        for target in ["/t;Pkg=a/b?Pkg=c", "/b?Pkg=a&Pkg=a", "/b?Pkg=Pkg=a"] {
            assert_eq!(find_in_target("Pkg", target), Err(Reason::TwoTokens), "{target}");
        }
    }

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        for (field, token) in [
            ("Pkg=x.y", Some("x.y")),
            ("a=b; Pkg=x.y; Pkg=z", Some("x.y")),
            ("a=Pkg=x; Pkg=\"q\"", Some("q")),
            ("xPkg=a", None),
            ("Pkg", None),
        ] {
            assert_eq!(find_in_cookies("Pkg", field.as_bytes()), token, "{field}");
        }
        assert!(find_in_cookies("Pkg", b"Pkg=\xff").is_none());
    }

    #[test]
    fn attributes_are_plain_names() {
        assert!(check_attribute("URISigningPackage").is_ok());
        for bad in ["", "a=", "a b", "a;b", "ü"] {
            assert!(check_attribute(bad).is_err(), "{bad}");
        }
    }
}
