//! The DASH MPD (ISO/IEC 23009-1) over the same bytes as the HLS playlists: SegmentBase with the index range of the
//! one file, SegmentList with the ranges of its segments, or SegmentTemplate with a timeline over the segment files.

use super::rendition::{Packed, SegmentLayout};
use std::fmt::Write;

/// Name of the MPD.
pub const MPD: &str = "manifest.mpd";
/// Media type of MPDs.
pub const MEDIA_TYPE: &str = "application/dash+xml";

/// The MPD. `renditions` holds video by falling height, then audio; ids and paths need no escaping.
pub fn mpd(renditions: &[Packed], layout: SegmentLayout, duration_ms: u64) -> String {
    let (video, audio): (Vec<_>, Vec<_>) = renditions.iter().partition(|r| r.index.is_video());
    let profile = match layout {
        SegmentLayout::Single => "urn:mpeg:dash:profile:isoff-on-demand:2011",
        SegmentLayout::Listed => "urn:mpeg:dash:profile:isoff-main:2011",
        SegmentLayout::Files => "urn:mpeg:dash:profile:isoff-live:2011",
    };
    let buffer = renditions.iter().map(Packed::target_duration).max().unwrap_or(1);
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" profiles=\"{profile}\" type=\"static\" \
         mediaPresentationDuration=\"PT{}.{:03}S\" minBufferTime=\"PT{buffer}S\">\n\
         \x20 <Period id=\"0\" start=\"PT0S\">\n",
        duration_ms / 1000,
        duration_ms % 1000
    );
    for (id, set, kind) in [(0, video, "video"), (1, audio, "audio")] {
        if !set.is_empty() {
            adaptation_set(&mut out, id, kind, &set, layout);
        }
    }
    out + "  </Period>\n</MPD>\n"
}

fn adaptation_set(out: &mut String, id: u32, kind: &str, set: &[&Packed], layout: SegmentLayout) {
    let aligned = match layout {
        SegmentLayout::Single => "subsegmentAlignment=\"true\" subsegmentStartsWithSAP=\"1\"",
        SegmentLayout::Listed | SegmentLayout::Files => "segmentAlignment=\"true\" startWithSAP=\"1\"",
    };
    let _ = writeln!(
        out,
        "    <AdaptationSet id=\"{id}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\" {aligned}>"
    );
    for r in set {
        representation(out, r, layout);
    }
    out.push_str("    </AdaptationSet>\n");
}

fn representation(out: &mut String, r: &Packed, layout: SegmentLayout) {
    let _ = write!(
        out,
        "      <Representation id=\"{}\" bandwidth=\"{}\" codecs=\"{}\"",
        r.id,
        r.peak(),
        r.index.codecs
    );
    if r.index.is_video() {
        let (width, height) = r.index.size;
        let _ = write!(out, " width=\"{width}\" height=\"{height}\" sar=\"1:1\"");
    } else {
        let _ = write!(out, " audioSamplingRate=\"{}\"", r.index.sample_rate);
    }
    if let Some(rate) = r.frame_rate {
        let _ = write!(out, " frameRate=\"{}\"", rate.fraction());
    }
    out.push_str(">\n");
    if !r.index.is_video() {
        let _ = writeln!(
            out,
            "        <AudioChannelConfiguration \
             schemeIdUri=\"urn:mpeg:dash:23003:3:audio_channel_configuration:2011\" value=\"{}\"/>",
            r.index.channels
        );
    }
    match layout {
        SegmentLayout::Single => segment_base(out, r),
        SegmentLayout::Listed => segment_list(out, r),
        SegmentLayout::Files => segment_template(out, r),
    }
    out.push_str("      </Representation>\n");
}

fn segment_base(out: &mut String, r: &Packed) {
    let (init, sidx) = (&r.index.init, &r.index.sidx);
    let _ = writeln!(
        out,
        "        <BaseURL>{}</BaseURL>\n\
         \x20       <SegmentBase timescale=\"{}\" indexRange=\"{}-{}\">\n\
         \x20         <Initialization range=\"{}-{}\"/>\n\
         \x20       </SegmentBase>",
        r.file(),
        r.index.timescale,
        sidx.start,
        sidx.end - 1,
        init.start,
        init.end - 1
    );
}

fn segment_list(out: &mut String, r: &Packed) {
    let (init, file) = (&r.index.init, r.file());
    let _ = writeln!(
        out,
        "        <SegmentList timescale=\"{}\" startNumber=\"1\">\n\
         \x20         <Initialization sourceURL=\"{file}\" range=\"{}-{}\"/>",
        r.index.timescale,
        init.start,
        init.end - 1
    );
    // dash.js counts SegmentURLs by S elements, so that a joined one would play its first segment over and over.
    timeline(out, r, false);
    for s in &r.index.segments {
        let _ = writeln!(
            out,
            "          <SegmentURL media=\"{file}\" mediaRange=\"{}-{}\"/>",
            s.offset,
            s.offset + s.size - 1
        );
    }
    out.push_str("        </SegmentList>\n");
}

fn segment_template(out: &mut String, r: &Packed) {
    let _ = writeln!(
        out,
        "        <SegmentTemplate timescale=\"{}\" startNumber=\"1\" initialization=\"$RepresentationID$/init.mp4\" \
         media=\"$RepresentationID$/$Number%05d$.m4s\">",
        r.index.timescale
    );
    timeline(out, r, true);
    out.push_str("        </SegmentTemplate>\n");
}

/// When segments begin and how long they are; with `join` equal ones in a row are one element.
fn timeline(out: &mut String, r: &Packed, join: bool) {
    out.push_str("          <SegmentTimeline>\n");
    let mut left = &r.index.segments[..];
    while let Some(first) = left.first() {
        let same = left.iter().take_while(|s| s.duration == first.duration).count();
        let run = if join { same } else { 1 };
        let repeat = if run > 1 {
            format!(" r=\"{}\"", run - 1)
        } else {
            String::new()
        };
        let _ = writeln!(
            out,
            "            <S t=\"{}\" d=\"{}\"{repeat}/>",
            first.start, first.duration
        );
        left = &left[run..];
    }
    out.push_str("          </SegmentTimeline>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::rendition::tests::rendition;

    #[test]
    fn segment_base_gives_the_ranges_of_the_boxes() {
        let v = rendition("v720", true, &[(5000, 180_180), (700, 90_000)]);
        let a = rendition("a128", false, &[(500, 180_000)]);
        let text = mpd(&[v, a], SegmentLayout::Single, 3002);
        for want in [
            "mediaPresentationDuration=\"PT3.002S\"",
            "<BaseURL>v720.mp4</BaseURL>",
            "indexRange=\"800-999\"",
            "<Initialization range=\"0-799\"/>",
            "frameRate=\"30000/1001\"",
            "audioSamplingRate=\"48000\"",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }

    #[test]
    fn a_list_gives_each_segments_range() {
        let v = rendition("v720", true, &[(5000, 100), (700, 100)]);
        let text = mpd(&[v], SegmentLayout::Listed, 4);
        for want in [
            "isoff-main",
            "<Initialization sourceURL=\"v720.mp4\" range=\"0-799\"/>",
            "<S t=\"0\" d=\"100\"/>\n            <S t=\"100\" d=\"100\"/>",
            "<SegmentURL media=\"v720.mp4\" mediaRange=\"1000-5999\"/>\n          \
             <SegmentURL media=\"v720.mp4\" mediaRange=\"6000-6699\"/>\n        </SegmentList>",
        ] {
            assert!(text.contains(want), "{want} in {text}");
        }
    }

    #[test]
    fn timeline_joins_equal_segments() {
        let v = rendition("v720", true, &[(1, 100), (1, 100), (1, 100), (1, 50)]);
        let text = mpd(&[v], SegmentLayout::Files, 4);
        assert!(
            text.contains("<S t=\"0\" d=\"100\" r=\"2\"/>\n            <S t=\"300\" d=\"50\"/>"),
            "{text}"
        );
        assert!(text.contains("$RepresentationID$/$Number%05d$.m4s"));
    }
}
