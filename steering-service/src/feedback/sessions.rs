//! What is remembered of sessions so that their reports can be judged: where each was, where it was sent, and from when
//! on it may report again. One part of a table of fixed size; time is an argument.
//!
//! Sessions live in their URLs and need none of this: what is forgotten here costs a report, never an answer. The place
//! of a session is one of four that its id points to, so that taking one in never grows, moves or frees anything.

/// Sessions that share a row; the one that is due first makes room.
const WAYS: usize = 4;
/// A position among the declared pathways that stands for none.
pub const NOWHERE: u8 = u8::MAX;

/// Seconds for which a session is not sent back to where it has fled from: until others have shown whether it was the
/// appliance or the viewer's own way there.
const AVOIDED_SECONDS: f64 = 60.0;

/// One session.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Its id; 0 is an empty place.
    session: u64,
    /// Seconds from which on it may report.
    due: f64,
    /// Position of the pathway that it was last told to use.
    told: u8,
    /// Position of the one that it was last known to use.
    on: u8,
    /// Position of one that it has fled from, until that counts.
    fled: u8,
    /// Position of the one that it last fled from.
    avoided: u8,
    /// Seconds until which it is not sent back there.
    avoided_until: f64,
}

const EMPTY: Slot = Slot {
    session: 0,
    due: f64::NEG_INFINITY,
    told: NOWHERE,
    on: NOWHERE,
    fled: NOWHERE,
    avoided: NOWHERE,
    avoided_until: f64::NEG_INFINITY,
};

/// What a poll of a session is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It was not known: it may report from its next TTL on.
    Unknown,
    /// It has reported within its TTL.
    Early,
    /// It counts.
    Due {
        /// Whether the pathway that it was told to use, by position, served it; nothing where that was not tried.
        verdict: Option<(u8, bool)>,
    },
}

/// A part of all sessions.
#[derive(Debug)]
pub struct Sessions {
    slots: Box<[Slot]>,
}

impl Sessions {
    /// With room for so many, rounded up to whole rows.
    pub fn new(room: usize) -> Self {
        let rows = room.div_ceil(WAYS).max(1);
        Self {
            slots: vec![EMPTY; rows * WAYS].into_boxed_slice(),
        }
    }

    /// A session begins: its manifest names position 0 first, and it has a report to make `after` seconds at the earliest.
    pub fn begin(&mut self, session: u64, now: f64, after: f64) {
        *self.place(session) = Slot {
            session,
            due: now + after,
            told: 0,
            ..EMPTY
        };
    }

    /// A session polls: it is at `on`, is told `told`, and may report again `after` seconds from now.
    pub fn poll(&mut self, session: u64, on: u8, told: u8, now: f64, after: f64) -> Worth {
        let slot = self.place(session);
        if slot.session != session {
            *slot = Slot {
                session,
                due: now + after,
                told,
                on,
                ..EMPTY
            };
            return Worth::Unknown;
        }
        let verdict = verdict(*slot, on);
        slot.told = told;
        if on != NOWHERE {
            slot.on = on;
        }
        if let Some((from, false)) = verdict {
            slot.fled = from;
            slot.avoided = from;
            slot.avoided_until = now + AVOIDED_SECONDS;
        }
        if now < slot.due {
            return Worth::Early;
        }
        slot.due = now + after;
        let verdict = match std::mem::replace(&mut slot.fled, NOWHERE) {
            NOWHERE => verdict,
            from => Some((from, false)),
        };
        Worth::Due { verdict }
    }

    /// Position of the pathway that a session which is at `on` has fled from lately.
    pub fn avoided(&mut self, session: u64, on: u8, now: f64) -> Option<u8> {
        let slot = *self.place(session);
        if slot.session != session {
            return None;
        }
        match verdict(slot, on) {
            Some((from, false)) => Some(from),
            _ => (now < slot.avoided_until).then_some(slot.avoided),
        }
    }

    fn place(&mut self, session: u64) -> &mut Slot {
        let rows = self.slots.len() / WAYS;
        // The lower bits have chosen the part of the table.
        let row = (session >> 16) as usize % rows;
        let row = &mut self.slots[row * WAYS..][..WAYS];
        let at = match row.iter().position(|slot| slot.session == session) {
            Some(at) => at,
            None => (0..WAYS)
                .min_by(|a, b| row[*a].due.total_cmp(&row[*b].due))
                .unwrap_or(0),
        };
        &mut row[at]
    }
}

/// A session that was where it was told to be, or has just begun, and is elsewhere now has failed over. One that had
/// been elsewhere already says nothing: it may be on its way, or have a player that does not follow.
fn verdict(before: Slot, on: u8) -> Option<(u8, bool)> {
    let tried = before.told != NOWHERE && on != NOWHERE && (before.on == before.told || before.on == NOWHERE);
    if on == before.told && on != NOWHERE {
        return Some((on, true));
    }
    tried.then_some((before.told, false))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
