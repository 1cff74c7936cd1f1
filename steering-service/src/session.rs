//! Session tokens: what the steering endpoint must know about a session, in the session's own URL.
//!
//! A token says which title is played, a random id, and which pathways the session's manifest declares, and is
//! authenticated by HMAC-SHA-256. The service therefore keeps nothing about sessions: any replica with the same key
//! answers for any of them, before and after a restart. Decisions are not in the token, they are made anew at every poll.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use cdn_types::{OcaId, TitleId};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt::Write;

/// Most pathways that a token may name: the top three and the fallback today, with room.
pub const MAX_PATHWAYS: usize = 8;
/// Longest token in characters: eight ids of 64, a title, the id, the authenticator, in base64.
pub const MAX_TOKEN_LEN: usize = 1024;
/// Shortest key in bytes.
pub const MIN_KEY_LEN: usize = 16;
/// Bytes of the authenticator: 128 bits of HMAC-SHA-256 (RFC 2104 §5 allows half).
const MAC_LEN: usize = 16;
/// First character of the authenticated text; another one means another layout.
const LAYOUT: &str = "1";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The title.
    pub asset: TitleId,
    /// 16 hexadecimal digits.
    pub id: String,
    /// Pathway ids that the manifest declares, best first at the time. Appliance ids and `origin` share a character
    /// set, so that one type serves.
    pub pathways: Vec<OcaId>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Cut, garbled, or of another layout.
    #[error("this is no session token; take the address from the manifest as it stands")]
    Malformed,
    /// Made with another key, or altered.
    #[error("the session token is not of this service's key; fetch the manifest again")]
    Forged,
}

/// The key that makes and checks tokens.
#[derive(Clone)]
pub struct SessionKey(Hmac<Sha256>);

impl SessionKey {
    /// From at least [`MIN_KEY_LEN`] secret bytes; fewer give `None`.
    pub fn new(secret: &[u8]) -> Option<Self> {
        (secret.len() >= MIN_KEY_LEN)
            .then(|| Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")))
    }

    /// Writes a token, safe in a URL path.
    pub fn seal(&self, session: &Session) -> String {
        let mut text = format!("{LAYOUT}/{}/{}/", session.asset, session.id);
        for (i, pathway) in session.pathways.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let _ = write!(text, "{comma}{pathway}");
        }
        let mac = self.0.clone().chain_update(&text).finalize().into_bytes();
        let mut token = URL_SAFE_NO_PAD.encode(text);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&mac[..MAC_LEN], &mut token);
        token
    }

    /// Reads a token.
    pub fn open(&self, token: &str) -> Result<Session, SessionError> {
        use SessionError::{Forged, Malformed};
        if token.len() > MAX_TOKEN_LEN {
            return Err(Malformed);
        }
        let (text, mac) = token.split_once('.').ok_or(Malformed)?;
        let text = URL_SAFE_NO_PAD.decode(text).map_err(|_| Malformed)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).map_err(|_| Malformed)?;
        if mac.len() != MAC_LEN {
            return Err(Malformed);
        }
        self.0
            .clone()
            .chain_update(&text)
            .verify_truncated_left(&mac)
            .map_err(|_| Forged)?;
        parse(std::str::from_utf8(&text).map_err(|_| Malformed)?).ok_or(Malformed)
    }
}

fn parse(text: &str) -> Option<Session> {
    let mut parts = text.split('/');
    let (layout, asset, id, pathways) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if layout != LAYOUT || parts.next().is_some() {
        return None;
    }
    let pathways: Vec<_> = pathways
        .split(',')
        .filter(|p| !p.is_empty())
        .map(OcaId::new)
        .collect::<Result<_, _>>()
        .ok()?;
    (pathways.len() <= MAX_PATHWAYS).then_some(Session {
        asset: TitleId::new(asset).ok()?,
        id: id.to_owned(),
        pathways,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            asset: TitleId::new("big.buck_bunny").unwrap(),
            id: "0123456789abcdef".into(),
            pathways: ["oca-1", "oca-2", "origin"]
                .iter()
                .map(|p| OcaId::new(*p).unwrap())
                .collect(),
        }
    }

    #[test]
    fn a_token_reads_back_and_is_safe_in_a_path() {
        let key = SessionKey::new(b"0123456789abcdef").unwrap();
        let token = key.seal(&session());
        assert!(
            token
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')),
            "{token}"
        );
        assert_eq!(key.open(&token), Ok(session()));
        assert!(SessionKey::new(b"short").is_none());
    }

    #[test]
    fn every_altered_byte_and_other_keys_are_refused() {
        let key = SessionKey::new(b"0123456789abcdef").unwrap();
        let token = key.seal(&session());
        for i in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[i] = if bytes[i] == b'A' { b'B' } else { b'A' };
            assert!(
                key.open(std::str::from_utf8(&bytes).unwrap()).is_err(),
                "byte {i}"
            );
        }
        assert_eq!(
            SessionKey::new(b"another key, 16+").unwrap().open(&token),
            Err(SessionError::Forged)
        );
        for bad in ["", ".", "a", "a.b", &"x".repeat(5000), &token[..token.len() - 2]] {
            assert_eq!(key.open(bad), Err(SessionError::Malformed), "{bad}");
        }
    }

    #[test]
    fn the_longest_session_fits() {
        let long = "x".repeat(64);
        let key = SessionKey::new(&[7; 32]).unwrap();
        let session = Session {
            asset: TitleId::new(long.clone()).unwrap(),
            id: "0123456789abcdef".into(),
            pathways: vec![OcaId::new(long).unwrap(); MAX_PATHWAYS],
        };
        assert_eq!(key.open(&key.seal(&session)), Ok(session));
    }
}
