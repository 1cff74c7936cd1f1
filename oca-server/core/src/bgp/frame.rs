//! Where messages begin and end in a stream (RFC 4271 §4.1, §6.1). A fault here ends the session: nothing that follows
//! could be found.

use super::message::Notification;

/// Octets of a header.
pub const HEADER: usize = 19;
/// Most octets of a message: extended messages (RFC 8654) are not agreed to.
pub const MOST: usize = 4096;
/// What every header begins with.
const MARKER: [u8; 16] = [0xff; 16];

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OPEN.
    Open,
    /// UPDATE.
    Update,
    /// NOTIFICATION.
    Notification,
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918).
    Refresh,
}

impl Kind {
    fn of(octet: u8) -> Option<Self> {
        Some(match octet {
            1 => Self::Open,
            2 => Self::Update,
            3 => Self::Notification,
            4 => Self::Keepalive,
            5 => Self::Refresh,
            _ => return None,
        })
    }

    fn fits(self, len: usize) -> bool {
        match self {
            Self::Open => len >= 29,
            Self::Update | Self::Refresh => len >= 23,
            Self::Notification => len >= 21,
            Self::Keepalive => len == HEADER,
        }
    }
}

/// The first message of `octets`: what it is and its length with the header; none if not all of it has come.
///
/// # Errors
/// The NOTIFICATION that the session ends with.
pub fn first(octets: &[u8]) -> Result<Option<(Kind, usize)>, Notification> {
    let known = octets.len().min(MARKER.len());
    if octets[..known] != MARKER[..known] {
        return Err(Notification::new(1, 1));
    }
    let Some(header) = octets.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let len = u16::from_be_bytes([header[16], header[17]]);
    let bad_length = || Notification {
        data: len.to_be_bytes().to_vec(),
        ..Notification::new(1, 2)
    };
    let bad_kind = || Notification {
        data: vec![header[18]],
        ..Notification::new(1, 3)
    };
    let kind = Kind::of(header[18]).ok_or_else(bad_kind)?;
    let len = usize::from(len);
    if len > MOST || !kind.fits(len) {
        return Err(bad_length());
    }
    Ok((octets.len() >= len).then_some((kind, len)))
}

/// A message of this kind octet and body, with its header.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (HEADER + body.len()) as u16;
    [&MARKER[..], &len.to_be_bytes(), &[kind], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_one_by_one() {
        let two = [message(4, &[]), message(2, &[0; 4])].concat();
        assert_eq!(first(&two), Ok(Some((Kind::Keepalive, 19))));
        assert_eq!(first(&two[19..]), Ok(Some((Kind::Update, 23))));
        for cut in 0..19 {
            assert_eq!(first(&two[..cut]), Ok(None));
        }
        assert_eq!(first(&two[19..41]), Ok(None));
    }

    #[test]
    fn bad_headers_end_the_session() {
        let reason = |octets: &[u8]| first(octets).map_err(|n| (n.code, n.subcode, n.data));
        assert_eq!(reason(b"GET / HTTP/1.1\r\n"), Err((1, 1, vec![])));
        assert_eq!(reason(&message(4, &[0])), Err((1, 2, vec![0, 20])));
        assert_eq!(reason(&message(1, &[0; 9])), Err((1, 2, vec![0, 28])));
        assert_eq!(reason(&message(2, &[0; 4078])), Err((1, 2, vec![16, 1])));
        assert_eq!(reason(&message(6, &[])), Err((1, 3, vec![6])));
        assert_eq!(reason(&message(0, &[])), Err((1, 3, vec![0])));
    }
}
