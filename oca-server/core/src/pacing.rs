//! How fast a response should be sent: as fast as it goes, or at the pace that its player says is enough. A paced response
//! leaves room in the network and in the client's queue for those that need it at once.

use crate::cmcd::Wishes;
use cdn_types::BitsPerSecond;
use std::time::{Duration, Instant};

/// Buffer below which a player gets all that there is, in milliseconds.
const HEALTHY: u64 = 10_000;
/// Least rate of a paced response: below it a large object takes too long to be worth its connection.
const LEAST: u64 = 1_000_000;

/// The rate to send at; absent = as fast as it goes. Only a player that has enough in its buffer and says what is enough
/// for it is paced (CTA-5004 `rtp`).
pub fn rate(wishes: &Wishes) -> Option<BitsPerSecond> {
    let healthy = wishes.buffer? > HEALTHY && !wishes.urgent;
    enough(wishes).filter(|_| healthy)
}

/// What a player calls enough, but never below one and a half times what it plays.
pub fn enough(wishes: &Wishes) -> Option<BitsPerSecond> {
    let wanted = wishes.throughput?.saturating_mul(1000);
    let played = wishes.bit_rate.unwrap_or(0).saturating_mul(1500);
    Some(BitsPerSecond(wanted.max(played).max(LEAST)))
}

/// The rate that is enough for responses that share a connection: each must say what is enough for it.
pub fn together(rates: impl IntoIterator<Item = Option<BitsPerSecond>>) -> Option<BitsPerSecond> {
    let mut rates = rates.into_iter();
    let first = rates.next()??;
    rates.try_fold(first, |sum, rate| {
        Some(BitsPerSecond(sum.0.saturating_add(rate?.0)))
    })
}

/// By how much a [`Pace`] may run ahead: what a timer is late by must not make it slower than it should be.
const AHEAD: Duration = Duration::from_millis(20);

/// Holds a sender to a rate where no socket does it (a virtual schedule, as the generic cell rate algorithm has it).
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// When all that was sent is paid for.
    paid: Instant,
}

impl Pace {
    /// Nothing is sent yet.
    pub fn new(now: Instant) -> Self {
        Self { paid: now }
    }

    /// Counts `bytes` as sent at `rate`.
    pub fn sent(&mut self, bytes: u64, rate: BitsPerSecond, now: Instant) {
        let cost = Duration::from_secs_f64(bytes as f64 * 8.0 / rate.0.max(LEAST) as f64);
        self.paid = self.paid.max(now) + cost;
    }

    /// When more may be sent; absent = now.
    pub fn wait(&self, now: Instant) -> Option<Instant> {
        let then = self.paid.checked_sub(AHEAD)?;
        (then > now).then_some(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_keeps_its_pace_however_late_its_turns_are() {
        let rate = BitsPerSecond(8_000_000); // a byte a microsecond
        for late in [0, 1, 7, 19] {
            let start = Instant::now();
            let (mut pace, mut now, mut sent) = (Pace::new(start), start, 0);
            while now < start + Duration::from_secs(2) {
                match pace.wait(now) {
                    Some(then) => now = then + Duration::from_millis(late),
                    None => {
                        pace.sent(64 << 10, rate, now);
                        sent += 64 << 10;
                    }
                }
            }
            let share = f64::from(sent) / 2e6;
            assert!((0.97..1.06).contains(&share), "{late} ms late: {share}");
        }
        let mut pace = Pace::new(Instant::now());
        let later = Instant::now() + Duration::from_secs(60);
        pace.sent(1_000_000, rate, later);
        assert!(pace.wait(later).is_some(), "idle time is not saved up");
    }

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
