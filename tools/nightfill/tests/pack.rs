//! Packs real films with the real ffmpeg and checks what comes out with tools that the packer does not use: ffprobe,
//! SHA-256, and a reading of the boxes of its own.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use cdn_types::{ObjectDigest, title::TitleManifest};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const CLIP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/big-buck-bunny.mp4");

fn nightfill() -> Command {
    for program in ["ffmpeg", "ffprobe"] {
        let there = Command::new(program)
            .arg("-version")
            .output()
            .is_ok_and(|o| o.status.success());
        assert!(there, "these tests need {program}: apt-get install ffmpeg");
    }
    Command::new(env!("CARGO_BIN_EXE_nightfill"))
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

/// Packs and returns the title's folder.
fn pack(input: &str, out: &Path, more: &[&str]) -> PathBuf {
    let done = run(nightfill()
        .args(["pack", input, "--id", "film", "--preset", "ultrafast", "--out"])
        .arg(out)
        .args(more));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{stderr}");
    out.join("film")
}

fn title(dir: &Path) -> TitleManifest {
    let title: TitleManifest = serde_json::from_slice(&fs::read(dir.join("title.json")).unwrap()).unwrap();
    title.check().unwrap();
    title
}

/// A media playlist as a player reads it.
struct Playlist {
    init: (String, Option<Range<u64>>),
    /// Seconds, file, bytes.
    segments: Vec<(f64, String, Option<Range<u64>>)>,
}

fn byte_range(text: &str) -> Range<u64> {
    let (length, start) = text.split_once('@').unwrap();
    let (length, start): (u64, u64) = (length.parse().unwrap(), start.parse().unwrap());
    start..start + length
}

fn playlist(dir: &Path, name: &str) -> Playlist {
    let text = fs::read_to_string(dir.join(name)).unwrap();
    let (mut init, mut segments, mut seconds, mut range) = (None, vec![], 0.0, None);
    for line in text.lines() {
        if let Some(map) = line.strip_prefix("#EXT-X-MAP:") {
            let quoted: Vec<_> = map.split('"').collect();
            init = Some((quoted[1].to_owned(), quoted.get(3).map(|r| byte_range(r))));
        } else if let Some(length) = line.strip_prefix("#EXTINF:") {
            seconds = length.trim_end_matches(',').parse().unwrap();
        } else if let Some(text) = line.strip_prefix("#EXT-X-BYTERANGE:") {
            range = Some(byte_range(text));
        } else if !line.starts_with('#') {
            segments.push((seconds, line.to_owned(), range.take()));
        }
    }
    assert!(text.ends_with("#EXT-X-ENDLIST\n"));
    Playlist {
        init: init.unwrap(),
        segments,
    }
}

fn bytes(dir: &Path, file: &str, range: Option<&Range<u64>>) -> Vec<u8> {
    let all = fs::read(dir.join(file)).unwrap();
    match range {
        Some(r) => all[r.start as usize..r.end as usize].to_vec(),
        None => all,
    }
}

/// Init section and segments in order, as a player joins them.
fn joined(dir: &Path, list: &Playlist) -> Vec<u8> {
    let mut out = bytes(dir, &list.init.0, list.init.1.as_ref());
    for (_, file, range) in &list.segments {
        out.extend(bytes(dir, file, range.as_ref()));
    }
    out
}

/// What a Representation says.
#[derive(Debug, Default)]
struct Representation {
    base: String,
    index: Range<u64>,
    init: Range<u64>,
    timeline: Vec<u64>,
    timescale: u64,
    /// File and range of each SegmentURL.
    listed: Vec<(String, Range<u64>)>,
}

fn mpd(dir: &Path) -> BTreeMap<String, Representation> {
    use quick_xml::{Reader, events::Event};
    let text = fs::read_to_string(dir.join("manifest.mpd")).unwrap();
    let mut reader = Reader::from_str(&text);
    let (mut out, mut id, mut in_base) = (BTreeMap::<String, Representation>::new(), String::new(), false);
    let range = |text: &str| {
        let (a, b) = text.split_once('-').unwrap();
        a.parse::<u64>().unwrap()..b.parse::<u64>().unwrap() + 1
    };
    loop {
        match reader.read_event().unwrap() {
            Event::Start(e) | Event::Empty(e) => {
                let attributes: BTreeMap<String, String> = e
                    .attributes()
                    .map(|a| a.unwrap())
                    .map(|a| (a.key.as_ref().to_owned(), a.value.to_string()))
                    .collect();
                match e.name().as_ref() {
                    "Representation" => id = attributes["id"].clone(),
                    "BaseURL" => in_base = true,
                    "SegmentBase" => {
                        out.entry(id.clone()).or_default().index = range(&attributes["indexRange"]);
                    }
                    "Initialization" => out.entry(id.clone()).or_default().init = range(&attributes["range"]),
                    "SegmentURL" => {
                        let one = (attributes["media"].clone(), range(&attributes["mediaRange"]));
                        out.entry(id.clone()).or_default().listed.push(one);
                    }
                    "SegmentTemplate" | "SegmentList" => {
                        out.entry(id.clone()).or_default().timescale =
                            attributes["timescale"].parse().unwrap();
                    }
                    "S" => {
                        let again: usize = attributes.get("r").map_or(0, |r| r.parse().unwrap());
                        let length: u64 = attributes["d"].parse().unwrap();
                        let timeline = &mut out.entry(id.clone()).or_default().timeline;
                        timeline.extend(std::iter::repeat_n(length, again + 1));
                    }
                    _ => {}
                }
            }
            Event::Text(t) if in_base => {
                out.entry(id.clone()).or_default().base = t.to_string();
                in_base = false;
            }
            Event::Eof => return out,
            _ => {}
        }
    }
}

/// What a DASH player reads from a version 0 `sidx`: (seconds, byte range) of every segment.
fn sidx_segments(file: &[u8], index: &Range<u64>) -> Vec<(f64, Range<u64>)> {
    let sidx = &file[index.start as usize..index.end as usize];
    let u32_at = |at: usize| u32::from_be_bytes(sidx[at..at + 4].try_into().unwrap());
    assert_eq!((&sidx[4..8], sidx[8]), (&b"sidx"[..], 0), "a version 0 sidx");
    assert_eq!(
        u64::from(u32_at(0)),
        index.end - index.start,
        "indexRange is the whole box"
    );
    let (timescale, first_offset) = (f64::from(u32_at(16)), u32_at(24));
    let count = usize::from(u16::from_be_bytes(sidx[30..32].try_into().unwrap()));
    let mut at = index.end + u64::from(first_offset);
    (0..count)
        .map(|i| {
            let (size, duration) = (u64::from(u32_at(32 + 12 * i)), f64::from(u32_at(36 + 12 * i)));
            let sap = u32_at(40 + 12 * i);
            assert_eq!(sap >> 28, 0b1001, "every segment starts with a SAP of type 1");
            at += size;
            (duration / timescale, at - size..at)
        })
        .collect()
}

fn ffprobe(file: &Path) -> BTreeMap<String, String> {
    let done = run(Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-of",
            "default=nw=1",
            "-show_entries",
        ])
        .arg(
            "stream=codec_name,profile,width,height,pix_fmt,nb_read_frames,sample_rate,channels,r_frame_rate",
        )
        .arg(file));
    assert!(
        done.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout)
        .unwrap()
        .lines()
        .filter_map(|l| l.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Decodes a file to its end; ffmpeg must find nothing wrong.
fn decodes(file: &Path) {
    let done = run(Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-f", "null", "-"]));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && stderr.is_empty(),
        "{}: {stderr}",
        file.display()
    );
}

/// Segments must start at the same time in every rendition: video exactly, sound to half an AAC frame.
fn aligned(dir: &Path, title: &TitleManifest) {
    let starts = |id: &str| -> Vec<f64> {
        let list = playlist(dir, &format!("{id}.m3u8"));
        let mut at = 0.0;
        list.segments
            .iter()
            .map(|s| {
                at += s.0;
                at - s.0
            })
            .collect()
    };
    let first = starts(&title.renditions[0].id);
    for r in &title.renditions[1..] {
        let own = starts(&r.id);
        assert_eq!(own.len(), first.len(), "{}", r.id);
        let tolerance = if r.height.is_some() {
            1e-9
        } else {
            512.0 / 48000.0 + 1e-4
        };
        for (a, b) in own.iter().zip(&first) {
            assert!((a - b).abs() <= tolerance, "{}: {a} beside {b}", r.id);
        }
    }
}

#[test]
fn hls_and_dash_reference_the_same_bytes_of_real_media() {
    let out = tempfile::tempdir().unwrap();
    let dir = pack(CLIP, out.path(), &[]);
    let title = title(&dir);
    let ids: Vec<_> = title.renditions.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["v720", "v480", "v270", "a128"]);
    assert_eq!(title.duration_ms, 5280);
    let representations = mpd(&dir);
    for r in &title.renditions {
        let file = fs::read(dir.join(format!("{}.mp4", r.id))).unwrap();
        let (list, dash) = (playlist(&dir, &format!("{}.m3u8", r.id)), &representations[&r.id]);
        // The same bytes: HLS's ranges are those that a DASH player reads from the sidx.
        assert_eq!(dash.base, list.init.0);
        assert_eq!(Some(&dash.init), list.init.1.as_ref());
        let from_sidx = sidx_segments(&file, &dash.index);
        assert_eq!(from_sidx.len(), list.segments.len());
        for ((seconds, range), (hls_seconds, _, hls_range)) in from_sidx.iter().zip(&list.segments) {
            assert_eq!(Some(range), hls_range.as_ref());
            assert!((seconds - hls_seconds).abs() < 1e-6);
        }
        // Nothing of the file is left over: init, index and segments joined are the file.
        let mut whole = file[..dash.init.end as usize].to_vec();
        whole.extend(&file[dash.index.start as usize..dash.index.end as usize]);
        whole.extend(&joined(&dir, &list)[dash.init.end as usize..]);
        assert_eq!(Sha256::digest(&whole), Sha256::digest(&file), "{}", r.id);
        // What title.json says is what ffprobe finds.
        let probe = ffprobe(&dir.join(format!("{}.mp4", r.id)));
        if let (Some(width), Some(height)) = (r.width, r.height) {
            assert_eq!(probe["codec_name"], "h264");
            assert_eq!(probe["pix_fmt"], "yuv420p");
            assert_eq!(probe["width"], width.to_string());
            assert_eq!(probe["height"], height.to_string());
            assert_eq!(probe["nb_read_frames"], "132", "no frame is lost or made up");
            assert_eq!(probe["r_frame_rate"], "25/1");
        } else {
            assert_eq!(
                (probe["codec_name"].as_str(), probe["profile"].as_str()),
                ("aac", "LC")
            );
            assert_eq!(
                (probe["sample_rate"].as_str(), probe["channels"].as_str()),
                ("48000", "2")
            );
        }
        decodes(&dir.join(format!("{}.mp4", r.id)));
    }
    aligned(&dir, &title);
    digests_hold(&dir, &title);
    let multivariant = fs::read_to_string(dir.join("index.m3u8")).unwrap();
    for want in [
        "GROUP-ID=\"audio\"",
        "STABLE-RENDITION-ID=\"a128\"",
        "STABLE-VARIANT-ID=\"v720\"",
        "RESOLUTION=1280x720",
    ] {
        assert!(multivariant.contains(want), "{want} in {multivariant}");
    }
}

/// `title.json` lists every file of the folder but itself, with its size and digests.
fn digests_hold(dir: &Path, title: &TitleManifest) {
    for o in &title.objects {
        let body = fs::read(dir.join(&o.path)).unwrap();
        assert_eq!(
            (o.size.0, o.digest),
            (body.len() as u64, ObjectDigest::of(&body)),
            "{}",
            o.path
        );
        let blocks: Vec<_> = body.chunks(1 << 20).map(ObjectDigest::of).collect();
        assert_eq!(o.blocks, blocks, "{}", o.path);
    }
    let mut files = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                files += 1;
            }
        }
    }
    assert_eq!(files, title.objects.len() + 1);
}

#[test]
fn all_layouts_hold_the_same_media_and_packing_twice_gives_the_same_bytes() {
    // 29.97 frames a second: a segment of 2 s is not a whole number of frames.
    let source = "lavfi:testsrc2=size=320x180:rate=30000/1001";
    let out = tempfile::tempdir().unwrap();
    let single = pack(source, &out.path().join("single"), &["--min-seconds", "9"]);
    let files = pack(
        source,
        &out.path().join("files"),
        &["--min-seconds", "9", "--segments", "files"],
    );
    let listed = pack(
        source,
        &out.path().join("listed"),
        &["--min-seconds", "9", "--segments", "listed"],
    );
    let (a, b, c) = (title(&single), title(&files), title(&listed));
    assert_eq!([&a.renditions; 2], [&b.renditions, &c.renditions]);
    for t in [(&single, &a), (&files, &b), (&listed, &c)] {
        aligned(t.0, t.1);
        digests_hold(t.0, t.1);
    }
    let (representations, in_mpd) = (mpd(&files), mpd(&listed));
    for r in &a.renditions {
        let name = format!("{}.m3u8", r.id);
        let (ranges, tree) = (playlist(&single, &name), playlist(&files, &name));
        let (x, y) = (joined(&single, &ranges), joined(&files, &tree));
        assert_eq!(Sha256::digest(&x), Sha256::digest(&y), "{}", r.id);
        let segments =
            |p: &Playlist| -> Vec<_> { p.segments.iter().map(|s| (s.1.clone(), s.2.clone())).collect() };
        let list = &in_mpd[&r.id];
        let want = list
            .listed
            .iter()
            .cloned()
            .map(|(file, range)| (file, Some(range)));
        assert_eq!(segments(&ranges), want.collect::<Vec<_>>());
        // The MPD's timeline names as many segments, as long, as the playlist.
        let dash = &representations[&r.id];
        assert_eq!((&list.timeline, list.timescale), (&dash.timeline, dash.timescale));
        let timeline: Vec<_> = dash
            .timeline
            .iter()
            .map(|d| *d as f64 / dash.timescale as f64)
            .collect();
        assert_eq!(timeline.len(), tree.segments.len());
        assert!(
            timeline
                .iter()
                .zip(&tree.segments)
                .all(|(a, b)| (a - b.0).abs() < 1e-6),
            "{timeline:?}"
        );
        assert!(
            tree.segments
                .iter()
                .all(|s| s.1.starts_with(&r.id) && s.2.is_none())
        );
        let whole = out.path().join("joined.mp4");
        fs::write(&whole, y).unwrap();
        decodes(&whole);
    }
    assert_eq!(a.renditions[0].frame_rate.as_deref(), Some("29.97"));
}

#[test]
fn text_is_burned_in_and_silence_is_added() {
    let out = tempfile::tempdir().unwrap();
    let mute = out.path().join("mute.mp4");
    let made = run(Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "color=black:size=320x180:rate=10:duration=1",
        ])
        .arg(&mute));
    assert!(made.status.success());
    let mute = mute.to_str().unwrap();
    let dir = pack(
        mute,
        out.path(),
        &["--silent-audio", "--loop", "3", "--burn", "it's 100% :,[x]"],
    );
    assert_eq!(title(&dir).duration_ms, 3000);
    let frame = run(Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(dir.join("v180.mp4"))
        .args(["-frames:v", "1", "-pix_fmt", "gray", "-f", "rawvideo", "-"]));
    let bright = frame.stdout.iter().filter(|&&p| p > 200).count();
    assert!(bright > 50, "{bright} bright pixels on a black film");
    assert_eq!(ffprobe(&dir.join("a128.mp4"))["channels"], "2");
}

/// What must be left of a failed run: nothing.
fn is_empty(out: &Path) -> bool {
    !out.exists() || fs::read_dir(out).unwrap().next().is_none()
}

#[test]
fn errors_name_the_place_and_the_mend() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("notes.txt"), "INT. CAVE - NIGHT\n".repeat(500)).unwrap();
    fs::write(path("empty.mp4"), "").unwrap();
    let made = run(Command::new("ffmpeg")
        .args(["-v", "error", "-i", CLIP, "-an", "-c", "copy"])
        .arg(path("mute.mp4")));
    let sound = run(Command::new("ffmpeg")
        .args(["-v", "error", "-i", CLIP, "-vn", "-c", "copy"])
        .arg(path("sound.m4a")));
    assert!(made.status.success() && sound.status.success());
    let out = dir.path().join("out");
    for (input, more, want) in [
        (path("none.mp4"), &[][..], &["none.mp4: no such file"][..]),
        (
            path("notes.txt"),
            &[],
            &["notes.txt: not a video", "Give a file that has a video track"],
        ),
        (path("empty.mp4"), &[], &["empty.mp4: not a video"]),
        (
            path("sound.m4a"),
            &[],
            &["sound.m4a: not a video (it has no video track)"],
        ),
        (
            path("mute.mp4"),
            &[],
            &["mute.mp4: has no audio track", "--silent-audio"],
        ),
        // A billion seconds are some 300 TB.
        (
            "lavfi:testsrc2".to_owned(),
            &["--min-seconds", "1e9"],
            &["no room", "may be needed", "--out on a larger disk"],
        ),
        (CLIP.to_owned(), &["--id", "../x"], &["is not a title id"]),
        (
            CLIP.to_owned(),
            &["--segment-seconds", "0"],
            &["must be 0.5 to 30 seconds"],
        ),
    ] {
        let done = run(nightfill()
            .arg("pack")
            .arg(&input)
            .arg("--out")
            .arg(&out)
            .args(more));
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success(), "{input}");
        assert!(
            want.iter().all(|w| stderr.contains(w)),
            "{input}: {stderr}\nwanted {want:?}"
        );
        assert!(is_empty(&out), "{input} left something behind");
    }
    let done = run(nightfill()
        .env("PATH", "")
        .args(["pack", CLIP, "--out"])
        .arg(&out));
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(
        stderr.contains("ffprobe was not found") && stderr.contains("apt-get install ffmpeg"),
        "{stderr}"
    );
}

#[test]
fn a_title_that_is_there_is_replaced_only_on_demand() {
    let out = tempfile::tempdir().unwrap();
    let source = "lavfi:color=red:size=64x64:rate=5";
    let dir = pack(source, out.path(), &["--min-seconds", "1"]);
    let before = title(&dir).version();
    let again = run(nightfill()
        .args(["pack", source, "--id", "film", "--out"])
        .arg(out.path()));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--overwrite"));
    pack(source, out.path(), &["--min-seconds", "2", "--overwrite"]);
    assert_ne!(title(&dir).version(), before);
    assert_eq!(
        fs::read_dir(out.path()).unwrap().count(),
        1,
        "nothing but the title is left"
    );
}

/// A PATH on which `ffmpeg` is a script and `ffprobe` is the real one.
fn with_fake_ffmpeg(dir: &Path, script: &str) -> String {
    let fake = dir.join("ffmpeg");
    fs::write(&fake, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[test]
fn a_dying_encoder_is_quoted_and_a_full_disk_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    for (script, want) in [
        (
            "echo first >&2; echo 'boom at frame 7' >&2; exit 3",
            "ffmpeg failed (exit status: 3):\nfirst\nboom at frame 7",
        ),
        (
            "echo 'av_interleaved_write_frame(): No space left on device' >&2; exit 1",
            "no room: the disk filled up",
        ),
        ("kill -9 $$", "ffmpeg failed (signal: 9"),
    ] {
        let path = with_fake_ffmpeg(dir.path(), script);
        let done = run(nightfill()
            .env("PATH", path)
            .args(["pack", CLIP, "--out"])
            .arg(&out));
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1));
        assert!(stderr.contains(want), "{stderr}");
        assert!(is_empty(&out));
    }
}

#[test]
fn an_interrupt_stops_the_encoder_and_leaves_nothing() {
    let out = tempfile::tempdir().unwrap();
    for signal in [
        nix::sys::signal::Signal::SIGINT,
        nix::sys::signal::Signal::SIGTERM,
    ] {
        let mut child = nightfill()
            .args([
                "pack",
                "lavfi:testsrc2=size=64x64:rate=10",
                "--min-seconds",
                "300",
                "--out",
            ])
            .arg(out.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let running = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("25 %"));
        assert!(running, "it never got to a quarter");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        assert!(!child.wait().unwrap().success());
        assert!(rest.iter().any(|l| l == "error: interrupted"), "{rest:?}");
        assert!(is_empty(out.path()), "{signal} left something behind");
    }
}
