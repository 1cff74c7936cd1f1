//! Sessions that begin, arrive, are sampled and forgotten; what is bounded stays so.

use super::*;
use cdn_types::viewers::SidHash;
use proptest::prelude::*;

const STEP: Option<Measured> = Some(Measured::Step(4));

fn network(n: u32) -> Network {
    Network::of(std::net::Ipv4Addr::from(n << 8).into())
}

fn seen(session: usize, in_play: bool, measured: Option<Measured>) -> Sighting {
    let network = network(1);
    Sighting {
        session: SidHash::of(&session.to_string()).unwrap().within(network),
        network,
        in_play,
        measured,
    }
}

fn told_at(crowd: &mut Crowd, sightings: &[Sighting], now: u32) -> (usize, usize, u32) {
    crowd.see(sightings, now);
    let told = crowd.take(now);
    let samples = told
        .throughputs
        .iter()
        .flat_map(|t| &t.steps)
        .map(|(_, n)| n)
        .sum();
    (told.began.len(), told.arrived.len(), samples)
}

#[test]
fn a_session_begins_or_arrives_once_and_is_sampled_once_in_twenty_seconds() {
    let mut crowd = Crowd::default();
    assert_eq!(told_at(&mut crowd, &[seen(1, false, STEP)], 0), (1, 0, 0));
    let all: Vec<u32> = (1..100)
        .filter(|now| {
            let told = told_at(&mut crowd, &[seen(1, true, STEP)], *now);
            assert_eq!((told.0, told.1), (0, 0), "at {now}");
            told.2 == 1
        })
        .collect();
    assert_eq!(all, [19, 38, 57, 76, 95]);
    assert_eq!(
        told_at(&mut crowd, &[seen(2, true, STEP)], 100),
        (0, 1, 0),
        "came from elsewhere"
    );
    assert_eq!(told_at(&mut crowd, &[seen(2, true, STEP)], 119), (0, 0, 1));
    assert_eq!(crowd.take(119), Sightings::default(), "nothing is told twice");
}

#[test]
fn who_begins_again_tells_what_it_guesses() {
    let mut crowd = Crowd::default();
    crowd.see(&[seen(1, false, STEP)], 0);
    assert_eq!(told_at(&mut crowd, &[seen(1, false, STEP)], 50), (0, 0, 0));
    assert_eq!(told_at(&mut crowd, &[seen(1, true, STEP)], 51), (0, 0, 1));
}

#[test]
fn who_plays_over_two_workers_is_one_session() {
    let mut crowd = Crowd::default();
    let both = [seen(1, true, None), seen(1, false, None)];
    assert_eq!(
        told_at(&mut crowd, &both, 0),
        (1, 0, 0),
        "it began, whoever told first"
    );
    for now in (0..1000).step_by(20) {
        assert_eq!(told_at(&mut crowd, &[seen(1, true, None)], now), (0, 0, 0));
    }
}

#[test]
fn who_was_away_arrives_again() {
    let mut crowd = Crowd::default();
    crowd.see(&[seen(1, true, None)], 1);
    crowd.see(&[seen(1, true, None)], LATELY);
    assert_eq!(crowd.tally().arrived, 1);
    crowd.see(&[seen(1, true, None)], 2 * LATELY);
    assert_eq!(crowd.tally().arrived, 2);
}

#[test]
fn what_nobody_takes_is_dropped_when_it_is_old_and_never_grows() {
    let mut crowd = Crowd::default();
    crowd.see(&[seen(1, true, STEP), seen(2, false, None)], 0);
    crowd.see(&[seen(1, true, STEP)], 20);
    let told = crowd.take(20);
    assert_eq!(
        (told.items(), crowd.tally().dropped),
        (1, 2),
        "throughput is worth more time"
    );
    crowd.see(&[seen(1, true, STEP)], 40);
    assert!(crowd.take(40 + GATHERED + 1).is_empty());
    let mut crowd = Crowd::default();
    for n in 0..BATCH_SESSIONS + 10 {
        crowd.see(&[seen(n, true, None)], 0);
    }
    assert_eq!(
        (crowd.take(0).arrived.len(), crowd.tally().dropped),
        (BATCH_SESSIONS, 10)
    );
    let mut crowd = Crowd::default();
    for n in 0..BATCH_NETWORKS as u32 + 10 {
        crowd.sample(network(n), Measured::Enough, 0);
    }
    let told = crowd.take(0);
    assert_eq!(
        (told.throughputs.len(), crowd.tally().dropped),
        (BATCH_NETWORKS, 10)
    );
    assert!(
        told.throughputs
            .iter()
            .all(|t| t.enough == 1 && t.steps.is_empty())
    );
}

#[test]
fn throughput_that_cannot_be_is_counted_and_left_out() {
    let mut crowd = Crowd::default();
    let bad = seen(1, true, Some(Measured::Bad));
    crowd.see(&[bad], 0);
    crowd.see(&[bad], 20);
    assert!(crowd.take(20).throughputs.is_empty());
    assert_eq!(crowd.tally().bad, 1);
}

proptest! {
    /// However workers and time mix the same sightings, a session arrives once for each time that it was away for long, and is
    /// sampled at most once in twenty seconds.
    #[test]
    fn nobody_counts_more_often_than_meant(steps in prop::collection::vec((0u32..150, 0usize..3), 1..60)) {
        let (mut crowd, mut now) = (Crowd::default(), 0);
        let mut last = [None::<u32>; 3];
        let (mut meetings, mut samples) = (0, 0);
        for (passed, session) in steps {
            now += passed;
            let away = last[session].is_none_or(|last| now - last >= LATELY);
            last[session] = Some(now);
            meetings += u64::from(away);
            samples += told_at(&mut crowd, &[seen(session, true, STEP)], now).2;
        }
        prop_assert_eq!(crowd.tally().arrived, meetings);
        prop_assert!(samples <= 3 * (now / SAMPLE));
    }
}
