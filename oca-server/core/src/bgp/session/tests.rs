//! The session in virtual time: every state, every timer, and what a loss leaves.

use super::*;
use std::net::Ipv4Addr;

const SECOND: Duration = Duration::from_secs(1);

fn open() -> Open {
    Open {
        version: 4,
        asn: 64500,
        hold_time: 30,
        id: Ipv4Addr::new(192, 0, 2, 1),
        families: Families::ALL,
        refresh: true,
        as4: true,
        add_path: Families::default(),
        takes_paths: Families::default(),
        graceful: None,
    }
}

fn graceful() -> Open {
    Open {
        graceful: Some(GracefulRestart {
            restarting: false,
            time: 120 * SECOND,
            families: Families { v4: true, v6: false },
            kept: Families { v4: true, v6: false },
        }),
        ..open()
    }
}

fn session() -> Session {
    Session::new(64999, 64500)
}

fn established(open: Open, now: Duration) -> Session {
    let mut session = session();
    reach(&mut session, open, now);
    session
}

fn reach(session: &mut Session, open: Open, now: Duration) {
    assert!(matches!(session.connected(now), Admission::Taken(_)));
    session.opened(open, now);
    assert!(matches!(session.kept_alive(now)[0], Action::Up(_)));
    assert_eq!(session.state(), State::Established);
}

fn sent(actions: &[Action]) -> Option<(u8, u8)> {
    actions.iter().find_map(|a| match a {
        Action::Send(Outgoing::Notification(n)) => Some((n.code, n.subcode)),
        _ => None,
    })
}

fn kept(actions: &[Action]) -> Option<Families> {
    actions.iter().find_map(|a| match a {
        Action::Down { kept, .. } => Some(*kept),
        _ => None,
    })
}

fn end_of(family: Family) -> Update {
    Update {
        end_of_rib: Some(family),
        ..Update::default()
    }
}

#[test]
fn a_session_comes_up_by_open_and_keepalive() {
    let mut s = session();
    assert_eq!((s.state(), s.deadline()), (State::Active, None));
    let taken = Admission::Taken(vec![Action::Send(Outgoing::Open)]);
    assert_eq!(s.connected(SECOND), taken);
    assert_eq!(
        (s.state(), s.deadline()),
        (State::OpenSent, Some(SECOND + OPEN_TIME))
    );
    assert_eq!(s.opened(open(), SECOND), [Action::Send(Outgoing::Keepalive)]);
    assert_eq!(s.state(), State::OpenConfirm);
    let rules = Rules {
        reading: Reading {
            as4: true,
            internal: false,
        },
        add_path: Families::default(),
    };
    assert_eq!(s.kept_alive(SECOND), [Action::Up(rules)]);
    assert_eq!(s.peer().unwrap().hold_time, Some(30 * SECOND));
    assert!(!s.is_told());
    s.updated(end_of(Family::V4), SECOND);
    s.updated(end_of(Family::V6), SECOND);
    assert!(s.is_told());
}

#[test]
fn opens_that_cannot_be_accepted_end_with_their_reason() {
    let cases = [
        (Open { version: 3, ..open() }, (2, 1)),
        (Open { asn: 1, ..open() }, (2, 2)),
        (
            Open {
                id: Ipv4Addr::UNSPECIFIED,
                ..open()
            },
            (2, 3),
        ),
        (
            Open {
                hold_time: 2,
                ..open()
            },
            (2, 6),
        ),
    ];
    for (bad, reason) in cases {
        let mut s = session();
        s.connected(SECOND);
        let actions = s.opened(bad, SECOND);
        assert_eq!(sent(&actions), Some(reason));
        assert_eq!((actions.last(), s.state()), (Some(&Action::Close), State::Active));
    }
}

#[test]
fn keepalives_go_out_by_a_third_of_the_hold_time_and_silence_ends_the_session() {
    let mut s = established(open(), SECOND);
    let mut now = s.deadline().unwrap();
    assert_eq!(now, 11 * SECOND);
    assert_eq!(s.tick(now), [Action::Send(Outgoing::Keepalive)]);
    s.kept_alive(20 * SECOND); // puts the end off
    let mut keepalives = 0;
    let end = loop {
        now = s.deadline().unwrap();
        let actions = s.tick(now);
        match sent(&actions) {
            None => keepalives += 1,
            Some(reason) => break (reason, kept(&actions)),
        }
    };
    assert_eq!((now, end), (50 * SECOND, ((4, 0), Some(Families::default()))));
    assert_eq!(keepalives, 3);
}

#[test]
fn without_a_hold_time_nothing_is_due() {
    let s = established(
        Open {
            hold_time: 0,
            ..open()
        },
        SECOND,
    );
    assert_eq!(s.deadline(), None);
    let long = established(
        Open {
            hold_time: 65535,
            ..open()
        },
        SECOND,
    );
    assert_eq!(long.peer().unwrap().hold_time, Some(HOLD_TIME));
}

#[test]
fn messages_out_of_place_end_the_session() {
    let mut s = session();
    s.connected(SECOND);
    assert_eq!(sent(&s.kept_alive(SECOND)), Some((5, 1)));
    s.connected(SECOND);
    s.opened(open(), SECOND);
    assert_eq!(sent(&s.updated(Update::default(), SECOND)), Some((5, 2)));
    let mut s = established(open(), SECOND);
    assert_eq!(sent(&s.opened(open(), SECOND)), Some((5, 3)));
    assert_eq!(s.state(), State::Active);
}

#[test]
fn a_second_connection_wins_only_where_nothing_is_lost_by_it() {
    let mut s = session();
    s.connected(SECOND);
    assert!(matches!(s.connected(SECOND), Admission::Taken(_)));
    let mut s = established(open(), SECOND);
    assert_eq!(s.connected(SECOND), Admission::Refused(Notification::new(6, 7)));
    assert_eq!(s.state(), State::Established);
    let mut s = established(graceful(), SECOND);
    let Admission::Taken(actions) = s.connected(SECOND) else {
        panic!("a graceful neighbour may come back")
    };
    assert_eq!(kept(&actions), Some(Families { v4: true, v6: false }));
    assert_eq!(s.state(), State::OpenSent);
}

#[test]
fn a_lost_connection_leaves_routes_only_of_a_graceful_neighbour() {
    let mut s = established(open(), SECOND);
    assert_eq!(kept(&s.closed(SECOND)), Some(Families::default()));
    let mut s = established(graceful(), SECOND);
    assert_eq!(kept(&s.closed(SECOND)), Some(Families { v4: true, v6: false }));
    assert_eq!(s.deadline(), Some(121 * SECOND));
    assert_eq!(s.tick(121 * SECOND), [Action::DropStale(Family::V4)]);
    assert_eq!(s.deadline(), None);
    let mut s = established(graceful(), SECOND);
    let cease = Notification::new(6, 2);
    assert_eq!(kept(&s.notified(&cease, SECOND)), Some(Families::default()));
}

#[test]
fn stale_routes_go_at_the_end_of_the_table_or_when_the_neighbour_kept_nothing() {
    let mut s = established(graceful(), SECOND);
    s.closed(SECOND);
    s.connected(60 * SECOND);
    s.opened(graceful(), 60 * SECOND);
    let ends = [Family::V4, Family::V6].map(|f| Action::Send(Outgoing::EndOfRib(f)));
    assert_eq!(
        s.kept_alive(60 * SECOND)[1..],
        ends,
        "a neighbour that restarts waits for them"
    );
    assert!(s.stale().v4);
    let dropped = s.updated(end_of(Family::V4), 61 * SECOND);
    assert_eq!(dropped, [Action::DropStale(Family::V4)]);

    let mut s = established(graceful(), SECOND);
    s.closed(SECOND);
    let mut forgot = graceful();
    forgot.graceful.as_mut().unwrap().kept = Families::default();
    s.connected(60 * SECOND);
    s.opened(forgot, 60 * SECOND);
    assert!(s.kept_alive(60 * SECOND).contains(&Action::DropStale(Family::V4)));

    let mut s = established(graceful(), SECOND);
    s.closed(SECOND);
    reach(&mut s, graceful(), 60 * SECOND); // and no table
    s.kept_alive(SECOND * 359);
    assert!(
        s.tick(60 * SECOND + RETELL_TIME)
            .contains(&Action::DropStale(Family::V4))
    );
}

#[test]
fn too_many_prefixes_end_the_session_and_keep_the_neighbour_away_for_a_while() {
    let mut s = established(graceful(), SECOND);
    let actions = s.over_limit(SECOND);
    assert_eq!(
        (sent(&actions), kept(&actions)),
        (Some((6, 1)), Some(Families::default()))
    );
    assert_eq!((s.closed(SECOND), s.state()), (vec![], State::Idle));
    assert_eq!(
        s.connected(2 * SECOND),
        Admission::Refused(Notification::new(6, 5))
    );
    assert_eq!(s.tick(SECOND + IDLE_TIME), []);
    assert!(matches!(s.connected(400 * SECOND), Admission::Taken(_)));
}

#[test]
fn a_refresh_is_asked_for_where_the_neighbour_can() {
    let s = established(open(), SECOND);
    let both = [Family::V4, Family::V6].map(|f| Action::Send(Outgoing::Refresh(f)));
    assert_eq!(s.refresh(), both);
    let s = established(
        Open {
            refresh: false,
            ..open()
        },
        SECOND,
    );
    assert_eq!(s.refresh(), []);
    assert_eq!(session().refresh(), []);
}
