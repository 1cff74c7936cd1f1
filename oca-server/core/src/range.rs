//! Byte ranges (RFC 9110 §14): which bytes of a representation a `Range` field selects.
//!
//! What may be ignored or refused by the RFC is decided so that no request costs more than one whole representation:
//! - another unit than `bytes`, more than the permitted number of ranges, or ranges that add up to more bytes than there
//!   are (they overlap, §17.15): the field is ignored and the whole is sent;
//! - a `bytes` set that breaks the grammar: refused with 416, rather than a film sent to a client that asked for a piece;
//! - any range of an empty representation: ignored, since no `Content-Range` can describe an empty piece.

/// Contiguous bytes of a representation; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// First byte, from 0.
    pub offset: u64,
    /// Number of bytes, at least 1.
    pub len: u64,
}

impl Slice {
    /// The last byte's position.
    pub fn last(&self) -> u64 {
        self.offset + (self.len - 1)
    }
}

/// What a `Range` field selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// No range, or one that is ignored: the whole representation, 200.
    Whole,
    /// One range that can be satisfied: 206.
    One(Slice),
    /// Several, in the order asked for: 206 with `multipart/byteranges`.
    Many(Vec<Slice>),
    /// None that can be satisfied, or a broken set: 416.
    Unsatisfiable,
}

/// Selects from a representation of `size` bytes, allowing at most `max_ranges` ranges.
pub fn select(field: &[u8], size: u64, max_ranges: usize) -> Selection {
    let Some(set) = byte_set(field) else {
        return Selection::Whole;
    };
    if size == 0 {
        return Selection::Whole;
    }
    let (mut first, mut more) = (None, Vec::new());
    let (mut asked, mut total) = (0usize, 0u128);
    for spec in set.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue; // RFC 9110 §5.6.1.2: empty list elements are ignored
        }
        let Some(spec) = Spec::parse(spec) else {
            return Selection::Unsatisfiable;
        };
        asked += 1;
        let Some(slice) = spec.of(size) else { continue };
        total += u128::from(slice.len);
        if first.is_none() {
            first = Some(slice);
        } else if more.len() < max_ranges {
            more.push(slice);
        }
    }
    let Some(first) = first else {
        return Selection::Unsatisfiable;
    };
    if asked > max_ranges || total > u128::from(size) {
        Selection::Whole
    } else if more.is_empty() {
        Selection::One(first)
    } else {
        more.insert(0, first);
        Selection::Many(more)
    }
}

/// What follows `bytes=`; units are case-insensitive (§14.1).
fn byte_set(field: &[u8]) -> Option<&[u8]> {
    let (unit, set) = field.trim_ascii().split_at_checked(6)?;
    unit.eq_ignore_ascii_case(b"bytes=").then_some(set)
}

/// One `range-spec` (§14.1.1), before the size is known. Numbers beyond `u64` are beyond any size and saturate.
enum Spec {
    From(u64),
    FromTo(u64, u64),
    Suffix(u64),
}

impl Spec {
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|b| *b == b'-')?;
        match (&spec[..dash], &spec[dash + 1..]) {
            (b"", suffix) => Some(Self::Suffix(digits(suffix)?)),
            (first, b"") => Some(Self::From(digits(first)?)),
            (first, last) => {
                let from_to = Self::FromTo(digits(first)?, digits(last)?);
                is_ordered(first, last).then_some(from_to)
            }
        }
    }

    /// The slice of `size` > 0 bytes, if satisfiable (§14.1.2).
    fn of(&self, size: u64) -> Option<Slice> {
        let (first, last) = match *self {
            Self::From(first) => (first, size - 1),
            Self::FromTo(first, last) => (first, last.min(size - 1)),
            Self::Suffix(0) => return None,
            Self::Suffix(len) => (size.saturating_sub(len), size - 1),
        };
        (first < size).then(|| Slice {
            offset: first,
            len: last - first + 1,
        })
    }
}

/// Whether `first <= last`, of digits; on the text, since both may be beyond `u64`.
fn is_ordered(first: &[u8], last: &[u8]) -> bool {
    let significant = |text: &[u8]| text.iter().position(|b| *b != b'0').unwrap_or(text.len());
    let (first, last) = (&first[significant(first)..], &last[significant(last)..]);
    (first.len(), first) <= (last.len(), last)
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |n: u64, d: &u8| n.saturating_mul(10).saturating_add(u64::from(d - b'0'));
    Some(text.iter().fold(0, add))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 4;

    fn of_100(field: &str) -> Selection {
        select(field.as_bytes(), 100, MAX)
    }

    fn one(offset: u64, len: u64) -> Selection {
        Selection::One(Slice { offset, len })
    }

    #[test]
    fn single_ranges() {
        for (field, expected) in [
            ("bytes=0-0", one(0, 1)),
            ("bytes=0-", one(0, 100)),
            ("bytes=99-", one(99, 1)),
            ("bytes=10-19", one(10, 10)),
            ("bytes=90-1000", one(90, 10)),
            ("bytes=-1", one(99, 1)),
            ("bytes=-100", one(0, 100)),
            ("bytes=-1000", one(0, 100)),
            ("BYTES=5-6", one(5, 2)),
            ("  bytes= 5-6 ", one(5, 2)),
            ("bytes=,5-6,", one(5, 2)),
            ("bytes=0-99999999999999999999999999", one(0, 100)),
            ("bytes=-99999999999999999999999999", one(0, 100)),
            ("bytes=200-300,5-6", one(5, 2)),
        ] {
            assert_eq!(of_100(field), expected, "{field}");
        }
    }

    #[test]
    fn unsatisfiable_and_broken_sets_are_refused() {
        for field in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=a-b",
            "bytes=5",
            "bytes=5-2",
            "bytes=0-1,5-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=0x1-2",
            "bytes=1 -2",
            "bytes=0-1;2-3",
            "bytes=99999999999999999999999999-",
            "bytes=0-1,20000000000000000000-18446744073709551615",
            "bytes=+1-2",
        ] {
            assert_eq!(of_100(field), Selection::Unsatisfiable, "{field}");
        }
    }

    #[test]
    fn what_may_be_ignored_is_the_whole() {
        for field in [
            "",
            "bytes",
            "bytes 0-1",
            "bits=0-1",
            "seconds=1-2",
            "bytes =0-1",
            "bytes=0-60,40-99",          // overlap beyond the size
            "bytes=0-0,1-1,2-2,3-3,4-4", // too many
            "bytes=0-,0-,0-,0-",
        ] {
            assert_eq!(of_100(field), Selection::Whole, "{field}");
        }
        assert_eq!(select(b"bytes=0-0", 0, MAX), Selection::Whole);
        assert_eq!(select(b"bytes=-5", 0, MAX), Selection::Whole);
    }

    #[test]
    fn several_ranges_keep_the_order_asked_for() {
        let slices = |list: &[(u64, u64)]| {
            Selection::Many(list.iter().map(|&(offset, len)| Slice { offset, len }).collect())
        };
        assert_eq!(of_100("bytes=50-59, 0-9"), slices(&[(50, 10), (0, 10)]));
        assert_eq!(
            of_100("bytes=0-9,5-14"),
            slices(&[(0, 10), (5, 10)]),
            "small overlaps are fine"
        );
        assert_eq!(of_100("bytes=0-0,200-,-1"), slices(&[(0, 1), (99, 1)]));
    }

    #[test]
    fn regression_overlap_is_seen_at_the_largest_size() {
        assert_eq!(select(b"bytes=551-,23-", u64::MAX, MAX), Selection::Whole);
    }
}
