//! Values that many share, kept once. Whoever keeps hundreds of thousands of routes has a few thousand sets of
//! attributes; an [`Interner`] gives equal ones the same `Arc`, and drops what nobody uses any more.

use std::{collections::BTreeSet, sync::Arc};

/// Unused values are looked for when there are this many more than after the last look.
const SLACK: usize = 1024;

/// A set of shared values.
#[derive(Debug, Clone)]
pub struct Interner<T: Ord> {
    values: BTreeSet<Arc<T>>,
    /// Size at which unused values are looked for.
    look_at: usize,
}

impl<T: Ord> Default for Interner<T> {
    fn default() -> Self {
        Self {
            values: BTreeSet::new(),
            look_at: SLACK,
        }
    }
}

impl<T: Ord + Clone> Interner<T> {
    /// The shared value that equals this one.
    pub fn intern(&mut self, value: &T) -> Arc<T> {
        if let Some(known) = self.values.get(value) {
            return Arc::clone(known);
        }
        if self.values.len() >= self.look_at {
            self.values.retain(|v| Arc::strong_count(v) > 1);
            self.look_at = self.values.len() * 2 + SLACK;
        }
        let new = Arc::new(value.clone());
        self.values.insert(Arc::clone(&new));
        new
    }

    /// Values kept, used or not.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_unused_ones_go() {
        let mut interner = Interner::default();
        let (a, b) = (interner.intern(&7), interner.intern(&7));
        assert!(Arc::ptr_eq(&a, &b));
        for n in 0..10 * SLACK {
            interner.intern(&(n + 100));
        }
        assert!(interner.len() <= 2 * SLACK, "{}", interner.len());
        assert!(Arc::ptr_eq(&a, &interner.intern(&7)));
    }
}
