//! Common Media Client Data (CTA-5004) for the access log: found in headers or the query, kept as sent. Nothing here
//! acts on it; the session id alone is read, since one viewer's requests are put together by it.

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
    let mut rest = dictionary;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return None;
        }
        let end = member_end(rest);
        if let Some(value) = rest[..end].trim_end().strip_prefix("sid=") {
            let value = value
                .strip_prefix('"')
                .and_then(|v| v.strip_suffix('"'))
                .unwrap_or(value);
            return (!value.is_empty()).then_some(value);
        }
        rest = &rest[end..];
    }
}

/// Where the first member ends: at a comma outside quotes and parentheses.
fn member_end(text: &str) -> usize {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0u32);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b',' if !quoted && depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
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

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC{0,60}") {
            let _ = (from_query(&text), session_id(&text));
        }
    }
}
