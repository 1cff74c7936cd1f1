//! Reads the sample table of a one-track MP4 as ffmpeg writes it: where every frame lies, how long it lasts, when it
//! is shown, whether decoding can start there.
//!
//! Times are made to start at nought: the shift that B-frames need is taken out of the composition offsets, and the
//! encoder's priming sound (AAC: 1,024 samples that are not in the source) is left out. No edit list is needed
//! then, which players treat in as many ways as there are players.

use super::PackError;
use mp4_atom::{Decode, FourCC, Header, Moov, ReadFrom, StszSamples};
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::Path,
};

/// Largest `moov` that is read: 512 MiB describe some 20 million frames.
const MAX_MOOV: u64 = 512 << 20;

/// One frame of pictures or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// Bytes.
    pub size: u32,
    /// Decode duration in ticks.
    pub duration: u32,
    /// Presentation minus decode time in ticks.
    pub cts: i64,
    /// Decode time in ticks, the first at nought.
    pub dts: u64,
    /// Whether decoding can start here.
    pub sync: bool,
}

impl Sample {
    /// Presentation time in ticks.
    pub fn pts(&self) -> i64 {
        // A dts beyond i64 would be 9e18 ticks.
        self.dts as i64 + self.cts
    }
}

/// A one-track file.
#[derive(Debug)]
pub struct Track {
    /// Description of the track, with its sample entry.
    pub moov: Moov,
    /// Ticks a second.
    pub timescale: u32,
    /// In decode order.
    pub samples: Vec<Sample>,
}

impl Track {
    /// Ticks from nought to the end of the last frame.
    pub fn end(&self) -> u64 {
        self.samples.last().map_or(0, |s| s.dts + u64::from(s.duration))
    }

    /// Leaves out frames that begin at `seconds` or later.
    pub fn cut(&mut self, seconds: f64) {
        let limit = (seconds * f64::from(self.timescale)).round() as u64;
        self.samples.retain(|s| s.dts < limit);
    }
}

/// Reads `path`, which has one track.
pub fn read_track(path: &Path) -> Result<Track, PackError> {
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned();
    let wrong = |what: &str| PackError::mp4(name.clone(), what);
    let mut file = BufReader::new(File::open(path).map_err(|e| PackError::io(path, e))?);
    let moov = find_moov(&mut file).map_err(|e| PackError::mp4(name.clone(), e))?;
    let [trak] = &moov.trak[..] else {
        return Err(wrong("must have exactly one track"));
    };
    let timescale = trak.mdia.mdhd.timescale;
    let mut samples =
        table(&trak.mdia.minf.stbl).ok_or_else(|| wrong("its sample table contradicts itself"))?;
    if samples.is_empty() {
        return Err(wrong("holds no frames"));
    }
    let priming = trak
        .edts
        .as_ref()
        .and_then(|e| e.elst.as_ref())
        .and_then(|l| l.entries.iter().find_map(|e| e.media_time))
        .unwrap_or(0);
    let is_sound = trak.mdia.minf.smhd.is_some();
    start_at_nought(&mut samples, if is_sound { priming } else { 0 });
    Ok(Track {
        timescale,
        samples,
        moov,
    })
}

fn find_moov(file: &mut (impl Read + Seek)) -> Result<Moov, mp4_atom::Error> {
    while let Some(header) = <Option<Header> as ReadFrom>::read_from(file)? {
        let size = header.size.ok_or(mp4_atom::Error::InvalidSize)? as u64;
        if header.kind != FourCC::new(b"moov") {
            file.seek_relative(i64::try_from(size).map_err(|_| mp4_atom::Error::InvalidSize)?)?;
            continue;
        }
        if size > MAX_MOOV {
            return Err(mp4_atom::Error::InvalidSize);
        }
        file.seek(SeekFrom::Current(-8))?;
        let mut text = vec![0; size as usize + 8];
        file.read_exact(&mut text)?;
        return Moov::decode(&mut &text[..]);
    }
    Err(mp4_atom::Error::MissingBox(FourCC::new(b"moov")))
}

/// Joins the columns of the table; none if they do not fit each other.
fn table(stbl: &mp4_atom::Stbl) -> Option<Vec<Sample>> {
    let sizes: Vec<u32> = match &stbl.stsz.samples {
        StszSamples::Different { sizes } => sizes.clone(),
        StszSamples::Identical { count, size } => vec![*size; *count as usize],
    };
    let mut durations = stbl
        .stts
        .entries
        .iter()
        .flat_map(|e| std::iter::repeat_n(e.sample_delta, e.sample_count as usize));
    let mut offsets = stbl
        .ctts
        .iter()
        .flat_map(|c| &c.entries)
        .flat_map(|e| std::iter::repeat_n(e.sample_offset, e.sample_count as usize));
    let mut places = places(stbl, &sizes)?.into_iter();
    let mut dts = 0;
    let mut out = Vec::with_capacity(sizes.len());
    for (i, &size) in sizes.iter().enumerate() {
        let duration = durations.next()?;
        let number = u32::try_from(i + 1).ok()?;
        out.push(Sample {
            offset: places.next()?,
            size,
            duration,
            cts: offsets.next().unwrap_or(0),
            dts,
            sync: stbl
                .stss
                .as_ref()
                .is_none_or(|s| s.entries.binary_search(&number).is_ok()),
        });
        dts += u64::from(duration);
    }
    Some(out)
}

/// Byte position of every sample, from the chunk tables.
fn places(stbl: &mp4_atom::Stbl, sizes: &[u32]) -> Option<Vec<u64>> {
    let chunks: Vec<u64> = match (&stbl.co64, &stbl.stco) {
        (Some(c), _) => c.entries.clone(),
        (None, Some(c)) => c.entries.iter().map(|&o| u64::from(o)).collect(),
        (None, None) => return None,
    };
    let mut out = Vec::with_capacity(sizes.len());
    let runs = &stbl.stsc.entries;
    let mut run = 0;
    for (i, &chunk) in chunks.iter().enumerate() {
        while runs
            .get(run + 1)
            .is_some_and(|next| next.first_chunk as usize <= i + 1)
        {
            run += 1;
        }
        let mut at = chunk;
        for _ in 0..runs.get(run)?.samples_per_chunk {
            let Some(&size) = sizes.get(out.len()) else { break };
            out.push(at);
            at = at.checked_add(u64::from(size))?;
        }
    }
    (out.len() == sizes.len()).then_some(out)
}

/// Drops what is heard before `priming` ticks, then moves decode and presentation times to begin at nought.
fn start_at_nought(samples: &mut Vec<Sample>, priming: u64) {
    let skip = samples
        .iter()
        .take_while(|s| s.dts + u64::from(s.duration) <= priming)
        .count()
        .min(samples.len() - 1);
    samples.drain(..skip);
    let first_dts = samples[0].dts;
    for s in samples.iter_mut() {
        s.dts -= first_dts;
    }
    let first_pts = samples.iter().map(Sample::pts).min().unwrap_or(0);
    for s in samples {
        s.cts -= first_pts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mp4_atom::{Ctts, CttsEntry, Stbl, Stco, StscEntry, Stss, SttsEntry};

    fn three_chunks() -> Stbl {
        let mut t = Stbl::default();
        t.stsz.samples = StszSamples::Different {
            sizes: vec![10, 20, 30, 40, 50],
        };
        t.stts.entries = vec![SttsEntry {
            sample_count: 5,
            sample_delta: 100,
        }];
        t.stsc.entries = [(1, 2), (3, 1)]
            .map(|(first_chunk, samples_per_chunk)| StscEntry {
                first_chunk,
                samples_per_chunk,
                sample_description_index: 1,
            })
            .into();
        t.stco = Some(Stco {
            entries: vec![1000, 2000, 3000],
        });
        t.stss = Some(Stss { entries: vec![1, 4] });
        t.ctts = Some(Ctts {
            entries: [(1, 200), (1, 500), (1, 200), (2, 200)]
                .map(|(sample_count, sample_offset)| CttsEntry {
                    sample_count,
                    sample_offset,
                })
                .into(),
        });
        t
    }

    #[test]
    fn joins_chunks_times_and_sync_points() {
        let samples = table(&three_chunks()).unwrap();
        let offsets: Vec<_> = samples.iter().map(|s| s.offset).collect();
        assert_eq!(offsets, [1000, 1010, 2000, 2030, 3000]);
        assert_eq!(
            samples.iter().map(|s| s.sync).collect::<Vec<_>>(),
            [true, false, false, true, false]
        );
    }

    #[test]
    fn presentation_starts_at_nought_and_keeps_its_order() {
        let mut samples = table(&three_chunks()).unwrap();
        start_at_nought(&mut samples, 0);
        assert_eq!(
            samples.iter().map(Sample::pts).collect::<Vec<_>>(),
            [0, 400, 200, 300, 400]
        );
    }

    #[test]
    fn priming_sound_is_left_out() {
        let mut t = three_chunks();
        t.ctts = None;
        let mut samples = table(&t).unwrap();
        start_at_nought(&mut samples, 100);
        assert_eq!((samples.len(), samples[0].offset, samples[0].dts), (4, 1010, 0));
    }

    #[test]
    fn a_table_that_contradicts_itself_is_refused() {
        let mut t = three_chunks();
        t.stco = Some(Stco { entries: vec![1000] });
        assert_eq!(table(&t), None);
        let mut t = three_chunks();
        t.stts.entries.clear();
        assert_eq!(table(&t), None);
    }
}
