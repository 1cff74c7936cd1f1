//! Media types by file name, for trees that carry no catalogue: what players ask for, by the registrations that they
//! check (RFC 8216 for HLS, ISO/IEC 23009-1 for DASH, RFC 4337 for MP4).

/// Sent for names that are not known; a browser then saves instead of guessing.
pub const UNKNOWN: &str = "application/octet-stream";

const BY_EXTENSION: &[(&str, &str)] = &[
    ("aac", "audio/aac"),
    ("ac3", "audio/ac3"),
    ("avif", "image/avif"),
    ("cmfa", "audio/mp4"),
    ("cmft", "application/mp4"),
    ("cmfv", "video/mp4"),
    ("css", "text/css; charset=utf-8"),
    ("dash", "application/dash+xml"),
    ("ec3", "audio/eac3"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("imsc", "application/ttml+xml"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("key", "application/octet-stream"),
    ("m3u", "application/vnd.apple.mpegurl"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4f", "video/iso.segment"),
    ("m4s", "video/iso.segment"),
    ("m4v", "video/mp4"),
    ("mkv", "video/matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("png", "image/png"),
    ("srt", "application/x-subrip"),
    ("svg", "image/svg+xml"),
    ("ts", "video/mp2t"),
    ("ttml", "application/ttml+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("vtt", "text/vtt; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webp", "image/webp"),
    ("xml", "application/xml"),
];

/// The media type of a file by its name's last extension, in any case.
pub fn of(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    let Some((stem, extension)) = file.rsplit_once('.') else {
        return UNKNOWN;
    };
    let mut lower = [0u8; 8];
    if stem.is_empty() || extension.len() > lower.len() {
        return UNKNOWN;
    }
    let lower = &mut lower[..extension.len()];
    lower.copy_from_slice(extension.as_bytes());
    lower.make_ascii_lowercase();
    let found = BY_EXTENSION.binary_search_by(|(known, _)| known.as_bytes().cmp(lower));
    found.map_or(UNKNOWN, |i| BY_EXTENSION[i].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_for_the_search() {
        assert!(BY_EXTENSION.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn names_players_ask_for() {
        for (name, expected) in [
            ("/a/b.m3u8", "application/vnd.apple.mpegurl"),
            ("manifest.MPD", "application/dash+xml"),
            ("v.mp4", "video/mp4"),
            ("seg-1.m4s", "video/iso.segment"),
            ("a.cmfv", "video/mp4"),
            ("s.ts", "video/mp2t"),
            ("s.vtt", "text/vtt; charset=utf-8"),
            ("poster.jpg", "image/jpeg"),
            ("noextension", UNKNOWN),
            ("/x.mp4/data", UNKNOWN),
            (".mp4", UNKNOWN),
            ("a.b.c.webm", "video/webm"),
            ("a.averylongextension", UNKNOWN),
            ("a.", UNKNOWN),
            ("ü.mp4", "video/mp4"),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }
}
