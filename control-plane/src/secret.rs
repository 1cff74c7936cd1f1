//! Tokens: 256 random bits that are shown once, and of which only a hash is kept.
//!
//! A token is looked up by its hash. The lookup may take longer or shorter by how many of the hash's bytes agree, but
//! nobody can choose a hash's bytes, so its time tells nothing about a token. 256 random bits need no slow hash.

use base64::Engine;
use std::fmt;

/// What every token begins with, so that one that leaked can be found by a search.
const PREFIX: &str = "nf_";
/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;

/// A token's secret text. It is never logged: `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A new one, from the operating system's randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0u8; TOKEN_BYTES];
        getrandom::fill(&mut bytes)?;
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self(format!("{PREFIX}{text}")))
    }

    /// The text, to be shown this once.
    pub fn expose(self) -> String {
        self.0
    }

    /// Under which hash it is kept.
    pub fn hash(&self) -> [u8; 32] {
        hash(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The hash under which a presented token is looked up.
pub fn hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_unlike_and_found_by_their_hash() {
        let (a, b) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(a.hash(), b.hash());
        assert_eq!(format!("{a:?}"), "Secret(…)");
        let kept = a.hash();
        let text = a.expose();
        assert_eq!(text.len(), 3 + 43, "256 bits in base64url");
        assert!(text.starts_with(PREFIX));
        assert_eq!(hash(&text), kept);
    }
}
