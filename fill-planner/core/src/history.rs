//! Demand history, cut at the decision day. A [`History`] is built for one day to plan and keeps no row of that day
//! or later, so no predictor can be influenced by what it could not have known.
//!
//! Demand is counted in days of 24 hours that end where knowledge ends: a planner that runs at 22:00 sees a whole
//! last day from 22:00 to 22:00, not a calendar day that lacks its evening. A day bears the date and weekday of
//! its middle.

use cdn_types::{Hour, ObjectDigest, RegionId, api::v1::DemandRow, time::Date};
use std::collections::BTreeMap;

/// Days looked back at most: eight weeks give a weekday eight observations, older taste says little about tomorrow.
pub const MAX_DAYS: usize = 56;
/// Days between the newest known day and the planned one from which demand is no longer fresh.
pub const STALE_DAYS: u32 = 3;
/// A first day of which fewer hours than this are known is left out, unless there is no other.
const MIN_HOURS_OF_FIRST_DAY: i64 = 12;

/// Bytes of one region, object and day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// The region.
    pub region: RegionId,
    /// The object.
    pub object: ObjectDigest,
    /// Days before the newest one, which is 0; days end where knowledge ends.
    pub day: usize,
    /// Bytes drawn.
    pub bytes: u64,
}

/// Bytes a day per region and object, newest day first.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    planned: Date,
    /// Hour after the newest known one; of demand that is told by days, the end of the newest.
    end: Hour,
    days: Vec<Date>,
    series: BTreeMap<RegionId, BTreeMap<ObjectDigest, Vec<u64>>>,
}

impl History {
    /// History of everything before 00:00 universal time of `planned`. Rows of one hour, region and object are
    /// added up; their order is of no consequence.
    pub fn before<'a>(planned: Date, rows: impl IntoIterator<Item = &'a DemandRow>) -> Self {
        let cut = Hour::start_of(planned);
        let known: Vec<&DemandRow> = rows.into_iter().filter(|r| r.hour < cut).collect();
        let (Some(first), Some(last)) = (
            known.iter().map(|r| r.hour.0).min(),
            known.iter().map(|r| r.hour.0).max(),
        ) else {
            return Self {
                planned,
                end: cut,
                days: Vec::new(),
                series: BTreeMap::new(),
            };
        };
        let sums = known.into_iter().map(|row| Sum {
            region: row.region.clone(),
            object: row.object,
            day: ((last - row.hour.0) / 24) as usize,
            bytes: row.bytes.0,
        });
        Self::from_sums(planned, Hour(first), Hour(last), sums)
    }

    /// The same of sums by day, where `first` and `last` are the hours between which something is known, the planned day left out.
    pub fn from_sums(planned: Date, first: Hour, last: Hour, sums: impl IntoIterator<Item = Sum>) -> Self {
        let end = last.0 + 1;
        let count = whole_days(end - first.0);
        let mut series: BTreeMap<RegionId, BTreeMap<ObjectDigest, Vec<u64>>> = BTreeMap::new();
        for sum in sums {
            if sum.day >= count || sum.bytes == 0 {
                continue;
            }
            let region = match series.get_mut(&sum.region) {
                Some(r) => r,
                None => series.entry(sum.region).or_default(),
            };
            let bytes = region.entry(sum.object).or_default();
            if bytes.len() <= sum.day {
                bytes.resize(sum.day + 1, 0);
            }
            bytes[sum.day] = bytes[sum.day].saturating_add(sum.bytes);
        }
        let days = (0..count as i64)
            .map(|d| Hour(end - 24 * d - 12).date())
            .collect();
        // Told by days: each in one hour that stands for all of it.
        let by_days = last.0 > first.0 && (last.0 - first.0) % 24 == 0;
        Self {
            planned,
            end: if by_days {
                Hour(Hour::start_of(last.date()).0 + 24)
            } else {
                Hour(end)
            },
            days,
            series,
        }
    }

    /// History that is counted by days already: `days` are their dates, newest first, and each region's objects have their
    /// bytes a day in the same order. What is not before the planned day is left out, as is what is too old.
    pub fn of_days(
        planned: Date,
        days: &[Date],
        regions: impl IntoIterator<Item = (RegionId, Vec<(ObjectDigest, Vec<u64>)>)>,
    ) -> Self {
        let late = days.iter().filter(|d| **d >= planned).count();
        let days: Vec<Date> = days.iter().skip(late).take(MAX_DAYS).copied().collect();
        let count = days.len();
        let trim = |bytes: Vec<u64>| -> Vec<u64> {
            let mut bytes: Vec<u64> = bytes.into_iter().skip(late).take(count).collect();
            // A series ends with the first day that the object was ever drawn.
            let drawn = bytes.iter().rposition(|b| *b > 0).map_or(0, |last| last + 1);
            bytes.truncate(drawn);
            bytes
        };
        let series = regions.into_iter().map(|(region, objects)| {
            let objects = objects.into_iter().map(|(o, bytes)| (o, trim(bytes)));
            (region, objects.filter(|(_, bytes)| !bytes.is_empty()).collect())
        });
        Self {
            planned,
            end: days
                .first()
                .map_or(Hour::start_of(planned), |d| Hour(Hour::start_of(*d).0 + 24)),
            days,
            series: series.collect(),
        }
    }

    /// The day to plan.
    pub fn planned(&self) -> Date {
        self.planned
    }
    /// Hour after the newest known one; of demand that is told by days, the end of the newest.
    pub fn end(&self) -> Hour {
        self.end
    }
    /// Dates of the days known, newest first.
    pub fn days(&self) -> &[Date] {
        &self.days
    }
    /// Whole days from the known day `day` (0 = newest) to the planned one, at least 1.
    pub fn age(&self, day: usize) -> u32 {
        age(self.planned, self.days[day])
    }
    /// Days from the newest known day to the planned one; none if no day is known.
    pub fn lead(&self) -> Option<usize> {
        (!self.days.is_empty()).then(|| self.age(0) as usize)
    }
    /// The day that an hour belongs to, where the oldest known day is 0 and the planned one [`days`](Self::days)' number. What
    /// comes between the newest known hour and the end of the planned day (universal time) belongs to that one at the latest.
    pub fn day_of(&self, hour: Hour) -> Option<i64> {
        let count = i64::try_from(self.days.len()).ok()?;
        let lead = i64::try_from(self.lead()?).ok()?;
        // Days after the newest known one; the planned one is `lead` days after it.
        let after = (hour.0 - self.end.0).div_euclid(24) + 1;
        let planned = count + (after - lead);
        Some(if hour < Hour(Hour::start_of(self.planned).0 + 24) {
            planned.min(count)
        } else {
            planned.max(count + 1)
        })
    }
    /// Whether nothing recent is known.
    pub fn is_stale(&self) -> bool {
        self.days.is_empty() || self.age(0) >= STALE_DAYS
    }
    /// Regions with demand, in order.
    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.series.keys()
    }
    /// A region's objects with their bytes a day, newest first. A series ends with the first day the object was
    /// ever drawn: before that it is unknown, not unloved.
    pub fn objects(&self, region: &RegionId) -> impl Iterator<Item = (&ObjectDigest, &[u64])> {
        self.series
            .get(region)
            .into_iter()
            .flatten()
            .map(|(o, s)| (o, s.as_slice()))
    }
    /// A region's bytes on each known day, newest first.
    pub fn totals(&self, region: &RegionId) -> Vec<u64> {
        let mut totals = vec![0u64; self.days.len()];
        for (_, series) in self.objects(region) {
            for (total, bytes) in totals.iter_mut().zip(series) {
                *total = total.saturating_add(*bytes);
            }
        }
        totals
    }
    /// Feeds everything that a plan can depend on to a digest.
    pub(crate) fn digest_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(self.planned.to_string().as_bytes());
        for day in &self.days {
            hasher.update(day.to_string().as_bytes());
        }
        for (region, objects) in &self.series {
            hasher.update(region.as_str().as_bytes());
            hasher.update(&[0]);
            for (object, bytes) in objects {
                hasher.update(object.as_bytes());
                for b in bytes {
                    hasher.update(&b.to_le_bytes());
                }
            }
        }
    }
}

/// Whole days from a known day to the planned one, at least 1.
pub(crate) fn age(planned: Date, day: Date) -> u32 {
    let hours = Hour::start_of(planned).0 - Hour::start_of(day).0;
    u32::try_from(hours / 24).unwrap_or(1).max(1)
}

/// Days to count in a span of `hours` known hours.
fn whole_days(hours: i64) -> usize {
    let (full, rest) = (hours / 24, hours % 24);
    let count = full + i64::from(rest >= MIN_HOURS_OF_FIRST_DAY || full == 0);
    (count as usize).min(MAX_DAYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::Bytes;

    fn row(hour: &str, bytes: u64) -> DemandRow {
        DemandRow {
            hour: hour.parse().unwrap(),
            region: RegionId::new("r").unwrap(),
            object: ObjectDigest::of(b"o"),
            requests: 1,
            bytes: Bytes(bytes),
        }
    }
    fn series(h: &History) -> Vec<u64> {
        h.objects(&RegionId::new("r").unwrap())
            .next()
            .map(|(_, s)| s.to_vec())
            .unwrap_or_default()
    }
    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    #[test]
    fn rows_of_the_planned_day_and_later_are_not_there() {
        let past = [row("2026-11-22T23Z", 5)];
        let all = [
            row("2026-11-23T00Z", 100),
            row("2026-11-22T23Z", 5),
            row("2026-12-01T00Z", 7),
        ];
        assert_eq!(
            History::before(day("2026-11-23"), &all),
            History::before(day("2026-11-23"), &past)
        );
    }

    #[test]
    fn days_that_are_counted_already_are_the_same_history() {
        let rows = [
            row("2026-11-22T23Z", 9),
            row("2026-11-20T00Z", 4),
            row("2026-11-21T03Z", 0),
        ];
        let days = [
            day("2026-11-23"),
            day("2026-11-22"),
            day("2026-11-21"),
            day("2026-11-20"),
            day("2026-11-19"),
        ];
        let series = [(
            RegionId::new("r").unwrap(),
            vec![(ObjectDigest::of(b"o"), vec![100, 9, 0, 4, 0])],
        )];
        let counted = History::of_days(day("2026-11-23"), &days, series);
        let from_rows = History::before(day("2026-11-23"), &rows);
        assert_eq!(counted.series, from_rows.series);
        assert_eq!(counted.days()[..3], days[1..4]);
    }

    #[test]
    fn days_end_where_knowledge_ends() {
        let rows = [
            row("2026-11-22T20Z", 1),
            row("2026-11-21T21Z", 2),
            row("2026-11-21T20Z", 4),
            row("2026-11-20T21Z", 8),
        ];
        let h = History::before(day("2026-11-23"), &rows);
        assert_eq!(series(&h), [3, 12]);
        assert_eq!(h.days(), [day("2026-11-22"), day("2026-11-21")]);
        assert_eq!((h.age(0), h.age(1)), (1, 2));
    }

    #[test]
    fn short_and_no_history_are_histories() {
        let none = History::before(day("2026-11-23"), &[]);
        assert!(none.days().is_empty() && none.regions().next().is_none());
        let one = History::before(day("2026-11-23"), &[row("2026-11-22T14Z", 9)]);
        assert_eq!((series(&one), one.days().len()), (vec![9], 1));
        // Thirty hours: the first six are no day.
        let rows = [row("2026-11-22T14Z", 9), row("2026-11-21T09Z", 9)];
        assert_eq!(series(&History::before(day("2026-11-23"), &rows)), [9]);
    }
}
