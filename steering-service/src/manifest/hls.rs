//! Rewrites an HLS multivariant playlist, line by line.
//!
//! Lines that describe renditions and variants (`EXT-X-MEDIA`, `EXT-X-STREAM-INF` with its URI,
//! `EXT-X-I-FRAME-STREAM-INF`) are repeated once a pathway, in their packed order, the first pathway's first; all other
//! lines come before them, once, in their packed order, so that `EXT-X-DEFINE` still precedes its uses. Attributes
//! that need no change keep their text and their place. Tags: draft-pantos-hls-rfc8216bis-22 §4.4.6.

use super::{Pathway, reference};
use std::fmt::Write;

/// Attributes of a variant that name rendition groups.
const GROUP_REFERENCES: [&str; 4] = ["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"];
const STEERING: &str = "#EXT-X-CONTENT-STEERING:";

/// Why a playlist cannot be personalised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HlsError {
    /// It does not begin with `#EXTM3U`.
    #[error("the packed playlist does not begin with #EXTM3U")]
    NotAPlaylist,
    /// It has no variants: a media playlist, most likely.
    #[error("the packed playlist has no #EXT-X-STREAM-INF: it is no multivariant playlist")]
    NoVariants,
    /// A variant without its URI line.
    #[error("line {line}: #EXT-X-STREAM-INF is not followed by a URI")]
    NoUri {
        /// Counted from 1.
        line: usize,
    },
    /// An attribute list that cannot be read.
    #[error("line {line}: attribute list broken at `{at}`")]
    Attributes {
        /// Counted from 1.
        line: usize,
        /// The rest of the line, shortened.
        at: String,
    },
}

/// `KEY=value` pairs in their order; values as written, quotes included.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn parse(text: &str, line: usize) -> Result<Self, HlsError> {
        let mut list = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let broken = || HlsError::Attributes {
                line,
                at: rest.chars().take(40).collect(),
            };
            let (key, value) = rest.split_once('=').ok_or_else(broken)?;
            let end = match value.strip_prefix('"') {
                Some(quoted) => quoted.find('"').ok_or_else(broken)? + 2,
                None => value.find(',').unwrap_or(value.len()),
            };
            let (value, after) = value.split_at(end);
            list.push((key.trim().to_owned(), value.trim().to_owned()));
            let after = after.trim_start();
            rest = match after.strip_prefix(',') {
                Some(next) => next.trim_start(),
                None if after.is_empty() => after,
                None => return Err(broken()),
            };
        }
        Ok(Self(list))
    }
    /// A quoted value, without its quotes.
    fn quoted(&self, key: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(k, _)| k == key)?;
        value.strip_prefix('"')?.strip_suffix('"')
    }
    fn set_quoted(&mut self, key: &str, value: &str) {
        let value = format!("\"{value}\"");
        match self.0.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }
    fn default_quoted(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value
            && self.0.iter().all(|(k, _)| k != key)
        {
            self.set_quoted(key, value);
        }
    }
}

impl std::fmt::Display for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// What is repeated for every pathway.
enum Item {
    Media(Attributes),
    Variant(Attributes, String),
    IFrames(Attributes),
}

/// Rewrites `text`, found at `path` below the title's prefix, for these pathways (best first, at least one);
/// `steering` is the absolute address of the session's steering list.
pub fn personalise(text: &str, path: &str, pathways: &[Pathway], steering: &str) -> Result<String, HlsError> {
    let dir = reference::directory(path);
    let (head, items) = parse(text)?;
    let mut out = String::with_capacity(text.len() * (pathways.len() + 1) + 256);
    let first = pathways.first();
    for line in head {
        let line = match first {
            Some(pathway) => with_absolute_uri(line, pathway, dir),
            None => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    if let Some(first) = first {
        let _ = writeln!(
            out,
            "{STEERING}SERVER-URI=\"{steering}\",PATHWAY-ID=\"{}\"",
            first.id
        );
    }
    for pathway in pathways {
        for item in &items {
            write_item(&mut out, item, pathway, dir);
        }
    }
    Ok(out)
}

fn parse(text: &str) -> Result<(Vec<&str>, Vec<Item>), HlsError> {
    let text = text.trim_start_matches('\u{feff}');
    if !text.starts_with("#EXTM3U") {
        return Err(HlsError::NotAPlaylist);
    }
    let (mut head, mut items) = (Vec::new(), Vec::new());
    let mut open: Option<(usize, Attributes)> = None;
    for (i, line) in text.lines().enumerate() {
        let (number, line) = (i + 1, line.trim_end());
        if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            if let Some((line, _)) = open {
                return Err(HlsError::NoUri { line });
            }
            open = Some((number, Attributes::parse(list, number)?));
        } else if let Some(list) = line.strip_prefix("#EXT-X-MEDIA:") {
            items.push(Item::Media(Attributes::parse(list, number)?));
        } else if let Some(list) = line.strip_prefix("#EXT-X-I-FRAME-STREAM-INF:") {
            items.push(Item::IFrames(Attributes::parse(list, number)?));
        } else if line.starts_with(STEERING) {
            // replaced by the session's own
        } else if line.starts_with('#') {
            head.push(line);
        } else if !line.trim().is_empty()
            && let Some((_, attributes)) = open.take()
        {
            items.push(Item::Variant(attributes, line.trim().to_owned()));
        }
    }
    match open {
        Some((line, _)) => Err(HlsError::NoUri { line }),
        None if items.iter().any(|i| matches!(i, Item::Variant(..))) => Ok((head, items)),
        None => Err(HlsError::NoVariants),
    }
}

fn write_item(out: &mut String, item: &Item, pathway: &Pathway, dir: &str) {
    let uri_of = |a: &Attributes| a.quoted("URI").map(str::to_owned);
    // Writing to a String cannot fail.
    let _ = match item {
        Item::Media(attributes) => {
            let mut a = attributes.clone();
            set_groups(&mut a, &["GROUP-ID"], &pathway.id);
            if let Some(uri) = uri_of(&a) {
                a.default_quoted("STABLE-RENDITION-ID", stable_id(&uri));
                a.set_quoted("URI", &reference::absolute(pathway, dir, &uri));
            }
            writeln!(out, "#EXT-X-MEDIA:{a}")
        }
        Item::Variant(attributes, uri) => {
            let mut a = attributes.clone();
            set_groups(&mut a, &GROUP_REFERENCES, &pathway.id);
            a.set_quoted("PATHWAY-ID", &pathway.id);
            a.default_quoted("STABLE-VARIANT-ID", stable_id(uri));
            writeln!(
                out,
                "#EXT-X-STREAM-INF:{a}\n{}",
                reference::absolute(pathway, dir, uri)
            )
        }
        Item::IFrames(attributes) => {
            let mut a = attributes.clone();
            set_groups(&mut a, &GROUP_REFERENCES, &pathway.id);
            a.set_quoted("PATHWAY-ID", &pathway.id);
            if let Some(uri) = uri_of(&a) {
                a.default_quoted("STABLE-VARIANT-ID", stable_id(&uri));
                a.set_quoted("URI", &reference::absolute(pathway, dir, &uri));
            }
            writeln!(out, "#EXT-X-I-FRAME-STREAM-INF:{a}")
        }
    };
}

/// Gives every pathway its own set of rendition groups. `CLOSED-CAPTIONS=NONE` is no group and stays.
fn set_groups(attributes: &mut Attributes, keys: &[&str], pathway: &str) {
    for key in keys {
        if let Some(group) = attributes.quoted(key) {
            let group = format!("{group}_{pathway}");
            attributes.set_quoted(key, &group);
        }
    }
}

/// A playlist's path without its extension: the rendition's id where the packer names playlists by it. Absent where the
/// path has characters that a stable id cannot have.
fn stable_id(uri: &str) -> Option<&str> {
    let id = uri.strip_suffix(".m3u8").unwrap_or(uri);
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'.' | b'_' | b'-');
    (!id.is_empty() && id.bytes().all(legal)).then_some(id)
}

/// Tags beside the renditions may point to files of the title too (session data, session keys): those are fetched
/// from the best appliance.
fn with_absolute_uri(line: &str, pathway: &Pathway, dir: &str) -> String {
    const KEY: &str = "URI=\"";
    let Some(start) = line.find(KEY).map(|at| at + KEY.len()) else {
        return line.to_owned();
    };
    let tag =
        line.starts_with("#EXT") && matches!(line.as_bytes().get(start - KEY.len() - 1), Some(b':' | b','));
    match line[start..].find('"') {
        Some(len) if tag => {
            let uri = reference::absolute(pathway, dir, &line[start..start + len]);
            format!("{}{uri}{}", &line[..start], &line[start + len..])
        }
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKED: &str = r#"#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
## made by the packer

#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Main, stereo",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="a128.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2800000,AVERAGE-BANDWIDTH=2400000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO="audio",STABLE-VARIANT-ID="v720"
v720.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1200000,CODECS="avc1.64001e,mp4a.40.2",RESOLUTION=640x360,AUDIO="audio",CLOSED-CAPTIONS=NONE
v360.m3u8
"#;

    fn pathways() -> Vec<Pathway> {
        [
            ("oca-1", "http://127.0.0.2:8080"),
            ("oca.2", "http://127.0.0.3:8080"),
            ("origin", "http://127.0.0.1:9000"),
        ]
        .map(|(id, base_url)| Pathway {
            id: id.into(),
            base_url: base_url.into(),
            plain: "/t/bunny/0a1b".into(),
            prefix: "/t/bunny/0a1b".into(),
        })
        .to_vec()
    }

    const STEER: &str = "http://steer:1/v1/steer/tok.en";

    #[test]
    fn hls_declares_every_pathway_with_its_own_groups() {
        let text = personalise(PACKED, "master.m3u8", &pathways(), STEER).unwrap();
        let parsed = m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
        assert_eq!((parsed.variants.len(), parsed.alternatives.len()), (6, 3));
        for (i, v) in parsed.variants.iter().enumerate() {
            let pathway = &pathways()[i / 2];
            let other = v.other_attributes.as_ref().unwrap();
            let quoted = |key: &str| other[key].as_quoted().unwrap().to_owned();
            let rendition = ["v720", "v360"][i % 2];
            assert_eq!(quoted("PATHWAY-ID"), pathway.id);
            assert_eq!(quoted("STABLE-VARIANT-ID"), rendition);
            assert_eq!(
                v.uri,
                format!("{}/t/bunny/0a1b/{rendition}.m3u8", pathway.base_url)
            );
            let group = v.audio.as_ref().unwrap();
            let audio: Vec<_> = parsed
                .alternatives
                .iter()
                .filter(|a| a.group_id == *group)
                .collect();
            assert_eq!(audio.len(), 1, "one set of groups a pathway");
            assert_eq!(audio[0].uri, Some(pathway.url("a128.m3u8")));
            assert_eq!(audio[0].name, "Main, stereo");
        }
        let steering: Vec<_> = text.lines().filter(|l| l.starts_with(STEERING)).collect();
        assert_eq!(
            steering,
            [format!("{STEERING}SERVER-URI=\"{STEER}\",PATHWAY-ID=\"oca-1\"")]
        );
    }

    #[test]
    fn hls_lines_that_need_no_change_are_kept() {
        let text = personalise(PACKED, "master.m3u8", &pathways(), STEER).unwrap();
        for line in [
            "#EXT-X-VERSION:7",
            "#EXT-X-INDEPENDENT-SEGMENTS",
            "## made by the packer",
        ] {
            assert_eq!(text.lines().filter(|l| *l == line).count(), 1, "{line}");
        }
        let first = text.lines().find(|l| l.starts_with("#EXT-X-STREAM-INF")).unwrap();
        assert_eq!(
            first,
            r#"#EXT-X-STREAM-INF:BANDWIDTH=2800000,AVERAGE-BANDWIDTH=2400000,CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=1280x720,FRAME-RATE=25.000,AUDIO="audio_oca-1",STABLE-VARIANT-ID="v720",PATHWAY-ID="oca-1""#
        );
        assert!(text.contains("CLOSED-CAPTIONS=NONE"));
    }

    #[test]
    fn hls_other_legal_shapes_are_understood() {
        let packed = "#EXTM3U\r\n#EXT-X-DEFINE:NAME=\"q\",VALUE=\"1\"\r\n\
            #EXT-X-CONTENT-STEERING:SERVER-URI=\"/old\"\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES=\"s\",VIDEO=\"v\"\r\n../720/i.m3u8\r\n\
            #EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"en\",STABLE-RENDITION-ID=\"x\",URI=\"sub.m3u8\"\r\n\
            #EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID=\"cc\",NAME=\"en\",INSTREAM-ID=\"CC1\"\r\n\
            #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9,URI=\"iframe.m3u8\"\r\n\
            #EXT-X-SESSION-DATA:DATA-ID=\"d\",URI=\"data.json\"\r\n\
            #EXT-X-STREAM-INF:BANDWIDTH=2\r\nhttps://elsewhere/v.m3u8\r\n";
        let text = personalise(packed, "hls/master.m3u8", &pathways()[..1], STEER).unwrap();
        let base = "http://127.0.0.2:8080/t/bunny/0a1b";
        for wanted in [
            &format!("\n{base}/720/i.m3u8\n"),
            "BANDWIDTH=1,SUBTITLES=\"s_oca-1\",VIDEO=\"v_oca-1\",PATHWAY-ID=\"oca-1\",STABLE-VARIANT-ID=\"../720/i\"\n",
            &format!(
                "GROUP-ID=\"s_oca-1\",NAME=\"en\",STABLE-RENDITION-ID=\"x\",URI=\"{base}/hls/sub.m3u8\"\n"
            ),
            "GROUP-ID=\"cc_oca-1\",NAME=\"en\",INSTREAM-ID=\"CC1\"\n",
            &format!(
                "BANDWIDTH=9,URI=\"{base}/hls/iframe.m3u8\",PATHWAY-ID=\"oca-1\",STABLE-VARIANT-ID=\"iframe\"\n"
            ),
            &format!("#EXT-X-SESSION-DATA:DATA-ID=\"d\",URI=\"{base}/hls/data.json\"\n"),
            "\nhttps://elsewhere/v.m3u8\n",
        ] {
            assert!(text.contains(wanted.trim_start_matches('\n')), "{wanted}\n{text}");
        }
        assert!(!text.contains("/old"));
        assert!(text.find("#EXT-X-DEFINE") < text.find("#EXT-X-STREAM-INF"));
    }

    #[test]
    fn broken_playlists_are_named_with_their_line() {
        for (packed, wanted) in [
            ("#EXTINF:1\n", HlsError::NotAPlaylist),
            ("#EXTM3U\n#EXTINF:4,\nseg.m4s\n", HlsError::NoVariants),
            (
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
                HlsError::NoUri { line: 2 },
            ),
            (
                "#EXTM3U\n#EXT-X-STREAM-INF:A=1\n#EXT-X-STREAM-INF:A=1\nx\n",
                HlsError::NoUri { line: 2 },
            ),
        ] {
            assert_eq!(
                personalise(packed, "m", &pathways(), STEER),
                Err(wanted),
                "{packed}"
            );
        }
        for bad in ["A=\"open", "A=\"x\"y", "no-value", "A=1,B"] {
            let packed = format!("#EXTM3U\n\n#EXT-X-MEDIA:{bad}\n");
            let error = personalise(&packed, "m", &pathways(), STEER).unwrap_err();
            assert!(
                matches!(error, HlsError::Attributes { line: 3, .. }),
                "{bad}: {error}"
            );
        }
    }

    proptest::proptest! {
        /// No packed text, however odd, makes the rewriter panic or give a playlist without its steering tag.
        #[test]
        fn any_text_is_rewritten_or_refused(body in "(#EXT-X-(MEDIA|STREAM-INF|SESSION-DATA):[A-Z\",=URI./ é]{0,20}\n|[a-z./:é]{0,9}\n|#.{0,9}\n){0,8}") {
            if let Ok(text) = personalise(&format!("#EXTM3U\n{body}"), "a/m.m3u8", &pathways(), STEER) {
                proptest::prop_assert_eq!(text.matches(STEERING).count(), 1);
                proptest::prop_assert!(text.starts_with("#EXTM3U\n"));
            }
        }
    }
}
