//! A vector in chunks that copies share: a copy costs a pointer a chunk, a change costs the chunk that it touches.

use std::sync::Arc;

/// Elements a chunk, as a power of two.
const CHUNK_BITS: u32 = 16;
/// Elements a chunk.
const CHUNK: usize = 1 << CHUNK_BITS;

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
    /// Position that the next element will have.
    pub fn next(&self) -> u32 {
        match self.chunks.last() {
            None => 0,
            Some(last) => (((self.chunks.len() - 1) << CHUNK_BITS) + last.len()) as u32,
        }
    }
    /// Appends one.
    pub fn push(&mut self, value: T) {
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Arc::default());
        }
        let last = self.chunks.last_mut().expect("pushed above if there was none");
        let chunk = Arc::make_mut(last); // a copy has no room to spare
        chunk.reserve_exact(CHUNK - chunk.len());
        chunk.push(value);
    }
    /// Overwrites one.
    pub fn set(&mut self, index: u32, value: T) {
        let chunk = Arc::make_mut(&mut self.chunks[(index >> CHUNK_BITS) as usize]);
        chunk[index as usize % CHUNK] = value;
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
}
