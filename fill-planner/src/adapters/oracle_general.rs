//! libCacheSim's `oracleGeneral` traces: requests of caches in the wild, one record of 24 bytes each, little-endian without padding:
//! `clock_time` (u32, seconds since the trace began), `obj_id` (u64), `obj_size` (u32, bytes), `next_access_vtime` (i64).
//!
//! The last field tells the future and is not looked at. A request counts as drawing the whole object, since no range is told.

use super::service::Service;
use cdn_types::Hour;
use std::io::Read;

/// Bytes of a record.
const RECORD: usize = 24;
/// What a file packed with zstd begins with (RFC 8878, section 3.1.1), as such traces are published.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// Its name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is packed.
    #[error(
        "{0}: packed with zstd; give it unpacked: zstd -dc FILE | fill-planner import oracle-general - …"
    )]
    Packed(String),
    /// It ends in the middle of a record, or is none.
    #[error(
        "{file}: byte {at}: the file ends {over} bytes into a record of {RECORD}; an oracleGeneral trace is whole records"
    )]
    Short {
        /// Its name.
        file: String,
        /// Where the record begins.
        at: u64,
        /// What there is of it.
        over: usize,
    },
    /// A record that cannot be.
    #[error("{file}: byte {at}: an object of 0 bytes; an oracleGeneral trace tells sizes")]
    Empty {
        /// Its name.
        file: String,
        /// Where the record begins.
        at: u64,
    },
    /// No record.
    #[error("{0}: there is no record; expected an oracleGeneral trace")]
    None(String),
}

/// Reads a trace whose clock began at `start`; `file` is its name in errors.
///
/// # Errors
/// The first place that is wrong.
pub fn oracle_general(mut trace: impl Read, file: &str, start: Hour) -> Result<Service, TraceError> {
    let mut service = Service::new("trace");
    let mut buffer = vec![0; RECORD * 4096];
    let mut at = 0;
    loop {
        let filled = fill(&mut trace, &mut buffer).map_err(|source| TraceError::Read {
            file: file.to_owned(),
            source,
        })?;
        if at == 0 && buffer[..filled].starts_with(&ZSTD) {
            return Err(TraceError::Packed(file.to_owned()));
        }
        let (records, over) = buffer[..filled].as_chunks::<RECORD>();
        for record in records {
            let clock = u32::from_le_bytes(part(record, 0));
            let object = u64::from_le_bytes(part(record, 4));
            let size = u64::from(u32::from_le_bytes(part(record, 12)));
            if size == 0 {
                return Err(TraceError::Empty {
                    file: file.to_owned(),
                    at,
                });
            }
            let known = service.objects.entry(object).or_default();
            known.size = known.size.max(size);
            service.draw(Hour(start.0 + i64::from(clock / 3600)), object, 1, size);
            at += RECORD as u64;
        }
        if !over.is_empty() {
            return Err(TraceError::Short {
                file: file.to_owned(),
                at,
                over: over.len(),
            });
        }
        if filled < buffer.len() {
            break;
        }
    }
    if at == 0 {
        return Err(TraceError::None(file.to_owned()));
    }
    Ok(service)
}

fn part<const N: usize>(record: &[u8; RECORD], at: usize) -> [u8; N] {
    record[at..at + N]
        .try_into()
        .expect("the field lies within the record")
}

/// Reads until the buffer is full or the trace ends.
fn fill(trace: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match trace.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(clock: u32, object: u64, size: u32) -> Vec<u8> {
        let mut bytes = clock.to_le_bytes().to_vec();
        bytes.extend(object.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend((-1i64).to_le_bytes());
        bytes
    }
    fn read(bytes: &[u8]) -> Result<Service, String> {
        oracle_general(bytes, "t.bin", Hour(100)).map_err(|e| e.to_string())
    }

    #[test]
    fn records_become_demand_by_hour() {
        let trace = [
            record(0, 7, 10),
            record(3599, 7, 30),
            record(3600, 7, 30),
            record(7200, u64::MAX, 5),
        ]
        .concat();
        let service = read(&trace).unwrap();
        assert_eq!(service.objects[&7].size, 30);
        assert_eq!(service.drawn[&(Hour(100), 7)], (2, 40));
        assert_eq!(service.drawn[&(Hour(101), 7)], (1, 30));
        assert_eq!(service.drawn[&(Hour(102), u64::MAX)], (1, 5));
    }

    #[test]
    fn more_than_a_buffer_is_read_whole() {
        let trace: Vec<u8> = (0..10_000).flat_map(|i| record(i, u64::from(i % 3), 1)).collect();
        let service = read(&trace).unwrap();
        assert_eq!(service.drawn.values().map(|d| d.0).sum::<u64>(), 10_000);
    }

    #[test]
    fn what_is_no_trace_is_named_with_its_place() {
        let two = [record(0, 1, 1), record(0, 1, 1)].concat();
        assert!(
            read(&two[..30])
                .unwrap_err()
                .contains("t.bin: byte 24: the file ends 6 bytes into a record")
        );
        assert!(
            read(&record(0, 1, 0))
                .unwrap_err()
                .contains("byte 0: an object of 0 bytes")
        );
        assert!(read(&[]).unwrap_err().contains("there is no record"));
        let packed = [&ZSTD[..], &[0; 60]].concat();
        assert!(read(&packed).unwrap_err().contains("packed with zstd"));
    }
}
