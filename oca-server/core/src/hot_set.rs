//! Which objects are kept in memory: those of which the forecast expects most reads of each byte, as many as the budget
//! holds. What is not expected to be read over once is not worth the reading in.

use cdn_types::{Bytes, ObjectDigest};
use std::collections::{BTreeMap, BTreeSet};

/// An object and what its viewers are expected to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Its size.
    pub size: Bytes,
    /// Bytes drawn of it.
    pub drawn: Bytes,
}

/// The objects to keep in at most `budget` of memory; the same for the same input.
pub fn hot_set(objects: &BTreeMap<ObjectDigest, Expected>, budget: Bytes) -> BTreeSet<ObjectDigest> {
    let worth = |e: &Expected| e.size.0 > 0 && e.drawn >= e.size;
    let mut ranked: Vec<_> = objects.iter().filter(|(_, e)| worth(e)).collect();
    // a.drawn / a.size > b.drawn / b.size, without rounding.
    ranked.sort_by(|(a_digest, a), (b_digest, b)| {
        let across = |x: &Expected, y: &Expected| u128::from(x.drawn.0) * u128::from(y.size.0);
        across(b, a).cmp(&across(a, b)).then(a_digest.cmp(b_digest))
    });
    let mut left = budget.0;
    let mut take = |e: &Expected| {
        let fits = e.size.0 <= left;
        left -= if fits { e.size.0 } else { 0 };
        fits
    };
    let taken = ranked.into_iter().filter(|(_, e)| take(e));
    taken.map(|(digest, _)| *digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objects(sizes: &[(u64, u64)]) -> BTreeMap<ObjectDigest, Expected> {
        let digest = |i: usize| ObjectDigest::of(&i.to_le_bytes());
        let expected = |(size, drawn): &(u64, u64)| Expected {
            size: Bytes(*size),
            drawn: Bytes(*drawn),
        };
        sizes
            .iter()
            .enumerate()
            .map(|(i, s)| (digest(i), expected(s)))
            .collect()
    }

    #[test]
    fn the_most_read_byte_counts_not_the_largest_object() {
        let all = objects(&[(100, 1000), (10, 500), (50, 40), (90, 100)]);
        let kept = |budget| {
            let set = hot_set(&all, Bytes(budget));
            let mut sizes: Vec<u64> = set.iter().map(|d| all[d].size.0).collect();
            sizes.sort_unstable();
            sizes
        };
        assert_eq!(kept(9), [0u64; 0]);
        assert_eq!(kept(10), [10]);
        assert_eq!(kept(100), [10, 90], "what does not fit is passed over");
        assert_eq!(kept(110), [10, 100]);
        assert_eq!(kept(1000), [10, 90, 100], "the third is not worth it");
    }

    proptest! {
        #[test]
        fn the_budget_is_kept(sizes in proptest::collection::vec((any::<u64>(), any::<u64>()), 0..20), budget in any::<u64>()) {
            let all = objects(&sizes);
            let set = hot_set(&all, Bytes(budget));
            let sum: u128 = set.iter().map(|d| u128::from(all[d].size.0)).sum();
            prop_assert!(sum <= u128::from(budget));
        }
    }
}
