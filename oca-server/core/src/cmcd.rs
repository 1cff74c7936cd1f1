//! Common Media Client Data (CTA-5004, CTA-5004-B): found in headers or the query and logged as sent. What is read of it are
//! the session id, by which one viewer's requests are put together, the wishes that the send path may follow, and what players
//! measure, which is gathered for steering ([`crate::viewers`]).

use cdn_types::viewers::SidHash;
use std::borrow::Cow;

/// The `CMCD` query argument, percent-decoded; absent if it is missing or does not decode to UTF-8.
pub fn from_query(query: &str) -> Option<Cow<'_, str>> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("CMCD="))?;
    if !value.contains(['%', '+']) {
        return Some(value.into());
    }
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut hex = || bytes.next().and_then(|b| char::from(b).to_digit(16));
                (hex()? << 4 | hex()?) as u8
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok().map(Cow::from)
}

/// The session id (`sid="…"`) of a CMCD dictionary; quotes within other values do not mislead it.
pub fn session_id(dictionary: &str) -> Option<&str> {
    let value = members(dictionary).find_map(|(key, value)| (key == "sid").then_some(value?))?;
    let value = value
        .strip_prefix('"')
        .and_then(|v| v.strip_suffix('"'))
        .unwrap_or(value);
    (!value.is_empty()).then_some(value)
}

/// Newest version of CMCD that is understood: a set of a newer one is left alone (CTA-5004-B §6).
const VERSION: u64 = 2;

/// What a player says of itself that is acted on. Absent or ill-typed members are unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// It begins, seeks, or has run empty (`su`, `bs`): what it asks for is needed at once.
    pub urgent: bool,
    /// It has run empty (`bs`), and so has played before.
    pub starved: bool,
    /// What it asks for is no media: a manifest, an initialisation segment, text, a key (`ot`).
    pub aside: bool,
    /// Its session, by the id that it gives it (`sid`).
    pub session: Option<SidHash>,
    /// Throughput that it has measured, in kbit/s (`mtp`).
    pub measured: Option<u64>,
    /// Media in its buffer, in milliseconds (`bl`).
    pub buffer: Option<u64>,
    /// Throughput that is enough for it, in kbit/s (`rtp`).
    pub throughput: Option<u64>,
    /// Encoded bit rate of what it asks for, in kbit/s (`br`).
    pub bit_rate: Option<u64>,
    newer: bool,
}

impl Wishes {
    /// Takes in a dictionary; those of the four headers are given one after the other.
    pub fn take(&mut self, dictionary: &str) {
        for (key, value) in members(dictionary) {
            match (key, value) {
                ("su", None | Some("?1")) => self.urgent = true,
                ("bs", None | Some("?1")) => (self.urgent, self.starved) = (true, true),
                ("ot", Some(value)) => self.aside = !matches!(value, "v" | "a" | "av"),
                ("sid", Some(value)) => self.session = unquoted(value).and_then(SidHash::of),
                ("mtp", Some(value)) => self.measured = number(value),
                ("bl", Some(value)) => self.buffer = number(value),
                ("rtp", Some(value)) => self.throughput = number(value),
                ("br", Some(value)) => self.bit_rate = number(value),
                ("v", Some(value)) => self.newer = number(value).is_some_and(|v| v > VERSION),
                _ => {}
            }
        }
    }

    /// The wishes, or none if they are of a version that is not understood.
    pub fn understood(self) -> Self {
        if self.newer { Self::default() } else { self }
    }
}

/// Keys and values of a dictionary (RFC 9651 §3.2); a key alone has no value. A member that is broken spoils no other.
fn members(dictionary: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = dictionary;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return None;
        }
        let (member, after) = rest.split_at(member_end(rest));
        rest = after;
        Some(match member.trim_end().split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (member.trim_end(), None),
        })
    })
}

/// What stands between the quotes of a string.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// The first number of a value: an integer, a decimal (which players send where integers are due), or an inner list of
/// them (version 2).
fn number(value: &str) -> Option<u64> {
    let value = value.strip_prefix('(').unwrap_or(value);
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value[..end].parse().ok()
}

/// Where the first member ends: at a comma outside quotes and parentheses.
fn member_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0u32);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b',' if depth == 0 => return at - 1,
            b'"' => at += string_len(&bytes[at..]),
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    bytes.len()
}

/// Bytes of a string after its opening quote, with its closing one.
fn string_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => return at,
            b'\\' => at += 1,
            _ => {}
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_query_argument_is_decoded() {
        let cmcd = from_query("a=b&CMCD=br%3D3200%2Csid%3D%226e2f%22&c=d");
        assert_eq!(cmcd.as_deref(), Some("br=3200,sid=\"6e2f\""));
        assert_eq!(from_query("CMCD=bs").as_deref(), Some("bs"));
        for none in ["", "XCMCD=1", "cmcd=1", "CMCD=%4", "CMCD=%ff"] {
            assert_eq!(from_query(none), None, "{none}");
        }
    }

    #[test]
    fn the_session_id_is_found_among_the_others() {
        for (dictionary, expected) in [
            ("sid=\"a-1\"", Some("a-1")),
            ("cid=\"x,sid=\\\"no\\\"\",sid=\"yes\",v=2", Some("yes")),
            ("br=(5000;v 128;a),sid=\"s\"", Some("s")),
            ("nor=(\"a,sid=b\"),sf=h", None),
            ("sid=\"\"", None),
            ("xsid=\"a\"", None),
            ("bs, sid=\"a\" ", Some("a")),
            ("", None),
        ] {
            assert_eq!(session_id(dictionary), expected, "{dictionary}");
        }
    }

    #[test]
    fn wishes_are_read_from_both_versions_and_broken_members_spoil_nothing() {
        let wishes = |parts: &[&str]| {
            let mut wishes = Wishes::default();
            parts.iter().for_each(|p| wishes.take(p));
            wishes.understood()
        };
        let v1 = wishes(&["br=3200,bl=21300,su", "rtp=16000"]);
        let v2 = wishes(&[
            "br=(3200;v 128;a),bl=(21300;v),su=?1,v=2,tpb=(985.6)",
            "rtp=16000.0",
        ]);
        for w in [v1, v2] {
            assert!(w.urgent);
            assert_eq!(
                (w.bit_rate, w.buffer, w.throughput),
                (Some(3200), Some(21_300), Some(16_000))
            );
        }
        let seen = wishes(&["mtp=25400,ot=v,sid=\"6e2f-b5\""]);
        assert_eq!(
            (seen.session, seen.measured),
            (SidHash::of("6e2f-b5"), Some(25_400))
        );
        assert!(!seen.aside && !seen.starved);
        let seen = wishes(&["bs,mtp=(985.6;v)", "ot=i", "sid=\"a b\",v=2"]);
        assert_eq!((seen.session, seen.measured), (None, Some(985)));
        assert!(seen.aside && seen.starved && seen.urgent);
        let broken = wishes(&["BR=3,br=x,bl=,rtp=\"9\",bs=?0,,=,sid=\"a,su\""]);
        let spared = Wishes {
            session: SidHash::of("a,su"),
            ..Wishes::default()
        };
        assert_eq!(broken, spared);
        assert_eq!(
            wishes(&["su,rtp=1,v=3"]),
            Wishes::default(),
            "a newer version is left alone"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,60}") {
            let _ = (from_query(&text), session_id(&text));
            Wishes::default().take(&text);
        }
    }
}
