//! Room for the next object: which unlisted objects must go so that it fits, if any.
//!
//! The plan's own objects are never dropped for each other: the plan was made to fit. What the plan no longer lists
//! stays until everything listed is held, and goes earlier only where the room is needed: first what the plan names
//! as drops, in its order, then the rest, largest first so that few viewers' objects go.

use cdn_types::{Bytes, ObjectDigest};

/// An object on the disk that the plan does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unlisted {
    /// The object.
    pub digest: ObjectDigest,
    /// Its size.
    pub size: Bytes,
}

/// Why an object does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} more are needed, and dropping all that the plan does not list would free {free}")]
pub struct NoRoom {
    /// Room that the object needs.
    pub needed: Bytes,
    /// Room that there would be at most.
    pub free: Bytes,
}

/// Sorts unlisted objects into the order in which they go.
pub fn drop_order(mut unlisted: Vec<Unlisted>, plan_drops: &[ObjectDigest]) -> Vec<Unlisted> {
    let rank: std::collections::HashMap<_, _> = plan_drops.iter().zip(0usize..).collect();
    unlisted.sort_by_key(|u| {
        let rank = rank.get(&u.digest).copied().unwrap_or(usize::MAX);
        (rank, std::cmp::Reverse(u.size), u.digest)
    });
    unlisted
}

/// The objects to drop, of `unlisted` in its order, so that `needed` more fit while `used` of `capacity` are taken.
pub fn make_room(
    needed: Bytes,
    used: Bytes,
    capacity: Bytes,
    unlisted: &[Unlisted],
) -> Result<Vec<ObjectDigest>, NoRoom> {
    let mut free = i128::from(capacity.0) - i128::from(used.0);
    let mut drops = Vec::new();
    let mut rest = unlisted.iter();
    while free < i128::from(needed.0) {
        let Some(next) = rest.next() else {
            let free = Bytes(u64::try_from(free).unwrap_or(0));
            return Err(NoRoom { needed, free });
        };
        free += i128::from(next.size.0);
        drops.push(next.digest);
    }
    Ok(drops)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unlisted(sizes: &[u64]) -> Vec<Unlisted> {
        let object = |s: &u64| Unlisted {
            digest: ObjectDigest::of(&s.to_le_bytes()),
            size: Bytes(*s),
        };
        sizes.iter().map(object).collect()
    }

    #[test]
    fn drops_no_more_than_the_room_asks_for() {
        let have = unlisted(&[30, 20, 10]);
        let room = |needed, used| make_room(Bytes(needed), Bytes(used), Bytes(100), &have);
        assert_eq!(room(40, 60), Ok(vec![]));
        assert_eq!(room(41, 60), Ok(vec![have[0].digest]));
        assert_eq!(room(71, 60), Ok(vec![have[0].digest, have[1].digest]));
        let over = NoRoom {
            needed: Bytes(101),
            free: Bytes(100),
        };
        assert_eq!(room(101, 60), Err(over));
        // A capacity that was lowered below what is used.
        assert_eq!(room(0, 130), Ok(vec![have[0].digest]));
        assert!(room(1, 1000).is_err());
    }

    #[test]
    fn the_plans_drops_go_first_then_the_largest() {
        let have = unlisted(&[1, 5, 9, 7]);
        let order = drop_order(
            have.clone(),
            &[have[0].digest, ObjectDigest::of(b"gone"), have[3].digest],
        );
        assert_eq!(order, [have[0], have[3], have[2], have[1]]);
    }
}
