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

/// Seconds for which a session may still go where it was told to go before it was told anew.
const FOLLOWS_SECONDS: f64 = 30.0;
/// Seconds by which a poll may be late.
const LATE_SECONDS: f64 = 3.0;

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
    /// Position of the one that it was told to use before.
    told_before: u8,
    /// Position of the one where it began, as the appliance there says.
    began: u8,
    /// Seconds at which it was last told something else than before.
    told_at: f64,
    /// Seconds at which it last polled.
    polled_at: f64,
    /// Seconds at which an appliance last met it.
    met_at: f64,
    /// Seconds from its last poll until its next, at the earliest.
    after: f32,
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
    told_before: NOWHERE,
    began: NOWHERE,
    told_at: f64::NEG_INFINITY,
    polled_at: f64::NEG_INFINITY,
    met_at: f64::NEG_INFINITY,
    after: 0.0,
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

/// What it means that an appliance has met a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// The session is not known.
    Unknown,
    /// Nothing: it is where it was told to be, or was before, or had been elsewhere already.
    Expected,
    /// It has left the pathway at this position, but does not poll here: it would speak only when something is wrong.
    Silent,
    /// It has left one, but had fled from another within a minute: players that have lost an appliance try others in turn.
    Again,
    /// It has left the pathway at this position, which counts.
    Fled(u8),
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
                polled_at: now,
                after: after as f32,
                ..EMPTY
            };
            return Worth::Unknown;
        }
        let verdict = verdict(*slot, on);
        slot.tell(told, now);
        (slot.polled_at, slot.after) = (now, after as f32);
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

    /// An appliance has met a session that began there.
    pub fn began(&mut self, session: u64, at: u8) {
        let slot = self.place(session);
        if slot.session == session && slot.began == NOWHERE {
            slot.began = at;
        }
    }

    /// An appliance, at position `at`, has met a session that came there at `then` while it played. If it fled, this is as if it had
    /// polled and said so.
    pub fn arrived(&mut self, session: u64, at: u8, then: f64) -> Meeting {
        let slot = self.place(session);
        if slot.session != session {
            return Meeting::Unknown;
        }
        if then < slot.polled_at.max(slot.met_at) {
            return Meeting::Expected; // where it is now is known
        }
        slot.met_at = then;
        let place = if slot.on == NOWHERE { slot.began } else { slot.on };
        let fled = verdict(Slot { on: place, ..*slot }, at);
        let follows = at == slot.told_before && then < slot.told_at + FOLLOWS_SECONDS;
        let Some((from, false)) = fled.filter(|_| !follows) else {
            slot.on = at;
            return Meeting::Expected;
        };
        if then < slot.avoided_until {
            slot.on = at;
            return Meeting::Again;
        }
        slot.avoided = from;
        slot.avoided_until = then + AVOIDED_SECONDS;
        // One that is late may have polled another replica, and been told there to go. If it polls here, that says more.
        if then > slot.polled_at + f64::from(slot.after) + LATE_SECONDS {
            return Meeting::Silent;
        }
        slot.on = at;
        Meeting::Fled(from)
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

impl Slot {
    /// It is told to use a pathway. One that has not said where it is was where it was told to be.
    fn tell(&mut self, told: u8, now: f64) {
        if told == self.told {
            return;
        }
        if self.on == NOWHERE {
            self.on = self.told;
        }
        (self.told_before, self.told, self.told_at) = (self.told, told, now);
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
mod tests;
