//! A table of fixed size for what is worth remembering of the latest sessions: the place of a session is one of four that
//! its hash points to, so that taking one in never grows, moves or frees anything. Time is an argument.

use cdn_types::viewers::SessionHash;

/// Sessions that share a row; the one that was seen longest ago makes room.
const WAYS: usize = 4;

/// What is remembered of one session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Slot<V> {
    /// Its number; 0 is an empty place.
    session: u64,
    /// Seconds at which it was last touched.
    pub last: u32,
    /// The rest.
    pub value: V,
}

/// The table.
#[derive(Debug)]
pub struct Ways<V> {
    slots: Box<[Slot<V>]>,
}

impl<V: Copy + Default> Ways<V> {
    /// With room for so many, rounded up to whole rows.
    pub fn new(room: usize) -> Self {
        let rows = room.div_ceil(WAYS).max(1);
        Self {
            slots: vec![Slot::default(); rows * WAYS].into_boxed_slice(),
        }
    }

    /// The session's place, and whether it is there; else it may take the place.
    pub fn place(&mut self, session: SessionHash) -> (&mut Slot<V>, bool) {
        let number = session.number();
        let rows = (self.slots.len() / WAYS) as u64;
        let row = ((u128::from(number) * u128::from(rows)) >> 64) as usize;
        let row = &mut self.slots[row * WAYS..][..WAYS];
        let found = row.iter().position(|slot| slot.session == number);
        let oldest = || {
            (0..WAYS)
                .min_by_key(|at| (row[*at].session != 0, row[*at].last))
                .unwrap_or(0)
        };
        let at = found.unwrap_or_else(oldest);
        (&mut row[at], found.is_some())
    }
}

impl<V> Slot<V> {
    /// Gives the place to a session.
    pub fn take(&mut self, session: SessionHash, now: u32, value: V) {
        *self = Self {
            session: session.number(),
            last: now,
            value,
        };
    }

    /// Whether somebody has it who was seen since.
    pub fn is_taken_since(&self, then: u32) -> bool {
        self.session != 0 && self.last >= then
    }
}
