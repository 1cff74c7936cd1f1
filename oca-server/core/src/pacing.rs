//! How fast a response should be sent: as fast as it goes, or at the pace that its player says is enough. A paced response
//! leaves room in the network and in the client's queue for those that need it at once.

use crate::cmcd::Wishes;
use cdn_types::BitsPerSecond;

/// Buffer below which a player gets all that there is, in milliseconds.
const HEALTHY: u64 = 10_000;
/// Least rate of a paced response: below it a large object takes too long to be worth its connection.
const LEAST: u64 = 1_000_000;

/// The rate to send at; absent = as fast as it goes. Only a player that has enough in its buffer and says what is enough
/// for it is paced, and never below one and a half times what it plays (CTA-5004 `rtp`).
pub fn rate(wishes: &Wishes) -> Option<BitsPerSecond> {
    let healthy = wishes.buffer? > HEALTHY && !wishes.urgent;
    let wanted = wishes.throughput?.saturating_mul(1000);
    let played = wishes.bit_rate.unwrap_or(0).saturating_mul(1500);
    healthy.then(|| BitsPerSecond(wanted.max(played).max(LEAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_healthy_player_that_says_what_is_enough_is_paced() {
        let rate = |text: &str| {
            let mut wishes = Wishes::default();
            wishes.take(text);
            rate(&wishes).map(|r| r.0)
        };
        for (text, expected) in [
            ("rtp=16000,bl=20000,br=3200", Some(16_000_000)),
            ("rtp=2000,bl=20000,br=3200", Some(4_800_000)),
            ("rtp=100,bl=20000", Some(LEAST)),
            ("rtp=16000,bl=20000,su", None),
            ("rtp=16000,bl=20000,bs", None),
            ("rtp=16000,bl=10000", None),
            ("rtp=16000", None),
            ("bl=20000,br=3200", None),
            ("rtp=99999999999999999999,bl=20000", None),
            ("rtp=18446744073709551615,bl=20000", Some(u64::MAX)),
        ] {
            assert_eq!(rate(text), expected, "{text}");
        }
    }
}
