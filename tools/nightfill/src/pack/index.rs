//! Reads back a packed rendition: what its `moov` says it is and where its `sidx` says the segments are. Playlists
//! and MPD are written from this, never from what the packer meant to write, so they describe the bytes that are there.

use super::PackError;
use mp4_atom::{Avc1, Codec, Decode, FourCC, Header, Moov, Mp4a, ReadFrom, Sidx};
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

/// Largest `ftyp`, `moov` or `sidx` of a packed file: an index of 65,535 segments is 786 KiB.
const MAX_BOX: u64 = 4 << 20;

/// One segment of a rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First byte in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// Start in ticks.
    pub start: u64,
    /// Length in ticks.
    pub duration: u64,
}

/// What a packed file says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileIndex {
    /// Bytes of `ftyp` and `moov`.
    pub init: Range<u64>,
    /// Bytes of the `sidx`.
    pub sidx: Range<u64>,
    /// In order, without gaps.
    pub segments: Vec<Segment>,
    /// Ticks a second.
    pub timescale: u32,
    /// RFC 6381, e.g. `avc1.64001f`.
    pub codecs: String,
    /// Pixels; nought for sound.
    pub size: (u32, u32),
    /// Samples a second; nought for pictures.
    pub sample_rate: u32,
    /// Channels; nought for pictures.
    pub channels: u32,
}

impl FileIndex {
    /// Ticks of all segments.
    pub fn duration(&self) -> u64 {
        self.segments.iter().map(|s| s.duration).sum()
    }
    /// Ticks as seconds.
    pub fn seconds(&self, ticks: u64) -> f64 {
        ticks as f64 / f64::from(self.timescale)
    }
    /// Whether it is a video rendition.
    pub fn is_video(&self) -> bool {
        self.size.0 > 0
    }
}

/// Reads the head of `path` and checks that the index covers the file to its last byte.
pub fn read_index(path: &Path) -> Result<FileIndex, PackError> {
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let file = File::open(path).map_err(|e| PackError::io(path, e))?;
    let size = file.metadata().map_err(|e| PackError::io(path, e))?.len();
    read(&mut BufReader::new(file), size).map_err(|e| match e {
        mp4_atom::Error::Io(e) => PackError::io(path, e),
        e => PackError::mp4(name, e),
    })
}

fn read(file: &mut (impl Read + Seek), size: u64) -> Result<FileIndex, mp4_atom::Error> {
    let (mut moov, mut init) = (None, 0..0);
    let mut at = 0;
    loop {
        let header = Header::read_from(file)?;
        let body = header.size.ok_or(mp4_atom::Error::InvalidSize)? as u64;
        let whole = at..at + body + 8;
        if body > MAX_BOX {
            return Err(mp4_atom::Error::MissingBox(FourCC::new(b"sidx")));
        }
        file.seek(SeekFrom::Start(at))?;
        let mut text = vec![0; body as usize + 8];
        file.read_exact(&mut text)?;
        match &header.kind.to_string()[..] {
            "moov" => {
                moov = Some(Moov::decode(&mut &text[..])?);
                init = 0..whole.end;
            }
            "sidx" => {
                let moov = moov.ok_or(mp4_atom::Error::MissingBox(FourCC::new(b"moov")))?;
                let sidx = Sidx::decode(&mut &text[..])?;
                return describe(&moov, init, &sidx, whole, size);
            }
            _ => {}
        }
        at = whole.end;
    }
}

fn describe(
    moov: &Moov,
    init: Range<u64>,
    sidx: &Sidx,
    place: Range<u64>,
    size: u64,
) -> Result<FileIndex, mp4_atom::Error> {
    let mut segments = Vec::with_capacity(sidx.references.len());
    let (mut offset, mut start) = (place.end + sidx.first_offset, sidx.earliest_presentation_time);
    for r in &sidx.references {
        let (size, duration) = (u64::from(r.referenced_size), u64::from(r.subsegment_duration));
        segments.push(Segment {
            offset,
            size,
            start,
            duration,
        });
        offset += size;
        start += duration;
    }
    if offset != size || sidx.timescale == 0 {
        return Err(mp4_atom::Error::InvalidSize);
    }
    let codec = moov
        .trak
        .first()
        .and_then(|t| t.mdia.minf.stbl.stsd.codecs.first())
        .ok_or(mp4_atom::Error::MissingBox(FourCC::new(b"stsd")))?;
    let mut out = FileIndex {
        init,
        sidx: place,
        segments,
        timescale: sidx.timescale,
        codecs: String::new(),
        size: (0, 0),
        sample_rate: 0,
        channels: 0,
    };
    match codec {
        Codec::Avc1(avc) => {
            out.codecs = avc_codecs(avc);
            out.size = (avc.visual.width.into(), avc.visual.height.into());
        }
        Codec::Mp4a(aac) => {
            out.codecs = aac_codecs(aac);
            out.sample_rate = aac.audio.sample_rate.integer().into();
            out.channels = aac.audio.channel_count.into();
        }
        _ => return Err(mp4_atom::Error::MissingBox(FourCC::new(b"avc1"))),
    }
    Ok(out)
}

/// RFC 6381 §3.3: profile, constraint flags and level of the parameter set, in hexadecimal.
fn avc_codecs(avc: &Avc1) -> String {
    let c = &avc.avcc;
    format!(
        "avc1.{:02x}{:02x}{:02x}",
        c.avc_profile_indication, c.profile_compatibility, c.avc_level_indication
    )
}

/// RFC 6381 §3.3: object type in hexadecimal, then the audio object type.
fn aac_codecs(aac: &Mp4a) -> String {
    let config = &aac.esds.es_desc.dec_config;
    match &config.dec_specific {
        Some(s) => format!("mp4a.{:02x}.{}", config.object_type_indication, s.profile),
        None => format!("mp4a.{:02x}", config.object_type_indication),
    }
}
