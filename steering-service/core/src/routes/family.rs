//! The networks of one address family with their routes, and the ranges made from them.

use super::{
    covering::{Coverings, Parts},
    ranges::{Address, Ranges, Writer},
    runs::Cover,
};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Networks in order, and which slots a publication must make anew.
#[derive(Debug)]
pub struct Family<A: Address> {
    /// First address and length → number of the network's set of routes.
    networks: BTreeMap<(A, u8), u32>,
    changed: Vec<u64>,
    any_changed: bool,
    published: Arc<Ranges<A>>,
}

impl<A: Address> Family<A> {
    pub fn new() -> Self {
        Self {
            networks: BTreeMap::new(),
            changed: vec![0; A::SLOTS.div_ceil(64)],
            any_changed: false,
            published: Arc::new(Ranges::empty()),
        }
    }
    pub fn len(&self) -> usize {
        self.networks.len()
    }
    pub fn get(&self, network: (A, u8)) -> Option<u32> {
        self.networks.get(&network).copied()
    }
    /// Sets or takes away a network's routes.
    pub fn put(&mut self, network: (A, u8), set: Option<u32>) {
        match set {
            Some(set) => self.networks.insert(network, set),
            None => self.networks.remove(&network),
        };
        let (first, last) = (network.0.slot(), network.0.last(network.1).slot());
        self.any_changed = true;
        for word in first / 64..=last / 64 {
            let from = if word == first / 64 { first % 64 } else { 0 };
            let to = if word == last / 64 { last % 64 } else { 63 };
            self.changed[word] |= u64::MAX >> (63 - (to - from)) << from;
        }
    }
    /// All networks and their sets.
    pub fn iter(&self) -> impl Iterator<Item = ((A, u8), u32)> {
        self.networks.iter().map(|(network, set)| (*network, *set))
    }
    /// Makes everything anew at the next publication.
    pub fn change_all(&mut self) {
        self.changed.fill(u64::MAX);
        self.any_changed = true;
    }

    /// The ranges as they were made last.
    pub fn published(&self) -> &Arc<Ranges<A>> {
        &self.published
    }

    /// Brings the ranges up to date, if anything has changed. Returns a bit for each slot in which it has.
    pub fn publish(&mut self, coverings: &mut Coverings, parts: &Parts) -> Option<Vec<u64>> {
        if !self.any_changed {
            return None;
        }
        let mut writer = Writer::new(self.published.len());
        let mut from = 0;
        while from < A::SLOTS {
            let changed = self.is_changed(from);
            let to = self.run_end(from, changed);
            if changed {
                self.sweep(&mut writer, from..to, coverings, parts);
            } else {
                writer.copy(&self.published, from..to);
            }
            from = to;
        }
        self.published = Arc::new(writer.finish());
        self.any_changed = false;
        let none = vec![0; self.changed.len()];
        Some(std::mem::replace(&mut self.changed, none))
    }

    fn is_changed(&self, slot: usize) -> bool {
        self.changed[slot / 64] >> (slot % 64) & 1 == 1
    }

    /// First slot after `from` that is not like it.
    fn run_end(&self, from: usize, changed: bool) -> usize {
        let whole = if changed { u64::MAX } else { 0 };
        let mut slot = from;
        while slot < A::SLOTS && self.is_changed(slot) == changed {
            let skips = slot.is_multiple_of(64) && self.changed[slot / 64] == whole;
            slot += if skips { 64 } else { 1 };
        }
        slot.min(A::SLOTS)
    }

    /// Writes the ranges of some slots. Networks come in order of first address, outer before inner, so that those
    /// around the current one are a stack.
    fn sweep(&self, writer: &mut Writer<A>, slots: Range<usize>, coverings: &mut Coverings, parts: &Parts) {
        let first = A::slot_start(slots.start);
        let last = A::slot_start(slots.end - 1).last(A::SLOT_BITS);
        let mut around: Vec<(A, Cover)> = Vec::new();
        let top = |around: &[(A, Cover)]| around.last().map_or(Cover::NOBODY, |(_, cover)| *cover);
        for len in 0..A::SLOT_BITS {
            let network = (first.first(len), len);
            if network.0 < first
                && let Some(set) = self.get(network)
            {
                let cover = coverings.cover(parts, set, len, top(&around));
                around.push((network.0.last(len), cover));
            }
        }
        writer.begin(first, top(&around));
        for ((start, len), set) in self.networks.range((first, 0)..=(last, A::WIDTH)) {
            leave(writer, &mut around, *start);
            let cover = coverings.cover(parts, *set, *len, top(&around));
            around.push((start.last(*len), cover));
            writer.begin(*start, cover);
        }
        leave(writer, &mut around, last);
    }
}

/// Ends the networks that end before `at`.
fn leave<A: Address>(writer: &mut Writer<A>, around: &mut Vec<(A, Cover)>, at: A) {
    while let Some((end, _)) = around.last().copied().filter(|(end, _)| *end < at) {
        around.pop();
        if let Some(next) = end.after() {
            writer.begin(next, around.last().map_or(Cover::NOBODY, |(_, cover)| *cover));
        }
    }
}
