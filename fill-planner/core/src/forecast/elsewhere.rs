//! What a region draws of titles that so far only other regions have drawn, as the newest weeks had it. Where every launch is on
//! the calendar such a title never begins by itself and room for it is room lost; where nobody announces anything it may be
//! half of tomorrow's premieres. So it is measured instead of assumed.

use crate::evaluate::panel::Past;

/// Newest days that tell.
const DAYS: usize = 28;

/// Bytes that regions drew of titles on the days on which they began there, though nobody had announced them, over the bytes that
/// all regions had drawn of such titles by the last day known before, each scaled to the region's part of all demand.
/// `calendar`: whether the launch calendar is known. None if there was no such title.
pub fn share(past: Past<'_>, calendar: bool) -> Option<f64> {
    let (titles, regions) = (past.titles(), past.regions().len());
    // Known days by their age in days, 1 = the newest, as `Past::known` counts them.
    let mut began = vec![0usize; regions * titles.len()];
    for back in 1..=past.days() {
        for region in 0..regions {
            let drawn = past.known(back, region).unwrap_or_default().iter().enumerate();
            for (t, _) in drawn.filter(|(_, bytes)| **bytes > 0.0) {
                began[region * titles.len() + t] = back;
            }
        }
    }
    let (mut drawn, mut borrowed) = (0.0, 0.0);
    for back in 1..=DAYS.min(past.days().saturating_sub(past.lead())) {
        let before = back + past.lead();
        let known = |region| past.known(before, region).unwrap_or_default();
        let totals: Vec<f64> = (0..regions).map(|r| sum(known(r))).collect();
        let total: f64 = totals.iter().sum();
        let mut everywhere = vec![0.0; titles.len()];
        for region in 0..regions {
            for (all, bytes) in everywhere.iter_mut().zip(known(region)) {
                *all += f64::from(*bytes);
            }
        }
        // The day in the calendar's count, in which the newest known day is `lead` before the planned one.
        let today = past.day() as i64 - (before as i64 - 1);
        for region in 0..regions {
            let came = past.known(back, region).unwrap_or_default();
            let scale = if total > 0.0 { totals[region] / total } else { 0.0 };
            for (t, all) in everywhere.iter().enumerate().filter(|(_, all)| **all > 0.0) {
                let new = began[region * titles.len() + t] <= back;
                let title = &titles[t];
                let announced =
                    calendar && title.expected > 0.0 && title.shown[region].is_some_and(|day| day <= today);
                if new && !announced {
                    borrowed += scale * all;
                    drawn += came.get(t).copied().map_or(0.0, f64::from);
                }
            }
        }
    }
    (borrowed > 0.0).then(|| (drawn / borrowed).min(1.0))
}

fn sum(bytes: &[f32]) -> f64 {
    bytes.iter().map(|b| f64::from(*b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::panel::{Cube, HOURS, Kind, LEAD, Panel, SETTLED, Spread, TitleFacts};
    use cdn_types::{ObjectDigest, RegionId, TitleId};

    const DAYS: usize = 8;
    const BEGINS: usize = 5;

    /// Region 0 draws 100 of each of three titles a day, region 1 as much of the first, and 30 of the second from a day on.
    fn panel() -> Panel {
        let mut known = Cube::new(DAYS, 2, 3);
        for day in 0..DAYS {
            known.of_mut(day, 0).fill(100.0);
            let late = if day < BEGINS { 0.0 } else { 30.0 };
            known.of_mut(day, 1).copy_from_slice(&[100.0, late, 0.0]);
        }
        let title = |n: usize| TitleFacts {
            id: TitleId::new(format!("t{n}")).unwrap(),
            size: 1,
            kind: Kind::Film,
            franchise: n as u32,
            season: 0,
            episode: 0,
            runtime: 0,
            original: false,
            global: false,
            home: None,
            shown: vec![None; 2],
            expected: 0.0,
        };
        Panel {
            first: "2026-11-16".parse().unwrap(),
            regions: ["a", "b"].map(|r| RegionId::new(r).unwrap()).to_vec(),
            neighbours: vec![vec![1], vec![0]],
            titles: (0..3).map(title).collect(),
            objects: (0..3u8).map(|n| ObjectDigest::of(&[n])).collect(),
            served: known.clone(),
            known,
            rates: None,
            spread: Spread::Shapes {
                of: vec![0; 3],
                shapes: vec![[1.0 / HOURS as f32; HOURS]],
            },
            session: 1.0,
            lead: LEAD,
            settled: SETTLED,
        }
    }

    #[test]
    fn it_is_what_was_drawn_of_what_others_had_drawn_before() {
        let panel = panel();
        // Until it begins there are two titles to borrow for at a quarter of all demand, then one.
        let before = 5.0 * 2.0 * 100.0 / 4.0;
        let after = 2.0 * 100.0 * 130.0 / 430.0;
        for calendar in [false, true] {
            let share = share(panel.past(DAYS), calendar).unwrap();
            assert!((share - 30.0 / (before + after)).abs() < 1e-6, "{share}");
        }
        // The days after the planned one change nothing.
        let early = share(panel.past(BEGINS), false);
        assert_eq!(early, Some(0.0));
    }

    #[test]
    fn what_the_calendar_announces_does_not_count_and_nothing_says_nothing() {
        let mut panel = panel();
        panel.titles[1].expected = 1.0;
        panel.titles[1].shown[1] = Some(BEGINS as i64);
        assert_eq!(share(panel.past(DAYS), true), Some(0.0));
        assert!(share(panel.past(DAYS), false).unwrap() > 0.0);
        assert_eq!(share(panel.past(0), true), None);
        panel.known = panel.known.without_first(DAYS - 1);
        assert_eq!(share(panel.past(1), true), None);
    }
}
