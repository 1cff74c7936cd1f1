//! Objects are immutable and named by their BLAKE3 digest, with a further digest per 1 MiB block, so that any
//! aligned range can be verified on its own and an interrupted fill can resume at a block.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Bytes in a block: 1 MiB. The last block of an object may be shorter; an empty object has no block.
pub const BLOCK_SIZE: u64 = 1 << 20;

/// BLAKE3 digest (32 bytes) of an object or of a block; 64 lower-case hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{64}$"))]
pub struct ObjectDigest([u8; 32]);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a BLAKE3 digest: 64 lower-case hex digits")]
pub struct DigestError(String);

impl ObjectDigest {
    /// Digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
    /// First 12 hex digits: for people, never for identity.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for ObjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0u8; 64];
        for (i, b) in self.0.iter().enumerate() {
            text[2 * i] = HEX[usize::from(b >> 4)];
            text[2 * i + 1] = HEX[usize::from(b & 15)];
        }
        f.pad(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for ObjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ObjectDigest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        let wrong = || DigestError(text.chars().take(80).collect());
        let nibble = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(wrong());
        }
        let mut out = [0u8; 32];
        for (i, o) in out.iter_mut().enumerate() {
            let (hi, lo) = (nibble(bytes[2 * i]), nibble(bytes[2 * i + 1]));
            *o = hi.zip(lo).map(|(h, l)| h << 4 | l).ok_or_else(wrong)?;
        }
        Ok(Self(out))
    }
}

impl Serialize for ObjectDigest {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for ObjectDigest {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Digests an object as its bytes come by, in order: the whole and every block.
#[derive(Default)]
pub struct Digester {
    whole: blake3::Hasher,
    block: blake3::Hasher,
    in_block: u64,
    size: u64,
    blocks: Vec<ObjectDigest>,
}

impl Digester {
    /// An empty digester.
    pub fn new() -> Self {
        Self::default()
    }
    /// Takes the next bytes, in pieces of any length.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = (BLOCK_SIZE - self.in_block) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.update(now);
            self.in_block += now.len() as u64;
            if self.in_block == BLOCK_SIZE {
                self.close_block();
            }
            bytes = later;
        }
    }
    fn close_block(&mut self) {
        self.blocks.push(ObjectDigest(*self.block.finalize().as_bytes()));
        self.block.reset();
        self.in_block = 0;
    }
    /// Size in bytes, digest of the whole, digest of each block in order.
    pub fn finish(mut self) -> (Bytes, ObjectDigest, Vec<ObjectDigest>) {
        if self.in_block > 0 {
            self.close_block();
        }
        (
            Bytes(self.size),
            ObjectDigest(*self.whole.finalize().as_bytes()),
            self.blocks,
        )
    }
}

use crate::units::Bytes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_digests_are_plain_blake3_of_each_mebibyte() {
        let data: Vec<u8> = (0..BLOCK_SIZE * 2 + 5).map(|i| (i % 251) as u8).collect();
        let mut d = Digester::new();
        for piece in data.chunks(777_777) {
            d.update(piece);
        }
        let (size, whole, blocks) = d.finish();
        assert_eq!(size.0, data.len() as u64);
        assert_eq!(whole, ObjectDigest::of(&data));
        let expected: Vec<_> = data.chunks(BLOCK_SIZE as usize).map(ObjectDigest::of).collect();
        assert_eq!(blocks, expected);
        assert_eq!(Digester::new().finish().2, []);
    }

    #[test]
    fn text_form_is_strict() {
        let d = ObjectDigest::of(b"x");
        assert_eq!(d.to_string().parse::<ObjectDigest>(), Ok(d));
        assert!(d.to_string().to_uppercase().parse::<ObjectDigest>().is_err());
        assert!("abc".parse::<ObjectDigest>().is_err());
    }
}
