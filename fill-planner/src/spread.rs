//! Spreads the planner's work over threads. The core does not know: each site's work is its own, and results are put
//! back in order.

use fill_core::place::Spread;
use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

/// Most threads: planning runs beside other work on small machines.
const MAX_THREADS: usize = 16;

/// That many threads.
#[derive(Debug, Clone, Copy)]
pub struct Threads(pub usize);

impl Threads {
    /// As many as the machine has to give.
    pub fn available() -> Self {
        Self(std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_THREADS)))
    }
}

impl Spread for Threads {
    fn each<T: Send>(&self, n: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(n));
        std::thread::scope(|scope| {
            for _ in 0..self.0.clamp(1, n.max(1)) {
                scope.spawn(|| {
                    loop {
                        let mine = next.fetch_add(1, Ordering::Relaxed);
                        if mine >= n {
                            break;
                        }
                        let result = work(mine);
                        // A thread that died while it pushed has its panic passed on by the scope.
                        done.lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .push((mine, result));
                    }
                });
            }
        });
        let mut done = done
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        done.sort_unstable_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_from_any_number_of_threads() {
        let expected: Vec<usize> = (0..100).map(|n| n * n).collect();
        for threads in [0, 1, 2, 7] {
            assert_eq!(Threads(threads).each(100, &|n| n * n), expected);
        }
        assert!(Threads(2).each(0, &|n| n).is_empty());
    }
}
