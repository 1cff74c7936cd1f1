//! `nightfill pack`: from a film to a title that the CDN can carry.
//!
//! ffmpeg decodes the film once and encodes three video renditions and the sound ([`encode`]). The packer then cuts
//! them at common boundaries ([`fragment`]), reads back what it wrote ([`index`]), refuses renditions that a player
//! could not switch between, and writes HLS and DASH over the same bytes. Last comes `title.json` with the digest
//! of every file. All this happens in a hidden folder beside the title's place, which is renamed at the end: a
//! title is there whole or not at all.

pub mod dash;
pub mod encode;
mod error;
pub mod fragment;
pub mod hls;
pub mod index;
pub mod ladder;
pub mod probe;
pub mod rendition;
pub mod samples;

pub use error::PackError;
pub use probe::{Input, Source};
pub use rendition::{Packed, SegmentLayout};

use crate::{digests::digest_file, progress::Progress};
use cdn_types::{
    Bytes, TitleId,
    title::{ObjectRole, TITLE_FORMAT, TitleManifest, TitleObject},
};
use ladder::Rung;
use std::{
    fs,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Name of a title's own description in its folder.
pub const TITLE_FILE: &str = "title.json";
/// Seconds of a generated source whose length nobody gave.
pub const DEFAULT_GENERATED_SECONDS: f64 = 60.0;
/// Sound may begin this much of a segment away from its pictures: half an AAC frame and rounding.
const AUDIO_TOLERANCE_SECONDS: f64 = 1024.0 / 48_000.0 * 0.51;
/// Share of the declared length that must have been decodable.
const MIN_DECODED: f64 = 0.9;

/// How long a title shall be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// As long as its source.
    AsIs,
    /// The source this many times.
    Times(u32),
    /// The source as often as needed for this many seconds; the last time in full.
    AtLeast(f64),
}

/// What to pack and how.
#[derive(Debug, Clone, PartialEq)]
pub struct PackRequest {
    /// The film.
    pub input: Input,
    /// Id of the title, and name of its folder in `out`.
    pub id: TitleId,
    /// For people.
    pub name: String,
    /// Folder in which the title's folder is made.
    pub out: PathBuf,
    /// One file a rendition or one a segment.
    pub layout: SegmentLayout,
    /// Segment length in seconds.
    pub segment_seconds: f64,
    /// Replaces a title that is there.
    pub overwrite: bool,
    /// Playing time.
    pub length: Length,
    /// Text burned into the pictures.
    pub burn: Option<String>,
    /// Gives a film without sound a silent track.
    pub silent_audio: bool,
    /// libx264 preset.
    pub preset: String,
    /// Encoder threads a rendition; with one, the same film gives the same bytes.
    pub threads: u32,
}

/// A title on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedTitle {
    /// Its folder.
    pub dir: PathBuf,
    /// Its `title.json`.
    pub manifest: TitleManifest,
    /// What the operator should know although packing went well.
    pub warnings: Vec<String>,
}

/// Packs one title. If the future is dropped, ffmpeg is stopped and nothing is left behind.
pub async fn pack(request: &PackRequest, progress: &Progress) -> Result<PackedTitle, PackError> {
    let dir = request.out.join(request.id.as_str());
    if dir.exists() && !request.overwrite {
        return Err(PackError::Exists { path: dir });
    }
    let source = probe::probe(&request.input).await?;
    if source.audio_index.is_none() && !request.silent_audio && matches!(request.input, Input::File(_)) {
        return Err(PackError::NoAudio {
            input: request.input.to_string(),
        });
    }
    let rungs = ladder::rungs(source.width, source.height, source.frame_rate);
    let (repeats, seconds) = playing_time(request.length, source.duration);
    fs::create_dir_all(&request.out).map_err(|e| PackError::io(&request.out, e))?;
    check_room(&request.out, &rungs, seconds)?;
    let work = tempfile::Builder::new()
        .prefix(&format!(".{}.partial-", request.id))
        .tempdir_in(&request.out)
        .map_err(|e| PackError::io(&request.out, e))?;
    let job = encode::Job {
        input: &request.input,
        source: &source,
        rungs: &rungs,
        repeats,
        seconds,
        segment_seconds: request.segment_seconds,
        burn: request.burn.as_deref(),
        preset: &request.preset,
        threads: request.threads,
    };
    encode::encode(&job, work.path(), progress).await?;
    let title_dir = work.path().join("title");
    fs::create_dir(&title_dir).map_err(|e| PackError::io(&title_dir, e))?;
    let renditions = cut(&job, work.path(), &title_dir).await?;
    check_aligned(&renditions)?;
    let manifest = finish(request, &renditions, &title_dir)?;
    let warnings = warnings(&manifest, seconds);
    put_in_place(&title_dir, &dir, work.path())?;
    Ok(PackedTitle {
        dir,
        manifest,
        warnings,
    })
}

/// Repeats after the first time, and seconds in all.
fn playing_time(length: Length, source: Option<f64>) -> (u32, f64) {
    let Some(once) = source else {
        let seconds = match length {
            Length::AtLeast(seconds) => seconds,
            Length::AsIs | Length::Times(_) => DEFAULT_GENERATED_SECONDS,
        };
        return (0, seconds);
    };
    let times = match length {
        Length::AsIs => 1,
        Length::Times(n) => n.max(1),
        // A float above u32::MAX is cut to it.
        Length::AtLeast(seconds) => (seconds / once).ceil().max(1.0) as u32,
    };
    (times - 1, once * f64::from(times))
}

/// Refuses to begin what would fill the disk: the ceiling of all bit rates over the playing time. Encoded and cut
/// files are there side by side for a while, but films stay well below the ceiling.
fn check_room(out: &Path, rungs: &[Rung], seconds: f64) -> Result<(), PackError> {
    let rate: u64 = rungs.iter().map(|r| r.max_rate.0).sum::<u64>() + ladder::AUDIO_RATE.0;
    let wanted = Bytes((rate as f64 / 8.0 * seconds) as u64);
    let stat = nix::sys::statvfs::statvfs(out).map_err(|e| PackError::io(out, e.into()))?;
    let free = Bytes(stat.blocks_available().saturating_mul(stat.fragment_size()));
    if free < wanted {
        Err(PackError::no_room(out, wanted, free))
    } else {
        Ok(())
    }
}

/// Cuts every encoded file into its fragmented form in `title_dir` and deletes it.
async fn cut(job: &encode::Job<'_>, work: &Path, title_dir: &Path) -> Result<Vec<Packed>, PackError> {
    let mut out: Vec<Packed> = vec![];
    for rung in job.rungs {
        let from = encode::encoded_file(work, &rung.id);
        let track = samples::read_track(&from)?;
        let segments = fragment::video_segments(&track.samples);
        let frame_rate = Some(job.source.frame_rate);
        out.push(write(&rung.id, frame_rate, &track, &segments, &from, title_dir)?);
        tokio::task::yield_now().await; // lets Ctrl-C through between files
    }
    let pictures = &out[0].index;
    let boundaries: Vec<_> = pictures
        .segments
        .iter()
        .map(|s| pictures.seconds(s.start))
        .collect();
    let end = pictures.seconds(pictures.duration());
    let id = encode::audio_id();
    let from = encode::encoded_file(work, &id);
    let mut track = samples::read_track(&from)?;
    track.cut(end);
    let segments = fragment::audio_segments(&track, &boundaries);
    out.push(write(&id, None, &track, &segments, &from, title_dir)?);
    Ok(out)
}

fn write(
    id: &str,
    frame_rate: Option<ladder::Rational>,
    track: &samples::Track,
    segments: &[std::ops::Range<usize>],
    from: &Path,
    title_dir: &Path,
) -> Result<Packed, PackError> {
    let to = title_dir.join(format!("{id}.mp4"));
    fragment::write(track, segments, from, &to)?;
    fs::remove_file(from).map_err(|e| PackError::io(from, e))?;
    let index = index::read_index(&to)?;
    Ok(Packed {
        id: id.to_owned(),
        index,
        frame_rate,
    })
}

/// Every rendition must begin each segment where the first does: exactly for video, to half a frame for sound.
fn check_aligned(renditions: &[Packed]) -> Result<(), PackError> {
    let Some(first) = renditions.first() else {
        return Ok(());
    };
    for r in &renditions[1..] {
        let (have, want) = (r.index.segments.len(), first.index.segments.len());
        if have != want {
            let what = format!("{} has {have} segments and {} has {want}", r.id, first.id);
            return Err(PackError::NotAligned { what });
        }
        let tolerance = if r.index.is_video() {
            0.0
        } else {
            AUDIO_TOLERANCE_SECONDS
        };
        for (i, (a, b)) in r.index.segments.iter().zip(&first.index.segments).enumerate() {
            let (a, b) = (r.index.seconds(a.start), first.index.seconds(b.start));
            if (a - b).abs() > tolerance {
                let what = format!(
                    "segment {} of {} begins at {a:.3} s, that of {} at {b:.3} s",
                    i + 1,
                    r.id,
                    first.id
                );
                return Err(PackError::NotAligned { what });
            }
        }
    }
    Ok(())
}

/// Writes manifests and `title.json`, and splits files into segments if that is wanted.
fn finish(request: &PackRequest, renditions: &[Packed], dir: &Path) -> Result<TitleManifest, PackError> {
    let pictures = &renditions[0].index;
    let duration_ms = (pictures.seconds(pictures.duration()) * 1000.0).round() as u64;
    let mut objects = vec![];
    for r in renditions {
        let media_type = if r.index.is_video() {
            "video/mp4"
        } else {
            "audio/mp4"
        };
        let files = match request.layout {
            SegmentLayout::Single | SegmentLayout::Listed => vec![r.file()],
            SegmentLayout::Files => split(r, dir)?,
        };
        for file in files {
            objects.push(describe(dir, file, ObjectRole::Media, Some(&r.id), media_type)?);
        }
        write_text(dir, &r.playlist(), &hls::media(r, request.layout))?;
        objects.push(describe(
            dir,
            r.playlist(),
            ObjectRole::Manifest,
            Some(&r.id),
            hls::MEDIA_TYPE,
        )?);
    }
    write_text(dir, hls::MULTIVARIANT, &hls::multivariant(renditions))?;
    write_text(
        dir,
        dash::MPD,
        &dash::mpd(renditions, request.layout, duration_ms),
    )?;
    for (file, media_type) in [
        (hls::MULTIVARIANT, hls::MEDIA_TYPE),
        (dash::MPD, dash::MEDIA_TYPE),
    ] {
        objects.push(describe(
            dir,
            file.to_owned(),
            ObjectRole::Manifest,
            None,
            media_type,
        )?);
    }
    objects.sort_by(|a, b| a.path.cmp(&b.path));
    let manifest = TitleManifest {
        format: TITLE_FORMAT,
        id: request.id.clone(),
        name: request.name.clone(),
        duration_ms,
        hls: hls::MULTIVARIANT.to_owned(),
        dash: dash::MPD.to_owned(),
        renditions: renditions.iter().map(Packed::describe).collect(),
        objects,
    };
    manifest.check()?;
    let text = serde_json::to_string_pretty(&manifest).expect("a manifest has only plain keys") + "\n";
    write_text(dir, TITLE_FILE, &text)?;
    Ok(manifest)
}

/// Splits the one file of a rendition into its init section and a file a segment; returns their names.
fn split(r: &Packed, dir: &Path) -> Result<Vec<String>, PackError> {
    let whole = dir.join(r.file());
    let folder = dir.join(&r.id);
    fs::create_dir(&folder).map_err(|e| PackError::io(&folder, e))?;
    let mut file = File::open(&whole).map_err(|e| PackError::io(&whole, e))?;
    let init = (
        r.init_file(),
        r.index.init.start,
        r.index.init.end - r.index.init.start,
    );
    let segments = r
        .index
        .segments
        .iter()
        .zip(1..)
        .map(|(s, n)| (r.segment_file(n), s.offset, s.size));
    let mut names = vec![];
    for (name, offset, size) in [init].into_iter().chain(segments) {
        let path = dir.join(&name);
        file.seek(SeekFrom::Start(offset))
            .map_err(|e| PackError::io(&whole, e))?;
        let mut part = File::create_new(&path).map_err(|e| PackError::io(&path, e))?;
        std::io::copy(&mut (&mut file).take(size), &mut part).map_err(|e| PackError::io(&path, e))?;
        names.push(name);
    }
    fs::remove_file(&whole).map_err(|e| PackError::io(&whole, e))?;
    Ok(names)
}

fn write_text(dir: &Path, name: &str, text: &str) -> Result<(), PackError> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(|e| PackError::io(path, e))
}

fn describe(
    dir: &Path,
    path: String,
    role: ObjectRole,
    rendition: Option<&str>,
    media_type: &str,
) -> Result<TitleObject, PackError> {
    let file = dir.join(&path);
    let found = digest_file(&file, |_| ()).map_err(|e| PackError::io(&file, e))?;
    Ok(TitleObject {
        path,
        role,
        rendition: rendition.map(str::to_owned),
        media_type: media_type.to_owned(),
        size: found.size,
        digest: found.digest,
        blocks: found.blocks,
    })
}

fn warnings(manifest: &TitleManifest, wanted_seconds: f64) -> Vec<String> {
    let seconds = manifest.duration_ms as f64 / 1000.0;
    if seconds >= wanted_seconds * MIN_DECODED {
        return vec![];
    }
    vec![format!(
        "the source says it lasts {wanted_seconds:.1} s but only {seconds:.1} s could be decoded: is it cut off?"
    )]
}

/// Renames the finished folder to its place; what was there goes to the work folder, which is deleted.
fn put_in_place(from: &Path, to: &Path, work: &Path) -> Result<(), PackError> {
    if to.exists() {
        fs::rename(to, work.join("replaced")).map_err(|e| PackError::io(to, e))?;
    }
    fs::rename(from, to).map_err(|e| PackError::io(to, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rendition::tests::rendition;

    #[test]
    fn playing_time_repeats_whole_sources() {
        for (length, source, want) in [
            (Length::AsIs, Some(5.28), (0, 5.28)),
            (Length::Times(3), Some(5.0), (2, 15.0)),
            (Length::AtLeast(60.0), Some(5.0), (11, 60.0)),
            (Length::AtLeast(61.0), Some(5.0), (12, 65.0)),
            (Length::AtLeast(1.0), Some(5.0), (0, 5.0)),
            (Length::AsIs, None, (0, 60.0)),
            (Length::AtLeast(9.0), None, (0, 9.0)),
        ] {
            assert_eq!(playing_time(length, source), want, "{length:?} {source:?}");
        }
    }

    #[test]
    fn renditions_that_cannot_be_switched_between_are_refused() {
        let ok = |id: &str, video| rendition(id, video, &[(9, 180_000), (9, 180_000)]);
        assert!(check_aligned(&[ok("v2", true), ok("v1", true), ok("a", false)]).is_ok());
        let late = rendition("v1", true, &[(9, 180_001), (9, 179_999)]);
        let e = check_aligned(&[ok("v2", true), late]).unwrap_err().to_string();
        assert!(e.contains("segment 2 of v1"), "{e}");
        let drifted = rendition("a", false, &[(9, 181_000), (9, 179_000)]);
        assert!(check_aligned(&[ok("v2", true), drifted]).is_err());
        let fewer = rendition("v1", true, &[(9, 360_000)]);
        assert!(check_aligned(&[ok("v2", true), fewer]).is_err());
    }
}
