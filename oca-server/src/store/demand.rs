//! What viewers drew: counted by the workers without contention, gathered by the reporter, kept until acknowledged.
//!
//! Each worker has its own table behind its own lock, which only the gatherer ever shares, and only for the moment
//! of taking the table away. Everything is bounded: a flood of distinct objects, or a control plane that is away
//! for days, costs counts (which are themselves counted), never memory.

use super::layout;
use cdn_types::{Bytes, Hour, ObjectDigest, api::v1::DemandCount};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Most (hour, object) pairs in one worker's table between two gatherings: about 6 MB.
const WORKER_ROWS: usize = 65_536;
/// Most (hour, object) pairs that wait for an acknowledgement: about 40 MB.
const HISTORY_ROWS: usize = 400_000;
/// Most rows in one report: about 2 MB of JSON.
const REPORT_ROWS: usize = 10_000;

type Row = (Hour, ObjectDigest);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Drawn {
    requests: u64,
    bytes: u64,
}

/// The workers' tables.
#[derive(Debug)]
pub struct DemandTables {
    workers: Vec<Mutex<HashMap<Row, Drawn>>>,
    lost: AtomicU64,
}

impl DemandTables {
    /// Tables for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            lost: AtomicU64::new(0),
        }
    }

    /// Counts one response of a worker (0-based).
    pub fn count(&self, worker: usize, hour: Hour, object: ObjectDigest, bytes: u64) {
        let table = &self.workers[worker % self.workers.len()];
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        if table.len() >= WORKER_ROWS && !table.contains_key(&(hour, object)) {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let drawn = table.entry((hour, object)).or_default();
        drawn.requests += 1;
        drawn.bytes += bytes;
    }

    /// Responses that were not counted because a table was full.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn take(&self) -> impl Iterator<Item = (Row, Drawn)> + '_ {
        self.workers
            .iter()
            .flat_map(|w| std::mem::take(&mut *w.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Counts of this boot, absolute, until the control plane has them.
#[derive(Debug, Default)]
pub struct DemandHistory {
    rows: BTreeMap<Row, Kept>,
    lost: u64,
}

#[derive(Debug, Default)]
struct Kept {
    drawn: Drawn,
    acknowledged: Drawn,
}

impl DemandHistory {
    /// Takes in what the workers counted since the last time, and forgets acknowledged hours before `now`'s.
    pub fn gather(&mut self, tables: &DemandTables, now: Hour) {
        for (row, more) in tables.take() {
            let kept = self.rows.entry(row).or_default();
            kept.drawn.requests += more.requests;
            kept.drawn.bytes += more.bytes;
        }
        // The hour before may still grow by a response that ends late.
        self.rows
            .retain(|(hour, _), kept| hour.0 >= now.0 - 1 || kept.drawn != kept.acknowledged);
        while self.rows.len() > HISTORY_ROWS {
            self.rows.pop_first();
            self.lost += 1;
        }
    }

    /// Rows that the control plane does not have as they are now, oldest first.
    pub fn pending(&self) -> Vec<DemandCount> {
        let count = |((hour, object), kept): (&Row, &Kept)| DemandCount {
            hour: *hour,
            object: *object,
            requests: kept.drawn.requests,
            bytes: Bytes(kept.drawn.bytes),
        };
        self.rows
            .iter()
            .filter(|(_, kept)| kept.drawn != kept.acknowledged)
            .take(REPORT_ROWS)
            .map(count)
            .collect()
    }

    /// The control plane has these.
    pub fn acknowledge(&mut self, sent: &[DemandCount]) {
        for count in sent {
            if let Some(kept) = self.rows.get_mut(&(count.hour, count.object)) {
                kept.acknowledged = Drawn {
                    requests: count.requests,
                    bytes: count.bytes.0,
                };
            }
        }
    }

    /// Writes what the control plane does not have to `folder`, for the process that has taken over: reports of this one
    /// count no more.
    pub fn leave(&self, folder: &Path, boot: &str) -> io::Result<()> {
        let rest = |((hour, object), kept): (&Row, &Kept)| DemandCount {
            hour: *hour,
            object: *object,
            requests: kept.drawn.requests.saturating_sub(kept.acknowledged.requests),
            bytes: Bytes(kept.drawn.bytes.saturating_sub(kept.acknowledged.bytes)),
        };
        let unknown = self
            .rows
            .iter()
            .filter(|(_, kept)| kept.drawn != kept.acknowledged);
        let rows: Vec<_> = unknown.map(rest).collect();
        if rows.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        layout::replace(
            &folder.join(format!("{boot}.json")),
            &serde_json::to_vec(&rows)?,
            0o600,
        )
    }

    /// Takes in what former processes left in `folder`. A file that cannot be read is removed all the same.
    pub fn adopt(&mut self, folder: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_none_or(|e| e != "json") {
                continue; // it is being written
            }
            let text = fs::read(&path)?;
            fs::remove_file(&path)?; // before it counts: lost rather than counted twice
            match serde_json::from_slice::<Vec<DemandCount>>(&text) {
                Ok(rows) => rows.iter().for_each(|row| self.add(row)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "counts are damaged"),
            }
        }
        Ok(())
    }

    fn add(&mut self, row: &DemandCount) {
        let kept = self.rows.entry((row.hour, row.object)).or_default();
        kept.drawn.requests += row.requests;
        kept.drawn.bytes += row.bytes.0;
    }

    /// Rows that were given up because too many waited.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(i: u64) -> ObjectDigest {
        ObjectDigest::of(&i.to_le_bytes())
    }

    #[test]
    fn counts_stay_absolute_until_they_are_acknowledged() {
        let tables = DemandTables::new(2);
        let mut history = DemandHistory::default();
        let row = |requests, bytes| DemandCount {
            hour: Hour(7),
            object: object(1),
            requests,
            bytes: Bytes(bytes),
        };
        tables.count(0, Hour(7), object(1), 10);
        tables.count(1, Hour(7), object(1), 5);
        history.gather(&tables, Hour(7));
        assert_eq!(history.pending(), [row(2, 15)]);
        tables.count(1, Hour(7), object(1), 5);
        let sent = history.pending();
        history.gather(&tables, Hour(7));
        history.acknowledge(&sent);
        assert_eq!(history.pending(), [row(3, 20)], "absolute, not the difference");
        history.acknowledge(&[row(3, 20)]);
        assert_eq!(history.pending(), []);
        tables.count(0, Hour(7), object(1), 1);
        history.gather(&tables, Hour(8));
        assert_eq!(
            history.pending(),
            [row(4, 21)],
            "a late response of the hour before adds up"
        );
    }

    #[test]
    fn what_a_process_did_not_report_is_its_successors_to_report_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("demand");
        let (mut old, mut new) = (DemandHistory::default(), DemandHistory::default());
        let tables = DemandTables::new(1);
        let drawn = |i, bytes| tables.count(0, Hour(7), object(i), bytes);
        drawn(1, 10);
        drawn(2, 5);
        old.gather(&tables, Hour(7));
        old.acknowledge(&old.pending());
        drawn(1, 3);
        old.gather(&tables, Hour(7));
        new.adopt(&folder).unwrap();
        assert_eq!(new.pending(), [], "nothing was left yet");
        old.leave(&folder, "a").unwrap();
        fs::write(folder.join("b.json"), "[{").unwrap();
        drawn(1, 100);
        new.gather(&tables, Hour(7));
        for _ in 0..2 {
            new.adopt(&folder).unwrap();
            let counts: Vec<_> = new.pending().iter().map(|c| (c.requests, c.bytes)).collect();
            assert_eq!(counts, [(2, Bytes(103))]);
        }
    }

    #[test]
    fn unacknowledged_hours_wait_and_acknowledged_ones_are_forgotten() {
        let tables = DemandTables::new(1);
        let mut history = DemandHistory::default();
        tables.count(0, Hour(1), object(1), 1);
        tables.count(0, Hour(2), object(1), 1);
        history.gather(&tables, Hour(2));
        let second: Vec<_> = history
            .pending()
            .into_iter()
            .filter(|d| d.hour == Hour(2))
            .collect();
        history.acknowledge(&second);
        history.gather(&tables, Hour(50));
        assert_eq!(history.rows.len(), 1);
        assert_eq!(history.pending()[0].hour, Hour(1));
    }

    #[test]
    fn tables_and_history_are_bounded_and_say_what_they_lost() {
        let tables = DemandTables::new(1);
        for i in 0..WORKER_ROWS as u64 + 3 {
            tables.count(0, Hour(0), object(i), 1);
        }
        assert_eq!(tables.lost(), 3);
        let mut history = DemandHistory::default();
        for hour in 0..8 {
            for i in 0..WORKER_ROWS as u64 {
                tables.count(0, Hour(hour), object(i), 1);
            }
            history.gather(&tables, Hour(hour));
        }
        assert_eq!(history.rows.len(), HISTORY_ROWS);
        assert_eq!(history.lost(), 8 * WORKER_ROWS as u64 - HISTORY_ROWS as u64);
        assert_eq!(history.pending().len(), REPORT_ROWS);
    }
}
