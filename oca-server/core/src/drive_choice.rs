//! Which drive an object goes to: rendezvous hashing weighted by free room. The same object meets the same drive while the room
//! does not change much, drives fill evenly whatever their sizes, and one more or less moves only its own share.

use cdn_types::{Bytes, ObjectDigest};

/// A drive that may take an object.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its lasting name.
    pub id: &'a str,
    /// Room on it that may be used.
    pub free: Bytes,
}

/// The index of the drive for an object of `size`: of those with room, else the one with most room; absent without a drive.
pub fn choose(object: &ObjectDigest, size: Bytes, drives: &[Candidate<'_>]) -> Option<usize> {
    let fitting = drives.iter().enumerate().filter(|(_, d)| d.free >= size);
    let best = fitting.max_by(|(_, a), (_, b)| score(object, a).total_cmp(&score(object, b)));
    let roomiest = || drives.iter().enumerate().max_by_key(|(_, d)| d.free);
    best.or_else(roomiest).map(|(index, _)| index)
}

/// -weight / ln(u), u uniform in (0, 1) by object and drive: the highest score falls on each drive in proportion to its weight.
fn score(object: &ObjectDigest, drive: &Candidate<'_>) -> f64 {
    let mut both = object.as_bytes().to_vec();
    both.extend_from_slice(drive.id.as_bytes());
    let hash = ObjectDigest::of(&both);
    let first = hash.as_bytes()[..8]
        .iter()
        .fold(0u64, |n, b| n << 8 | u64::from(*b));
    let uniform = ((first >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -(drive.free.0 as f64) / uniform.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drives(free: &[u64]) -> Vec<Candidate<'static>> {
        let ids = ["a", "b", "c"];
        let drive = |(id, free): (&'static str, &u64)| Candidate {
            id,
            free: Bytes(*free),
        };
        ids.into_iter().zip(free).map(drive).collect()
    }

    fn objects() -> impl Iterator<Item = ObjectDigest> {
        (0..3000u32).map(|i| ObjectDigest::of(&i.to_le_bytes()))
    }

    #[test]
    fn drives_fill_in_proportion_to_their_room() {
        let three = drives(&[1000, 2000, 3000]);
        let mut counts = [0; 3];
        objects().for_each(|o| counts[choose(&o, Bytes(1), &three).unwrap()] += 1);
        for (count, share) in counts.into_iter().zip([500, 1000, 1500]) {
            assert!((share - 120..share + 120).contains(&count), "{counts:?}");
        }
    }

    #[test]
    fn a_lost_drive_moves_only_its_own_objects() {
        let (three, two) = (drives(&[1000; 3]), drives(&[1000; 2]));
        for object in objects() {
            let before = choose(&object, Bytes(1), &three).unwrap();
            let after = choose(&object, Bytes(1), &two).unwrap();
            assert!(before == 2 || before == after);
        }
    }

    #[test]
    fn what_fits_nowhere_goes_where_most_room_is() {
        let object = ObjectDigest::of(b"x");
        assert_eq!(choose(&object, Bytes(500), &drives(&[100, 300, 200])), Some(1));
        assert_eq!(choose(&object, Bytes(250), &drives(&[100, 300, 200])), Some(1));
        assert_eq!(choose(&object, Bytes(1), &[]), None);
    }
}
