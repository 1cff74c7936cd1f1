//! Sessions that report, flee, follow late, and are met by appliances.

use super::*;
use proptest::prelude::*;

const TTL: f64 = 10.0;

fn due(verdict: Option<(u8, bool)>) -> Worth {
    Worth::Due { verdict }
}

#[test]
fn a_session_counts_once_in_its_ttl() {
    let mut s = Sessions::new(16);
    assert_eq!(s.poll(1 << 20, 0, 0, 0.0, TTL), Worth::Unknown);
    for tenth in 1..100 {
        let now = f64::from(tenth) / 10.0;
        assert_eq!(s.poll(1 << 20, 0, 0, now, TTL), Worth::Early);
    }
    assert_eq!(s.poll(1 << 20, 0, 0, 10.0, TTL), due(Some((0, true))));
    assert_eq!(s.poll(1 << 20, 0, 0, 10.1, TTL), Worth::Early);
}

#[test]
fn a_failover_is_told_from_a_move_and_counts_once() {
    let mut s = Sessions::new(16);
    s.begin(9, 0.0, 4.0);
    assert_eq!(s.poll(9, 0, 0, 0.1, TTL), Worth::Early, "asked before it plays");
    assert_eq!(s.poll(9, 1, 1, 12.0, TTL), due(Some((0, false))), "fled from 0");
    assert_eq!(
        s.poll(9, 1, 2, 22.0, TTL),
        due(Some((1, true))),
        "was left where it is, and is served"
    );
    assert_eq!(
        s.poll(9, 2, 2, 32.0, TTL),
        due(Some((2, true))),
        "went where it was sent"
    );
    assert_eq!(s.poll(9, 2, 0, 42.0, TTL), due(Some((2, true))), "is sent to 0");
    assert_eq!(s.poll(9, 2, 0, 52.0, TTL), due(None), "has not gone yet");
    assert_eq!(s.poll(9, NOWHERE, 0, 62.0, TTL), due(None), "says nothing");
}

#[test]
fn a_new_session_that_never_was_where_it_was_sent_has_fled() {
    let mut s = Sessions::new(16);
    s.begin(9, 0.0, 4.0);
    assert_eq!(s.poll(9, 2, 2, 5.0, TTL), due(Some((0, false))));
}

#[test]
fn a_player_that_does_not_follow_is_no_failover() {
    let mut s = Sessions::new(16);
    s.begin(9, 0.0, 4.0);
    assert_eq!(s.poll(9, 0, 1, 1.0, TTL), Worth::Early, "is sent to 1 at once");
    assert_eq!(s.poll(9, 0, 1, 12.0, TTL), due(None), "stays at 0");
    assert_eq!(s.poll(9, 0, 1, 23.0, TTL), due(None));
}

#[test]
fn an_early_poll_that_moves_a_session_blames_nobody() {
    let mut s = Sessions::new(16);
    s.poll(9, 0, 0, 0.0, TTL);
    assert_eq!(s.poll(9, 0, 1, 3.0, TTL), Worth::Early, "told to leave 0");
    assert_eq!(s.poll(9, 1, 1, 13.0, TTL), due(Some((1, true))));
}

#[test]
fn who_flees_early_counts_when_it_is_due() {
    let mut s = Sessions::new(16);
    s.begin(9, 0.0, 4.0);
    s.poll(9, 0, 0, 1.0, TTL);
    for now in [2.0, 2.5, 3.0] {
        assert_eq!(s.poll(9, 1, 1, now, TTL), Worth::Early);
    }
    assert_eq!(s.poll(9, 1, 1, 4.0, TTL), due(Some((0, false))));
    assert_eq!(s.poll(9, 1, 1, 14.0, TTL), due(Some((1, true))), "once");
}

#[test]
fn who_has_fled_is_not_sent_back_for_a_minute() {
    let mut s = Sessions::new(16);
    assert_eq!(s.avoided(9, 1, 0.0), None, "not known");
    s.begin(9, 0.0, 4.0);
    assert_eq!(s.avoided(9, 0, 5.0), None);
    s.poll(9, 0, 0, 5.0, TTL);
    assert_eq!(s.avoided(9, 1, 9.0), Some(0), "has just fled");
    s.poll(9, 1, 1, 9.0, TTL);
    assert_eq!(s.avoided(9, 1, 20.0), Some(0));
    s.poll(9, 1, 1, 20.0, TTL);
    assert_eq!(s.avoided(9, 1, 69.1), None, "may try again");
    assert_eq!(s.avoided(10, 1, 20.0), None, "another session");
}

#[test]
fn the_table_does_not_grow_and_the_oldest_makes_room() {
    let mut s = Sessions::new(4);
    for n in 1..=5u64 {
        s.poll(n << 16, 0, 0, n as f64, TTL);
    }
    assert_eq!(s.slots.len(), 4);
    assert_eq!(s.poll(5 << 16, 0, 0, 20.0, TTL), due(Some((0, true))));
    assert_eq!(s.poll(1 << 16, 0, 0, 20.0, TTL), Worth::Unknown, "was forgotten");
}

/// A session that is told to use 0, is there, and polls.
fn settled() -> Sessions {
    let mut s = Sessions::new(16);
    s.begin(9, 0.0, 3.5);
    s.began(9, 0);
    s.poll(9, 0, 0, 0.1, TTL);
    assert_eq!(s.poll(9, 0, 0, 10.1, TTL), due(Some((0, true))));
    s
}

#[test]
fn who_is_met_elsewhere_has_fled_and_counts_once() {
    let mut s = settled();
    assert_eq!(s.arrived(9, 1, 12.0), Meeting::Fled(0));
    assert_eq!(s.arrived(9, 1, 12.1), Meeting::Expected, "told twice");
    assert_eq!(s.avoided(9, 1, 13.0), Some(0), "is not sent back");
    assert_eq!(
        s.poll(9, 1, 1, 20.1, TTL),
        due(None),
        "its own word is no second one"
    );
    for poll in 3..8 {
        let now = f64::from(poll) * TTL + 0.1;
        assert_eq!(s.poll(9, 1, 1, now, TTL), due(Some((1, true))));
    }
    assert_eq!(
        s.arrived(9, 2, 71.0),
        Meeting::Again,
        "it may be trying all in turn"
    );
    assert_eq!(s.avoided(9, 2, 71.5), Some(0), "is not sent back to the first");
    assert_eq!(s.poll(9, 2, 2, 80.1, TTL), due(None));
    assert_eq!(s.poll(9, 2, 2, 90.1, TTL), due(Some((2, true))));
    assert_eq!(s.arrived(9, 0, 91.0), Meeting::Fled(2), "another flight");
}

#[test]
fn who_said_it_first_is_not_counted_again() {
    let mut s = settled();
    assert_eq!(s.poll(9, 1, 1, 12.0, TTL), Worth::Early, "counts when it is due");
    assert_eq!(s.arrived(9, 1, 11.9), Meeting::Expected);
    assert_eq!(s.arrived(9, 1, 12.5), Meeting::Expected);
    assert_eq!(s.poll(9, 1, 1, 20.1, TTL), due(Some((0, false))));
}

#[test]
fn a_session_counts_once_in_a_minute_however_it_runs_about() {
    let mut s = settled();
    assert_eq!(s.arrived(9, 1, 12.0), Meeting::Fled(0));
    for tenth in 125..190 {
        let now = f64::from(tenth) / 10.0;
        let (on, to) = ((tenth % 3) as u8, (tenth % 3 + 1) as u8 % 3);
        s.poll(9, on, on, now, TTL);
        assert!(
            !matches!(s.arrived(9, to, now + 0.05), Meeting::Fled(_)),
            "at {now}"
        );
    }
}

/// Each is met at `at` while it plays; none has been failed by anybody.
#[test]
fn no_false_word_about_who_moves_for_another_reason() {
    type Life = fn(&mut Sessions) -> (u8, f64);
    let lives: [(&str, Life); 9] = [
        ("goes where it is told", |s| {
            s.poll(9, 0, 1, 20.1, TTL);
            (1, 20.5)
        }),
        ("comes back from a pause", |_| (0, 12.0)),
        ("goes late where it was told before", |s| {
            s.poll(9, 0, 1, 20.1, TTL);
            s.poll(9, 0, 0, 30.1, TTL);
            (1, 31.0)
        }),
        ("does not follow", |s| {
            s.poll(9, 0, 1, 20.1, TTL);
            s.poll(9, 0, 1, 30.1, TTL);
            (0, 31.0)
        }),
        ("does not follow, and never says where it is", |s| {
            s.begin(9, 0.0, 3.5);
            for poll in 0..5 {
                s.poll(9, NOWHERE, 1, f64::from(poll) * TTL, TTL);
            }
            (0, 41.0)
        }),
        ("was there on its way, and has said since where it is", |s| {
            s.poll(9, 2, 2, 20.1, TTL);
            (1, 20.0)
        }),
        ("chose its own pathway at the beginning", |s| {
            s.begin(9, 0.0, 3.5);
            s.began(9, 2);
            s.poll(9, NOWHERE, 0, 0.1, TTL);
            (1, 5.0)
        }),
        ("had left of its own accord long ago", |s| {
            s.poll(9, 2, 0, 20.1, TTL);
            (1, 21.0)
        }),
        ("is met again where it began", |s| {
            s.begin(9, 0.0, 3.5);
            s.began(9, 2);
            s.poll(9, NOWHERE, 0, 0.1, TTL);
            (2, 5.0)
        }),
    ];
    for (why, life) in lives {
        let mut s = settled();
        let (at, then) = life(&mut s);
        assert_eq!(s.arrived(9, at, then), Meeting::Expected, "{why}");
    }
}

#[test]
fn who_does_not_poll_here_is_no_witness_but_is_not_sent_back() {
    let mut s = Sessions::new(16);
    assert_eq!(s.arrived(9, 1, 1.0), Meeting::Unknown);
    s.begin(9, 0.0, 3.5);
    assert_eq!(s.arrived(9, 1, 5.0), Meeting::Silent, "has never polled");
    assert_eq!(s.avoided(9, 1, 6.0), Some(0));
    let own_word = due(Some((0, false)));
    assert_eq!(s.poll(9, 1, 1, 7.0, TTL), own_word, "its own word counts as ever");
    let mut s = settled();
    assert_eq!(
        s.arrived(9, 1, 24.0),
        Meeting::Silent,
        "a poll is missing: another replica's?"
    );
    let mut s = settled();
    assert_eq!(
        s.arrived(9, 1, 22.0),
        Meeting::Fled(0),
        "a poll may be a little late"
    );
}

/// A player: what it does between two steps of time.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It polls and is told this.
    Told(u8),
    /// It goes where it was last told to go.
    Follows,
    /// Its appliance has forgotten it and meets it anew.
    Forgotten,
    /// Its appliance fails it.
    Flees(u8),
}

fn step() -> impl Strategy<Value = (f64, Step, f64)> {
    let what = prop_oneof![
        4 => (0u8..3).prop_map(Step::Told),
        4 => Just(Step::Follows),
        2 => Just(Step::Forgotten),
        1 => (0u8..3).prop_map(Step::Flees),
    ];
    (0.1f64..6.0, what, 0.01f64..3.0)
}

proptest! {
    /// However a session moves, and however late and in whatever order appliances say so, it is said to have fled from an appliance at most as often as it has: no word for one that
    /// follows, promptly or late, or is met anew; and no flight counts twice.
    #[test]
    fn words_are_flights(steps in prop::collection::vec(step(), 1..60), says in any::<bool>()) {
        let mut s = Sessions::new(16);
        let (mut now, mut at, mut told) = (0.0, 0u8, 0u8);
        let (mut flights, mut words) = ([0; 3], [0; 3]);
        s.begin(9, now, 3.5);
        s.began(9, at);
        let mut told_later: Vec<(f64, u8, f64)> = Vec::new();
        for (passed, step, delay) in steps {
            now += passed;
            if matches!(step, Step::Told(_)) {
                now += 4.0; // no TTL is shorter
            }
            told_later.sort_by(|a, b| a.0.total_cmp(&b.0));
            let due = told_later.iter().take_while(|(when, ..)| *when <= now).count();
            for (_, at, then) in told_later.drain(..due) {
                if let Meeting::Fled(from) = s.arrived(9, at, then) {
                    words[usize::from(from)] += 1;
                }
            }
            let before = at;
            match step {
                Step::Told(to) => {
                    let on = if says { at } else { NOWHERE };
                    if let Worth::Due { verdict: Some((from, false)) } = s.poll(9, on, to, now, 4.0) {
                        words[usize::from(from)] += 1;
                    }
                    told = to;
                }
                Step::Follows => at = told,
                Step::Forgotten => {}
                Step::Flees(to) => {
                    flights[usize::from(at)] += usize::from(to != at);
                    at = to;
                }
            }
            if at != before || matches!(step, Step::Forgotten) {
                told_later.push((now + delay, at, now));
            }
        }
        for (words, flights) in words.iter().zip(flights) {
            prop_assert!(*words <= flights, "{words} words, {flights} flights");
        }
    }
}
