//! What the control plane is told of the table: numbered batches of changes, one at a time. A batch stays until it is
//! answered, so a lost one is told again, and a repeated one is known by its number. When the answer wants another
//! number than the next, the whole table is told anew.
//!
//! The first table of a run ends (`complete`) only once the sessions have had the time to come up: what the control
//! plane knows from the run before stays until then, so a restart takes no viewer away.

use super::rib::Rib;
use cdn_types::api::v1::routes::{BATCH_PREFIXES, RouteAttributes, RouteBatch, RouteBatchAnswer, RouteGroup};
use ipnet::IpNet;
use std::{collections::BTreeMap, sync::Arc};

/// Where the telling of a whole table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// It is to begin.
    Due,
    /// It has begun.
    Begun,
    /// It was told.
    Told,
}

/// The batches of one run.
#[derive(Debug)]
pub struct Feed {
    boot: String,
    next: u64,
    whole: Whole,
    waiting: Option<RouteBatch>,
    /// An empty batch is due.
    asks: bool,
}

impl Feed {
    /// A feed that begins with the whole table. `boot` names the run, as in reports.
    pub fn new(boot: String) -> Self {
        Self {
            boot,
            next: 1,
            whole: Whole::Due,
            waiting: None,
            asks: false,
        }
    }

    /// Has the next batch sent even if it is empty: its answer says whether the control plane still knows the table.
    pub fn ask(&mut self) {
        self.asks = true;
    }

    /// The batch to send now, if there is anything to tell: the one that waits for its answer, or a new one.
    /// `settled` = the sessions have told their tables, or had the time to.
    pub fn batch(&mut self, rib: &mut Rib, settled: bool) -> Option<&RouteBatch> {
        if self.waiting.is_none() {
            self.waiting = self.compose(rib, settled);
        }
        self.waiting.as_ref()
    }

    fn compose(&mut self, rib: &mut Rib, settled: bool) -> Option<RouteBatch> {
        let reset = self.whole == Whole::Due;
        if reset {
            rib.change_all();
        }
        let ends = self.whole == Whole::Begun && settled;
        let asks = std::mem::take(&mut self.asks);
        if !reset && !ends && !asks && !rib.has_changed() {
            return None;
        }
        self.whole = if reset { Whole::Begun } else { self.whole };
        let mut groups: BTreeMap<Arc<RouteAttributes>, Vec<IpNet>> = BTreeMap::new();
        let mut withdrawn = Vec::new();
        for prefix in rib.take_changed(BATCH_PREFIXES) {
            match rib.best(&prefix) {
                Some(attributes) => groups.entry(Arc::clone(attributes)).or_default().push(prefix),
                None => withdrawn.push(prefix),
            }
        }
        let complete = self.whole == Whole::Begun && settled && !rib.has_changed();
        if complete {
            self.whole = Whole::Told;
        }
        let group = |(attributes, prefixes): (Arc<RouteAttributes>, _)| RouteGroup {
            attributes: RouteAttributes::clone(&attributes),
            prefixes,
        };
        let number = self.next;
        self.next += 1;
        Some(RouteBatch {
            boot: self.boot.clone(),
            number,
            reset,
            complete,
            announced: groups.into_iter().map(group).collect(),
            withdrawn,
        })
    }

    /// Takes in the answer to the batch that waits.
    pub fn answered(&mut self, answer: RouteBatchAnswer) {
        let Some(batch) = self.waiting.take() else {
            return;
        };
        if answer.next != batch.number + 1 {
            self.whole = Whole::Due;
            self.next = self.next.max(answer.next);
        }
    }

    /// Whether the control plane knows the whole table, but for what has changed since.
    pub fn is_told(&self) -> bool {
        self.whole == Whole::Told && self.waiting.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::{attributes::PathAttributes, filter::Filter, nlri::Nlri, rib::Neighbor};
    use cdn_types::api::v1::routes::PeeringClass;

    fn rib(prefixes: u32) -> Rib {
        let neighbor = Neighbor {
            asn: 64500,
            class: PeeringClass::Private,
        };
        let mut rib = Rib::new(64999, Filter::default(), vec![neighbor]);
        let list: Vec<Nlri> = (0..prefixes).map(nlri).collect();
        rib.announce(0, &list, &PathAttributes::default());
        rib
    }

    fn nlri(i: u32) -> Nlri {
        let prefix = format!("11.{}.{}.0/24", i / 256, i % 256);
        Nlri {
            prefix: prefix.parse().unwrap(),
            path: 0,
        }
    }

    fn told(batch: &RouteBatch) -> usize {
        batch.announced.iter().map(|g| g.prefixes.len()).sum()
    }

    /// Sends what there is and has it answered well.
    fn drain(feed: &mut Feed, rib: &mut Rib, settled: bool) -> Vec<RouteBatch> {
        let mut sent = Vec::new();
        while let Some(batch) = feed.batch(rib, settled).cloned() {
            let next = batch.number + 1;
            feed.answered(RouteBatchAnswer { next });
            sent.push(batch);
        }
        sent
    }

    #[test]
    fn a_table_is_told_in_bounded_batches_and_then_by_changes() {
        let (mut rib, mut feed) = (rib(12_000), Feed::new("b".into()));
        let sent = drain(&mut feed, &mut rib, true);
        let sizes: Vec<_> = sent.iter().map(told).collect();
        assert_eq!(sizes, [5000, 5000, 2000]);
        let marks: Vec<_> = sent.iter().map(|b| (b.number, b.reset, b.complete)).collect();
        assert_eq!(marks, [(1, true, false), (2, false, false), (3, false, true)]);
        assert!(feed.is_told());
        rib.withdraw(0, &[nlri(3)]);
        let sent = drain(&mut feed, &mut rib, true);
        assert_eq!((sent.len(), sent[0].number, sent[0].reset), (1, 4, false));
        assert_eq!(sent[0].withdrawn, [nlri(3).prefix]);
    }

    #[test]
    fn a_batch_without_an_answer_is_told_again_as_it_was() {
        let (mut rib, mut feed) = (rib(1), Feed::new("b".into()));
        let first = feed.batch(&mut rib, true).unwrap().clone();
        rib.announce(0, &[nlri(2)], &PathAttributes::default());
        assert_eq!(feed.batch(&mut rib, true), Some(&first));
    }

    #[test]
    fn another_number_than_the_next_asks_for_the_whole_table() {
        let (mut rib, mut feed) = (rib(3), Feed::new("b".into()));
        drain(&mut feed, &mut rib, true);
        for next in [0, 9] {
            rib.announce(0, &[nlri(100 + next as u32)], &PathAttributes::default());
            feed.batch(&mut rib, true).unwrap();
            feed.answered(RouteBatchAnswer { next });
            assert!(!feed.is_told());
            let again = drain(&mut feed, &mut rib, true);
            assert!(again[0].reset && again[0].complete && again[0].number >= next);
            assert_eq!(told(&again[0]), rib.len());
        }
    }

    #[test]
    fn an_empty_batch_finds_out_that_the_table_was_forgotten() {
        let (mut rib, mut feed) = (rib(3), Feed::new("b".into()));
        drain(&mut feed, &mut rib, true);
        feed.ask();
        let sent = drain(&mut feed, &mut rib, true);
        assert_eq!((sent.len(), told(&sent[0]), sent[0].reset), (1, 0, false));
        feed.ask();
        feed.batch(&mut rib, true).unwrap();
        feed.answered(RouteBatchAnswer { next: 0 });
        let again = drain(&mut feed, &mut rib, true);
        assert_eq!((again.len(), told(&again[0]), again[0].reset), (1, 3, true));
    }

    #[test]
    fn the_first_table_ends_when_the_sessions_have_settled() {
        let (mut rib, mut feed) = (rib(0), Feed::new("b".into()));
        let sent = drain(&mut feed, &mut rib, false);
        assert_eq!(sent.len(), 1);
        assert!(sent[0].reset && !sent[0].complete);
        rib.announce(0, &[nlri(1)], &PathAttributes::default());
        assert!(!drain(&mut feed, &mut rib, false)[0].complete);
        let last = drain(&mut feed, &mut rib, true);
        assert!(last[0].complete && told(&last[0]) == 0);
        assert!(feed.is_told());
    }
}
