//! What a token is for: the addresses that it covers.

use crate::{Reason, uri::Uri};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use regex::bytes::{Regex, RegexBuilder};
use ring::digest::{SHA256, digest};

/// How the expressions begin that mean "at any host", as [`crate::mint_jwt`] writes them.
pub(crate) const ANY_HOST: &str = "[^:]*://[^/?#]*";
/// Characters that mean something in a POSIX extended regular expression (XBD §9.4.3).
pub(crate) const SPECIAL: &[char] = &[
    '.', '[', ']', '\\', '(', ')', '*', '+', '?', '{', '}', '|', '^', '$',
];
/// Longest regular expression in bytes.
const MAX_PATTERN: usize = 1024;
/// Most memory of a compiled one: some thousand times what a path prefix needs.
const MAX_COMPILED: usize = 256 << 10;
/// Deepest nesting of groups.
const MAX_NESTING: u32 = 32;

/// The addresses that a token covers.
#[derive(Debug)]
pub(crate) enum Container {
    /// One address, by its digest (RFC 9246 §2.1.15.1).
    Hash([u8; 32]),
    /// Addresses that an expression matches from their first to their last character (§2.1.15.2).
    Regex(Regex),
    /// Everything whose path begins so: the same as the expressions that we mint, which need no automaton then.
    Below(String),
    /// Parts of the address, each with what must hold of it (CTA-5007-B §4.6.1, `catu`).
    Parts(Vec<(Part, Test)>),
}

/// A part of an address, by its number in `catu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Scheme,
    Host,
    Port,
    Path,
    Query,
    ParentPath,
    FileName,
    Stem,
    Extension,
}

impl Part {
    pub(crate) fn from_number(number: i128) -> Option<Self> {
        Some(match number {
            0 => Self::Scheme,
            1 => Self::Host,
            2 => Self::Port,
            3 => Self::Path,
            4 => Self::Query,
            5 => Self::ParentPath,
            6 => Self::FileName,
            7 => Self::Stem,
            8 => Self::Extension,
            _ => return None,
        })
    }

    fn of(self, uri: &Uri) -> &str {
        let path = uri.path();
        let (parent, file) = path.rsplit_once('/').unwrap_or(("", path));
        let (stem, extension) = match file.rfind('.') {
            Some(dot) => file.split_at(dot),
            None => (file, ""),
        };
        match self {
            Self::Scheme => uri.scheme(),
            Self::Host => uri.host(),
            Self::Port => uri.port().unwrap_or(match uri.scheme() {
                "https" => "443",
                _ => "80",
            }),
            Self::Path => path,
            Self::Query => uri.query().unwrap_or_default(),
            Self::ParentPath => parent,
            Self::FileName => file,
            Self::Stem => stem,
            Self::Extension => extension,
        }
    }
}

/// What must hold of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Sha256(Vec<u8>),
}

impl Test {
    fn holds(&self, part: &str) -> bool {
        match self {
            Self::Exact(text) => part == text,
            Self::Prefix(text) => part.starts_with(text.as_str()),
            Self::Suffix(text) => part.ends_with(text.as_str()),
            Self::Contains(text) => part.contains(text.as_str()),
            Self::Sha256(hash) => digest(&SHA256, part.as_bytes()).as_ref() == hash,
        }
    }
}

impl Container {
    /// Reads a `cdniuc`. Only to be called for a token whose signature is right: the expression is its issuer's.
    ///
    /// # Errors
    /// [`Reason::Address`] for an unknown form, another hash than SHA-256, or an expression that is wrong or too large.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        if let Some(hash) = text.strip_prefix("hash:") {
            let hash = hash.strip_prefix("sha-256;").ok_or(Reason::Address)?;
            let hash = hash.split('?').next().unwrap_or_default();
            let hash = URL_SAFE_NO_PAD.decode(hash).map_err(|_| Reason::Address)?;
            return Ok(Self::Hash(hash.try_into().map_err(|_| Reason::Address)?));
        }
        let pattern = text.strip_prefix("regex:").ok_or(Reason::Address)?;
        if let Some(prefix) = below(pattern) {
            return Ok(Self::Below(prefix));
        }
        Ok(Self::Regex(whole(pattern).ok_or(Reason::Address)?))
    }

    /// Whether an address is covered.
    pub(crate) fn covers(&self, uri: &Uri) -> bool {
        match self {
            Self::Hash(hash) => digest(&SHA256, uri.as_str().as_bytes()).as_ref() == hash,
            Self::Regex(regex) => regex.is_match(uri.as_str().as_bytes()),
            Self::Below(prefix) => uri.path().starts_with(prefix.as_str()),
            Self::Parts(parts) => parts.iter().all(|(part, test)| test.holds(part.of(uri))),
        }
    }
}

/// The prefix of the path that an expression of our own form stands for: any host, a literal path, then anything.
fn below(pattern: &str) -> Option<String> {
    let literal = pattern.strip_prefix(ANY_HOST)?.strip_suffix(".*")?;
    let mut prefix = String::with_capacity(literal.len());
    let mut chars = literal.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => prefix.push(chars.next().filter(|c| SPECIAL.contains(c))?),
            c if SPECIAL.contains(&c) || !c.is_ascii() => return None,
            c => prefix.push(c),
        }
    }
    (prefix.starts_with('/') && prefix.ends_with('/')).then_some(prefix)
}

/// Compiles an expression that must match the whole address. The RFC does not say so, but its example means it, and an
/// expression for `/t/a/` must not cover `/x?/t/a/`. It is compiled alone first, so that one with stray brackets
/// (`a)|(b`) cannot get out of the anchors. Without Unicode: the POSIX locale.
fn whole(pattern: &str) -> Option<Regex> {
    if pattern.len() > MAX_PATTERN {
        return None;
    }
    let compile = |pattern: &str| {
        RegexBuilder::new(pattern)
            .unicode(false)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(MAX_NESTING)
            .build()
            .ok()
    };
    compile(pattern)?;
    compile(&format!(r"\A(?:{pattern})\z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(container: &str, target: &str) -> Result<bool, Reason> {
        let uri = Uri::new("http", "h", target).unwrap();
        Ok(Container::parse(container)?.covers(&uri))
    }

    #[test]
    fn an_expression_matches_from_end_to_end() {
        for (container, target, wanted) in [
            ("regex:http://h/a", "/a", true),
            ("regex:http://h/a", "/ab", false),
            ("regex:/a", "/a", false),
            ("regex:.*/a/.*", "/a/b", true),
            ("regex:http://h/(a|b)", "/b", true),
            ("regex:http://h/a|b", "/b", false),
            ("regex:^http://h/a$", "/a", true),
            ("regex:http://h/a$|x", "/a", true),
            (
                r"regex:[^:]*\://[^/]*/folder/segment.{3}\.mp4(\?.*)?",
                "/folder/segment123.mp4?x=1",
                true,
            ),
            (
                r"regex:[^:]*\://[^/]*/folder/segment.{3}\.mp4(\?.*)?",
                "/folder/segment1234.mp4",
                false,
            ),
        ] {
            assert_eq!(covers(container, target), Ok(wanted), "{container} {target}");
        }
    }

    #[test]
    fn expressions_that_are_wrong_or_too_large_are_refused() {
        let long = format!("regex:{}", "a".repeat(MAX_PATTERN + 1));
        let deep = format!("regex:{}a{}", "(".repeat(40), ")".repeat(40));
        for container in [
            "regex:a)|(b",
            "regex:(?x)a #",
            "regex:[",
            "regex:(a{999}){999}",
            &long,
            &deep,
            "http://h/a",
            "uri:http://h/a",
            "hash:http://h/a",
            "hash:sha-512;AAAA",
            "hash:sha-256;AAAA",
            "hash:sha-256;?",
            "",
        ] {
            assert_eq!(
                Container::parse(container).err(),
                Some(Reason::Address),
                "{container}"
            );
        }
    }

    #[test]
    fn our_own_form_means_what_its_expression_means() {
        for path in ["/", "/t/a/", r"/t/big\.buck/1\+2/", "/t/-_~!@&=;,'%20/"] {
            let pattern = format!("{ANY_HOST}{path}.*");
            let prefix = below(&pattern).expect(&pattern);
            let regex = whole(&pattern).unwrap();
            for target in [
                "",
                "x",
                "/x",
                "?",
                "?/t/a/",
                "t/a/1",
                "t/bigxbuck/1+2/a",
                "t/big.buck/1+2/a?b",
            ] {
                for target in [format!("/{target}"), format!("{prefix}{target}")] {
                    let Ok(uri) = Uri::new("http", "h:80", &target) else {
                        continue;
                    };
                    let expected = regex.is_match(uri.as_str().as_bytes());
                    assert_eq!(uri.path().starts_with(&prefix), expected, "{pattern} {uri:?}");
                }
            }
        }
        for path in ["/t/a", "t/a/", "/t(a)/", r"/t\d/", "/t./", ""] {
            assert_eq!(below(&format!("{ANY_HOST}{path}.*")), None, "{path}");
        }
    }

    #[test]
    fn a_hash_covers_one_address() {
        // printf %s 'http://h/a' | sha256sum, in base64url
        let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, b"http://h/a"));
        for (target, wanted) in [("/a", true), ("/%61", true), ("/a?", false), ("/b", false)] {
            assert_eq!(
                covers(&format!("hash:sha-256;{hash}"), target),
                Ok(wanted),
                "{target}"
            );
        }
        assert_eq!(
            covers(&format!("hash:sha-256;{hash}?ct=text/plain"), "/a"),
            Ok(true)
        );
    }

    #[test]
    fn parts_of_an_address_are_tested_one_by_one() {
        let uri = Uri::new("https", "h.example", "/t/a/v1.init.mp4?q=1").unwrap();
        let text = |t: &str| t.to_owned();
        for (part, test, wanted) in [
            (Part::Scheme, Test::Exact(text("https")), true),
            (Part::Host, Test::Suffix(text(".example")), true),
            (Part::Port, Test::Exact(text("443")), true),
            (Part::Path, Test::Prefix(text("/t/a/")), true),
            (Part::Path, Test::Prefix(text("/t/b/")), false),
            (Part::Query, Test::Contains(text("q")), true),
            (Part::ParentPath, Test::Exact(text("/t/a")), true),
            (Part::FileName, Test::Exact(text("v1.init.mp4")), true),
            (Part::Stem, Test::Exact(text("v1.init")), true),
            (Part::Extension, Test::Exact(text(".mp4")), true),
            (
                Part::Host,
                Test::Sha256(digest(&SHA256, b"h.example").as_ref().to_vec()),
                true,
            ),
            (Part::Host, Test::Sha256(vec![0; 32]), false),
        ] {
            let container = Container::Parts(vec![(part, test.clone())]);
            assert_eq!(container.covers(&uri), wanted, "{part:?} {test:?}");
        }
    }
}
