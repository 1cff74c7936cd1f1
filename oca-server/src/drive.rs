//! How a drive does, as all who read from it tell: how many reads are under way, how long they take, since when the oldest
//! waits, what went wrong lately. A drive that errs too often, takes no writes or does not answer is given up; what that means for its objects
//! is the store's to say.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

/// Failed reads and writes within [`ERRORS_WITHIN`] that are too many: one bad spot costs an object, not a drive.
const MOST_ERRORS: usize = 5;
/// How long a failure counts.
const ERRORS_WITHIN: Duration = Duration::from_secs(600);
/// A read that is older than this makes the drive slow: nothing of it is taken for being in memory unseen.
const SLOW: Duration = Duration::from_secs(1);
/// Share of the newest read in the mean latency: one in so many.
const SHARE: f64 = 16.0;

/// A drive, shared by its readers.
#[derive(Debug)]
pub struct Drive {
    /// Which of the appliance's drives it is, from 0.
    pub index: usize,
    started: Instant,
    given_up: AtomicBool,
    /// Its file system has become read only.
    read_only: AtomicBool,
    under_way: AtomicI64,
    /// Mean latency in seconds, as bits.
    latency: AtomicU64,
    errors: Mutex<VecDeque<Instant>>,
    oldest: Mutex<Vec<Arc<Oldest>>>,
}

/// When a reader's oldest read began: microseconds since the drive's start and one; 0 = none is under way.
#[derive(Debug, Default)]
pub struct Oldest(AtomicU64);

impl Drive {
    /// One that nothing is known of.
    pub fn new(index: usize) -> Self {
        Self {
            index,
            started: Instant::now(),
            given_up: AtomicBool::new(false),
            read_only: AtomicBool::new(false),
            under_way: AtomicI64::new(0),
            latency: AtomicU64::new(0),
            errors: Mutex::default(),
            oldest: Mutex::default(),
        }
    }

    /// A place for one more reader to tell of its oldest read.
    pub fn reader(&self) -> Arc<Oldest> {
        let oldest = Arc::<Oldest>::default();
        let mut all = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&oldest));
        oldest
    }

    /// A reader's oldest read began then.
    pub fn set_oldest(&self, reader: &Oldest, began: Option<Instant>) {
        let since = |began: Instant| began.duration_since(self.started).as_micros() as u64 + 1;
        reader.0.store(began.map_or(0, since), Relaxed);
    }

    /// A read begins.
    pub fn begins(&self) {
        self.under_way.fetch_add(1, Relaxed);
    }

    /// A read ended.
    pub fn ends(&self, took: Duration) {
        self.under_way.fetch_sub(1, Relaxed);
        let mean = self.latency();
        let next = mean + (took.as_secs_f64() - mean) / SHARE;
        self.latency.store(next.to_bits(), Relaxed); // of two at once one is lost: it is a mean
    }

    /// A write failed. A file system that has become read only (what ext4 does when its drive errs) will take no other either;
    /// a full one is no fault of the drive's.
    pub fn write_failed(&self, why: &io::Error) {
        match why.kind() {
            io::ErrorKind::ReadOnlyFilesystem => self.read_only.store(true, Relaxed),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::NotFound => {}
            _ => self.failed(),
        }
    }

    /// A read or a write failed.
    pub fn failed(&self) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.push_back(Instant::now());
        errors.truncate(4 * MOST_ERRORS);
    }

    /// Reads under way.
    pub fn under_way(&self) -> i64 {
        self.under_way.load(Relaxed)
    }

    /// Mean time that a read takes, in seconds.
    pub fn latency(&self) -> f64 {
        f64::from_bits(self.latency.load(Relaxed))
    }

    /// How long the oldest read has been under way.
    pub fn waits(&self) -> Duration {
        let all = self.oldest.lock().unwrap_or_else(PoisonError::into_inner);
        let began = all.iter().map(|o| o.0.load(Relaxed)).filter(|b| *b > 0).min();
        let began = began.map(|b| Duration::from_micros(b - 1));
        began.map_or(Duration::ZERO, |b| self.started.elapsed().saturating_sub(b))
    }

    /// Whether it has not answered for a while.
    pub fn is_slow(&self) -> bool {
        self.waits() > SLOW
    }

    /// Why it should be given up, if it should: it takes no writes, erred too often, or has not answered for `stall`.
    pub fn verdict(&self, stall: Duration) -> Option<String> {
        if self.read_only.load(Relaxed) {
            return Some("its file system has become read only".to_owned());
        }
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        while errors.front().is_some_and(|e| e.elapsed() > ERRORS_WITHIN) {
            errors.pop_front();
        }
        if errors.len() >= MOST_ERRORS {
            let minutes = ERRORS_WITHIN.as_secs() / 60;
            return Some(format!(
                "{} reads or writes failed within {minutes} minutes",
                errors.len()
            ));
        }
        let waits = self.waits();
        (waits > stall).then(|| format!("a read has not ended for {} s", waits.as_secs()))
    }

    /// Nothing more is read from it, and nobody waits for it.
    pub fn give_up(&self) {
        self.given_up.store(true, Release);
    }

    /// Whether it was given up.
    pub fn is_given_up(&self) -> bool {
        self.given_up.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_errors_are_borne_and_many_are_not() {
        let drive = Drive::new(0);
        for _ in 1..MOST_ERRORS {
            drive.failed();
        }
        assert_eq!(drive.verdict(Duration::MAX), None);
        drive.failed();
        assert!(
            drive
                .verdict(Duration::MAX)
                .unwrap()
                .contains("5 reads or writes failed")
        );
    }

    #[test]
    fn a_failed_write_counts_unless_the_drive_is_full_and_read_only_is_the_end() {
        let drive = Drive::new(0);
        for _ in 0..MOST_ERRORS {
            drive.write_failed(&io::ErrorKind::StorageFull.into());
        }
        assert_eq!(drive.verdict(Duration::MAX), None);
        for _ in 0..MOST_ERRORS {
            drive.write_failed(&io::Error::from_raw_os_error(libc::EIO));
        }
        assert!(
            drive
                .verdict(Duration::MAX)
                .unwrap()
                .contains("5 reads or writes")
        );
        let drive = Drive::new(0);
        drive.write_failed(&io::Error::from_raw_os_error(libc::EROFS));
        assert!(drive.verdict(Duration::MAX).unwrap().contains("read only"));
    }

    #[test]
    fn the_oldest_read_of_any_reader_counts() {
        let drive = Drive::new(0);
        let (a, b) = (drive.reader(), drive.reader());
        assert_eq!(drive.waits(), Duration::ZERO);
        drive.set_oldest(&a, Some(drive.started));
        drive.set_oldest(&b, Some(Instant::now()));
        while drive.waits() < Duration::from_millis(2) {}
        assert!(
            drive
                .verdict(Duration::from_millis(1))
                .unwrap()
                .contains("not ended")
        );
        assert_eq!(drive.verdict(Duration::from_secs(60)), None);
        drive.set_oldest(&a, None);
        assert!(drive.waits() < Duration::from_secs(1));
        drive.set_oldest(&b, None);
        assert_eq!(drive.waits(), Duration::ZERO);
    }
}
