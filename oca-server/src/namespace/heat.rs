//! Whether a file is worth memory, as whoever knows demand says. Shared by all who have the file open, and changed while it is.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// What is known of a file's demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Warmth {
    /// Nothing: what readers do decides.
    Unknown,
    /// Not worth memory: reads leave no trace in the page cache.
    Cold,
    /// Worth memory: what is read stays in the page cache.
    Hot,
    /// Whole in memory, held there.
    Kept,
}

/// A file's changing [`Warmth`].
#[derive(Debug)]
pub struct Heat(AtomicU8);

impl Heat {
    /// With a first value.
    pub const fn new(warmth: Warmth) -> Self {
        Self(AtomicU8::new(warmth as u8))
    }

    /// As it is now.
    pub fn get(&self) -> Warmth {
        match self.0.load(Relaxed) {
            1 => Warmth::Cold,
            2 => Warmth::Hot,
            3 => Warmth::Kept,
            _ => Warmth::Unknown,
        }
    }

    /// Changes it for everyone.
    pub fn set(&self, warmth: Warmth) {
        self.0.store(warmth as u8, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_set() {
        let heat = Heat::new(Warmth::Unknown);
        for warmth in [Warmth::Cold, Warmth::Hot, Warmth::Kept, Warmth::Unknown] {
            heat.set(warmth);
            assert_eq!(heat.get(), warmth);
        }
    }
}
