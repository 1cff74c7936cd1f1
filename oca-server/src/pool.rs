//! A worker's buffers for bytes that pass through this process (TLS): taken for one piece of a body and given back
//! as soon as it is handed on, so that a thousand slow clients do not hold a thousand buffers.

use std::cell::RefCell;

/// Bytes of one buffer: four TLS records.
pub const BUFFER: usize = 64 << 10;
/// Buffers kept for reuse; more are freed.
const KEPT: usize = 64;

/// Free buffers.
#[derive(Debug, Default)]
pub struct Pool {
    free: RefCell<Vec<Box<[u8]>>>,
}

impl Pool {
    /// A buffer of [`BUFFER`] bytes with old content.
    pub fn take(&self) -> Box<[u8]> {
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    /// Gives a buffer back.
    pub fn give(&self, buffer: Box<[u8]>) {
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}
