//! The oracles: what could be served with tomorrow known.
//!
//! With values `v`, sizes `s`, storage `S`, fill `F` and what is held already, the most is
//! `max Σ v x` over `0 <= x <= 1`, `Σ s x <= S`, `Σ (not held) s x <= F`. It is a fractional knapsack with two constraints. A
//! price `p` on each filled byte gives one with one constraint, solved by taking densities in order, and
//! `D(p) = p F + max Σ (v - p s [not held]) x` is an upper bound for every `p >= 0`, convex in `p`, and the least of it is the
//! optimum (linear programming's duality). The filled bytes fall with `p`, so halving finds it.

/// Halvings of the price: the bound is then above the optimum by less than a rounding.
const HALVINGS: usize = 48;

/// Values and sizes at one store.
#[derive(Debug, Clone, Default)]
pub struct Bound {
    /// Density, size, title; densest first.
    held: Vec<(f64, f64, u32)>,
    new: Vec<(f64, f64, u32)>,
}

/// An oracle's day.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Optimum {
    /// Bytes served: an upper bound, reached but for one or two titles in part.
    pub value: f64,
    /// Bytes filled by the solution that reaches it.
    pub filled: f64,
    /// Titles that it holds, whole or in part.
    pub titles: Vec<u32>,
}

impl Bound {
    /// Titles with a value, split by whether they are held.
    pub fn new(values: &[f32], sizes: &[f64], held: &[bool]) -> Self {
        let mut out = Self::default();
        for (t, value) in values.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            let entry = (f64::from(*value) / sizes[t], sizes[t], t as u32);
            if held[t] {
                out.held.push(entry);
            } else {
                out.new.push(entry);
            }
        }
        for list in [&mut out.held, &mut out.new] {
            list.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
        }
        out
    }

    /// The most that can be served with `storage` bytes of which at most `fill` are brought in.
    pub fn best(&self, storage: f64, fill: f64) -> Optimum {
        let free = self.at_price(0.0, storage);
        if free.filled <= fill {
            return free.optimum(0.0, fill);
        }
        let (mut low, mut high) = (0.0, self.new.first().map_or(0.0, |n| n.0));
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            if self.at_price(middle, storage).filled > fill {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.at_price(high, storage).optimum(high, fill)
    }

    /// Takes what is dense at a price of filled bytes until storage is full.
    fn at_price(&self, price: f64, storage: f64) -> Taken {
        let mut taken = Taken::default();
        let (mut held, mut new) = (self.held.iter().peekable(), self.new.iter().peekable());
        let mut room = storage;
        while room > 0.0 {
            let old = held.peek().map_or(f64::MIN, |h| h.0);
            let priced = new.peek().map_or(f64::MIN, |n| n.0 - price);
            let is_new = priced > old;
            if old.max(priced) <= 0.0 {
                break;
            }
            let Some((density, size, title)) = (if is_new { new.next() } else { held.next() }) else {
                break;
            };
            let size = size.min(room);
            room -= size;
            taken.priced += size * if is_new { density - price } else { *density };
            taken.filled += if is_new { size } else { 0.0 };
            taken.titles.push(*title);
        }
        taken
    }
}

#[derive(Default)]
struct Taken {
    priced: f64,
    filled: f64,
    titles: Vec<u32>,
}

impl Taken {
    fn optimum(self, price: f64, fill: f64) -> Optimum {
        Optimum {
            value: self.priced + price * if price > 0.0 { fill } else { 0.0 },
            filled: self.filled,
            titles: self.titles,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_constraints_by_hand() {
        // Held: 4 bytes worth 4. New: 2 bytes worth 10, 2 bytes worth 6, 4 bytes worth 4.4.
        let bound = Bound::new(
            &[4.0, 10.0, 6.0, 4.4],
            &[4.0, 2.0, 2.0, 4.0],
            &[true, false, false, false],
        );
        assert_eq!(bound.best(4.0, 100.0).value, 16.0);
        assert!((bound.best(8.0, 100.0).value - 20.4).abs() < 1e-6);
        // Fill for one and a half of the new ones; the rest of the storage stays with what is held.
        assert!((bound.best(4.0, 3.0).value - (10.0 + 3.0 + 1.0)).abs() < 1e-9);
        assert!((bound.best(4.0, 0.0).value - 4.0).abs() < 1e-9);
        assert_eq!(bound.best(0.0, 9.0).value, 0.0);
    }

    proptest! {
        /// No choice of whole titles is better, and the bound is near the best one for small titles.
        #[test]
        fn no_choice_is_better(
            items in prop::collection::vec((0u8..50, 1u8..9, any::<bool>()), 1..11),
            storage in 0u8..30,
            fill in 0u8..20,
        ) {
            let values: Vec<f32> = items.iter().map(|i| f32::from(i.0)).collect();
            let sizes: Vec<f64> = items.iter().map(|i| f64::from(i.1)).collect();
            let held: Vec<bool> = items.iter().map(|i| i.2).collect();
            let bound = Bound::new(&values, &sizes, &held).best(f64::from(storage), f64::from(fill)).value;
            let mut best = 0.0f64;
            for set in 0..1u32 << items.len() {
                let of = |f: &dyn Fn(usize) -> f64| -> f64 {
                    (0..items.len()).filter(|i| set >> i & 1 == 1).map(f).sum()
                };
                let new = of(&|i| if held[i] { 0.0 } else { sizes[i] });
                if of(&|i| sizes[i]) <= f64::from(storage) && new <= f64::from(fill) {
                    best = best.max(of(&|i| f64::from(values[i])));
                }
            }
            prop_assert!(bound >= best - 1e-6, "{bound} < {best}");
            // Two titles at most are in part.
            let largest = values.iter().map(|v| f64::from(*v)).fold(0.0, f64::max);
            prop_assert!(bound <= best + 2.0 * largest + 1e-6, "{bound} > {best}");
        }
    }
}
