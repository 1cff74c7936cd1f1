//! A vector in chunks that copies share: a copy costs a pointer a chunk, a change costs the chunk that it touches.

use std::sync::Arc;

/// Elements a chunk, as a power of two.
const CHUNK_BITS: u32 = 16;
/// Elements a chunk.
pub const CHUNK: usize = 1 << CHUNK_BITS;

/// The vector.
#[derive(Debug, Clone)]
pub struct Chunked<T> {
    chunks: Vec<Arc<Vec<T>>>,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Clone> Chunked<T> {
    /// An element; `index` must be below the length.
    pub fn get(&self, index: u32) -> &T {
        &self.chunks[(index >> CHUNK_BITS) as usize][index as usize % CHUNK]
    }
    /// The elements of `index`'s chunk from there on.
    pub fn rest(&self, index: u32) -> &[T] {
        &self.chunks[(index >> CHUNK_BITS) as usize][index as usize % CHUNK..]
    }
    /// Position that the next element will have.
    pub fn next(&self) -> u32 {
        match self.chunks.last() {
            None => 0,
            Some(last) => (((self.chunks.len() - 1) << CHUNK_BITS) + last.len()) as u32,
        }
    }
    /// Appends one.
    pub fn push(&mut self, value: T) {
        self.reserve(1).push(value);
    }
    /// Appends elements that then lie in one chunk, after padding if need be. A run longer than [`CHUNK`] gets a
    /// chunk of its own, which must be the last one: use it for runs up to [`CHUNK`] only.
    pub fn push_run(&mut self, run: &[T], padding: &T) -> u32 {
        let room = CHUNK - self.next() as usize % CHUNK;
        if run.len() > room {
            let last = self.reserve(1);
            last.resize(CHUNK, padding.clone());
        }
        let chunk = self.reserve(run.len());
        chunk.extend_from_slice(run);
        self.next() - run.len() as u32
    }
    /// Overwrites one.
    pub fn set(&mut self, index: u32, value: T) {
        let chunk = Arc::make_mut(&mut self.chunks[(index >> CHUNK_BITS) as usize]);
        chunk[index as usize % CHUNK] = value;
    }

    /// The last chunk, one's own and with room for `more`.
    fn reserve(&mut self, more: usize) -> &mut Vec<T> {
        if self.chunks.last().is_none_or(|last| last.len() + more > CHUNK) {
            self.chunks.push(Arc::new(Vec::with_capacity(CHUNK)));
        }
        let last = self.chunks.last_mut().expect("pushed above if there was none");
        let chunk = Arc::make_mut(last);
        chunk.reserve_exact(CHUNK - chunk.len());
        chunk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_as_they_were() {
        let mut a = Chunked::default();
        for i in 0..CHUNK as u32 + 3 {
            assert_eq!(a.next(), i);
            a.push(i);
        }
        let b = a.clone();
        a.set(1, 7);
        a.push(9);
        assert_eq!((*a.get(1), *b.get(1)), (7, 1));
        assert_eq!((a.next(), b.next()), (CHUNK as u32 + 4, CHUNK as u32 + 3));
    }

    #[test]
    fn a_run_lies_in_one_chunk() {
        let mut a = Chunked::default();
        let run: Vec<u32> = (1..=1000).collect();
        for _ in 0..50 {
            let at = a.push_run(&run, &0);
            assert_eq!(a.rest(at)[..1000], run);
        }
    }
}
