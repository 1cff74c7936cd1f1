//! What is read of CMCD (CTA-5004 and CTA-5004-B) here: the members of a set of keys, and the id that a player gives its session.

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;

/// Longest session id (CTA-5004 §3.2).
const MAX_SID: usize = 64;

/// The members of a list of keys; commas within strings part nothing.
pub fn members(keys: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let parts = keys.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(str::trim)
}

/// The session id that a request names, in the header or in the query; absent if there is none that could be one.
pub fn session_id(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    if let Some(keys) = headers.get("cmcd-session").and_then(|v| v.to_str().ok()) {
        return sid(keys);
    }
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, keys) = pairs.into_iter().find(|(name, _)| *name == "CMCD")?;
    sid(&percent_decode_str(keys).decode_utf8().ok()?)
}

fn sid(keys: &str) -> Option<String> {
    let quoted = members(keys).find_map(|member| member.strip_prefix("sid="))?;
    let id = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let fits = !id.is_empty() && id.len() <= MAX_SID && id.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_is_found_in_header_and_query() {
        let none = HeaderMap::new();
        let query = "a=1&CMCD=cid%3D%22a%2Csid%3D1%22%2Cot%3Dm%2Csid%3D%226e2f-b550%22%2Csu";
        assert_eq!(session_id(&none, Some(query)).as_deref(), Some("6e2f-b550"));
        let mut headers = HeaderMap::new();
        headers.insert("cmcd-session", "sf=h, sid=\"x/1\"".parse().unwrap());
        assert_eq!(session_id(&headers, Some(query)).as_deref(), Some("x/1"));
        for query in [
            "",
            "CMCD",
            "CMCD=sid%3D1",
            "CMCD=sid%3D%22%22",
            "CMCD=sid%3D%22a%20b%22",
            "CMCD=%ff",
        ] {
            assert_eq!(session_id(&none, Some(query)), None, "{query}");
        }
        let long = format!("CMCD=sid%3D%22{}%22", "a".repeat(65));
        assert_eq!(session_id(&none, Some(&long)), None);
        assert_eq!(session_id(&none, None), None);
    }
}
