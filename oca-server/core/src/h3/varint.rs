//! Integers of QUIC (RFC 9000 §16): the two highest bits of the first byte tell the length.

/// Largest value.
pub const MAX: u64 = (1 << 62) - 1;

/// The integer at the beginning of `bytes` and its length; absent = there is more to come.
pub fn decode(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let rest = bytes.get(1..len)?;
    let start = u64::from(first & 0x3f);
    Some((rest.iter().fold(start, |n, b| (n << 8) | u64::from(*b)), len))
}

/// Appends `value`, which is at most [`MAX`], in its shortest form.
pub fn encode(value: u64, out: &mut Vec<u8>) {
    debug_assert!(value <= MAX);
    let bytes = value.to_be_bytes();
    let (tag, len) = match value {
        0..=0x3f => (0x00, 1),
        0x40..=0x3fff => (0x40, 2),
        0x4000..=0x3fff_ffff => (0x80, 4),
        _ => (0xc0, 8),
    };
    let at = out.len();
    out.extend_from_slice(&bytes[8 - len..]);
    out[at] |= tag;
}

/// An integer that comes in pieces.
#[derive(Debug, Default, Clone)]
pub struct Partial {
    held: [u8; 8],
    len: usize,
}

impl Partial {
    /// Takes bytes from the front of `input` until the integer is whole.
    pub fn take(&mut self, input: &mut &[u8]) -> Option<u64> {
        while let Some((first, rest)) = input.split_first() {
            self.held[self.len] = *first;
            self.len += 1;
            *input = rest;
            if let Some((value, _)) = decode(&self.held[..self.len]) {
                self.len = 0;
                return Some(value);
            }
        }
        None
    }

    /// Whether no byte was taken of an integer that is not whole.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_rfc_9000_a_1() {
        let examples: [(&[u8], u64); 5] = [
            (
                &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c],
                151_288_809_941_952_652,
            ),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in examples {
            assert_eq!(decode(bytes), Some((value, bytes.len())));
            assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        }
    }

    proptest! {
        #[test]
        fn comes_back_whole_and_in_pieces(value in 0..=MAX, bits in 0u32..62) {
            let value = value >> bits;
            let mut bytes = Vec::new();
            encode(value, &mut bytes);
            prop_assert_eq!(decode(&bytes), Some((value, bytes.len())));
            let mut partial = Partial::default();
            let (last, before) = bytes.split_last().unwrap();
            for byte in before {
                prop_assert_eq!(partial.take(&mut &[*byte][..]), None);
            }
            prop_assert_eq!(partial.take(&mut &[*last, 1][..]), Some(value));
            prop_assert!(partial.is_empty());
        }
    }
}
