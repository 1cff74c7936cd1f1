//! Reactive caches of whole titles, by bytes: what appliances without a plan would do. A title counts as held once a
//! part of it was drawn, which is kinder to them than the truth.

mod lru;
mod s3_fifo;
mod tiny_lfu;

pub use lru::Lru;
pub use s3_fifo::S3Fifo;
pub use tiny_lfu::TinyLfu;

/// A cache.
pub trait Cache {
    /// Name in reports.
    fn name(&self) -> &'static str;
    /// One request; whether it was held.
    fn request(&mut self, title: u32, size: u64) -> bool;
}

/// All of them, with room for `room` bytes.
pub fn all(room: u64) -> [Box<dyn Cache>; 3] {
    [
        Box::new(Lru::new(room)),
        Box::new(S3Fifo::new(room)),
        Box::new(TinyLfu::new(room)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the requests were hits, all titles of one size.
    pub(super) fn play(cache: &mut dyn Cache, size: u64, titles: &[u32]) -> String {
        let mark = |t: &u32| if cache.request(*t, size) { 'h' } else { '-' };
        titles.iter().map(mark).collect()
    }

    #[test]
    fn what_is_larger_than_the_cache_displaces_nothing() {
        for cache in &mut all(10) {
            assert_eq!(play(cache.as_mut(), 5, &[1, 1]), "-h", "{}", cache.name());
            assert!(!cache.request(9, 11) && !cache.request(9, 11));
            assert_eq!(play(cache.as_mut(), 5, &[1]), "h", "{}", cache.name());
        }
    }

    #[test]
    fn none_holds_more_than_its_room() {
        let mut dice = 1u64;
        for cache in &mut all(100) {
            let (mut hits, mut distinct) = (0, std::collections::BTreeSet::new());
            for _ in 0..2_000 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let title = (dice >> 33) as u32 % 40;
                hits += usize::from(cache.request(title, 10 + u64::from(title % 3)));
            }
            // Nine titles fit at most: with forty equally likely ones no policy can pass nine in forty by much.
            assert!(hits < 2_000 * 12 / 40, "{}: {hits}", cache.name());
            for title in 0..40 {
                // Asked twice in a row in a full cache: at most the room's worth of first ones are hits.
                if cache.request(title, 10 + u64::from(title % 3)) {
                    distinct.insert(title);
                }
            }
            assert!(distinct.len() <= 10, "{}: {}", cache.name(), distinct.len());
        }
    }
}
