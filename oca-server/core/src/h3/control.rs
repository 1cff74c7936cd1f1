//! The unidirectional streams of a client (RFC 9114 §6.2): control, QPACK's two, and what is unknown. And what we send
//! on our own control stream.

use super::{
    ErrorCode,
    frame::{self, Event, Frames, Kind},
    qpack::{self, DecoderStream},
    varint::{self, Partial},
};

/// SETTINGS_MAX_FIELD_SECTION_SIZE.
const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
/// Settings of HTTP/2 that must not be sent (§7.2.4.1).
const RESERVED: [u64; 4] = [0x2, 0x3, 0x4, 0x5];

/// Which streams the client has opened.
#[derive(Debug, Default)]
pub struct Opened {
    control: bool,
    encoder: bool,
    decoder: bool,
}

#[derive(Debug)]
enum Role {
    /// Its type is not known yet.
    Unknown(Partial),
    Control(Control),
    Encoder,
    Decoder(DecoderStream),
    /// A type that nobody knows: to be stopped (§6.2.3).
    Ignored,
}

/// One unidirectional stream of the client.
#[derive(Debug)]
pub struct UniStream(Role);

impl Default for UniStream {
    fn default() -> Self {
        Self(Role::Unknown(Partial::default()))
    }
}

impl UniStream {
    /// Takes all of `bytes`.
    ///
    /// # Errors
    /// Of the connection.
    pub fn push(&mut self, opened: &mut Opened, mut bytes: &[u8]) -> Result<(), ErrorCode> {
        if let Role::Unknown(partial) = &mut self.0 {
            let Some(number) = partial.take(&mut bytes) else {
                return Ok(());
            };
            self.0 = role(number, opened)?;
        }
        match &mut self.0 {
            Role::Control(control) => control.push(bytes),
            Role::Encoder => qpack::encoder_stream(bytes),
            Role::Decoder(stream) => stream.push(bytes),
            Role::Unknown(_) | Role::Ignored => Ok(()),
        }
    }

    /// The client has ended or reset it.
    ///
    /// # Errors
    /// When the connection needs it.
    pub fn end(&self) -> Result<(), ErrorCode> {
        match self.0 {
            Role::Unknown(_) | Role::Ignored => Ok(()),
            _ => Err(ErrorCode::ClosedCriticalStream),
        }
    }

    /// Whether nobody wants to read it.
    pub fn is_ignored(&self) -> bool {
        matches!(self.0, Role::Ignored)
    }
}

fn role(number: u64, opened: &mut Opened) -> Result<Role, ErrorCode> {
    let (slot, role) = match number {
        0x0 => (&mut opened.control, Role::Control(Control::default())),
        0x1 => return Err(ErrorCode::StreamCreationError), // only servers push
        0x2 => (&mut opened.encoder, Role::Encoder),
        0x3 => (&mut opened.decoder, Role::Decoder(DecoderStream::default())),
        _ => return Ok(Role::Ignored),
    };
    if std::mem::replace(slot, true) {
        return Err(ErrorCode::StreamCreationError);
    }
    Ok(role)
}

/// A client's control stream.
#[derive(Debug)]
struct Control {
    frames: Frames,
    settled: bool,
    max_push: Option<u64>,
    going: Option<u64>,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            frames: Frames::new(0),
            settled: false,
            max_push: None,
            going: None,
        }
    }
}

impl Control {
    fn push(&mut self, mut input: &[u8]) -> Result<(), ErrorCode> {
        while let Some(event) = self.frames.next(&mut input)? {
            match event {
                Event::Begins(kind) => self.begins(kind)?,
                Event::Whole(kind, payload) => self.whole(kind, &payload)?,
                Event::Content(_) | Event::TooLong => {}
            }
        }
        Ok(())
    }

    fn begins(&self, kind: Kind) -> Result<(), ErrorCode> {
        match (self.settled, kind) {
            (false, Kind::Settings) => Ok(()),
            (false, _) => Err(ErrorCode::MissingSettings),
            (true, Kind::GoAway | Kind::MaxPushId | Kind::CancelPush) => Ok(()),
            (true, _) => Err(ErrorCode::FrameUnexpected),
        }
    }

    fn whole(&mut self, kind: Kind, payload: &[u8]) -> Result<(), ErrorCode> {
        if kind == Kind::Settings {
            self.settled = true;
            return settings(payload);
        }
        let id = match varint::decode(payload) {
            Some((id, len)) if len == payload.len() => id,
            _ => return Err(ErrorCode::FrameError),
        };
        match kind {
            Kind::MaxPushId if self.max_push.is_some_and(|before| id < before) => Err(ErrorCode::IdError),
            Kind::MaxPushId => {
                self.max_push = Some(id);
                Ok(())
            }
            Kind::GoAway if self.going.is_some_and(|before| id > before) => Err(ErrorCode::IdError),
            Kind::GoAway => {
                self.going = Some(id);
                Ok(())
            }
            _ => Err(ErrorCode::IdError), // CANCEL_PUSH of a push that we never promised
        }
    }
}

/// None of a client's settings changes what we send: we use no dynamic table and write short field sections.
fn settings(mut payload: &[u8]) -> Result<(), ErrorCode> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let mut integer = || {
            let (value, len) = varint::decode(payload).ok_or(ErrorCode::FrameError)?;
            payload = &payload[len..];
            Ok(value)
        };
        let (id, _) = (integer()?, integer()?);
        if RESERVED.contains(&id) || seen.contains(&id) {
            return Err(ErrorCode::SettingsError);
        }
        seen.push(id);
    }
    Ok(())
}

/// The beginning of our control stream: its type and our settings.
pub fn opening(most_section: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    varint::encode(MAX_FIELD_SECTION_SIZE, &mut payload);
    varint::encode(most_section, &mut payload);
    let mut out = vec![0];
    frame::head(Kind::Settings, payload.len() as u64, &mut out);
    out.extend_from_slice(&payload);
    out
}

/// GOAWAY: requests on streams from `id` on are not answered.
pub fn go_away(id: u64) -> Vec<u8> {
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    varint::encode(id, &mut payload);
    frame::head(Kind::GoAway, payload.len() as u64, &mut out);
    out.extend_from_slice(&payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pushed(bytes: &[u8]) -> Result<(), ErrorCode> {
        UniStream::default().push(&mut Opened::default(), bytes)
    }

    #[test]
    fn a_control_stream_begins_with_settings() {
        assert_eq!(pushed(&[0, 4, 0]), Ok(()));
        assert_eq!(pushed(&opening(16384)), Ok(()), "as we write it ourselves");
        assert_eq!(pushed(&[0, 7, 1, 0]), Err(ErrorCode::MissingSettings));
        assert_eq!(
            pushed(&[0, 0x21, 0, 4, 0]),
            Ok(()),
            "after frames that nobody knows"
        );
        assert_eq!(pushed(&[0, 4, 0, 4, 0]), Err(ErrorCode::FrameUnexpected));
        assert_eq!(pushed(&[0, 4, 0, 0, 0]), Err(ErrorCode::FrameUnexpected));
    }

    #[test]
    fn settings_are_checked() {
        assert_eq!(pushed(&[0, 4, 2, 2, 1]), Err(ErrorCode::SettingsError));
        assert_eq!(pushed(&[0, 4, 4, 6, 1, 6, 1]), Err(ErrorCode::SettingsError));
        assert_eq!(pushed(&[0, 4, 1, 6]), Err(ErrorCode::FrameError));
        assert_eq!(pushed(&[0, 4, 4, 6, 1, 0x21, 1]), Ok(()));
    }

    #[test]
    fn ids_go_one_way() {
        assert_eq!(pushed(&[0, 4, 0, 0xd, 1, 5, 0xd, 1, 6]), Ok(()));
        assert_eq!(pushed(&[0, 4, 0, 0xd, 1, 5, 0xd, 1, 4]), Err(ErrorCode::IdError));
        assert_eq!(pushed(&[0, 4, 0, 7, 1, 4, 7, 1, 0]), Ok(()));
        assert_eq!(pushed(&[0, 4, 0, 7, 1, 0, 7, 1, 4]), Err(ErrorCode::IdError));
        assert_eq!(pushed(&[0, 4, 0, 3, 1, 0]), Err(ErrorCode::IdError));
        assert_eq!(pushed(&[0, 4, 0, 7, 2, 0, 0]), Err(ErrorCode::FrameError));
    }

    #[test]
    fn critical_streams_are_opened_once_and_never_closed() {
        let mut opened = Opened::default();
        for number in [0, 2, 3] {
            let mut first = UniStream::default();
            assert_eq!(first.push(&mut opened, &[number]), Ok(()));
            assert_eq!(first.end(), Err(ErrorCode::ClosedCriticalStream));
            let again = UniStream::default().push(&mut opened, &[number]);
            assert_eq!(again, Err(ErrorCode::StreamCreationError));
        }
        assert_eq!(pushed(&[1]), Err(ErrorCode::StreamCreationError));
        let mut grease = UniStream::default();
        assert_eq!(grease.push(&mut opened, &[0x21, 1, 2, 3]), Ok(()));
        assert!(grease.is_ignored() && grease.end().is_ok());
    }

    #[test]
    fn go_away_is_read_as_written() {
        assert_eq!(pushed(&[&[0, 4, 0][..], &go_away(varint::MAX)].concat()), Ok(()));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, role in 0u8..6) {
            let whole = pushed(&[&[role][..], &bytes].concat());
            let mut singly = UniStream::default();
            let mut opened = Opened::default();
            let pieces = [&[role][..], &bytes].concat();
            let result = pieces.iter().try_for_each(|b| singly.push(&mut opened, &[*b]));
            prop_assert_eq!(whole, result);
        }
    }
}
