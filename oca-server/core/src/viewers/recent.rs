//! Which sessions a worker has told of lately: the one step that each request with CMCD costs. Time is an argument.

use super::{TOLD_SECONDS, ways::Ways};
use cdn_types::viewers::SessionHash;

/// Sessions that are remembered: 16 bytes each, a quarter of a megabyte for a worker. One that is forgotten is told of
/// sooner, which costs a little and harms nothing.
const SESSIONS: usize = 16_384;

/// The sessions.
#[derive(Debug)]
pub struct Recent(Ways<()>);

impl Default for Recent {
    fn default() -> Self {
        Self(Ways::new(SESSIONS))
    }
}

impl Recent {
    /// Whether the session is to be told of at `now`, in seconds on any clock; it then counts as told of.
    pub fn is_due(&mut self, session: SessionHash, now: u32) -> bool {
        let (slot, known) = self.0.place(session);
        if known && now.saturating_sub(slot.last) < TOLD_SECONDS {
            return false;
        }
        slot.take(session, now, ());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cdn_types::viewers::{Network, SidHash};

    fn session(n: usize) -> SessionHash {
        let network = Network::of("192.0.2.1".parse().unwrap());
        SidHash::of(&n.to_string()).unwrap().within(network)
    }

    #[test]
    fn a_session_is_told_of_at_once_and_then_once_in_twenty_seconds() {
        let mut recent = Recent::default();
        let told: Vec<u32> = (0..100).filter(|now| recent.is_due(session(1), *now)).collect();
        assert_eq!(told, [0, 20, 40, 60, 80]);
    }

    #[test]
    fn as_many_as_it_is_made_for_do_not_push_each_other_out_much() {
        let mut recent = Recent::default();
        let half = SESSIONS / 2;
        assert!((0..half).all(|n| recent.is_due(session(n), 0)));
        let again = (0..half).filter(|n| recent.is_due(session(*n), 10)).count();
        assert!(again < half / 10, "{again} of {half}");
    }
}
