//! Frames (RFC 9114 §7) out of the bytes of a stream, whatever pieces they come in. Content is passed through, small
//! frames are collected up to a limit, and what is unknown is skipped, as the extension points of §9 want it.

use super::{ErrorCode, varint::Partial};

/// Most bytes of a frame that is collected and is no field section: settings are a few integers.
const SMALL: u64 = 1024;

/// A frame's type, as far as we know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Content.
    Data,
    /// A field section.
    Headers,
    /// A push is not wanted.
    CancelPush,
    /// Settings.
    Settings,
    /// A push: never sent by a client.
    PushPromise,
    /// No more requests (from a client: no more pushes).
    GoAway,
    /// Pushes that the client would take.
    MaxPushId,
}

impl Kind {
    /// Its number on the wire.
    pub fn number(self) -> u64 {
        match self {
            Self::Data => 0x0,
            Self::Headers => 0x1,
            Self::CancelPush => 0x3,
            Self::Settings => 0x4,
            Self::PushPromise => 0x5,
            Self::GoAway => 0x7,
            Self::MaxPushId => 0xd,
        }
    }

    /// Absent = unknown, to be skipped.
    ///
    /// # Errors
    /// A type of HTTP/2 that HTTP/3 must not have (§7.2.8).
    fn from_number(number: u64) -> Result<Option<Self>, ErrorCode> {
        Ok(Some(match number {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x3 => Self::CancelPush,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x7 => Self::GoAway,
            0xd => Self::MaxPushId,
            0x2 | 0x6 | 0x8 | 0x9 => return Err(ErrorCode::FrameUnexpected),
            _ => return Ok(None),
        }))
    }
}

/// What a stream brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A frame begins.
    Begins(Kind),
    /// Bytes of a DATA frame.
    Content(&'a [u8]),
    /// A whole frame other than DATA.
    Whole(Kind, Vec<u8>),
    /// A field section longer than the limit; its bytes are skipped.
    TooLong,
}

#[derive(Debug)]
enum State {
    Type(Partial),
    Length(Option<Kind>, Partial),
    Content(u64),
    Skip(u64),
    Collect(Kind, u64, Vec<u8>),
}

/// Takes a stream's bytes and gives its frames.
#[derive(Debug)]
pub struct Frames {
    state: State,
    /// Most bytes of a field section.
    section: u64,
}

impl Frames {
    /// Of a stream at its beginning (after its type, if it is unidirectional).
    pub fn new(section: u64) -> Self {
        Self {
            state: State::Type(Partial::default()),
            section,
        }
    }

    /// Whether the stream may end here.
    pub fn is_between(&self) -> bool {
        matches!(&self.state, State::Type(partial) if partial.is_empty())
    }

    /// The next event, taking what it needs from the front of `input`; absent = all of it was taken.
    ///
    /// # Errors
    /// Of the connection, when a frame is one that must not be or is too long.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, ErrorCode> {
        loop {
            match &mut self.state {
                State::Type(partial) => {
                    let Some(number) = partial.take(input) else {
                        return Ok(None);
                    };
                    let kind = Kind::from_number(number)?;
                    self.state = State::Length(kind, Partial::default());
                    if let Some(kind) = kind {
                        return Ok(Some(Event::Begins(kind)));
                    }
                }
                State::Length(kind, partial) => {
                    let Some(len) = partial.take(input) else {
                        return Ok(None);
                    };
                    let kind = *kind;
                    if let Some(event) = self.begin(kind, len)? {
                        return Ok(Some(event));
                    }
                }
                State::Content(left) | State::Skip(left) if *left == 0 => {
                    self.state = State::Type(Partial::default());
                }
                State::Content(left) => {
                    let piece = take(input, left);
                    return Ok((!piece.is_empty()).then_some(Event::Content(piece)));
                }
                State::Skip(left) => {
                    if take(input, left).is_empty() {
                        return Ok(None);
                    }
                }
                State::Collect(kind, left, held) => {
                    held.extend_from_slice(take(input, left));
                    if *left > 0 {
                        return Ok(None);
                    }
                    let event = Event::Whole(*kind, std::mem::take(held));
                    self.state = State::Type(Partial::default());
                    return Ok(Some(event));
                }
            }
        }
    }

    fn begin(&mut self, kind: Option<Kind>, len: u64) -> Result<Option<Event<'static>>, ErrorCode> {
        let (state, event) = match kind {
            None => (State::Skip(len), None),
            Some(Kind::Data) => (State::Content(len), None),
            Some(Kind::Headers) if len > self.section => (State::Skip(len), Some(Event::TooLong)),
            Some(kind) if kind != Kind::Headers && len > SMALL => return Err(ErrorCode::ExcessiveLoad),
            Some(kind) => (State::Collect(kind, len, Vec::new()), None),
        };
        self.state = state;
        Ok(event)
    }
}

/// At most `left` bytes from the front of `input`.
fn take<'a>(input: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    let (piece, rest) = input.split_at(n);
    *input = rest;
    *left -= n as u64;
    piece
}

/// Appends a frame's type and length.
pub fn head(kind: Kind, len: u64, out: &mut Vec<u8>) {
    super::varint::encode(kind.number(), out);
    super::varint::encode(len, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whole frames, and content joined.
    type Brought = (Vec<(Kind, Vec<u8>)>, Vec<u8>);

    /// All that a stream brings.
    fn read(pieces: &[&[u8]]) -> Result<Brought, ErrorCode> {
        let mut frames = Frames::new(64);
        let (mut whole, mut content) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while let Some(event) = frames.next(&mut input)? {
                match event {
                    Event::Whole(kind, bytes) => whole.push((kind, bytes)),
                    Event::Content(bytes) => content.extend_from_slice(bytes),
                    Event::Begins(_) | Event::TooLong => {}
                }
            }
            assert!(input.is_empty());
        }
        Ok((whole, content))
    }

    #[test]
    fn unknown_frames_are_skipped_and_those_of_http2_refused() {
        let grease = [
            0x21, 3, b'a', b'b', b'c', 1, 2, b'h', b'i', 0x40, 0xff, 0, 0, 1, b'd',
        ];
        let expected = (vec![(Kind::Headers, b"hi".to_vec())], b"d".to_vec());
        assert_eq!(read(&[&grease]), Ok(expected));
        for number in [2, 6, 8, 9] {
            assert_eq!(read(&[&[number, 0]]), Err(ErrorCode::FrameUnexpected));
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let mut long = vec![1, 0x40, 65];
        long.resize(3 + 65, 0);
        let mut frames = Frames::new(64);
        let mut input = &long[..];
        assert_eq!(frames.next(&mut input), Ok(Some(Event::Begins(Kind::Headers))));
        assert_eq!(frames.next(&mut input), Ok(Some(Event::TooLong)));
        assert_eq!(frames.next(&mut input), Ok(None));
        assert!(input.is_empty());
        assert_eq!(
            read(&[&[4, 0x80, 0, 0x10, 0]]),
            Err(ErrorCode::ExcessiveLoad),
            "nobody has so many settings"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_the_same_frames(bytes: Vec<u8>, cut in 0usize..64) {
            let whole = read(&[&bytes]);
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(read(&[a, b]), whole.clone());
            let singly: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(read(&singly), whole);
        }

        #[test]
        fn what_is_written_is_read(section in proptest::collection::vec(any::<u8>(), 0..64), data: Vec<u8>) {
            let mut bytes = Vec::new();
            head(Kind::Headers, section.len() as u64, &mut bytes);
            bytes.extend_from_slice(&section);
            head(Kind::Data, data.len() as u64, &mut bytes);
            bytes.extend_from_slice(&data);
            prop_assert_eq!(read(&[&bytes]), Ok((vec![(Kind::Headers, section)], data)));
        }
    }
}
