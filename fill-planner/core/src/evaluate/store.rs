//! What a region's store holds, and the plain way to change it in a night: the densest first, as far as storage and fill
//! go. Every baseline that plans ahead changes its store in this way.

/// One store.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// By title.
    pub held: Vec<bool>,
    /// Bytes of what is held.
    pub used: f64,
}

impl Store {
    /// Holds nothing.
    pub fn empty(titles: usize) -> Self {
        Self {
            held: vec![false; titles],
            used: 0.0,
        }
    }

    /// Titles that it lacks come, densest first, while fill and storage last; what is held stays if it is dense enough.
    /// What nobody is expected to draw is not brought in. Returns the titles brought in.
    pub fn swap(&mut self, expected: &[f32], sizes: &[f64], storage: f64, fill: f64) -> Vec<u32> {
        let density = |t: u32| f64::from(expected[t as usize]) / sizes[t as usize];
        let mut order: Vec<u32> = (0..expected.len() as u32)
            .filter(|t| expected[*t as usize] > 0.0 || self.held[*t as usize])
            .collect();
        let held = |t: u32| self.held[t as usize];
        order.sort_unstable_by(|a, b| {
            density(*b)
                .total_cmp(&density(*a))
                .then(held(*b).cmp(&held(*a)))
                .then(a.cmp(b))
        });
        let (mut next, mut filled, mut come) = (Self::empty(expected.len()), 0.0, Vec::new());
        for t in order {
            let (i, size) = (t as usize, sizes[t as usize]);
            let new = !self.held[i];
            if next.used + size > storage || (new && filled + size > fill) {
                continue;
            }
            next.held[i] = true;
            next.used += size;
            if new {
                filled += size;
                come.push(t);
            }
        }
        *self = next;
        come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_densest_come_while_fill_and_storage_last() {
        let (sizes, mut store) = ([4.0, 4.0, 2.0, 2.0], Store::empty(4));
        assert_eq!(store.swap(&[8.0, 4.0, 1.0, 0.0], &sizes, 8.0, 100.0), [0, 1]);
        // Fill for one of the two that are denser now: what is held keeps the rest of the storage.
        assert_eq!(store.swap(&[8.0, 1.0, 9.0, 7.0], &sizes, 8.0, 3.0), [2]);
        assert_eq!(
            (store.held.clone(), store.used),
            (vec![true, false, true, false], 6.0)
        );
        // Nothing is expected of the last: it does not come into the free room.
        assert!(store.swap(&[8.0, 0.0, 9.0, 0.0], &sizes, 8.0, 3.0).is_empty());
    }
}
