//! What appliances saw of their viewers in the last minute, in memory alone: handed on to steering, which asks for what came
//! since a generation. It is soft state. Who asks too late is told that something is missed, and nobody mends it.
//!
//! Plain data and plain functions; time is an argument.

mod shared;

pub use shared::SharedViewers;

use crate::limits;
use cdn_types::{
    OcaId,
    api::v1::viewers::{Sightings, ViewerBatch, ViewerNews, ViewerReport},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// What one appliance told at one time.
#[derive(Debug)]
struct Told {
    generation: u64,
    /// Time since the program's start.
    at: Duration,
    appliance: OcaId,
    seen: Sightings,
}

/// The last batch of an appliance.
#[derive(Debug)]
struct Last {
    boot: String,
    number: u64,
}

/// What is known of all appliances.
#[derive(Debug)]
pub struct Viewers {
    generation: u64,
    last: HashMap<OcaId, Last>,
    told: VecDeque<Told>,
    /// What came after this generation is all there.
    from: u64,
    items: usize,
}

impl Viewers {
    /// Nothing is known. Every start must give a larger generation than the last start ended with.
    pub fn new(generation: u64) -> Self {
        Self {
            generation,
            last: HashMap::new(),
            told: VecDeque::new(),
            from: generation,
            items: 0,
        }
    }

    /// Grows with every batch.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Entries that are kept.
    pub fn items(&self) -> usize {
        self.items
    }

    /// Whether the last batch of this appliance was of this boot.
    pub fn knows_boot(&self, id: &OcaId, boot: &str) -> bool {
        self.last.get(id).is_some_and(|last| last.boot == boot)
    }

    /// Takes a batch in, unless it is not newer than the last of its boot.
    pub fn take(&mut self, id: &OcaId, batch: ViewerBatch, now: Duration) -> bool {
        let last = Last {
            boot: batch.boot,
            number: batch.number,
        };
        match self.last.get_mut(id) {
            Some(before) if before.boot == last.boot && before.number >= last.number => return false,
            Some(before) => *before = last,
            None => _ = self.last.insert(id.clone(), last),
        }
        self.generation += 1;
        self.items += batch.seen.items();
        self.told.push_back(Told {
            generation: self.generation,
            at: now,
            appliance: id.clone(),
            seen: batch.seen,
        });
        self.forget(now);
        true
    }

    /// Forgets what is too old, or too much.
    fn forget(&mut self, now: Duration) {
        let goes = |viewers: &Self, oldest: &Told| {
            now.saturating_sub(oldest.at) > limits::VIEWERS_KEPT
                || viewers.items > limits::VIEWER_ITEMS
                || viewers.told.len() > limits::VIEWER_REPORTS
        };
        while self.told.front().is_some_and(|oldest| goes(self, oldest)) {
            if let Some(oldest) = self.told.pop_front() {
                self.items -= oldest.seen.items();
                self.from = oldest.generation;
            }
        }
    }

    /// What came since a generation; from 0 on nobody has missed anything.
    pub fn since(&self, since: u64, now: Duration) -> ViewerNews {
        let known = (self.from..=self.generation).contains(&since);
        let after = if known { since } else { 0 };
        let fresh = |told: &&Told| now.saturating_sub(told.at) <= limits::VIEWERS_KEPT;
        let newest = self.told.iter().rev().take_while(|told| told.generation > after);
        let mut reports: Vec<_> = newest
            .take_while(fresh)
            .map(|told| ViewerReport {
                appliance: told.appliance.clone(),
                age_ms: now.saturating_sub(told.at).as_millis() as u64, // a minute at most
                seen: told.seen.clone(),
            })
            .collect();
        reports.reverse();
        ViewerNews {
            generation: self.generation,
            missed: !known && since != 0,
            reports,
        }
    }
}

#[cfg(test)]
mod tests;
