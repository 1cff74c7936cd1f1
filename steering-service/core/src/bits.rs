//! Sets of appliances by position: one bit each.

/// A set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bits(pub Vec<u64>);

/// Words that hold so many bits.
pub fn words(bits: usize) -> usize {
    bits.div_ceil(64)
}

/// Whether a bit of a slice of words is set; false beyond its end.
pub fn has(words: &[u64], bit: u32) -> bool {
    words
        .get(bit as usize / 64)
        .is_some_and(|word| word >> (bit % 64) & 1 == 1)
}

impl Bits {
    /// The empty set with room for `bits`.
    pub fn new(bits: usize) -> Self {
        Self(vec![0; words(bits)])
    }
    /// Adds; whether it was new. `bit` must be below the size.
    pub fn add(&mut self, bit: u32) -> bool {
        let (word, mask) = (&mut self.0[bit as usize / 64], 1 << (bit % 64));
        let new = *word & mask == 0;
        *word |= mask;
        new
    }
    /// Whether it is in the set.
    pub fn has(&self, bit: u32) -> bool {
        has(&self.0, bit)
    }
    /// Empties the set and makes room for `bits`, keeping memory.
    pub fn reset(&mut self, bits: usize) {
        self.0.clear();
        self.0.resize(words(bits), 0);
    }
}

/// Positions of the bits of one word, which is number `word` of its set.
pub fn ones(word: usize, mut bits: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (bits != 0).then(|| {
            let at = bits.trailing_zeros();
            bits &= bits - 1;
            (word * 64) as u32 + at
        })
    })
}
