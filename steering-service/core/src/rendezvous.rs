//! Weighted rendezvous hashing: siblings split titles among them by hash, so that each title is hot in the memory of
//! few appliances, and losing one sibling moves only that sibling's titles.
//!
//! The score of (title, appliance) depends on nothing but the two names and the appliance's weight. Highest score
//! wins. With `u` uniform in (0, 1), `-w / ln u` makes an appliance win with probability proportional to its weight
//! `w` (Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005).

use cdn_types::ObjectDigest;

/// A name, hashed once when the index is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Seed(pub(crate) u64);

impl Seed {
    /// Hash of a name within a kind, so that a title and an appliance of the same name differ.
    pub fn of(kind: &str, name: &str) -> Self {
        let digest = ObjectDigest::of(format!("{kind}\0{name}").as_bytes());
        let mut first = [0u8; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        Self(u64::from_le_bytes(first))
    }
    /// As a number, for tables.
    pub fn number(self) -> u64 {
        self.0
    }
    /// This name together with a number.
    pub fn with(self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number)))
    }
}

/// Score of an appliance for a title; more is better, always finite and positive. `weight` is clamped to at least 1.
pub fn score(title: Seed, appliance: Seed, weight: u64) -> f64 {
    weighted(title, appliance, weight.max(1) as f64)
}

/// The same with any positive weight.
pub fn weighted(title: Seed, appliance: Seed, weight: f64) -> f64 {
    let hash = mix(title.0 ^ mix(appliance.0));
    // 53 bits, moved by a half: never 0 and never 1, where the logarithm has no use.
    let u = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    weight / -u.ln()
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn winners(weights: &[u64], titles: u32) -> Vec<usize> {
        let seeds: Vec<_> = (0..weights.len())
            .map(|i| Seed::of("appliance", &format!("oca-{i}")))
            .collect();
        (0..titles)
            .map(|t| {
                let title = Seed::of("title", &format!("t{t}"));
                (0..weights.len())
                    .max_by(|a, b| {
                        score(title, seeds[*a], weights[*a]).total_cmp(&score(title, seeds[*b], weights[*b]))
                    })
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn shares_follow_weights() {
        let mut wins = [0u32; 4];
        for w in winners(&[1, 1, 2, 4], 8000) {
            wins[w] += 1;
        }
        for (won, weight) in wins.iter().zip([1.0, 1.0, 2.0, 4.0]) {
            let expected = 8000.0 * weight / 8.0;
            assert!((f64::from(*won) - expected).abs() < expected * 0.1, "{wins:?}");
        }
    }

    #[test]
    fn a_changed_weight_moves_titles_to_or_from_that_appliance_only() {
        let (before, after) = (winners(&[2, 2, 2, 2], 4000), winners(&[2, 2, 2, 3], 4000));
        let moved: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
        assert!(!moved.is_empty());
        assert!(moved.iter().all(|(_, to)| **to == 3));
    }

    #[test]
    fn names_of_different_kinds_differ() {
        assert_ne!(Seed::of("title", "a"), Seed::of("appliance", "a"));
    }
}
