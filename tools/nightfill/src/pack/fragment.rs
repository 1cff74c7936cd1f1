//! Cuts a track into segments and writes them as one fragmented MP4 with a global index:
//! `ftyp moov sidx [moof mdat]*`, one `moof` a segment.
//!
//! ffmpeg's own muxers cut sound by a running count of at least the segment length, which drifts away from the
//! pictures by up to a frame each time. Here the pictures' key frames give the boundaries and sound is cut at the
//! frame nearest to each, so the renditions stay aligned over any length.

use super::{
    PackError,
    samples::{Sample, Track},
};
use mp4_atom::{
    Encode, FourCC, Ftyp, Mfhd, Moof, Moov, Mvex, SegmentReference, Sidx, Stco, Stsc, StszSamples, Stts,
    Tfdt, Tfhd, Traf, Trex, Trun, TrunEntry, TrunSamples,
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    ops::Range,
    path::Path,
};

/// Flags of a frame on which decoding can start: depends on no other (ISO/IEC 14496-12 §8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// Flags of any other frame: depends on others, is no sync sample.
const NOT_SYNC: u32 = 0x0101_0000;
/// Bytes of an `mdat` header.
const MDAT_HEADER: usize = 8;

/// Indices of the samples of each segment of a video track: it begins at every sync sample.
pub fn video_segments(samples: &[Sample]) -> Vec<Range<usize>> {
    let mut starts: Vec<_> = (0..samples.len()).filter(|&i| samples[i].sync).collect();
    if let Some(first) = starts.first_mut() {
        *first = 0;
    }
    ranges(&starts, samples.len())
}

/// Indices of the samples of each segment of a sound track whose pictures are cut at `boundaries`, in seconds, the
/// first at nought.
pub fn audio_segments(track: &Track, boundaries: &[f64]) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    for at in &boundaries[1..] {
        let ticks = at * f64::from(track.timescale);
        let index = track
            .samples
            .partition_point(|s| s.dts as f64 + f64::from(s.duration) / 2.0 < ticks);
        if index > *starts.last().expect("begins with one") && index < track.samples.len() {
            starts.push(index);
        }
    }
    ranges(&starts, track.samples.len())
}

fn ranges(starts: &[usize], end: usize) -> Vec<Range<usize>> {
    let ends = starts.iter().copied().skip(1).chain([end]);
    starts.iter().copied().zip(ends).map(|(a, b)| a..b).collect()
}

/// Writes `segments` of `track`, whose frames are in the file `from`, to the new file `to`.
pub fn write(track: &Track, segments: &[Range<usize>], from: &Path, to: &Path) -> Result<(), PackError> {
    let name = to
        .file_name()
        .unwrap_or(to.as_os_str())
        .to_string_lossy()
        .into_owned();
    let wrong = |e: mp4_atom::Error| PackError::mp4(name.clone(), e);
    let fragments = segments
        .iter()
        .zip(1..)
        .map(|(range, number)| fragment(number, &track.samples[range.clone()]))
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    let mut head = Vec::new();
    ftyp().encode(&mut head).map_err(wrong)?;
    init(track).encode(&mut head).map_err(wrong)?;
    let sidx = index(track, segments, &fragments).map_err(|what| PackError::mp4(name.clone(), what))?;
    sidx.encode(&mut head).map_err(wrong)?;

    let mut input = BufReader::new(File::open(from).map_err(|e| PackError::io(from, e))?);
    let mut output = BufWriter::new(File::create_new(to).map_err(|e| PackError::io(to, e))?);
    output.write_all(&head).map_err(|e| PackError::io(to, e))?;
    for (range, fragment) in segments.iter().zip(&fragments) {
        output
            .write_all(&fragment.head)
            .map_err(|e| PackError::io(to, e))?;
        for run in contiguous(&track.samples[range.clone()]) {
            let size = run.end - run.start;
            input
                .seek(SeekFrom::Start(run.start))
                .map_err(|e| PackError::io(from, e))?;
            let copied =
                std::io::copy(&mut (&mut input).take(size), &mut output).map_err(|e| PackError::io(to, e))?;
            if copied != size {
                return Err(PackError::mp4(name, "the encoded file ends early"));
            }
        }
    }
    output.flush().map_err(|e| PackError::io(to, e))
}

/// Byte ranges that hold `samples` in order, neighbours joined.
fn contiguous(samples: &[Sample]) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = vec![];
    for s in samples {
        match out.last_mut() {
            Some(run) if run.end == s.offset => run.end += u64::from(s.size),
            _ => out.push(s.offset..s.offset + u64::from(s.size)),
        }
    }
    out
}

fn ftyp() -> Ftyp {
    Ftyp {
        major_brand: FourCC::new(b"iso6"),
        minor_version: 1,
        compatible_brands: [b"iso6", b"cmfc", b"dash", b"mp41"].map(FourCC::new).into(),
    }
}

/// The track's description without its samples, and with the announcement of fragments.
fn init(track: &Track) -> Moov {
    let mut moov = track.moov.clone();
    moov.udta = None;
    moov.meta = None;
    moov.mvhd.duration = 0;
    moov.mvhd.next_track_id = 2;
    for trak in &mut moov.trak {
        trak.tkhd.track_id = 1;
        trak.tkhd.duration = 0;
        trak.edts = None;
        trak.udta = None;
        trak.mdia.mdhd.duration = 0;
        let stbl = &mut trak.mdia.minf.stbl;
        stbl.stts = Stts::default();
        stbl.stsc = Stsc::default();
        stbl.stsz.samples = StszSamples::Identical { count: 0, size: 0 };
        stbl.stco = Some(Stco::default());
        (stbl.ctts, stbl.stss, stbl.co64, stbl.cslg) = (None, None, None, None);
        (stbl.sbgp, stbl.sgpd) = (vec![], vec![]);
    }
    moov.mvex = Some(Mvex {
        mehd: None,
        trex: vec![Trex {
            track_id: 1,
            default_sample_description_index: 1,
            ..Trex::default()
        }],
    });
    moov
}

/// A segment's boxes up to its frames.
struct Fragment {
    /// `moof` and the header of `mdat`.
    head: Vec<u8>,
    /// Bytes of the frames.
    payload: u64,
}

fn fragment(number: u32, samples: &[Sample]) -> Result<Fragment, mp4_atom::Error> {
    let payload: u64 = samples.iter().map(|s| u64::from(s.size)).sum();
    let mut head = Vec::new();
    // The offset of the frames is in the box whose length it counts: its value does not change that length.
    moof(number, samples, 0).encode(&mut head)?;
    let data_offset = i32::try_from(head.len() + MDAT_HEADER).map_err(|_| mp4_atom::Error::InvalidSize)?;
    head.clear();
    moof(number, samples, data_offset).encode(&mut head)?;
    let size = u32::try_from(payload + MDAT_HEADER as u64).map_err(|_| mp4_atom::Error::InvalidSize)?;
    head.extend(size.to_be_bytes());
    head.extend(b"mdat");
    Ok(Fragment { head, payload })
}

fn moof(number: u32, samples: &[Sample], data_offset: i32) -> Moof {
    let first = samples[0];
    let even = samples.iter().all(|s| s.duration == first.duration);
    let offsets = samples.iter().any(|s| s.cts != 0);
    let all_sync = samples.iter().all(|s| s.sync);
    let entry = |(i, s): (usize, &Sample)| TrunEntry {
        duration: (!even).then_some(s.duration),
        size: Some(s.size),
        flags: (i == 0 && !all_sync).then_some(SYNC),
        cts: offsets.then_some(s.cts),
    };
    Moof {
        mfhd: Mfhd {
            sequence_number: number,
        },
        traf: vec![Traf {
            tfhd: Tfhd {
                track_id: 1,
                default_sample_duration: even.then_some(first.duration),
                default_sample_flags: Some(if all_sync { SYNC } else { NOT_SYNC }),
                default_base_is_moof: true,
                ..Tfhd::default()
            },
            tfdt: Some(Tfdt {
                base_media_decode_time: first.dts,
            }),
            trun: vec![Trun {
                data_offset: Some(data_offset),
                samples: TrunSamples::Explicit(samples.iter().enumerate().map(entry).collect()),
            }],
            ..Traf::default()
        }],
    }
}

fn index(track: &Track, segments: &[Range<usize>], fragments: &[Fragment]) -> Result<Sidx, &'static str> {
    if segments.len() > usize::from(u16::MAX) {
        return Err("has more than 65,535 segments: give longer --segment-seconds");
    }
    let reference = |(range, fragment): (&Range<usize>, &Fragment)| {
        let duration: u64 = track.samples[range.clone()]
            .iter()
            .map(|s| u64::from(s.duration))
            .sum();
        Some(SegmentReference {
            reference_type: false,
            referenced_size: u32::try_from(fragment.head.len() as u64 + fragment.payload)
                .ok()
                .filter(|s| s >> 31 == 0)?,
            subsegment_duration: u32::try_from(duration).ok()?,
            starts_with_sap: true,
            sap_type: 1,
            sap_delta_time: 0,
        })
    };
    let references = segments
        .iter()
        .zip(fragments)
        .map(reference)
        .collect::<Option<_>>();
    Ok(Sidx {
        reference_id: 1,
        timescale: track.timescale,
        earliest_presentation_time: 0,
        first_offset: 0,
        references: references.ok_or("has a segment of more than 2 GiB: give shorter --segment-seconds")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::Decode;

    fn samples(n: usize, duration: u32, sync_every: usize) -> Vec<Sample> {
        (0..n)
            .map(|i| Sample {
                offset: 100 * i as u64,
                size: 100,
                duration,
                cts: 0,
                dts: u64::from(duration) * i as u64,
                sync: i % sync_every == 0,
            })
            .collect()
    }

    #[test]
    fn sound_stays_with_the_pictures_over_two_hours() {
        let samples = samples(7200 * 48000 / 1024 + 1, 1024, 1);
        let track = Track {
            moov: Moov::default(),
            timescale: 48000,
            samples,
        };
        let boundaries: Vec<f64> = (0..3600).map(|i| f64::from(i) * 2.0).collect();
        let segments = audio_segments(&track, &boundaries);
        assert_eq!(segments.len(), boundaries.len());
        for (range, at) in segments.iter().zip(&boundaries) {
            let start = track.samples[range.start].dts as f64 / 48000.0;
            assert!((start - at).abs() <= 512.0 / 48000.0 + 1e-9, "{start} at {at}");
        }
        assert_eq!(segments.last().unwrap().end, track.samples.len());
    }

    #[test]
    fn pictures_are_cut_at_every_sync_sample() {
        assert_eq!(video_segments(&samples(7, 10, 3)), [0..3, 3..6, 6..7]);
    }

    #[test]
    fn a_fragment_points_at_its_own_frames() {
        let f = fragment(7, &samples(3, 10, 3)).unwrap();
        let moof = Moof::decode(&mut &f.head[..]).unwrap();
        let trun = &moof.traf[0].trun[0];
        assert_eq!(trun.data_offset, Some(i32::try_from(f.head.len()).unwrap()));
        assert_eq!(
            trun.samples.iter().map(|s| s.flags).collect::<Vec<_>>(),
            [Some(SYNC), None, None]
        );
        assert_eq!(moof.traf[0].tfhd.default_sample_flags, Some(NOT_SYNC));
        assert_eq!(f.payload, 300);
        assert_eq!(contiguous(&samples(3, 10, 3)), [Range { start: 0, end: 300 }]);
    }
}
