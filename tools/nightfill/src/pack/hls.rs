//! HLS playlists (RFC 8216bis) over the packed bytes: one multivariant playlist, one media playlist a rendition.
//!
//! Variants and renditions carry stable ids, so that content steering can name them (§4.4.6.2.1), and every variant
//! says its real peak bit rate, so that a player on a narrow line does not pick one it cannot hold.

use super::rendition::{Packed, SegmentLayout};
use std::fmt::Write;

/// Name of the multivariant playlist.
pub const MULTIVARIANT: &str = "index.m3u8";
/// The one audio group.
pub const AUDIO_GROUP: &str = "audio";
/// Media type of playlists.
pub const MEDIA_TYPE: &str = "application/vnd.apple.mpegurl";

/// The multivariant playlist. `renditions` holds video by falling height and at least one audio.
pub fn multivariant(renditions: &[Packed]) -> String {
    let (video, audio): (Vec<_>, Vec<_>) = renditions.iter().partition(|r| r.index.is_video());
    let mut out = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\n");
    for (i, a) in audio.iter().enumerate() {
        let default = if i == 0 { "YES" } else { "NO" };
        let _ = writeln!(
            out,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{AUDIO_GROUP}\",NAME=\"Main\",DEFAULT={default},AUTOSELECT=YES,\
             CHANNELS=\"{}\",STABLE-RENDITION-ID=\"{}\",URI=\"{}\"",
            a.index.channels,
            a.id,
            a.playlist()
        );
    }
    let loudest = |f: fn(&Packed) -> u64| audio.iter().map(|a| f(a)).max().unwrap_or(0);
    for v in video {
        let codecs: Vec<_> = [&v.index.codecs]
            .into_iter()
            .chain(audio.first().map(|a| &a.index.codecs))
            .collect();
        let codecs: Vec<&str> = codecs.into_iter().map(String::as_str).collect();
        let (width, height) = v.index.size;
        let _ = write!(
            out,
            "\n#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",RESOLUTION={width}x{height}",
            v.peak() + loudest(Packed::peak),
            v.average() + loudest(Packed::average),
            codecs.join(","),
        );
        if let Some(rate) = v.frame_rate {
            let _ = write!(out, ",FRAME-RATE={:.3}", rate.value());
        }
        let _ = writeln!(
            out,
            ",AUDIO=\"{AUDIO_GROUP}\",STABLE-VARIANT-ID=\"{}\"\n{}",
            v.id,
            v.playlist()
        );
    }
    out
}

/// The media playlist of one rendition.
pub fn media(r: &Packed, layout: SegmentLayout) -> String {
    let mut out = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n",
        r.target_duration()
    );
    match layout {
        SegmentLayout::Single | SegmentLayout::Listed => {
            let init = &r.index.init;
            let _ = writeln!(
                out,
                "#EXT-X-MAP:URI=\"{}\",BYTERANGE=\"{}@{}\"",
                r.file(),
                init.end - init.start,
                init.start
            );
        }
        SegmentLayout::Files => {
            let _ = writeln!(out, "#EXT-X-MAP:URI=\"{}\"", r.init_file());
        }
    }
    for (s, number) in r.index.segments.iter().zip(1..) {
        let _ = writeln!(out, "#EXTINF:{:.6},", r.index.seconds(s.duration));
        let _ = match layout {
            SegmentLayout::Single | SegmentLayout::Listed => {
                writeln!(out, "#EXT-X-BYTERANGE:{}@{}\n{}", s.size, s.offset, r.file())
            }
            SegmentLayout::Files => writeln!(out, "{}", r.segment_file(number)),
        };
    }
    out + "#EXT-X-ENDLIST\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::rendition::tests::rendition;

    #[test]
    fn multivariant_names_every_rung_with_its_real_rates() {
        let v = rendition("v720", true, &[(250_000, 180_000), (125_000, 180_000)]);
        let a = rendition("a128", false, &[(32_000, 180_000)]);
        let text = multivariant(&[v, a]);
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n\n\
             #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",\
             STABLE-RENDITION-ID=\"a128\",URI=\"a128.m3u8\"\n\n\
             #EXT-X-STREAM-INF:BANDWIDTH=1128000,AVERAGE-BANDWIDTH=878000,CODECS=\"avc1.64001f,mp4a.40.2\",\
             RESOLUTION=1280x720,FRAME-RATE=29.970,AUDIO=\"audio\",STABLE-VARIANT-ID=\"v720\"\nv720.m3u8\n"
        );
    }

    #[test]
    fn media_playlist_points_at_byte_ranges_or_files() {
        let v = rendition("v720", true, &[(5000, 180_180), (700, 90_000)]);
        let single = media(&v, SegmentLayout::Single);
        assert!(
            single.contains("#EXT-X-MAP:URI=\"v720.mp4\",BYTERANGE=\"800@0\"\n"),
            "{single}"
        );
        assert!(
            single.contains("#EXTINF:2.002000,\n#EXT-X-BYTERANGE:5000@1000\nv720.mp4\n#EXTINF:1.000000,\n#EXT-X-BYTERANGE:700@6000\n"),
            "{single}"
        );
        let files = media(&v, SegmentLayout::Files);
        assert!(files.contains("#EXT-X-MAP:URI=\"v720/init.mp4\"\n"), "{files}");
        assert!(
            files.contains("v720/00001.m4s\n") && files.contains("v720/00002.m4s\n"),
            "{files}"
        );
        assert!(!files.contains("BYTERANGE"), "{files}");
        assert!(files.ends_with("#EXT-X-ENDLIST\n"));
    }
}
