//! How many answers the clients of a network get over UDP: response rate limiting, as BIND and Knot DNS have it.
//!
//! The sender of a datagram can be forged, and the answer goes to whoever was named. So each network (/24 of IPv4, /56 of
//! IPv6) has a bucket of one second's answers that fills at the rate. When it is empty, every second answer is cut to its
//! question, which is no longer than what was asked, with TC set: a resolver that is really there comes back over TCP,
//! where nobody is limited, since there the sender is known. The others are not sent.
//!
//! The table has a fixed size, nothing is allocated for a query, and where a network's bucket stands nobody outside can
//! compute. A new network takes the place of the fullest bucket of four: what is limited is not forgotten. Time is an argument.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

/// Buckets: 24 bytes each.
const BUCKETS: usize = 65_536;
/// Places that a network may have.
const WAYS: usize = 4;

/// What to do with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer it.
    Answer,
    /// Say that the answer did not fit.
    Cut,
    /// Say nothing.
    Drop,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// 0 is an empty place.
    network: u64,
    /// When it was last filled, in seconds.
    at: f64,
    answers: f32,
    /// Whether the last one beyond the rate was cut.
    cut: bool,
}

impl Bucket {
    fn fill(&self, rate: f32, now: f64) -> f32 {
        let passed = (now - self.at).max(0.0) as f32;
        (self.answers + passed * rate).min(rate)
    }
}

/// The buckets of all networks.
pub struct Limiter {
    rate: f32,
    buckets: Box<[Bucket]>,
    places: RandomState,
}

impl Limiter {
    /// For so many answers a second and network, at least one.
    pub fn new(rate: u32) -> Self {
        let rate = rate.max(1) as f32;
        let full = Bucket {
            network: 0,
            at: 0.0,
            answers: rate,
            cut: false,
        };
        Self {
            rate,
            buckets: vec![full; BUCKETS].into(),
            places: RandomState::new(),
        }
    }

    /// Takes an answer out of the client's bucket at `now`, in seconds on a clock that does not go back.
    pub fn take(&mut self, client: IpAddr, now: f64) -> Verdict {
        let rate = self.rate;
        let bucket = self.bucket(network(client), now);
        bucket.answers = bucket.fill(rate, now);
        bucket.at = now;
        if bucket.answers >= 1.0 {
            bucket.answers -= 1.0;
            return Verdict::Answer;
        }
        bucket.cut = !bucket.cut;
        if bucket.cut { Verdict::Cut } else { Verdict::Drop }
    }

    fn bucket(&mut self, network: u64, now: f64) -> &mut Bucket {
        let row = self.places.hash_one(network) as usize % (BUCKETS / WAYS);
        let row = &mut self.buckets[row * WAYS..][..WAYS];
        let fill = |at: &usize| row[*at].fill(self.rate, now);
        let at = match row.iter().position(|bucket| bucket.network == network) {
            Some(at) => at,
            None => {
                let fullest = (0..WAYS).max_by(|a, b| fill(a).total_cmp(&fill(b))).unwrap_or(0);
                row[fullest] = Bucket {
                    network,
                    at: now,
                    answers: self.rate,
                    cut: false,
                };
                fullest
            }
        };
        &mut row[at]
    }
}

/// A /24 or /56 as a number that is not 0 and that no other has.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(a) => 1 << 63 | u64::from(u32::from(a) >> 8),
        IpAddr::V6(a) => 1 << 62 | (u128::from(a) >> 72) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Answer, Cut, Drop};

    fn ask(limiter: &mut Limiter, client: &str, now: f64, times: usize) -> Vec<Verdict> {
        let client = client.parse().unwrap();
        (0..times).map(|_| limiter.take(client, now)).collect()
    }

    #[test]
    fn a_network_gets_its_rate_and_every_second_one_beyond_it_is_cut() {
        let mut limiter = Limiter::new(3);
        for (client, now, wanted) in [
            (
                "192.0.2.1",
                0.0,
                &[Answer, Answer, Answer, Cut, Drop, Cut, Drop][..],
            ),
            ("192.0.2.255", 0.0, &[Cut]),                          // its neighbour
            ("::ffff:192.0.2.7", 0.1, &[Drop]),                    // the same on a socket for both families
            ("192.0.3.1", 0.1, &[Answer, Answer, Answer, Cut]),    // another /24
            ("192.0.2.1", 0.5, &[Answer, Cut]),                    // one and a half came in
            ("192.0.2.1", 0.7, &[Answer, Drop, Cut]),              // the half counts
            ("192.0.2.1", 900.0, &[Answer, Answer, Answer, Drop]), // no more than a second's
            ("2001:db8:0:ff::1", 900.0, &[Answer, Answer, Answer]),
            ("2001:db8:0:7:8:9:a:b", 900.0, &[Cut]), // the same /56
            ("2001:db8:0:100::1", 900.0, &[Answer]), // the next one
            ("2001:db8:0:7::", 899.0, &[Drop]),      // a clock that goes back gives nothing
        ] {
            assert_eq!(
                ask(&mut limiter, client, now, wanted.len()),
                wanted,
                "{client} at {now}"
            );
        }
    }

    #[test]
    fn who_keeps_to_the_rate_gets_every_answer() {
        let mut limiter = Limiter::new(1000);
        for n in 0..20_000 {
            let now = f64::from(n) / 999.0;
            assert_eq!(ask(&mut limiter, "192.0.2.1", now, 1), [Answer], "{n}");
        }
    }

    #[test]
    fn a_flood_from_everywhere_neither_grows_the_table_nor_frees_who_is_limited() {
        let mut limiter = Limiter::new(5);
        ask(&mut limiter, "192.0.2.1", 0.0, 6);
        let mut answered = 0;
        for n in 0..1_000_000u32 {
            let now = f64::from(n) / 1e6;
            limiter.take(std::net::Ipv4Addr::from(n << 8).into(), now);
            if n % 1000 == 0 {
                answered += usize::from(ask(&mut limiter, "192.0.2.1", now, 1) == [Answer]);
            }
        }
        assert_eq!(limiter.buckets.len(), BUCKETS);
        assert!(answered <= 5, "{answered} in a second");
    }
}
