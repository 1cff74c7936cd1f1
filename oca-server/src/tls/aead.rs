//! Sealing by one of two libraries of like interface. Which is faster depends on the processor (AVX-512 or not), so it is
//! measured at start on the machine that it runs on.

use std::time::{Duration, Instant};

/// Bytes of an authentication tag: the same for all ciphers here.
pub const TAG: usize = 16;
/// Text of one record while measuring, and how long each is measured.
const SAMPLE: usize = 16 << 10;
const SAMPLE_TIME: Duration = Duration::from_millis(4);

/// A library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// ring
    Ring,
    /// AWS-LC
    AwsLc,
}

impl Provider {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ring, Self::AwsLc];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc",
        }
    }

    /// The faster one on this machine for the cipher that most viewers use.
    pub fn fastest() -> Self {
        let [ring, aws_lc] = Self::ALL.map(|p| p.speed(Algorithm::Aes128Gcm));
        if aws_lc > ring { Self::AwsLc } else { Self::Ring }
    }

    /// Bytes a second that it seals, of a core that does nothing else.
    pub fn speed(self, algorithm: Algorithm) -> f64 {
        let key = Key::new(self, algorithm, &[7; 32][..algorithm.key_len()]);
        let key = key.expect("the key has the algorithm's length");
        let mut text = vec![0; SAMPLE];
        let mut nonce = [0; 12];
        let (start, mut sealed) = (Instant::now(), 0u64);
        while start.elapsed() < SAMPLE_TIME {
            nonce[4..].copy_from_slice(&sealed.to_be_bytes());
            key.seal(nonce, &[0; 5], &mut text);
            sealed += SAMPLE as u64;
        }
        sealed as f64 / start.elapsed().as_secs_f64()
    }
}

/// A cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-128-GCM
    Aes128Gcm,
    /// AES-256-GCM
    Aes256Gcm,
    /// ChaCha20-Poly1305
    Chacha20Poly1305,
}

impl Algorithm {
    /// All.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::Chacha20Poly1305];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Chacha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// Bytes of its key.
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }
}

/// A key of one library.
pub enum Key {
    /// ring's
    Ring(Box<ring::aead::LessSafeKey>),
    /// AWS-LC's
    AwsLc(Box<aws_lc_rs::aead::LessSafeKey>),
}

/// The two libraries' names are the same, their types are not.
macro_rules! by_library {
    ($library:ident, $algorithm:expr, $key:expr) => {{
        use $library::aead::{AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, LessSafeKey, UnboundKey};
        let algorithm = match $algorithm {
            Algorithm::Aes128Gcm => &AES_128_GCM,
            Algorithm::Aes256Gcm => &AES_256_GCM,
            Algorithm::Chacha20Poly1305 => &CHACHA20_POLY1305,
        };
        UnboundKey::new(algorithm, $key)
            .ok()
            .map(LessSafeKey::new)
            .map(Box::new)
    }};
}

impl Key {
    /// Absent if the key has not the algorithm's length.
    pub fn new(provider: Provider, algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match provider {
            Provider::Ring => by_library!(ring, algorithm, key).map(Self::Ring),
            Provider::AwsLc => by_library!(aws_lc_rs, algorithm, key).map(Self::AwsLc),
        }
    }

    /// Seals in place and answers the tag; absent if the text is longer than any record.
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Option<[u8; TAG]> {
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
                tag.as_ref().try_into().ok()
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).ok()?;
                tag.as_ref().try_into().ok()
            }
        }
    }

    /// Seals `text` and then `last`, which is short, from where they lie into `out`, which has room for both and the tag;
    /// absent if they are longer than any record.
    pub fn seal_from(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        (text, last): (&[u8], &[u8]),
        out: &mut [u8],
    ) -> Option<()> {
        match self {
            Self::Ring(_) => {
                // ring seals in place alone. The copy is of a record, which its cipher then finds in the nearest cache.
                let (sealed, tag) = out.split_at_mut_checked(text.len() + last.len())?;
                sealed[..text.len()].copy_from_slice(text);
                sealed[text.len()..].copy_from_slice(last);
                tag.copy_from_slice(&self.seal(nonce, aad, sealed)?);
                Some(())
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let (sealed, rest) = out.split_at_mut_checked(text.len())?;
                key.seal_out_of_place_scatter(nonce, Aad::from(aad), text, sealed, last, rest)
                    .ok()
            }
        }
    }

    /// Opens text and tag in place; absent if they do not belong together.
    pub fn open<'t>(&self, nonce: [u8; 12], aad: &[u8], sealed: &'t mut [u8]) -> Option<&'t mut [u8]> {
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed)
                    .ok()
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed)
                    .ok()
            }
        }
    }
}
