//! KION: watches of an online cinema, `interactions.csv` (user, item, day of the last watch, seconds watched, share of it watched)
//! and `items.csv` (film or series). No playing time is told; it follows from seconds and share, by the median of an item's watches.
//!
//! A watch counts on its last day, whole, and for no more than the playing time: the data tell neither earlier days nor pauses.

use super::service::{Object, Service, bytes_of};
use crate::rows::{self, Layout, RowsError};
use cdn_types::{Hour, time::Date};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

const WATCHES: Layout = Layout::published(
    "watches",
    &["item_id", "last_watch_dt", "total_dur", "watched_pct"],
);
const ITEMS: Layout = Layout::published("items", &["item_id", "content_type"]);
/// Shares below this many percent tell a playing time badly.
const LEAST_SHARE: f64 = 20.0;
/// Figures of a day stand at its noon.
const NOON: i64 = 12;

/// One watch.
struct Watch {
    item: u64,
    hour: Hour,
    seconds: f64,
}

/// Reads both files; playing time becomes bytes at `rate` bit/s. Without items everything counts as a film.
///
/// # Errors
/// The first wrong row, by line and column.
pub fn kion(watches: &Path, items: Option<&Path>, rate: u64) -> Result<Service, RowsError> {
    let series = match items {
        Some(file) => series(file)?,
        None => BTreeSet::new(),
    };
    let mut all = Vec::new();
    let mut lengths: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let mut longest: BTreeMap<u64, f64> = BTreeMap::new();
    rows::read(watches, &WATCHES, |row| {
        let item: u64 = row.parse(0, "the number of an item")?;
        let day: Date = row.parse(1, "a date such as 2021-09-11")?;
        let seconds = row.amount(2)?;
        let share = if row.text(3).is_empty() {
            0.0
        } else {
            row.amount(3)?
        };
        if share >= LEAST_SHARE {
            lengths.entry(item).or_default().push(seconds * 100.0 / share);
        }
        let most = longest.entry(item).or_default();
        *most = most.max(seconds);
        let hour = Hour(Hour::start_of(day).0 + NOON);
        all.push(Watch { item, hour, seconds });
        Ok(())
    })?;
    let mut service = Service::new("kion");
    let mut length_of: BTreeMap<u64, f64> = BTreeMap::new();
    for (item, longest) in longest {
        let seconds = lengths.get_mut(&item).map_or(longest, |l| median(l)).max(1.0);
        length_of.insert(item, seconds);
        service.objects.insert(
            item,
            Object {
                size: bytes_of(seconds, rate).max(1),
                season: series.contains(&item),
                minutes: (seconds / 60.0) as u64,
                shown: None,
            },
        );
    }
    for Watch { item, hour, seconds } in all {
        service.draw(hour, item, 1, bytes_of(seconds.min(length_of[&item]), rate));
    }
    Ok(service)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn series(file: &Path) -> Result<BTreeSet<u64>, RowsError> {
    let mut series = BTreeSet::new();
    rows::read(file, &ITEMS, |row| {
        let item = row.parse(0, "the number of an item")?;
        match row.text(1) {
            "series" => drop(series.insert(item)),
            "film" => {}
            other => return Err(row.wrong(1, format!("`{other}` is not film or series"))),
        }
        Ok(())
    })?;
    Ok(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(watches: &str, items: &str) -> Result<Service, String> {
        let dir = tempfile::tempdir().unwrap();
        let (w, i) = (dir.path().join("interactions.csv"), dir.path().join("items.csv"));
        std::fs::write(
            &w,
            format!("user_id,item_id,last_watch_dt,total_dur,watched_pct\n{watches}\n"),
        )
        .unwrap();
        std::fs::write(&i, format!("item_id,content_type,title\n{items}\n")).unwrap();
        kion(&w, Some(&i), 8_000).map_err(|e| e.to_string())
    }

    #[test]
    fn playing_time_follows_from_what_was_watched() {
        let service = read(
            "1,9,2021-05-11,3000,50.0\n2,9,2021-05-11,6000,100.0\n3,9,2021-05-12,90000,100.0\n4,5,2021-05-12,700,\n",
            "9,film,A\n5,series,B",
        )
        .unwrap();
        let noon: Hour = "2021-05-11T12Z".parse().unwrap();
        assert_eq!(
            (service.objects[&9].size, service.objects[&9].minutes),
            (6_000_000, 100)
        );
        assert_eq!(service.drawn[&(noon, 9)], (2, 9_000_000));
        assert_eq!(
            service.drawn[&(Hour(noon.0 + 24), 9)],
            (1, 6_000_000),
            "no more than there is of it"
        );
        assert!(service.objects[&5].season && service.objects[&5].size == 700_000);
    }

    #[test]
    fn mistakes_are_named_with_line_and_column() {
        let error = read("1,9,2021-5-11,3000,50.0", "9,film,A").unwrap_err();
        assert!(
            error.contains("line 2, column `last_watch_dt`: `2021-5-11` is not a date"),
            "{error}"
        );
        let error = read("1,9,2021-05-11,3000,50.0", "9,radio,A").unwrap_err();
        assert!(
            error.contains("column `content_type`: `radio` is not film or series"),
            "{error}"
        );
    }
}
