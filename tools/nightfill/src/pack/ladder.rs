//! Which renditions a source gets: three rungs, the highest at the source's own height and never above it, all with
//! the source's shape, even sizes and the same frames.
//!
//! The lower rungs are the usual heights next to 2/3 and 3/8 of the top: each step is then about a halving of the
//! bit rate, which is what players' rate adaptation copes with best.

use cdn_types::BitsPerSecond;

/// Highest rung: 2160 lines. Above it few screens gain and no appliance budget was reckoned for it.
pub const MAX_HEIGHT: u32 = 2160;
/// Least width and height in pixels that is packed: libx264 wants whole macroblocks of 16.
pub const MIN_SIDE: u32 = 32;
/// Most frames a second; faster sources are thinned.
pub const MAX_FRAME_RATE: f64 = 60.0;
/// Bit rate of the sound.
pub const AUDIO_RATE: BitsPerSecond = BitsPerSecond(128_000);
/// Samples a second of the sound.
pub const AUDIO_SAMPLE_RATE: u32 = 48_000;
/// Channels of the sound: every player takes stereo.
pub const AUDIO_CHANNELS: u32 = 2;

/// Heights that lower rungs snap to.
const USUAL_HEIGHTS: [u32; 11] = [1440, 1080, 720, 540, 480, 360, 270, 240, 180, 144, 108];
/// Ceiling of the bit rate at 1920×1080 and 25 frames a second.
const RATE_AT_1080P25: f64 = 5_000_000.0;
/// How the ceiling grows with pixels a second: large pictures hold more redundancy.
const RATE_EXPONENT: f64 = 0.75;

/// A fraction of whole numbers, as frame rates are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rational {
    /// Above the line.
    pub num: u32,
    /// Below the line, not zero.
    pub den: u32,
}

impl Rational {
    /// Reads `30000/1001` or `25`; none when it is no positive number.
    pub fn parse(text: &str) -> Option<Self> {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        let (num, den) = (num.parse().ok()?, den.parse().ok()?);
        (num > 0 && den > 0).then_some(Self { num, den })
    }
    /// As a number.
    pub fn value(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
    /// For people and for HLS: at most three decimals, none if it is whole.
    pub fn decimal(self) -> String {
        let text = format!("{:.3}", self.value());
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
    /// For DASH `@frameRate`: `25` or `30000/1001`.
    pub fn fraction(self) -> String {
        match self.den {
            1 => self.num.to_string(),
            den => format!("{}/{den}", self.num),
        }
    }
}

/// One video rendition to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    /// Stable id, `v720`.
    pub id: String,
    /// Pixels, even.
    pub width: u32,
    /// Pixels, even.
    pub height: u32,
    /// Ceiling of the bit rate, averaged over two seconds.
    pub max_rate: BitsPerSecond,
    /// H.264 profile: High from 720 lines up, Main below, where weak decoders live.
    pub profile: &'static str,
}

/// The rungs for a source of `width` × `height` square pixels, by falling height. Fewer than three for sources so
/// small that rungs would fall together.
pub fn rungs(width: u32, height: u32, frame_rate: Rational) -> Vec<Rung> {
    let top = even(f64::from(height.min(MAX_HEIGHT)).floor());
    let mut heights = vec![top];
    for share in [2.0 / 3.0, 3.0 / 8.0] {
        let h = lower_rung(top, f64::from(top) * share);
        if h >= MIN_SIDE && heights.last().is_some_and(|&above| h < above) {
            heights.push(h);
        }
    }
    let shape = f64::from(width) / f64::from(height);
    heights
        .into_iter()
        .map(|h| {
            let width = even(f64::from(h) * shape).max(MIN_SIDE);
            Rung {
                id: format!("v{h}"),
                width,
                height: h,
                max_rate: ceiling(width, h, frame_rate),
                profile: if h >= 720 { "high" } else { "main" },
            }
        })
        .collect()
}

/// The usual height nearest to `target`, if it is near; else `target` itself.
fn lower_rung(top: u32, target: f64) -> u32 {
    let distance = |h: u32| (f64::from(h) - target).abs();
    USUAL_HEIGHTS
        .into_iter()
        .filter(|&h| h < top && distance(h) <= target * 0.15)
        .min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
        .unwrap_or_else(|| even(target))
}

fn even(value: f64) -> u32 {
    // Sizes are far below 2^32: a source has at most u32 pixels a side and rungs are not larger.
    2 * (value / 2.0).round() as u32
}

fn ceiling(width: u32, height: u32, frame_rate: Rational) -> BitsPerSecond {
    let pixels = f64::from(width) * f64::from(height) * frame_rate.value().min(MAX_FRAME_RATE);
    let rate = RATE_AT_1080P25 * (pixels / (1920.0 * 1080.0 * 25.0)).powf(RATE_EXPONENT);
    BitsPerSecond((rate / 10_000.0).round().max(5.0) as u64 * 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const R25: Rational = Rational { num: 25, den: 1 };

    #[test]
    fn sensible_rungs_for_usual_sources() {
        for ((w, h), want) in [
            ((3840, 2160), vec![(3840, 2160), (2560, 1440), (1280, 720)]),
            ((1920, 1080), vec![(1920, 1080), (1280, 720), (640, 360)]),
            ((1280, 720), vec![(1280, 720), (854, 480), (480, 270)]),
            ((640, 360), vec![(640, 360), (426, 240), (256, 144)]),
            ((640, 272), vec![(640, 272), (424, 180), (254, 108)]),
            ((720, 1280), vec![(720, 1280), (480, 854), (270, 480)]),
            ((7680, 4320), vec![(3840, 2160), (2560, 1440), (1280, 720)]),
            ((40, 40), vec![(40, 40)]),
        ] {
            let got: Vec<_> = rungs(w, h, R25).iter().map(|r| (r.width, r.height)).collect();
            assert_eq!(got, want, "{w}x{h}");
        }
    }

    #[test]
    fn rates_read_and_write_as_standards_want() {
        assert_eq!(
            Rational::parse("30000/1001").map(Rational::decimal).as_deref(),
            Some("29.97")
        );
        assert_eq!(
            Rational::parse("25/1").map(Rational::decimal).as_deref(),
            Some("25")
        );
        assert_eq!(
            Rational::parse("24000/1001").map(Rational::fraction).as_deref(),
            Some("24000/1001")
        );
        assert_eq!(
            Rational::parse("100/1").map(Rational::decimal).as_deref(),
            Some("100")
        );
        for bad in ["0/0", "0", "x", "1/0", ""] {
            assert_eq!(Rational::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_upscaled_always_even_and_falling(w in 32u32..9000, h in 32u32..9000) {
            let all = rungs(w, h, R25);
            prop_assert!(!all.is_empty() && all.len() <= 3);
            for r in &all {
                prop_assert!(r.height <= h + 1 && r.height % 2 == 0 && r.width % 2 == 0);
                prop_assert!(r.width >= MIN_SIDE && r.height >= MIN_SIDE);
                prop_assert!(r.max_rate.0 > 0);
            }
            for pair in all.windows(2) {
                prop_assert!(pair[0].height > pair[1].height);
            }
        }
    }
}
