//! What the input is, as ffprobe tells it: the first real video track, whether there is sound, how long it lasts.
//!
//! ffprobe takes almost anything for a video: a text file is "ANSI art", a cover picture in an MP3 is a video track
//! of one frame. Both are refused here, before an encoder spends minutes on them.

use super::{PackError, ladder, ladder::Rational};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

/// Where the pictures come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A media file.
    File(PathBuf),
    /// One of ffmpeg's own sources, e.g. `testsrc2=size=1280x720:rate=25`; it gets a generated tone.
    Lavfi(String),
}

impl Input {
    /// `lavfi:GRAPH` is a generated source, all else a file name.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("lavfi:") {
            Some(graph) => Self::Lavfi(graph.to_owned()),
            None => Self::File(PathBuf::from(text)),
        }
    }

    /// Name without folder and ending, for ids and titles.
    pub fn stem(&self) -> String {
        match self {
            Self::File(path) => path
                .file_stem()
                .map_or_else(|| "title".to_owned(), |s| s.to_string_lossy().into_owned()),
            Self::Lavfi(graph) => graph.split(['=', ':', ',']).next().unwrap_or("title").to_owned(),
        }
    }

    /// The `-f … -i …` arguments that open it in ffmpeg and ffprobe.
    pub fn arguments(&self) -> Result<Vec<String>, PackError> {
        match self {
            Self::Lavfi(graph) => Ok(vec!["-f".into(), "lavfi".into(), "-i".into(), graph.clone()]),
            Self::File(path) => Ok(vec!["-i".into(), file_url(path)?]),
        }
    }
}

/// `file:` keeps ffmpeg from reading a protocol or an option out of a file name.
fn file_url(path: &Path) -> Result<String, PackError> {
    let whole = path.canonicalize().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => PackError::NoFile {
            path: path.to_owned(),
        },
        _ => PackError::io(path, e),
    })?;
    let text = whole.to_str().ok_or_else(|| {
        PackError::io(
            path,
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the name is not UTF-8; rename the file",
            ),
        )
    })?;
    Ok(format!("file:{text}"))
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Lavfi(graph) => write!(f, "lavfi:{graph}"),
        }
    }
}

/// What is known of an input before it is packed.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Index of the video track in the file.
    pub video_index: u32,
    /// Index of the audio track, if there is one.
    pub audio_index: Option<u32>,
    /// Width in square pixels as shown, after rotation.
    pub width: u32,
    /// Height in pixels as shown, after rotation.
    pub height: u32,
    /// Constant rate at which frames are made.
    pub frame_rate: Rational,
    /// Whether frames are woven of two fields.
    pub interlaced: bool,
    /// Seconds; none for an endless generated source.
    pub duration: Option<f64>,
}

#[derive(Deserialize)]
struct Report {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    format: Format,
}

#[derive(Deserialize, Default)]
struct Format {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct Stream {
    index: u32,
    #[serde(default)]
    codec_type: String,
    #[serde(default)]
    codec_name: String,
    #[serde(default)]
    width: u32,
    #[serde(default)]
    height: u32,
    sample_aspect_ratio: Option<String>,
    #[serde(default)]
    avg_frame_rate: String,
    #[serde(default)]
    r_frame_rate: String,
    field_order: Option<String>,
    duration: Option<String>,
    #[serde(default)]
    disposition: BTreeMap<String, u8>,
    #[serde(default)]
    side_data_list: Vec<SideData>,
}

#[derive(Deserialize)]
struct SideData {
    rotation: Option<f64>,
}

/// Asks ffprobe what `input` is.
pub async fn probe(input: &Input) -> Result<Source, PackError> {
    let output = tokio::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-print_format",
            "json",
            "-show_format",
            "-show_streams",
        ])
        .args(input.arguments()?)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| spawn_error("ffprobe", e))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().last().unwrap_or("ffprobe cannot read it").trim();
        let why = last.rsplit(": ").next().unwrap_or(last).to_owned();
        return Err(PackError::NotVideo {
            input: input.to_string(),
            why,
        });
    }
    read(input, &output.stdout)
}

/// Tells a missing program from other faults of starting it.
pub(super) fn spawn_error(program: &'static str, e: io::Error) -> PackError {
    match e.kind() {
        io::ErrorKind::NotFound => PackError::NoFfmpeg { program },
        _ => PackError::io(program, e),
    }
}

/// Reads ffprobe's report.
fn read(input: &Input, report: &[u8]) -> Result<Source, PackError> {
    let not_video = |why: &str| PackError::NotVideo {
        input: input.to_string(),
        why: why.to_owned(),
    };
    let report: Report = serde_json::from_slice(report)
        .map_err(|e| not_video(&format!("ffprobe's report is unreadable: {e}")))?;
    let names: Vec<_> = report.format.format_name.split(',').collect();
    if names.contains(&"tty") {
        return Err(not_video("it is text"));
    }
    if names.iter().any(|n| n.ends_with("_pipe") || *n == "image2") {
        return Err(not_video("it is a still picture"));
    }
    let video = report
        .streams
        .iter()
        .find(|s| s.codec_type == "video" && s.disposition.get("attached_pic") != Some(&1))
        .ok_or_else(|| not_video("it has no video track"))?;
    let rate =
        frame_rate(video).ok_or_else(|| not_video(&format!("{} has no frame rate", video.codec_name)))?;
    let (width, height) = shown_size(video);
    if width.min(height) < ladder::MIN_SIDE {
        let least = ladder::MIN_SIDE;
        return Err(PackError::TooSmall {
            input: input.to_string(),
            width,
            height,
            least,
        });
    }
    let seconds = |text: &Option<String>| {
        text.as_deref()
            .and_then(|t| t.parse().ok())
            .filter(|&d: &f64| d > 0.0)
    };
    let duration = seconds(&report.format.duration).or_else(|| seconds(&video.duration));
    if duration.is_none() && matches!(input, Input::File(_)) {
        return Err(PackError::NoDuration {
            input: input.to_string(),
        });
    }
    Ok(Source {
        video_index: video.index,
        audio_index: report
            .streams
            .iter()
            .find(|s| s.codec_type == "audio")
            .map(|s| s.index),
        width,
        height,
        frame_rate: rate,
        interlaced: !matches!(
            video.field_order.as_deref(),
            None | Some("progressive" | "unknown")
        ),
        duration,
    })
}

/// The average rate if it is believable, else the rate that all time stamps fit; at most [`ladder::MAX_FRAME_RATE`].
fn frame_rate(video: &Stream) -> Option<Rational> {
    let all = [&video.avg_frame_rate, &video.r_frame_rate];
    let rate = all
        .into_iter()
        .filter_map(|t| Rational::parse(t))
        .find(|r| r.value() >= 1.0)?;
    let mut rate = snap(rate);
    while rate.value() > ladder::MAX_FRAME_RATE + 0.001 {
        match rate.num % 2 {
            0 => rate.num /= 2,
            _ => rate.den = rate.den.checked_mul(2)?,
        }
    }
    Some(rate)
}

/// Averages of short or variable files are odd fractions (`2997003/100000`): the usual rate within 0.1 % is meant.
fn snap(rate: Rational) -> Rational {
    const USUAL: [(u32, u32); 9] = [
        (24000, 1001),
        (24, 1),
        (25, 1),
        (30000, 1001),
        (30, 1),
        (50, 1),
        (60000, 1001),
        (60, 1),
        (15, 1),
    ];
    if rate.den == 1 {
        return rate;
    }
    USUAL
        .into_iter()
        .map(|(num, den)| Rational { num, den })
        .filter(|u| (u.value() / rate.value() - 1.0).abs() < 0.001)
        .min_by(|a, b| {
            (a.value() - rate.value())
                .abs()
                .total_cmp(&(b.value() - rate.value()).abs())
        })
        .unwrap_or_else(|| {
            if rate.den > 1001 {
                Rational {
                    num: (rate.value() * 1000.0).round() as u32,
                    den: 1000,
                }
            } else {
                rate
            }
        })
}

/// Size in square pixels, turned as the player shall show it.
fn shown_size(video: &Stream) -> (u32, u32) {
    let shape = video
        .sample_aspect_ratio
        .as_deref()
        .and_then(|t| Rational::parse(&t.replace(':', "/")))
        .map_or(1.0, Rational::value);
    let (w, h) = ((f64::from(video.width) * shape).round() as u32, video.height);
    let turned = video
        .side_data_list
        .iter()
        .filter_map(|d| d.rotation)
        .any(|r| (r.abs() % 180.0 - 90.0).abs() < 1.0);
    if turned { (h, w) } else { (w, h) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Input {
        Input::File("x.mp4".into())
    }

    #[test]
    fn reads_rotation_pixel_shape_and_odd_averages() {
        let report = br#"{"streams":[
            {"index":0,"codec_type":"video","codec_name":"png","disposition":{"attached_pic":1}},
            {"index":1,"codec_type":"audio","codec_name":"aac"},
            {"index":2,"codec_type":"video","codec_name":"h264","width":720,"height":576,"sample_aspect_ratio":"64:45",
             "avg_frame_rate":"2997003/100000","r_frame_rate":"90000/1","field_order":"tt",
             "side_data_list":[{"side_data_type":"Display Matrix","rotation":-90}]}],
            "format":{"format_name":"mov,mp4","duration":"12.5"}}"#;
        let s = read(&file(), report).unwrap();
        assert_eq!((s.width, s.height), (576, 1024));
        assert_eq!(
            s.frame_rate,
            Rational {
                num: 30000,
                den: 1001
            }
        );
        assert_eq!(
            (s.video_index, s.audio_index, s.duration),
            (2, Some(1), Some(12.5))
        );
        assert!(s.interlaced);
    }

    #[test]
    fn what_is_no_video_is_refused_with_the_reason() {
        let video = r#"{"index":0,"codec_type":"video","width":640,"height":360,"avg_frame_rate":"25/1"}"#;
        for (streams, format, want) in [
            (video, r#"{"format_name":"tty","duration":"1"}"#, "it is text"),
            (video, r#"{"format_name":"png_pipe"}"#, "still picture"),
            ("", r#"{"format_name":"mp3","duration":"1"}"#, "no video track"),
            (video, r#"{"format_name":"h264"}"#, "length is unknown"),
        ] {
            let report = format!(r#"{{"streams":[{streams}],"format":{format}}}"#);
            let e = read(&file(), report.as_bytes()).unwrap_err().to_string();
            assert!(e.contains(want), "{e}");
        }
    }

    #[test]
    fn fast_sources_are_thinned_evenly() {
        let report = br#"{"streams":[{"index":0,"codec_type":"video","width":640,"height":360,"avg_frame_rate":"120/1"}],
            "format":{"format_name":"mp4","duration":"2"}}"#;
        assert_eq!(
            read(&file(), report).unwrap().frame_rate,
            Rational { num: 60, den: 1 }
        );
    }
}
