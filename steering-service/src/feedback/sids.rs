//! Which session an appliance speaks of: it knows the id that a player gives its session (CMCD `sid`), steering the one in
//! the session's address, and the manifest request, where the session begins, names both. One part of a table of fixed
//! size; time is an argument.

use cdn_types::viewers::{Network, SessionHash};

/// Sessions that share a row; the one that began first makes room.
const WAYS: usize = 4;
/// Pathways of a session that are told apart: what a manifest declares.
pub const PATHWAYS: usize = 4;
/// Seconds within which two sessions with one id make it nobody's: a player that gives all its sessions the same id. One
/// that begins anew later is the next session of the same player.
const SHARED_SECONDS: f32 = 300.0;

/// What is known of a session by its player's id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Hash of the player's id.
    hash: u64,
    /// The session's own id.
    pub session: u64,
    /// Where its viewer is.
    pub network: Network,
    /// Numbers of the appliances that it declares, by position; 0 is none.
    pub pathways: [u64; PATHWAYS],
    /// Seconds at which it began.
    began: f32,
    /// Several sessions have this id.
    shared: bool,
}

impl Known {
    /// Position of an appliance among the session's pathways.
    pub fn position(&self, appliance: u64) -> Option<u8> {
        let found = self.pathways.iter().position(|p| *p == appliance && *p != 0);
        found.map(|at| at as u8)
    }
}

/// What a hash stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Found {
    /// A session that began here.
    One(Known),
    /// Several.
    Shared,
    /// None: it began elsewhere, or long ago.
    Nobody,
}

/// A part of all sessions.
#[derive(Debug)]
pub struct Sids {
    slots: Box<[Option<Known>]>,
}

impl Sids {
    /// With room for so many, rounded up to whole rows.
    pub fn new(room: usize) -> Self {
        let rows = room.div_ceil(WAYS).max(1);
        Self {
            slots: vec![None; rows * WAYS].into_boxed_slice(),
        }
    }

    /// A session begins, whose player calls it by an id of this hash.
    pub fn begin(
        &mut self,
        hash: SessionHash,
        session: u64,
        network: Network,
        pathways: [u64; PATHWAYS],
        now: f64,
    ) {
        let hash = hash.number();
        let row = self.row(hash);
        let began = |slot: &Option<Known>| slot.map_or(f32::NEG_INFINITY, |k| k.began);
        let found = row.iter().position(|slot| slot.is_some_and(|k| k.hash == hash));
        let oldest = || (0..WAYS).min_by(|a, b| began(&row[*a]).total_cmp(&began(&row[*b])));
        let at = found.or_else(oldest).unwrap_or(0);
        let before = row[at].filter(|k| k.hash == hash);
        row[at] = Some(Known {
            hash,
            session,
            network,
            pathways,
            began: now as f32,
            shared: before.is_some_and(|k| now as f32 - k.began < SHARED_SECONDS),
        });
    }

    /// The session of a hash.
    pub fn find(&mut self, hash: SessionHash) -> Found {
        let hash = hash.number();
        match self.row(hash).iter().flatten().find(|k| k.hash == hash) {
            Some(known) if known.shared => Found::Shared,
            Some(known) => Found::One(*known),
            None => Found::Nobody,
        }
    }

    fn row(&mut self, hash: u64) -> &mut [Option<Known>] {
        let rows = self.slots.len() / WAYS;
        // The lower bits have chosen the part of the table.
        let row = (hash >> 16) as usize % rows;
        &mut self.slots[row * WAYS..][..WAYS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::viewers::SidHash;

    fn network() -> Network {
        Network::of("192.0.2.1".parse().unwrap())
    }
    fn hash(sid: &str) -> SessionHash {
        SidHash::of(sid).unwrap().within(network())
    }
    fn begin(sids: &mut Sids, sid: &str, session: u64, now: f64) {
        sids.begin(hash(sid), session, network(), [11, 12, 0, 0], now);
    }
    fn session(sids: &mut Sids, sid: &str) -> Option<u64> {
        match sids.find(hash(sid)) {
            Found::One(known) => Some(known.session),
            Found::Shared => Some(0),
            Found::Nobody => None,
        }
    }

    #[test]
    fn a_session_is_found_by_its_players_id_and_an_appliance_by_its_place() {
        let mut sids = Sids::new(16);
        begin(&mut sids, "a", 1, 0.0);
        begin(&mut sids, "b", 2, 0.0);
        assert_eq!(
            ["a", "b", "c"].map(|sid| session(&mut sids, sid)),
            [Some(1), Some(2), None]
        );
        let Found::One(known) = sids.find(hash("a")) else {
            panic!("it is known")
        };
        assert_eq!(
            [11, 12, 13, 0].map(|a| known.position(a)),
            [Some(0), Some(1), None, None]
        );
    }

    #[test]
    fn an_id_of_several_sessions_is_nobodys() {
        let mut sids = Sids::new(16);
        begin(&mut sids, "a", 1, 0.0);
        begin(&mut sids, "a", 2, 10.0);
        assert_eq!(session(&mut sids, "a"), Some(0));
        begin(&mut sids, "a", 3, 200.0);
        assert_eq!(session(&mut sids, "a"), Some(0));
        begin(&mut sids, "a", 4, 600.0);
        assert_eq!(
            session(&mut sids, "a"),
            Some(4),
            "the next one of the same player"
        );
    }

    #[test]
    fn the_table_does_not_grow_and_the_oldest_makes_room() {
        let mut sids = Sids::new(4);
        for n in 1..=5 {
            begin(&mut sids, &n.to_string(), n, n as f64);
        }
        assert_eq!(sids.slots.len(), 4);
        assert_eq!(
            [1, 2, 5].map(|n: u64| session(&mut sids, &n.to_string())),
            [None, Some(2), Some(5)]
        );
    }
}
