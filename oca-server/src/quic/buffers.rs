//! Buffers for bytes that wait for their acknowledgment. quinn-proto wants to own what it may have to send again, as
//! [`Bytes`] that could change threads; so a buffer knows its way home, by a lock that only its own worker ever takes.

use bytes::Bytes;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes of one buffer: a batch of datagrams.
pub const BUFFER: usize = 64 << 10;
/// Buffers kept for reuse; more are freed.
const KEPT: usize = 256;
/// Pieces up to this length get memory of their own instead of most of a buffer's.
const SMALL: u64 = 8 << 10;

#[derive(Debug, Default)]
struct Home {
    free: Mutex<Vec<Box<[u8]>>>,
    out: AtomicUsize,
}

/// A worker's buffers.
#[derive(Debug, Default, Clone)]
pub struct Buffers(Arc<Home>);

impl Buffers {
    /// Space for at most `want` bytes.
    pub fn take(&self, want: u64) -> Space {
        let memory = if want <= SMALL {
            vec![0; want as usize].into_boxed_slice()
        } else {
            let free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            free.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
        };
        self.0.out.fetch_add(memory.len(), Relaxed);
        let most = usize::try_from(want).unwrap_or(usize::MAX).min(memory.len());
        Space {
            memory,
            len: most,
            home: Arc::clone(&self.0),
        }
    }

    /// Bytes that are not home.
    pub fn out(&self) -> usize {
        self.0.out.load(Relaxed)
    }
}

/// A buffer that is being filled.
#[derive(Debug)]
pub struct Space {
    memory: Box<[u8]>,
    len: usize,
    home: Arc<Home>,
}

impl Space {
    /// Where to write.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }

    /// The first `n` bytes, to be sent; the buffer goes home when the last of them is let go.
    pub fn filled(mut self, n: usize) -> Bytes {
        self.len = n.min(self.len);
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Space {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.home.out.fetch_sub(memory.len(), Relaxed);
        if memory.len() == BUFFER {
            let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                free.push(memory);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_home_when_their_last_byte_is_let_go() {
        let buffers = Buffers::default();
        let mut space = buffers.take(1 << 20);
        assert_eq!(space.space().len(), BUFFER);
        space.space()[..3].copy_from_slice(b"abc");
        let mut bytes = space.filled(3);
        let rest = bytes.split_off(1);
        drop(bytes);
        assert_eq!((&rest[..], buffers.out()), (&b"bc"[..], BUFFER));
        drop(rest);
        assert_eq!(buffers.out(), 0);
        assert_eq!(
            &buffers.take(BUFFER as u64).space()[..3],
            b"abc",
            "the same again"
        );
        assert_eq!(buffers.take(5).space().len(), 5);
    }
}
