//! What viewers' requests say (CMCD) that steering should know: how fast a network is served, and which sessions have come
//! from elsewhere while they played.
//!
//! A worker tells of a session once in [`TOLD_SECONDS`] and not at all in between ([`recent`]), so that a request costs a
//! look-up. What all workers tell comes together in one place ([`crowd`]), off the path of requests, where a session that
//! plays over connections to two workers is one; [`outbox`] decides what of it is sent, and when.

pub mod crowd;
pub mod outbox;
pub mod recent;
mod ways;

use crate::{cmcd::Wishes, pacing};
use cdn_types::viewers::{MAX_THROUGHPUT, Network, SessionHash, step};
use std::net::IpAddr;

/// Seconds between two tellings of a session by one worker.
pub const TOLD_SECONDS: u32 = 20;

/// What one request says of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Which.
    pub session: SessionHash,
    /// Where its viewer is.
    pub network: Network,
    /// It has played before: it asks for media and does not begin (`su`), or has run empty (`bs`).
    pub in_play: bool,
    /// What it has measured, if it says so.
    pub measured: Option<Measured>,
}

/// A player's throughput.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// The step of it.
    Step(u8),
    /// What it calls enough, or more.
    Enough,
    /// No throughput that can be.
    Bad,
}

impl Sighting {
    /// What a request for media says, if its player names its session.
    ///
    /// Requests for anything else count for nothing: dash.js says of every initialisation segment that it begins, and of
    /// manifests never.
    pub fn of(wishes: &Wishes, viewer: IpAddr) -> Option<Self> {
        let sid = wishes.session.filter(|_| !wishes.aside)?;
        let network = Network::of(viewer);
        Some(Self {
            session: sid.within(network),
            network,
            in_play: wishes.starved || !wishes.urgent,
            measured: measured(wishes),
        })
    }
}

/// A player that asks for a rate is sent no more than that, so it cannot measure much more: three quarters of it are all.
fn measured(wishes: &Wishes) -> Option<Measured> {
    let measured = wishes.measured?.saturating_mul(1000);
    let asked = pacing::enough(wishes).map(|rate| rate.0);
    Some(match measured {
        0 | MAX_THROUGHPUT.. => Measured::Bad,
        _ if asked.is_some_and(|asked| measured >= asked / 4 * 3) => Measured::Enough,
        _ => Measured::Step(step(measured)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(dictionary: &str) -> Option<Sighting> {
        let mut wishes = Wishes::default();
        wishes.take(dictionary);
        Sighting::of(&wishes, "192.0.2.7".parse().unwrap())
    }

    /// What hls.js 1.7, dash.js 5.2 and Shaka 5.2 send where they begin, play on, run empty, and fail over.
    #[test]
    fn a_session_in_play_is_told_from_one_that_begins() {
        for (dictionary, in_play) in [
            (
                "bl=0,br=436,d=2000,mtp=500,ot=v,rtp=2200,sid=\"a\",su",
                Some(false),
            ),
            ("bl=(0),d=2000,mtp=(500),ot=v,sid=\"a\",sta=s,su,v=2", Some(false)),
            ("bl=21300,br=3200,mtp=25400,ot=v,sid=\"a\"", Some(true)),
            ("bl=0,bs,ot=av,sid=\"a\",su", Some(true)),
            ("bs,ot=a,sid=\"a\"", Some(true)),
            ("br=128,sid=\"a\"", Some(true)), // hls.js does not always know the type
            ("ot=i,sid=\"a\",su", None),
            ("mtp=500,ot=m,sid=\"a\"", None),
            ("ot=tt,sid=\"a\"", None),
            ("bl=21300,ot=v", None),
            ("bl=21300,ot=v,sid=a", None),
        ] {
            assert_eq!(seen(dictionary).map(|s| s.in_play), in_play, "{dictionary}");
        }
    }

    #[test]
    fn throughput_is_a_step_or_what_is_enough_or_no_throughput() {
        for (keys, expected) in [
            ("mtp=25400", Some(Measured::Step(step(25_400_000)))),
            ("mtp=(985.6;v)", Some(Measured::Step(step(985_000)))),
            ("mtp=16000,rtp=16000,br=3200", Some(Measured::Enough)),
            ("mtp=12000,rtp=16000,br=3200", Some(Measured::Enough)),
            (
                "mtp=11900,rtp=16000,br=3200",
                Some(Measured::Step(step(11_900_000))),
            ),
            ("mtp=3000,rtp=1000,br=3200", Some(Measured::Step(step(3_000_000)))), // it is sent 4.8 Mbit/s
            ("mtp=0", Some(Measured::Bad)),
            ("mtp=1000000000", Some(Measured::Bad)),
            ("mtp=99999999999999999999", None),
            ("mtp=fast", None),
            ("br=1", None),
        ] {
            let found = seen(&format!("{keys},sid=\"a\"")).unwrap().measured;
            assert_eq!(found, expected, "{keys}");
        }
    }
}
