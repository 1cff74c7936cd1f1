//! Tables of failures and pauses, a night at the rate cap in virtual time, and a property over sources of every habit.

use super::*;
use crate::fill_rate::FillRate;
use cdn_types::BitsPerSecond;
use proptest::prelude::*;
use std::collections::BTreeSet;

const LIMITS: Limits = Limits {
    parallel: 2,
    range_blocks: 4,
};

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn wanted(blocks: &[u32], from: &[u16]) -> Vec<Wanted> {
    let item = |b: &u32| Wanted {
        size: Bytes(u64::from(*b) * BLOCK_SIZE),
        from: from.to_vec(),
        held: false,
    };
    blocks.iter().map(item).collect()
}

/// A fill whose items are all open with nothing verified.
fn opened(blocks: &[u32], from: &[u16], parallel: usize) -> Fill {
    let limits = Limits { parallel, ..LIMITS };
    let mut fill = Fill::new(wanted(blocks, from), 3, limits);
    for (item, blocks) in blocks.iter().enumerate() {
        fill.active.insert(item);
        fill.opened(item, BlockSet::empty(*blocks));
    }
    fill
}

fn fetch(fill: &mut Fill, now: Duration) -> Fetch {
    match fill.poll(now, true) {
        Step::Fetch(f) => f,
        other => panic!("expected a fetch, got {other:?}"),
    }
}

fn complete(fill: &mut Fill, f: &Fetch, now: Duration) {
    f.blocks.clone().for_each(|b| fill.block_verified(f.flight, b));
    fill.ended(f.flight, now, End::Complete);
}

#[test]
fn blocks_go_out_in_ranges_in_plan_order_and_the_object_is_sealed() {
    let mut fill = Fill::new(wanted(&[6, 1], &[0]), 1, LIMITS);
    assert_eq!(fill.poll(at(0), true), Step::Open(0));
    assert!(
        matches!(fill.poll(at(0), true), Step::Busy(_)),
        "one is opened at a time"
    );
    fill.opened(0, BlockSet::empty(6));
    let first = fetch(&mut fill, at(0));
    assert_eq!((first.item, first.blocks.clone()), (0, 0..4));
    let second = fetch(&mut fill, at(0));
    assert_eq!((second.item, second.blocks.clone()), (0, 4..6));
    assert!(matches!(fill.poll(at(0), true), Step::Busy(_)));
    complete(&mut fill, &first, at(1));
    assert_eq!(fill.poll(at(1), true), Step::Open(1));
    fill.opened(1, BlockSet::empty(1));
    let third = fetch(&mut fill, at(1));
    assert_eq!((third.item, third.blocks.clone()), (1, 0..1));
    complete(&mut fill, &second, at(1));
    assert_eq!(fill.poll(at(1), true), Step::Seal(0));
    fill.sealed(0, at(1), &Sealed::Held);
    complete(&mut fill, &third, at(1));
    assert_eq!(fill.poll(at(1), true), Step::Seal(1));
    fill.sealed(1, at(1), &Sealed::Held);
    assert_eq!(fill.poll(at(1), true), Step::Done);
    assert_eq!(fill.progress().bytes_done, Bytes(7 * BLOCK_SIZE));
}

#[test]
fn what_is_verified_on_the_disk_is_not_fetched_again() {
    let mut fill = Fill::new(wanted(&[6], &[0]), 1, LIMITS);
    assert_eq!(fill.poll(at(0), true), Step::Open(0));
    fill.opened(0, BlockSet::from_journal(&[0b0010_1101], 6));
    assert_eq!(fetch(&mut fill, at(0)).blocks, 1..2);
    assert_eq!(fetch(&mut fill, at(0)).blocks, 4..5);
}

#[test]
fn what_went_with_its_drive_is_opened_anew_at_once_and_its_fetches_count_no_more() {
    let mut fill = Fill::new(wanted(&[6, 2], &[0]), 1, LIMITS);
    assert_eq!(fill.poll(at(0), true), Step::Open(0));
    fill.opened(0, BlockSet::empty(6));
    let void = [fetch(&mut fill, at(0)), fetch(&mut fill, at(0))];
    fill.block_verified(void[0].flight, 0);
    assert_eq!(fill.lost(0), Some(vec![void[0].flight, void[1].flight]));
    assert_eq!(fill.poll(at(1), true), Step::Open(0));
    fill.opened(0, BlockSet::empty(6));
    complete(&mut fill, &void[1], at(1)); // what still comes of them
    assert_eq!(fetch(&mut fill, at(1)).blocks, 0..4);
    assert_eq!(fetch(&mut fill, at(1)).blocks, 4..6);
    // A full drive stops all until it is given up.
    let mut fill = Fill::new(wanted(&[6, 2], &[0]), 1, LIMITS);
    assert_eq!(fill.poll(at(0), true), Step::Open(0));
    fill.open_failed(0, at(0), OpenError::Full);
    assert!(matches!(
        fill.poll(at(1), true),
        Step::Blocked(_, Hindrance::Full)
    ));
    assert_eq!(fill.lost(1), Some(vec![]));
    assert_eq!(fill.poll(at(1), true), Step::Open(0));
}

#[test]
fn each_failure_leads_to_the_next_source_and_back_after_its_pause() {
    // (how it ends, seconds until the first source is used again for this object)
    let table = [
        (End::Refused(None), 1),
        (End::Refused(Some(at(7))), 7),
        (End::Refused(Some(at(100_000))), LONGEST_PAUSE.as_secs()),
        (End::Refused(Some(at(0))), 1),
        (End::Absent, ABSENT_PAUSE.as_secs()),
        (End::Broken, 1),
        (End::Corrupt, CORRUPT_PAUSE.as_secs()),
    ];
    for (end, pause) in table {
        let mut fill = opened(&[9], &[2, 1], 1);
        let first = fetch(&mut fill, at(0));
        assert_eq!(first.source, 2);
        fill.ended(first.flight, at(0), end);
        let second = fetch(&mut fill, at(0));
        assert_eq!(
            (second.source, second.blocks.clone()),
            (1, first.blocks),
            "{end:?}"
        );
        complete(&mut fill, &second, at(pause) - Duration::from_millis(1));
        let third = fetch(&mut fill, at(pause) - Duration::from_millis(1));
        assert_eq!(third.source, 1, "{end:?}");
        complete(&mut fill, &third, at(pause));
        assert_eq!(fetch(&mut fill, at(pause)).source, 2, "{end:?}");
    }
}

#[test]
fn a_source_is_passed_over_for_one_object_or_for_all() {
    for (end, other_object_from) in [(End::Corrupt, 0), (End::Absent, 0), (End::Broken, 1)] {
        let mut fill = opened(&[4, 4], &[0, 1], 2);
        let first = fetch(&mut fill, at(0));
        fill.ended(first.flight, at(0), end);
        assert_eq!(fetch(&mut fill, at(0)).source, 1);
        let other = fetch(&mut fill, at(0));
        assert_eq!((other.item, other.source), (1, other_object_from), "{end:?}");
    }
}

#[test]
fn pauses_double_and_fetches_that_break_together_count_once() {
    let mut fill = opened(&[100], &[0], 2);
    let (a, b) = (fetch(&mut fill, at(0)), fetch(&mut fill, at(0)));
    fill.ended(a.flight, at(0), End::Broken);
    fill.ended(b.flight, at(0), End::Broken);
    let mut now = at(0);
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        let blocked = fill.poll(now, true);
        assert_eq!(blocked, Step::Blocked(now + at(pause), Hindrance::Item(0)));
        now += at(pause);
        let f = fetch(&mut fill, now);
        fill.ended(f.flight, now, End::Broken);
    }
    now += at(60);
    let f = fetch(&mut fill, now);
    complete(&mut fill, &f, now);
    let f = fetch(&mut fill, now);
    fill.ended(f.flight, now, End::Broken);
    assert!(matches!(fill.poll(now, true), Step::Blocked(t, _) if t == now + FIRST_PAUSE));
}

#[test]
fn an_object_without_a_source_does_not_hold_up_the_next() {
    let mut items = wanted(&[4, 4, 4], &[0]);
    items[2].from = vec![1];
    let mut fill = Fill::new(items, 2, LIMITS);
    for item in [0, 1] {
        assert_eq!(fill.poll(at(0), true), Step::Open(item));
        fill.opened(item, BlockSet::empty(4));
        let f = fetch(&mut fill, at(0));
        fill.ended(f.flight, at(0), End::Absent);
    }
    assert_eq!(fill.poll(at(0), true), Step::Open(2));
}

#[test]
fn a_full_disk_stops_the_fill_until_it_is_tried_again() {
    let mut fill = Fill::new(wanted(&[4, 4], &[0]), 1, LIMITS);
    assert_eq!(fill.poll(at(0), true), Step::Open(0));
    fill.open_failed(0, at(0), OpenError::Full);
    assert_eq!(fill.poll(at(0), true), Step::Blocked(DISK_PAUSE, Hindrance::Full));
    assert_eq!(fill.poll(DISK_PAUSE, true), Step::Open(0));
}

#[test]
fn a_closed_window_opens_and_fetches_nothing_but_seals() {
    let mut fill = opened(&[4], &[0], 1);
    assert!(matches!(
        fill.poll(at(0), false),
        Step::Blocked(_, Hindrance::Closed)
    ));
    let f = fetch(&mut fill, at(0));
    f.blocks.clone().for_each(|b| fill.block_verified(f.flight, b));
    fill.ended(f.flight, at(0), End::Cancelled);
    assert_eq!(fill.poll(at(0), false), Step::Seal(0));
}

#[test]
fn damage_found_when_sealing_is_fetched_again() {
    let mut fill = opened(&[4], &[0], 1);
    let f = fetch(&mut fill, at(0));
    complete(&mut fill, &f, at(0));
    assert_eq!(fill.poll(at(0), true), Step::Seal(0));
    fill.sealed(0, at(0), &Sealed::Damaged(vec![2]));
    let f = fetch(&mut fill, at(0));
    assert_eq!(f.blocks, 2..3);
    complete(&mut fill, &f, at(0));
    assert_eq!(fill.poll(at(0), true), Step::Seal(0));
    fill.sealed(0, at(0), &Sealed::Held);
    assert_eq!(fill.poll(at(0), true), Step::Done);
    fill.lost(0);
    assert_eq!(fill.poll(at(0), true), Step::Open(0));
}

#[test]
fn a_short_last_block_is_counted_by_its_bytes() {
    let size = 2 * BLOCK_SIZE + 5;
    assert_eq!(block_count(size), 3);
    assert_eq!(byte_range(&(1..3), size), BLOCK_SIZE..size);
    let mut set = BlockSet::empty(3);
    set.insert(2);
    assert_eq!(verified_bytes(&set, size), 5);
    set.insert(0);
    assert_eq!(verified_bytes(&set, size), BLOCK_SIZE + 5);
    assert_eq!((block_count(0), verified_bytes(&BlockSet::empty(0), 0)), (0, 0));
}

#[test]
fn a_night_at_the_rate_cap_moves_rate_times_window() {
    let rate = BitsPerSecond(100_000_000);
    let mut fill = Fill::new(wanted(&[50; 200], &[0]), 1, LIMITS);
    let mut bucket = FillRate::new(rate, at(0));
    let window = at(600);
    let (mut now, mut bytes) = (at(0), 0);
    while now < window {
        match fill.poll(now, true) {
            Step::Open(item) => fill.opened(item, BlockSet::empty(50)),
            Step::Seal(item) => fill.sealed(item, now, &Sealed::Held),
            Step::Fetch(f) => {
                for block in f.blocks.clone() {
                    now += bucket.take(now, BLOCK_SIZE);
                    bytes += BLOCK_SIZE;
                    fill.block_verified(f.flight, block);
                }
                fill.ended(f.flight, now, End::Complete);
            }
            other => panic!("{other:?}"),
        }
    }
    let cap = rate.bytes_in(600).0;
    assert!(bytes.abs_diff(cap) < cap / 100, "{bytes} against {cap}");
    assert!(fill.progress().bytes_done.0 <= bytes);
}

/// What a source of the simulation does with an object.
#[derive(Debug, Clone, Copy)]
enum Habit {
    Good,
    Absent,
    CorruptAt(u32),
    BreaksAfter(u32),
    Refuses,
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(Habit::Good),
        Just(Habit::Absent),
        (0u32..12).prop_map(Habit::CorruptAt),
        (0u32..4).prop_map(Habit::BreaksAfter),
        Just(Habit::Refuses),
    ]
}

/// Plays one fetch against its source's habit.
fn play(fill: &mut Fill, f: &Fetch, habit: Habit, now: Duration, seen: &mut BTreeSet<(usize, u32)>) -> End {
    for (sent, block) in (0..).zip(f.blocks.clone()) {
        match habit {
            Habit::Absent => return End::Absent,
            Habit::Refuses => return End::Refused(None),
            Habit::CorruptAt(bad) if bad == block => return End::Corrupt,
            // Breaks, but gives at least something now and then: every third second.
            Habit::BreaksAfter(n) if sent >= n && !now.as_secs().is_multiple_of(3) => return End::Broken,
            _ => {}
        }
        assert!(
            seen.insert((f.item, block)),
            "block {block} of {} fetched again",
            f.item
        );
        fill.block_verified(f.flight, block);
    }
    End::Complete
}

proptest! {
    /// Whatever the sources do: in order, within the limits, no verified block twice, and done in the end as long
    /// as every object has one source that is good.
    #[test]
    fn every_fill_ends_if_each_object_has_one_good_source(
        sizes in prop::collection::vec(0u32..12, 1..6),
        habits in prop::collection::vec(habit(), 3),
        parallel in 1usize..4,
        order in any::<u64>(),
    ) {
        let mut items = wanted(&sizes, &[0, 1, 2, 3]);
        items[0].from = vec![3, 9];
        let limits = Limits { parallel, range_blocks: 3 };
        let mut fill = Fill::new(items, 4, limits);
        let (mut now, mut flying, mut seen) = (at(0), Vec::<Fetch>::new(), BTreeSet::new());
        let mut turn = order;
        for step in 0.. {
            prop_assert!(step < 5_000, "no end: {fill:?}");
            match fill.poll(now, true) {
                Step::Open(item) => fill.opened(item, BlockSet::empty(sizes[item])),
                Step::Seal(item) => fill.sealed(item, now, &Sealed::Held),
                Step::Fetch(f) => {
                    prop_assert!(f.blocks.len() <= 3 && !f.blocks.is_empty());
                    for other in &flying {
                        let apart = other.item != f.item || other.blocks.end <= f.blocks.start || f.blocks.end <= other.blocks.start;
                        prop_assert!(apart, "{other:?} and {f:?} overlap");
                    }
                    flying.push(f);
                    prop_assert!(flying.len() <= parallel);
                }
                Step::Busy(until) | Step::Blocked(until, _) => {
                    prop_assert!(until > now);
                    turn = turn.rotate_left(7).wrapping_mul(31).wrapping_add(1);
                    if flying.is_empty() {
                        now = until;
                    } else {
                        let f = flying.remove(turn as usize % flying.len());
                        let habit = habits.get(usize::from(f.source)).copied().unwrap_or(Habit::Good);
                        now += Duration::from_millis(turn % 900);
                        let end = play(&mut fill, &f, habit, now, &mut seen);
                        fill.ended(f.flight, now, end);
                    }
                }
                Step::Done => break,
            }
        }
        prop_assert_eq!(seen.len() as u32, sizes.iter().sum::<u32>());
        let progress = fill.progress();
        prop_assert_eq!(progress.bytes_done, progress.bytes_total);
    }
}

#[test]
fn what_is_told_late_of_an_object_that_is_sealed_does_not_seal_it_twice() {
    let mut fill = opened(&[2], &[0], 1);
    let f = fetch(&mut fill, at(0));
    f.blocks.clone().for_each(|b| fill.block_verified(f.flight, b));
    assert_eq!(fill.poll(at(1), true), Step::Seal(0));
    // The window closes before the end of the fetch was heard.
    fill.ended(f.flight, at(1), End::Cancelled);
    fill.opened(0, BlockSet::full(2));
    assert!(matches!(fill.poll(at(1), false), Step::Busy(_)));
    fill.sealed(0, at(2), &Sealed::Held);
    fill.opened(0, BlockSet::full(2));
    assert_eq!(fill.poll(at(2), false), Step::Done);
}
