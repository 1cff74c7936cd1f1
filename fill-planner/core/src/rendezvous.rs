//! Weighted rendezvous hashing: who of a site's appliances should hold a title. Each pair of title and appliance
//! has a score of its own, so an appliance that joins takes over only what it wins (its share of all bytes), and
//! one that leaves gives up only what it had.

/// 64-bit name of a title or an appliance, mixed with the plan's seed.
pub fn key(seed: u64, kind: &str, name: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(&[0]);
    hasher.update(name.as_bytes());
    let digest = hasher.finalize();
    u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("a digest has 32 bytes"))
}

/// Score of an appliance for a title; the highest wins. With weights `w`, an appliance wins a share w / Σw of titles.
pub fn score(title: u64, appliance: u64, weight: f64) -> f64 {
    let mixed = mix(title ^ mix(appliance));
    // 53 bits, shifted by half a step: strictly between 0 and 1, so the logarithm is finite and negative.
    let uniform = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -weight / uniform.ln()
}

/// Finaliser of SplitMix64: every input bit changes half of the output bits.
pub fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn winner(title: u64, appliances: &[(u64, f64)]) -> usize {
        (0..appliances.len())
            .max_by(|a, b| {
                let s = |i: usize| score(title, appliances[i].0, appliances[i].1);
                s(*a).total_cmp(&s(*b))
            })
            .unwrap()
    }

    #[test]
    fn wins_follow_weights_and_a_newcomer_takes_only_its_share() {
        let mut fleet: Vec<_> = (0..3).map(|i| (key(1, "oca", &format!("a{i}")), 1.0)).collect();
        fleet[2].1 = 2.0;
        let titles: Vec<_> = (0..20_000).map(|i| key(1, "title", &format!("t{i}"))).collect();
        let before: Vec<_> = titles.iter().map(|t| winner(*t, &fleet)).collect();
        let heavy = before.iter().filter(|w| **w == 2).count() as f64 / 20_000.0;
        assert!((heavy - 0.5).abs() < 0.02, "{heavy}");
        fleet.push((key(1, "oca", "new"), 1.0));
        let after: Vec<_> = titles.iter().map(|t| winner(*t, &fleet)).collect();
        let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count() as f64 / 20_000.0;
        assert!((moved - 0.2).abs() < 0.02, "{moved}");
        assert!(before.iter().zip(&after).all(|(b, a)| b == a || *a == 3));
    }
}
