//! What goes to the control plane, and when: as soon as somebody has arrived, in company where nobody has, and nothing while
//! there is nothing. Batches are numbered within a boot. One that nobody answers goes again under its number, so that it
//! counts once, but without its sessions, whose news is old by then. Time is an argument.

use super::{
    Sighting,
    crowd::{Crowd, Tally},
};
use cdn_types::api::v1::viewers::{Sightings, ViewerBatch};

/// Looks that make one batch where nobody has arrived.
const PATIENCE: u32 = 2;

/// The gathered, and the batch that is on its way.
#[derive(Debug)]
pub struct Outbox {
    crowd: Crowd,
    /// Looks since the last batch was made.
    looks: u32,
    batch: ViewerBatch,
    /// Sessions of batches that nobody answered.
    unanswered: u64,
}

impl Outbox {
    /// With nothing seen. `boot` names the run, as in reports.
    pub fn new(boot: String) -> Self {
        let batch = ViewerBatch {
            boot,
            number: 0,
            seen: Sightings::default(),
        };
        Self {
            crowd: Crowd::default(),
            looks: 0,
            batch,
            unanswered: 0,
        }
    }

    /// Takes in what workers have told since the last time.
    pub fn see(&mut self, seen: &[Sighting], now: u32) {
        self.crowd.see(seen, now);
        self.crowd.drop_old(now);
    }

    /// One look, a second after the last: the batch to send now, if there is one.
    pub fn next(&mut self, now: u32) -> Option<ViewerBatch> {
        self.looks += 1;
        let is_time = self.looks >= PATIENCE || self.crowd.is_urgent();
        if self.batch.seen.is_empty() && is_time {
            self.looks = 0;
            self.batch.seen = self.crowd.take(now);
            self.batch.number += u64::from(!self.batch.seen.is_empty());
        }
        (!self.batch.seen.is_empty()).then(|| self.batch.clone())
    }

    /// The batch was answered, or is not wanted.
    pub fn done(&mut self) {
        self.batch.seen = Sightings::default();
    }

    /// Nobody has answered it.
    pub fn failed(&mut self) {
        let Sightings { began, arrived, .. } = &mut self.batch.seen;
        self.unanswered += (began.len() + arrived.len()) as u64;
        began.clear();
        arrived.clear();
    }

    /// What has happened so far.
    pub fn tally(&self) -> Tally {
        let tally = self.crowd.tally();
        Tally {
            dropped: tally.dropped + self.unanswered,
            ..tally
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewers::Measured;
    use cdn_types::viewers::{Network, SidHash};

    fn seen(sid: &str, in_play: bool) -> Sighting {
        let network = Network::of("192.0.2.1".parse().unwrap());
        Sighting {
            session: SidHash::of(sid).unwrap().within(network),
            network,
            in_play,
            measured: Some(Measured::Step(3)),
        }
    }

    #[test]
    fn arrivals_go_at_once_and_the_rest_in_company() {
        let mut outbox = Outbox::new("b".into());
        assert_eq!([0, 1].map(|now| outbox.next(now)), [None, None]);
        outbox.see(&[seen("a", false)], 2);
        assert_eq!(outbox.next(2), None);
        let first = outbox.next(3).unwrap();
        assert_eq!((first.seen.began.len(), first.boot.as_str()), (1, "b"));
        outbox.done();
        outbox.see(&[seen("b", true)], 4);
        let second = outbox.next(4).unwrap();
        assert_eq!((second.seen.arrived.len(), second.number), (1, first.number + 1));
        outbox.done();
        assert!(
            (5..60).all(|now| outbox.next(now).is_none()),
            "nothing while there is nothing"
        );
    }

    #[test]
    fn what_was_not_answered_goes_again_under_its_number_without_old_news() {
        let mut outbox = Outbox::new("b".into());
        outbox.see(&[seen("a", true)], 0);
        assert_eq!(outbox.next(0).unwrap().seen.arrived.len(), 1);
        outbox.done();
        outbox.see(&[seen("a", true), seen("b", true), seen("d", false)], 20);
        let told = outbox.next(20).unwrap();
        assert_eq!((told.seen.arrived.len(), told.seen.throughputs.len()), (1, 1));
        outbox.failed();
        for now in 21..30 {
            outbox.see(&[seen("c", true)], now);
            let again = outbox.next(now).unwrap();
            assert_eq!((again.number, again.seen.items()), (told.number, 1));
            assert_eq!(again.seen.throughputs, told.seen.throughputs);
            outbox.failed();
        }
        assert_eq!(outbox.tally().dropped, 3, "b, c, and d");
        outbox.done();
        assert_eq!(outbox.next(31), None, "nobody's arrival is news any more");
    }
}
