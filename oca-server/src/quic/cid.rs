//! Connection ids that say where a connection lives: its worker, and which generation of the process has it. The
//! kernel reads them ([`super::socket`]), so that the packets of a client whose address has changed still reach the
//! worker that knows it.

use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};
use std::time::Duration;

/// Bytes of an id.
pub const LEN: usize = 8;
/// Where the worker stands.
pub const WORKER: usize = 0;
/// Where the generation stands.
pub const GENERATION: usize = 1;
/// Where the mark stands that tells our ids from those that clients begin with.
pub const MARK: usize = 2;
/// The mark.
pub const MARKED: u8 = 0x9d;
/// Bit of the first byte that only long headers have (RFC 8999 §5.1).
pub const LONG: u8 = 0x80;
/// Where the destination id begins: after the first byte, or after version and length too.
pub const SHORT_ID: usize = 1;
/// The same in a packet with a long header.
pub const LONG_ID: usize = 6;

/// Makes a worker's connection ids: the rest of each is random.
#[derive(Debug)]
pub struct WorkerIds {
    worker: u8,
    generation: u8,
}

impl WorkerIds {
    /// Of a worker (0-based) of the process of a generation.
    pub fn new(worker: u8, generation: u8) -> Self {
        Self { worker, generation }
    }
}

/// The generation of the process that made the destination id of a packet; absent if it is none of ours.
pub fn generation(packet: &[u8]) -> Option<u8> {
    let is_long = packet.first()? & LONG != 0;
    let id = match is_long {
        true if usize::from(*packet.get(LONG_ID - 1)?) != LEN => return None,
        true => packet.get(LONG_ID..LONG_ID + LEN)?,
        false => packet.get(SHORT_ID..SHORT_ID + LEN)?,
    };
    (id[MARK] == MARKED).then_some(id[GENERATION])
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = getrandom::u64().unwrap_or_default().to_be_bytes(); // one in use is made anew
        (id[WORKER], id[GENERATION], id[MARK]) = (self.worker, self.generation, MARKED);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let ours = id.len() == LEN
            && (id[WORKER], id[GENERATION], id[MARK]) == (self.worker, self.generation, MARKED);
        ours.then_some(()).ok_or(InvalidCid)
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_to_their_worker_alone() {
        let mut ids = WorkerIds::new(3, 9);
        let id = ids.generate_cid();
        assert!(ids.validate(&id).is_ok());
        assert!(WorkerIds::new(4, 9).validate(&id).is_err());
        assert!(WorkerIds::new(3, 8).validate(&id).is_err());
        assert!(ids.validate(&ConnectionId::new(&[0; LEN])).is_err());
        assert_ne!(id, ids.generate_cid());
    }

    #[test]
    fn packets_tell_the_generation_that_they_belong_to() {
        let id = WorkerIds::new(3, 9).generate_cid();
        let short = [&[0x40], &id[..], &[0; 9]].concat();
        let long = [&[0xe0, 0, 0, 0, 1, 8], &id[..], &[0; 9]].concat();
        assert_eq!((generation(&short), generation(&long)), (Some(9), Some(9)));
        assert_eq!(generation(&[0x40; 30]), None);
        assert_eq!(
            generation(&[&[0xe0, 0, 0, 0, 1, 9], &id[..], &[0; 9]].concat()),
            None
        );
        assert!((0..9).all(|n| generation(&short[..n]).is_none()));
        assert!((0..14).all(|n| generation(&long[..n]).is_none()));
    }
}
