//! Entity tags (RFC 9110 §8.8.3): how ours are formed and how lists of a client's are compared.

use cdn_types::ObjectDigest;
use std::time::Duration;

/// The strong tag of an object: its digest. Equal tags mean equal bytes on every appliance.
pub fn of_digest(digest: &ObjectDigest) -> String {
    format!("\"{digest}\"")
}

/// The tag of a file in a plain tree: its modification time in nanoseconds and its size. It is strong as far as the
/// file system's clock tells two writes apart.
pub fn of_file(size: u64, modified: Duration) -> String {
    format!("\"{:x}-{size:x}\"", modified.as_nanos())
}

/// How tags are compared (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Equal and neither weak.
    Strong,
    /// Equal but for the weakness mark.
    Weak,
}

/// Whether an `If-Match` or `If-None-Match` value names `current` (a strong tag with its quotes), or is `*`. A value
/// that breaks the grammar matches nothing from the broken place on.
pub fn list_matches(list: &[u8], current: &str, how: Comparison) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = skip_separators(rest);
        let Some((tag, weak, after)) = next_tag(rest) else {
            return false;
        };
        if tag == current.as_bytes() && !(weak && how == Comparison::Strong) {
            return true;
        }
        let after = after.trim_ascii_start();
        if !after.is_empty() && after[0] != b',' {
            return false;
        }
        rest = after;
    }
}

fn skip_separators(mut list: &[u8]) -> &[u8] {
    while let [b' ' | b'\t' | b',', rest @ ..] = list {
        list = rest;
    }
    list
}

/// The first tag with its quotes, whether it is weak, and what follows.
fn next_tag(list: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let (weak, opaque) = match list.strip_prefix(b"W/") {
        Some(opaque) => (true, opaque),
        None => (false, list),
    };
    let inner = opaque.strip_prefix(b"\"")?;
    let end = inner.iter().position(|b| *b == b'"')?;
    let etagc = |b: &u8| *b == 0x21 || (0x23..=0x7e).contains(b) || *b >= 0x80;
    inner[..end]
        .iter()
        .all(etagc)
        .then(|| (&opaque[..end + 2], weak, &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted() {
        let digest = ObjectDigest::of(b"x");
        assert_eq!(of_digest(&digest), format!("\"{digest}\""));
        assert_eq!(of_file(255, Duration::new(1, 16)), "\"3b9aca10-ff\"");
    }

    #[test]
    fn lists_are_compared_by_the_grammar() {
        use Comparison::{Strong, Weak};
        for (list, how, expected) in [
            ("*", Strong, true),
            (" * ", Weak, true),
            ("\"a\"", Strong, true),
            ("W/\"a\"", Strong, false),
            ("W/\"a\"", Weak, true),
            ("\"b\", \"a\"", Strong, true),
            ("\"b\",, ,\"a\"", Strong, true),
            ("W/\"b\" , W/\"a\"", Weak, true),
            ("\"b\"", Weak, false),
            ("a", Weak, false),
            ("\"a", Weak, false),
            ("\"b\" \"a\"", Weak, false),
            ("\"x y\", \"a\"", Weak, false),
            ("w/\"a\"", Weak, false),
            ("\"b,\\\"a\\\"\"", Weak, false),
            ("", Weak, false),
            (", ,", Weak, false),
            ("*, \"b\"", Weak, false),
        ] {
            assert_eq!(
                list_matches(list.as_bytes(), "\"a\"", how),
                expected,
                "{list} {how:?}"
            );
        }
    }
}
