//! One run of ffmpeg that makes all renditions: the input is decoded once, split, scaled and encoded side by side.
//!
//! The encoder gets constant frame rate, closed groups of pictures and a key frame at the first frame of every
//! segment, counted in time and not in frames, so that the renditions can be switched between at any boundary
//! whatever the rate. ffmpeg writes plain MP4; how it is cut into segments is decided in [`super::fragment`].
//!
//! What would make two runs differ is turned off: version texts, creation times and, unless asked for, threads. With
//! more than one libx264 reckons the fill of its rate buffer with frames that other threads still work on, and the
//! bytes depend on who was faster.

use super::{
    PackError, Source,
    ladder::{self, Rung},
    probe::{Input, spawn_error},
};
use crate::progress::Progress;
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Constant quality (libx264 CRF) below the ceiling of the bit rate: 23 is the encoder's own middle.
const QUALITY: &str = "23";
/// Last lines of ffmpeg's errors that are shown.
const STDERR_LINES: usize = 6;
/// Least size of burned-in letters in pixels.
const MIN_FONT: u32 = 12;
/// Name in the work folder of the text to burn in.
const BURN_FILE: &str = "burn.txt";

/// What ffmpeg shall do.
#[derive(Debug)]
pub struct Job<'a> {
    /// Where pictures and sound come from.
    pub input: &'a Input,
    /// What they are.
    pub source: &'a Source,
    /// Video renditions.
    pub rungs: &'a [Rung],
    /// How often the file is played again after the first time.
    pub repeats: u32,
    /// Playing time in seconds.
    pub seconds: f64,
    /// Segment length in seconds.
    pub segment_seconds: f64,
    /// Text shown in a corner of every frame.
    pub burn: Option<&'a str>,
    /// libx264 preset.
    pub preset: &'a str,
    /// Encoder threads a rendition.
    pub threads: u32,
}

/// File of rendition `id` in the work folder.
pub fn encoded_file(work: &Path, id: &str) -> PathBuf {
    work.join(format!("{id}.encoded.mp4"))
}

/// File name of the sound within the work folder is made from this id.
pub fn audio_id() -> String {
    format!("a{}", ladder::AUDIO_RATE.0 / 1000)
}

/// Runs ffmpeg in the folder `work` and tells `progress` how far it is, from 0 to 1.
pub async fn encode(job: &Job<'_>, work: &Path, progress: &Progress) -> Result<(), PackError> {
    if let Some(text) = job.burn {
        let path = work.join(BURN_FILE);
        std::fs::write(&path, text).map_err(|e| PackError::io(path, e))?;
    }
    let mut child = tokio::process::Command::new("ffmpeg")
        .args(arguments(job)?)
        .current_dir(work)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| spawn_error("ffmpeg", e))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let stderr = child.stderr.take().expect("stderr is piped");
    let ((), last) = tokio::join!(follow(stdout, job.seconds, progress), tail(stderr));
    let status = child.wait().await.map_err(|e| PackError::io("ffmpeg", e))?;
    if status.success() {
        return Ok(());
    }
    if last.contains("No space left on device") || last.contains("Disk quota exceeded") {
        let detail = "the disk filled up while ffmpeg wrote".to_owned();
        return Err(PackError::NoRoom {
            path: work.parent().unwrap_or(work).to_owned(),
            detail,
        });
    }
    Err(PackError::Ffmpeg {
        input: job.input.to_string(),
        status: status.to_string(),
        stderr: last,
    })
}

async fn follow(stdout: impl AsyncRead + Unpin, seconds: f64, progress: &Progress) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(at) = line
            .strip_prefix("out_time_us=")
            .and_then(|t| t.trim().parse::<f64>().ok())
        {
            progress.fraction((at / 1e6 / seconds).clamp(0.0, 1.0));
        }
    }
}

async fn tail(stderr: impl AsyncRead + Unpin) -> String {
    let mut last = VecDeque::with_capacity(STDERR_LINES);
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if last.len() == STDERR_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    Vec::from(last).join("\n")
}

/// All arguments of the run.
fn arguments(job: &Job<'_>) -> Result<Vec<String>, PackError> {
    let mut a: Vec<String> = [
        "-hide_banner",
        "-nostdin",
        "-nostats",
        "-v",
        "error",
        "-progress",
        "pipe:1",
        "-y",
    ]
    .map(String::from)
    .into();
    if job.repeats > 0 {
        a.extend(["-stream_loop".into(), job.repeats.to_string()]);
    }
    a.extend(job.input.arguments()?);
    let sound = sound_source(job);
    if let Some(graph) = &sound {
        a.extend(["-f", "lavfi", "-i", graph].map(String::from));
    }
    a.extend(["-filter_complex".into(), filters(job)]);
    for (i, rung) in job.rungs.iter().enumerate() {
        a.extend(["-map".into(), format!("[v{i}]")]);
        a.extend(video_arguments(job, rung));
        a.push(format!("{}.encoded.mp4", rung.id));
    }
    a.extend(["-map".into(), "[a]".into()]);
    a.extend(audio_arguments(job));
    a.push(format!("{}.encoded.mp4", audio_id()));
    Ok(a)
}

/// Generated sound, where the input has none: a tone for generated pictures, silence for a file.
fn sound_source(job: &Job<'_>) -> Option<String> {
    let rate = ladder::AUDIO_SAMPLE_RATE;
    match (job.input, job.source.audio_index) {
        (Input::Lavfi(_), _) => Some(format!("sine=frequency=440:beep_factor=4:sample_rate={rate}")),
        (Input::File(_), None) => Some(format!("anullsrc=channel_layout=stereo:sample_rate={rate}")),
        (Input::File(_), Some(_)) => None,
    }
}

fn filters(job: &Job<'_>) -> String {
    let mut chain = vec![];
    if job.source.interlaced {
        chain.push("yadif=deint=interlaced".to_owned());
    }
    chain.push(format!("fps={}:start_time=0", job.source.frame_rate.fraction()));
    if job.burn.is_some() {
        let size = (job.source.height / 12).max(MIN_FONT);
        let pad = size / 2;
        chain.push(format!(
            "drawtext=textfile={BURN_FILE}:expansion=none:fontsize={size}:fontcolor=white:box=1:boxcolor=black@0.6:\
             boxborderw={}:x={pad}:y={pad}",
            size / 4
        ));
    }
    let outputs: String = (0..job.rungs.len()).map(|i| format!("[s{i}]")).collect();
    chain.push(format!("split={}{outputs}", job.rungs.len()));
    let mut graph = format!("[0:{}]{}", job.source.video_index, chain.join(","));
    for (i, r) in job.rungs.iter().enumerate() {
        graph += &format!(
            ";[s{i}]scale={}:{}:flags=bicubic+accurate_rnd+bitexact,setsar=1,format=yuv420p[v{i}]",
            r.width, r.height
        );
    }
    let sound = match (sound_source(job), job.source.audio_index) {
        (None, Some(index)) => format!("[0:{index}]"),
        _ => "[1:a]".to_owned(),
    };
    // Gaps become silence, a late start too, and the end is the pictures' end.
    graph += &format!(
        ";{sound}aresample={}:async=1:first_pts=0,apad=whole_dur={:.6}[a]",
        ladder::AUDIO_SAMPLE_RATE,
        job.seconds
    );
    graph
}

fn video_arguments(job: &Job<'_>, rung: &Rung) -> Vec<String> {
    let rate = job.source.frame_rate.value();
    // Key frames are forced; the encoder's own longest distance must only never come first.
    let longest_gop = (rate * job.segment_seconds * 2.0).ceil() + 1.0;
    let mut a: Vec<String> = [
        "-c:v",
        "libx264",
        "-preset",
        job.preset,
        "-profile:v",
        rung.profile,
        "-crf",
        QUALITY,
    ]
    .map(String::from)
    .into();
    a.extend([
        "-maxrate".into(),
        rung.max_rate.0.to_string(),
        "-bufsize".into(),
        (rung.max_rate.0 * 2).to_string(),
        "-g".into(),
        longest_gop.to_string(),
        "-force_key_frames".into(),
        format!("expr:gte(t,n_forced*{})", job.segment_seconds),
        "-threads".into(),
        job.threads.to_string(),
    ]);
    a.extend(["-sc_threshold", "0", "-flags", "+cgop+bitexact"].map(String::from));
    a.extend(container_arguments(job));
    a
}

fn audio_arguments(job: &Job<'_>) -> Vec<String> {
    let mut a: Vec<String> = ["-c:a", "aac", "-flags", "+bitexact", "-ac"]
        .map(String::from)
        .into();
    a.extend([
        ladder::AUDIO_CHANNELS.to_string(),
        "-b:a".into(),
        ladder::AUDIO_RATE.0.to_string(),
    ]);
    a.extend(container_arguments(job));
    a
}

fn container_arguments(job: &Job<'_>) -> Vec<String> {
    let mut a = vec!["-t".into(), format!("{:.6}", job.seconds)];
    a.extend(
        [
            "-map_metadata",
            "-1",
            "-map_chapters",
            "-1",
            "-fflags",
            "+bitexact",
            "-f",
            "mp4",
        ]
        .map(String::from),
    );
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::ladder::{Rational, rungs};

    fn arguments_for(input: &Input, audio_index: Option<u32>, burn: Option<&str>) -> String {
        let source = Source {
            video_index: 0,
            audio_index,
            width: 1280,
            height: 720,
            frame_rate: Rational {
                num: 30000,
                den: 1001,
            },
            interlaced: false,
            duration: Some(10.0),
        };
        let job = Job {
            input,
            source: &source,
            rungs: &rungs(1280, 720, source.frame_rate),
            repeats: 0,
            seconds: 10.0,
            segment_seconds: 2.0,
            burn,
            preset: "veryfast",
            threads: 1,
        };
        arguments(&job).unwrap().join(" ")
    }

    #[test]
    fn one_run_decodes_once_and_forces_aligned_key_frames() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("-odd name.mp4");
        std::fs::write(&path, b"").unwrap();
        let text = arguments_for(&Input::File(path), Some(1), None);
        assert_eq!(text.matches(" -i file:/").count(), 1, "{text}");
        assert_eq!(text.matches("expr:gte(t,n_forced*2)").count(), 3, "{text}");
        assert!(
            text.contains("split=3[s0][s1][s2]") && text.contains("[0:1]aresample"),
            "{text}"
        );
        assert!(!text.contains("drawtext"), "{text}");
    }

    #[test]
    fn generated_pictures_get_a_tone_and_burned_text_is_no_filter_syntax() {
        let text = arguments_for(&Input::parse("lavfi:testsrc2=rate=25"), None, Some("a:b'c,%{n}"));
        assert!(
            text.contains("-f lavfi -i testsrc2=rate=25 -f lavfi -i sine="),
            "{text}"
        );
        assert!(
            text.contains("[1:a]aresample") && text.contains("textfile=burn.txt:expansion=none"),
            "{text}"
        );
        assert!(!text.contains("a:b'c"), "{text}");
    }
}
