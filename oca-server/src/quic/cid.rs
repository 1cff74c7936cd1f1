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
/// The generation of this process; there is one only, as long as no process hands its sockets to another.
const THIS_GENERATION: u8 = 0;

/// Makes a worker's connection ids: the rest of each is random.
#[derive(Debug)]
pub struct WorkerIds {
    worker: u8,
}

impl WorkerIds {
    /// Of a worker (0-based).
    pub fn new(worker: u8) -> Self {
        Self { worker }
    }
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = getrandom::u64().unwrap_or_default().to_be_bytes(); // one in use is made anew
        (id[WORKER], id[GENERATION], id[MARK]) = (self.worker, THIS_GENERATION, MARKED);
        ConnectionId::new(&id)
    }

    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        let ours = id.len() == LEN
            && (id[WORKER], id[GENERATION], id[MARK]) == (self.worker, THIS_GENERATION, MARKED);
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
        let mut ids = WorkerIds::new(3);
        let id = ids.generate_cid();
        assert!(ids.validate(&id).is_ok());
        assert!(WorkerIds::new(4).validate(&id).is_err());
        assert!(ids.validate(&ConnectionId::new(&[0; LEN])).is_err());
        assert_ne!(id, ids.generate_cid());
    }
}
