//! What all workers of an appliance tell of sessions, put together for steering: throughput by network, and who has begun
//! here or come from elsewhere. Everything is bounded; what does not fit, or is too old to be of use, is counted and left
//! out. Time is an argument.

use super::{Measured, Sighting, ways::Ways};
use cdn_types::{
    api::v1::viewers::{BATCH_NETWORKS, BATCH_SESSIONS, NetworkThroughput, Sightings},
    viewers::{Network, STEPS, SessionHash},
};
use std::collections::BTreeMap;

/// Sessions that are remembered: 16 bytes each, a megabyte in all.
const SESSIONS: usize = 65_536;
/// Seconds after which a session that was not seen is not known any more. It is longer than players with full buffers are
/// silent, and longer than steering keeps a session away from where it has fled from.
const LATELY: u32 = 120;
/// Seconds between two samples of a session, and before its first: until then its player tells what it measured elsewhere,
/// or guesses.
const SAMPLE: u32 = 19;
/// Seconds for which arrivals are worth telling.
const NEWS: u32 = 5;
/// Seconds for which throughput is gathered while nobody takes it.
const GATHERED: u32 = 300;

#[derive(Debug, Clone, Copy, Default)]
struct Session {
    /// Seconds at which a sample was last taken, or at which it was first seen.
    sampled: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    steps: [u32; STEPS],
    enough: u32,
}

/// How often something happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sessions that began here.
    pub began: u64,
    /// Sessions that came here while they played.
    pub arrived: u64,
    /// Samples of throughput.
    pub sampled: u64,
    /// Throughputs that cannot be.
    pub bad: u64,
    /// Sessions that were forgotten early for want of room.
    pub forgotten: u64,
    /// What was not told: for want of room, or too old.
    pub dropped: u64,
}

/// The gathered.
#[derive(Debug)]
pub struct Crowd {
    sessions: Ways<Session>,
    networks: BTreeMap<Network, Counts>,
    /// Since when these are gathered.
    since: u32,
    began: Vec<(SessionHash, u32)>,
    arrived: Vec<(SessionHash, u32)>,
    tally: Tally,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            sessions: Ways::new(SESSIONS),
            networks: BTreeMap::new(),
            since: 0,
            began: Vec::new(),
            arrived: Vec::new(),
            tally: Tally::default(),
        }
    }
}

impl Crowd {
    /// Takes in what workers have told since the last time. Who begins comes first: a session begins over one worker and may
    /// go on over another before either is asked.
    pub fn see(&mut self, seen: &[Sighting], now: u32) {
        let (playing, beginning): (Vec<_>, Vec<_>) = seen.iter().partition(|s| s.in_play);
        beginning
            .into_iter()
            .chain(playing)
            .for_each(|s| self.one(s, now));
    }

    fn one(&mut self, seen: &Sighting, now: u32) {
        let (slot, known) = self.sessions.place(seen.session);
        if !known || now.saturating_sub(slot.last) >= LATELY {
            if !known && slot.is_taken_since(now.saturating_sub(LATELY)) {
                self.tally.forgotten += 1;
            }
            slot.take(seen.session, now, Session { sampled: now });
            return self.meet(seen, now);
        }
        slot.last = now;
        let Some(measured) = seen.measured.filter(|_| seen.in_play) else {
            return;
        };
        if measured == Measured::Bad {
            self.tally.bad += 1;
        } else if now.saturating_sub(slot.value.sampled) >= SAMPLE {
            slot.value.sampled = now;
            self.sample(seen.network, measured, now);
        }
    }

    /// A session that is not known here.
    fn meet(&mut self, seen: &Sighting, now: u32) {
        let (list, count) = match seen.in_play {
            true => (&mut self.arrived, &mut self.tally.arrived),
            false => (&mut self.began, &mut self.tally.began),
        };
        *count += 1;
        match list.len() < BATCH_SESSIONS {
            true => list.push((seen.session, now)),
            false => self.tally.dropped += 1,
        }
    }

    fn sample(&mut self, network: Network, measured: Measured, now: u32) {
        if self.networks.is_empty() {
            self.since = now;
        }
        if self.networks.len() >= BATCH_NETWORKS && !self.networks.contains_key(&network) {
            self.tally.dropped += 1;
            return;
        }
        self.tally.sampled += 1;
        let counts = self.networks.entry(network).or_default();
        let count = match measured {
            Measured::Step(step) => &mut counts.steps[usize::from(step).min(STEPS - 1)],
            Measured::Enough | Measured::Bad => &mut counts.enough,
        };
        *count = count.saturating_add(1);
    }

    /// Whether somebody has arrived: that is worth a batch of its own.
    pub fn is_urgent(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Takes out what is worth telling at `now`; nothing is told twice.
    pub fn take(&mut self, now: u32) -> Sightings {
        self.drop_old(now);
        let sessions = |list: &mut Vec<(SessionHash, u32)>| list.drain(..).map(|(s, _)| s).collect();
        Sightings {
            throughputs: std::mem::take(&mut self.networks).into_iter().map(told).collect(),
            began: sessions(&mut self.began),
            arrived: sessions(&mut self.arrived),
        }
    }

    /// Leaves out what has waited for too long.
    pub fn drop_old(&mut self, now: u32) {
        let before = self.began.len() + self.arrived.len() + self.networks.len();
        for list in [&mut self.began, &mut self.arrived] {
            list.retain(|(_, at)| now.saturating_sub(*at) <= NEWS);
        }
        if now.saturating_sub(self.since) > GATHERED {
            self.networks.clear();
        }
        let after = self.began.len() + self.arrived.len() + self.networks.len();
        self.tally.dropped += (before - after) as u64;
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

fn told((network, counts): (Network, Counts)) -> NetworkThroughput {
    let steps = (0u8..).zip(counts.steps).filter(|(_, count)| *count > 0);
    NetworkThroughput {
        network,
        steps: steps.collect(),
        enough: counts.enough,
    }
}

#[cfg(test)]
mod tests;
