//! A packed rendition and what manifests say of it: bit rates, durations, file names.

use super::{index::FileIndex, ladder::Rational};
use cdn_types::title::{Rendition, RenditionKind};

/// How the segments of a title are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SegmentLayout {
    /// One fMP4 a rendition, segments are byte ranges of it: few large files, as an appliance's drives like it.
    Single,
    /// The same files; the MPD lists the segments' byte ranges instead of pointing to the file's index, so that Shaka follows steering
    /// over DASH. About 120 bytes of MPD a segment and rendition.
    Listed,
    /// One file a segment, beside an init section: for players and caches without byte ranges. Shaka follows steering here too.
    Files,
}

/// One rendition of a title as it lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// `v720`, `a128`.
    pub id: String,
    /// What the file says of itself.
    pub index: FileIndex,
    /// Frames a second; none for sound.
    pub frame_rate: Option<Rational>,
}

impl Packed {
    /// The one file of [`SegmentLayout::Single`] and [`SegmentLayout::Listed`].
    pub fn file(&self) -> String {
        format!("{}.mp4", self.id)
    }
    /// The init section of [`SegmentLayout::Files`].
    pub fn init_file(&self) -> String {
        format!("{}/init.mp4", self.id)
    }
    /// Segment `number`, from 1, of [`SegmentLayout::Files`].
    pub fn segment_file(&self, number: usize) -> String {
        format!("{}/{number:05}.m4s", self.id)
    }
    /// The HLS media playlist.
    pub fn playlist(&self) -> String {
        format!("{}.m3u8", self.id)
    }
    /// Video or audio.
    pub fn kind(&self) -> RenditionKind {
        if self.index.is_video() {
            RenditionKind::Video
        } else {
            RenditionKind::Audio
        }
    }
    /// Longest segment in whole seconds, rounded as HLS wants it (RFC 8216 §4.3.3.1), at least one.
    pub fn target_duration(&self) -> u64 {
        let longest = self.index.segments.iter().map(|s| s.duration).max().unwrap_or(0);
        (self.index.seconds(longest).round() as u64).max(1)
    }

    /// HLS peak segment bit rate: the highest over any run of segments that lasts 0.5 to 1.5 target durations
    /// (RFC 8216 §4.1), so that a last segment of a few frames does not count.
    pub fn peak(&self) -> u64 {
        let target = self.target_duration() as f64;
        let segments = &self.index.segments;
        let mut peak = 0.0_f64;
        for first in 0..segments.len() {
            let (mut bytes, mut seconds) = (0, 0.0);
            for s in &segments[first..] {
                bytes += s.size;
                seconds += self.index.seconds(s.duration);
                if seconds > target * 1.5 {
                    break;
                }
                if seconds >= target * 0.5 {
                    peak = peak.max(bytes as f64 * 8.0 / seconds);
                }
            }
        }
        (peak.ceil() as u64).max(self.average())
    }

    /// Mean bit/s over the whole.
    pub fn average(&self) -> u64 {
        let bytes: u64 = self.index.segments.iter().map(|s| s.size).sum();
        let seconds = self.index.seconds(self.index.duration());
        if seconds > 0.0 {
            (bytes as f64 * 8.0 / seconds).ceil() as u64
        } else {
            0
        }
    }

    /// Its entry in `title.json`.
    pub fn describe(&self) -> Rendition {
        let video = self.index.is_video();
        let (width, height) = self.index.size;
        Rendition {
            id: self.id.clone(),
            kind: self.kind(),
            codecs: self.index.codecs.clone(),
            bandwidth: self.peak(),
            average_bandwidth: self.average(),
            width: video.then_some(width),
            height: video.then_some(height),
            frame_rate: self.frame_rate.map(Rational::decimal),
            sample_rate: (!video).then_some(self.index.sample_rate),
            channels: (!video).then_some(self.index.channels),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pack::index::Segment;

    /// A rendition with segments of these (bytes, ticks at 90 kHz).
    pub fn rendition(id: &str, video: bool, segments: &[(u64, u64)]) -> Packed {
        let (mut offset, mut start) = (1000, 0);
        let segments = segments
            .iter()
            .map(|&(size, duration)| {
                let s = Segment {
                    offset,
                    size,
                    start,
                    duration,
                };
                (offset, start) = (offset + size, start + duration);
                s
            })
            .collect();
        Packed {
            id: id.into(),
            frame_rate: video.then_some(Rational {
                num: 30000,
                den: 1001,
            }),
            index: FileIndex {
                init: 0..800,
                sidx: 800..1000,
                segments,
                timescale: 90_000,
                codecs: if video {
                    "avc1.64001f".into()
                } else {
                    "mp4a.40.2".into()
                },
                size: if video { (1280, 720) } else { (0, 0) },
                sample_rate: if video { 0 } else { 48_000 },
                channels: if video { 0 } else { 2 },
            },
        }
    }

    #[test]
    fn peak_leaves_out_a_short_last_segment() {
        let r = rendition("v720", true, &[(1000, 180_000), (3000, 180_000), (900, 900)]);
        assert_eq!(r.target_duration(), 2);
        let with_tail = 3900.0 * 8.0 / 2.01_f64;
        assert_eq!(r.peak(), with_tail.ceil() as u64);
        assert_eq!(r.average(), (4900.0 * 8.0 / 4.01_f64).ceil() as u64);
    }

    #[test]
    fn a_title_shorter_than_half_a_target_has_its_mean_as_peak() {
        let r = rendition("v720", true, &[(100, 9000)]);
        assert_eq!((r.target_duration(), r.peak()), (1, r.average()));
    }
}
