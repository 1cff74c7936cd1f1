//! TLS records after the handshake (RFC 8446 §5, RFC 5246 §6.2): sealed in place in a buffer that the caller laid out, and
//! opened in place. No socket, no allocation a record; the keys come from rustls, which made the handshake.

use super::aead::{Algorithm, Key, Provider, TAG};
use rustls::{ConnectionTrafficSecrets, ProtocolVersion};
use std::ops::Range;

/// Most bytes of plain text in a record (RFC 8446 §5.1).
pub const MAX_PLAIN: usize = 1 << 14;
/// Bytes of a record's header.
pub const HEADER: usize = 5;
/// Most bytes after a record's header (RFC 8446 §5.2; RFC 5246 §6.2.3 allows more, which none of our ciphers needs).
const MAX_SEALED: usize = MAX_PLAIN + 256;
/// Records after which AES-GCM keys are changed (RFC 8446 §5.5: 2^24.5 of full size).
pub const KEY_LIFE: u64 = 1 << 24;

/// What a record carries (RFC 8446 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Alert.
    Alert,
    /// Handshake message after the handshake.
    Handshake,
    /// Application data.
    Data,
}

/// Code of [`Content::Data`].
const DATA: u8 = 23;

impl Content {
    /// On the wire.
    pub fn code(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => DATA,
        }
    }

    fn of(code: u8) -> Result<Self, RecordError> {
        match code {
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            DATA => Ok(Self::Data),
            _ => Err(RecordError::Malformed),
        }
    }
}

/// Why a record is refused, or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No record of TLS.
    #[error("the peer sent what is no TLS record")]
    Malformed,
    /// Longer than any record may be.
    #[error("the peer sent a TLS record that is too long")]
    TooLong,
    /// The tag does not match.
    #[error("a TLS record cannot be opened")]
    Forged,
    /// The cipher or version is none of ours.
    #[error("the TLS cipher is not one that is sealed here")]
    Cipher,
    /// The keys have sealed as much as they may.
    #[error("the TLS keys are used up")]
    UsedUp,
}

/// How a cipher lays out its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// TLS 1.3, all ciphers: the content type is sealed too.
    V13,
    /// TLS 1.2 with AES-GCM: eight bytes of nonce before the text (RFC 5288 §3).
    V12Explicit,
    /// TLS 1.2 with ChaCha20-Poly1305 (RFC 7905).
    V12,
}

/// One direction's keys.
struct Keys {
    key: Key,
    iv: [u8; 12],
    sequence: u64,
    style: Style,
}

impl Keys {
    fn new(
        provider: Provider,
        version: ProtocolVersion,
        (sequence, secrets): (u64, &ConnectionTrafficSecrets),
    ) -> Result<Self, RecordError> {
        use ConnectionTrafficSecrets::{Aes128Gcm, Aes256Gcm, Chacha20Poly1305};
        let (algorithm, key, iv) = match secrets {
            Aes128Gcm { key, iv } => (Algorithm::Aes128Gcm, key, iv),
            Aes256Gcm { key, iv } => (Algorithm::Aes256Gcm, key, iv),
            Chacha20Poly1305 { key, iv } => (Algorithm::Chacha20Poly1305, key, iv),
            _ => return Err(RecordError::Cipher),
        };
        let style = match (version, secrets) {
            (ProtocolVersion::TLSv1_3, _) => Style::V13,
            (ProtocolVersion::TLSv1_2, Chacha20Poly1305 { .. }) => Style::V12,
            (ProtocolVersion::TLSv1_2, _) => Style::V12Explicit,
            _ => return Err(RecordError::Cipher),
        };
        Ok(Self {
            key: Key::new(provider, algorithm, key.as_ref()).ok_or(RecordError::Cipher)?,
            iv: iv.as_ref().try_into().map_err(|_| RecordError::Cipher)?,
            sequence,
            style,
        })
    }

    /// The nonce of the next record (RFC 8446 §5.3); TLS 1.2 writes its last eight bytes into the record.
    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        for (n, s) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *n ^= s;
        }
        nonce
    }

    /// What is authenticated beside the text of a TLS 1.2 record (RFC 5246 §6.2.3.3).
    fn aad_v12(&self, code: u8, len: usize) -> [u8; 13] {
        let mut aad = [0; 13];
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8..11].copy_from_slice(&[code, 3, 3]);
        aad[11..].copy_from_slice(&be16(len));
        aad
    }
}

/// A length of at most [`MAX_SEALED`] on the wire.
fn be16(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// Seals what we send.
pub struct Sealer(Keys);

impl Sealer {
    /// From the secrets of a handshake, and the number of the next record.
    ///
    /// # Errors
    /// When the cipher is none of ours.
    pub fn new(
        provider: Provider,
        version: ProtocolVersion,
        secrets: (u64, &ConnectionTrafficSecrets),
    ) -> Result<Self, RecordError> {
        Keys::new(provider, version, secrets).map(Self)
    }

    /// Bytes of a record before its text.
    pub fn prefix(&self) -> usize {
        match self.0.style {
            Style::V12Explicit => HEADER + 8,
            Style::V13 | Style::V12 => HEADER,
        }
    }

    /// Bytes of a record after its text.
    pub fn suffix(&self) -> usize {
        match self.0.style {
            Style::V13 => 1 + TAG,
            Style::V12Explicit | Style::V12 => TAG,
        }
    }

    /// Bytes of a record with `len` bytes of text.
    pub fn sealed(&self, len: usize) -> usize {
        self.prefix() + len + self.suffix()
    }

    /// Whether the keys should be changed before more is sealed.
    pub fn is_old(&self) -> bool {
        self.0.sequence >= KEY_LIFE
    }

    /// Seals the record that is `record`: its text already lies behind the prefix, and the rest is overwritten.
    ///
    /// # Errors
    /// When the keys have sealed twice what they should.
    pub fn seal(&mut self, content: Content, record: &mut [u8]) -> Result<(), RecordError> {
        let begun = self.begin(content, record)?;
        let (prefix, len) = (self.prefix(), record.len());
        if self.0.style == Style::V13 {
            record[len - TAG - 1] = content.code();
        }
        let (before, rest) = record.split_at_mut(prefix);
        let (text, tag) = rest.split_at_mut(len - prefix - TAG);
        let sealed = self.0.key.seal(begun.nonce, begun.aad(before), text);
        tag.copy_from_slice(&sealed.ok_or(RecordError::UsedUp)?);
        Ok(())
    }

    /// As [`seal`](Self::seal), of data that lie elsewhere: `record` is what [`sealed`](Self::sealed) says of them, and is
    /// overwritten whole.
    ///
    /// # Errors
    /// As those.
    pub fn seal_from(&mut self, text: &[u8], record: &mut [u8]) -> Result<(), RecordError> {
        let begun = self.begin(Content::Data, record)?;
        let last: &[u8] = match self.0.style {
            Style::V13 => &[DATA],
            Style::V12Explicit | Style::V12 => &[],
        };
        let (before, rest) = record.split_at_mut(self.prefix());
        let sealed = self
            .0
            .key
            .seal_from(begun.nonce, begun.aad(before), (text, last), rest);
        sealed.ok_or(RecordError::UsedUp)
    }

    /// Writes what stands before a record's text, and uses its number up.
    fn begin(&mut self, content: Content, record: &mut [u8]) -> Result<Begun, RecordError> {
        let text = record.len() - self.prefix() - self.suffix();
        let keys = &mut self.0;
        if keys.sequence >= 2 * KEY_LIFE {
            return Err(RecordError::UsedUp);
        }
        let nonce = keys.nonce();
        let (code, outer) = (content.code(), be16(record.len() - HEADER));
        let (shown, aad) = match keys.style {
            Style::V13 => (DATA, None),
            Style::V12Explicit | Style::V12 => (code, Some(keys.aad_v12(code, text))),
        };
        record[..HEADER].copy_from_slice(&[shown, 3, 3, outer[0], outer[1]]);
        if keys.style == Style::V12Explicit {
            record[HEADER..HEADER + 8].copy_from_slice(&nonce[4..]);
        }
        keys.sequence += 1;
        Ok(Begun { nonce, aad })
    }
}

/// A record whose text is to be sealed.
struct Begun {
    nonce: [u8; 12],
    /// What is authenticated beside the text, if it is not what stands before it.
    aad: Option<[u8; 13]>,
}

impl Begun {
    fn aad<'a>(&'a self, before: &'a [u8]) -> &'a [u8] {
        self.aad.as_ref().map_or(before, |aad| aad)
    }
}

/// Opens what the peer sends.
pub struct Opener(Keys);

/// Bytes of the record that `bytes` begins with, header included; absent = its header is not yet whole.
///
/// # Errors
/// When no record begins so.
pub fn record_len(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let Some(&[_, major, _, high, low]) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    match len {
        _ if major != 3 => Err(RecordError::Malformed),
        len if len > MAX_SEALED => Err(RecordError::TooLong),
        len => Ok(Some(HEADER + len)),
    }
}

impl Opener {
    /// From the secrets of a handshake, and the number of the next record.
    ///
    /// # Errors
    /// When the cipher is none of ours.
    pub fn new(
        version: ProtocolVersion,
        secrets: (u64, &ConnectionTrafficSecrets),
    ) -> Result<Self, RecordError> {
        Keys::new(Provider::Ring, version, secrets).map(Self) // requests are small
    }

    /// Opens one whole record in place: what it carries, and where its text lies in `record`.
    ///
    /// # Errors
    /// When it is malformed or forged: the connection must end.
    pub fn open(&mut self, record: &mut [u8]) -> Result<(Content, Range<usize>), RecordError> {
        let keys = &mut self.0;
        let code = *record.first().ok_or(RecordError::Malformed)?;
        let (header, sealed) = record
            .split_at_mut_checked(HEADER)
            .ok_or(RecordError::Malformed)?;
        let opened = match keys.style {
            Style::V13 => {
                if code != DATA {
                    return Err(RecordError::Malformed);
                }
                let text = keys
                    .key
                    .open(keys.nonce(), header, sealed)
                    .ok_or(RecordError::Forged)?;
                // RFC 8446 §5.4: zeros of padding, then from behind the content type.
                let last = text.iter().rposition(|b| *b != 0).ok_or(RecordError::Malformed)?;
                (Content::of(text[last])?, HEADER..HEADER + last)
            }
            Style::V12Explicit => {
                let (explicit, sealed) = sealed.split_at_mut_checked(8).ok_or(RecordError::Malformed)?;
                let mut nonce = keys.iv;
                nonce[4..].copy_from_slice(explicit);
                let len = keys.open_v12(code, nonce, sealed)?;
                (Content::of(code)?, HEADER + 8..HEADER + 8 + len)
            }
            Style::V12 => {
                let len = keys.open_v12(code, keys.nonce(), sealed)?;
                (Content::of(code)?, HEADER..HEADER + len)
            }
        };
        if opened.1.len() > MAX_PLAIN {
            return Err(RecordError::TooLong);
        }
        keys.sequence += 1;
        Ok(opened)
    }
}

impl Keys {
    fn open_v12(&self, code: u8, nonce: [u8; 12], sealed: &mut [u8]) -> Result<usize, RecordError> {
        let len = sealed.len().checked_sub(TAG).ok_or(RecordError::Malformed)?;
        let text = self.key.open(nonce, &self.aad_v12(code, len), sealed);
        text.map(|t| t.len()).ok_or(RecordError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CIPHERS: [(Algorithm, Style); 5] = [
        (Algorithm::Aes128Gcm, Style::V13),
        (Algorithm::Aes256Gcm, Style::V13),
        (Algorithm::Chacha20Poly1305, Style::V13),
        (Algorithm::Aes128Gcm, Style::V12Explicit),
        (Algorithm::Chacha20Poly1305, Style::V12),
    ];

    fn keys(cipher: (Algorithm, Style), sequence: u64) -> Keys {
        provided(Provider::Ring, cipher, sequence)
    }

    fn provided(provider: Provider, (algorithm, style): (Algorithm, Style), sequence: u64) -> Keys {
        Keys {
            key: Key::new(provider, algorithm, &vec![7; algorithm.key_len()]).unwrap(),
            iv: [3; 12],
            sequence,
            style,
        }
    }

    fn sealed(sealer: &mut Sealer, content: Content, text: &[u8]) -> Vec<u8> {
        let mut record = vec![0xee; sealer.sealed(text.len())];
        let prefix = sealer.prefix();
        record[prefix..prefix + text.len()].copy_from_slice(text);
        sealer.seal(content, &mut record).unwrap();
        record
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_to_the_same(
            provider in prop::sample::select(&Provider::ALL[..]),
            cipher in 0..CIPHERS.len(),
            first in any::<u32>(),
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..5),
            content in prop::sample::select(vec![Content::Data, Content::Alert, Content::Handshake]),
        ) {
            let first = u64::from(first) % KEY_LIFE;
            let mut sealer = Sealer(provided(provider, CIPHERS[cipher], first));
            let mut opener = Opener(keys(CIPHERS[cipher], first));
            for text in &texts {
                let mut elsewhere = Sealer(provided(provider, CIPHERS[cipher], sealer.0.sequence));
                let mut record = sealed(&mut sealer, content, text);
                if content == Content::Data {
                    let mut same = vec![0xee; record.len()];
                    elsewhere.seal_from(text, &mut same).unwrap();
                    prop_assert_eq!(&same, &record);
                }
                prop_assert_eq!(record_len(&record), Ok(Some(record.len())));
                let (kind, range) = opener.open(&mut record).unwrap();
                prop_assert!(kind == content && record[range] == text[..]);
            }
        }

        #[test]
        fn a_changed_bit_is_found(cipher in 0..CIPHERS.len(), at in 0usize..60, bit in 0u8..8) {
            let mut record = sealed(&mut Sealer(keys(CIPHERS[cipher], 0)), Content::Data, &[1; 60]);
            record[at] ^= 1 << bit;
            // The outer version is not authenticated by its value but as part of the header: any change is found.
            let opened = Opener(keys(CIPHERS[cipher], 0)).open(&mut record);
            let ignored = CIPHERS[cipher].1 != Style::V13 && (1..HEADER).contains(&at);
            prop_assert!(opened.is_err() || ignored, "{opened:?}");
        }

        #[test]
        fn no_bytes_make_it_panic(cipher in 0..CIPHERS.len(), mut bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = record_len(&bytes);
            prop_assert!(Opener(keys(CIPHERS[cipher], 0)).open(&mut bytes).is_err());
        }
    }

    #[test]
    fn padding_is_taken_off_and_nothing_but_padding_is_refused() {
        for (text, opens) in [(&[9u8, 9, 23, 0, 0, 0][..], true), (&[0; 40], false)] {
            let k = keys(CIPHERS[0], 0);
            let mut record = [&[23, 3, 3, 0, 0][..], text, &[0; TAG]].concat();
            let len = record.len();
            record[3..5].copy_from_slice(&be16(len - HEADER));
            let (header, rest) = record.split_at_mut(HEADER);
            let tag = k.key.seal(k.nonce(), header, &mut rest[..text.len()]).unwrap();
            rest[text.len()..].copy_from_slice(&tag);
            let opened = Opener(keys(CIPHERS[0], 0)).open(&mut record);
            assert_eq!(opened.is_ok(), opens);
            if let Ok((content, range)) = opened {
                assert!(content == Content::Data && record[range] == [9, 9]);
            }
        }
    }

    #[test]
    fn keys_end_before_they_wear_out() {
        let mut sealer = Sealer(keys(CIPHERS[0], KEY_LIFE - 1));
        assert!(!sealer.is_old());
        sealed(&mut sealer, Content::Data, b"x");
        assert!(sealer.is_old());
        let mut worn = Sealer(keys(CIPHERS[0], 2 * KEY_LIFE));
        assert_eq!(worn.seal(Content::Data, &mut [0; 30]), Err(RecordError::UsedUp));
    }
}
