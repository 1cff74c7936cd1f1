//! Frames of an HTTP/3 response (RFC 9114, section 7), read from chunks that end anywhere.

use super::{
    super::{exchange::Exchange, fault::Fault},
    qpack,
};

const DATA: u64 = 0;
const HEADERS: u64 = 1;
/// Longest field section that is taken.
const SECTION: u64 = 16 << 10;
/// Longest frame head: two integers of eight bytes.
const FRAME_HEAD: usize = 16;

/// Where a response's stream of bytes is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    state: State,
    /// The beginning of something whose end has not come.
    partial: Vec<u8>,
    seen_head: bool,
}

#[derive(Debug, Default)]
enum State {
    /// In a frame's type and length.
    #[default]
    Head,
    /// In a field section of so many bytes.
    Section(usize),
    /// In a body, with so many bytes of the frame left.
    Body(u64),
    /// In a frame that says nothing to us.
    Other(u64),
}

impl Frames {
    /// The next bytes of the stream.
    pub(super) fn push(&mut self, mut bytes: &[u8], exchange: &mut Exchange<'_>) -> Result<(), Fault> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.push_head(bytes)?,
                State::Section(length) => self.push_section(bytes, length, exchange)?,
                State::Body(left) | State::Other(left) => self.push_content(bytes, left, exchange)?,
            };
        }
        Ok(())
    }

    /// Whether the stream may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.seen_head && self.partial.is_empty() && matches!(self.state, State::Head)
    }

    fn push_head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Fault> {
        let before = self.partial.len();
        let more = bytes.len().min(FRAME_HEAD - before);
        self.partial.extend_from_slice(&bytes[..more]);
        let Some((kind, length, used)) = frame_head(&self.partial) else {
            return Ok(&bytes[more..]);
        };
        self.partial.clear();
        self.state = match (kind, length) {
            (HEADERS, 0) => return Err(Fault::Protocol("an empty field section".to_owned())),
            (HEADERS, SECTION..) => {
                return Err(Fault::Protocol(format!("a field section of {length} bytes")));
            }
            (HEADERS, length) => State::Section(length as usize),
            (_, 0) => State::Head,
            (DATA, _) if !self.seen_head => return Err(Fault::Protocol("a body before its head".to_owned())),
            (DATA, length) => State::Body(length),
            (_, length) => State::Other(length),
        };
        Ok(&bytes[used - before..])
    }

    fn push_section<'b>(
        &mut self,
        bytes: &'b [u8],
        length: usize,
        exchange: &mut Exchange<'_>,
    ) -> Result<&'b [u8], Fault> {
        let (mine, rest) = bytes.split_at(bytes.len().min(length - self.partial.len()));
        self.partial.extend_from_slice(mine);
        if self.partial.len() == length {
            // A second section is that of trailers.
            if !self.seen_head {
                let (status, length) = qpack::response(&self.partial)
                    .ok_or_else(|| Fault::Protocol("a field section that cannot be read".to_owned()))?;
                if !(100..200).contains(&status) {
                    exchange.head(status, length)?;
                    self.seen_head = true;
                }
            }
            self.partial.clear();
            self.state = State::Head;
        }
        Ok(rest)
    }

    fn push_content<'b>(
        &mut self,
        bytes: &'b [u8],
        left: u64,
        exchange: &mut Exchange<'_>,
    ) -> Result<&'b [u8], Fault> {
        let (mine, rest) = bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        let left = left - mine.len() as u64;
        let is_body = matches!(self.state, State::Body(_));
        self.state = match (left, is_body) {
            (0, _) => State::Head,
            (left, true) => State::Body(left),
            (left, false) => State::Other(left),
        };
        if is_body {
            exchange.body(mine)?;
        }
        Ok(rest)
    }
}

/// A frame's type and length, and how many bytes they take; absent while they are incomplete.
fn frame_head(bytes: &[u8]) -> Option<(u64, u64, usize)> {
    let (kind, first) = varint(bytes)?;
    let (length, second) = varint(&bytes[first..])?;
    Some((kind, length, first + second))
}

/// A QUIC integer and how many bytes it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = 1 << (bytes.first()? >> 6);
    let bytes = bytes.get(..length)?;
    let first = u64::from(bytes[0] & 0x3f);
    let value = bytes[1..].iter().fold(first, |sum, b| sum << 8 | u64::from(*b));
    Some((value, length))
}

/// The frame of a request's field section.
pub(super) fn headers(section: &[u8]) -> Vec<u8> {
    let length = section.len() as u32 | 0x8000_0000;
    let mut frame = vec![HEADERS as u8];
    frame.extend(length.to_be_bytes());
    frame.extend(section);
    frame
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{
            choice::{Target, Wish},
            tally::Tally,
        },
        *,
    };

    /// A response of 200, a frame to skip, and a body in two frames.
    fn response() -> Vec<u8> {
        let mut section = vec![0, 0, 0b1101_1001, 0b0101_0100, 2];
        section.extend(b"10");
        let mut out = headers(&section);
        out.extend([0x21, 3, 9, 9, 9]);
        out.extend([0, 4, 1, 2, 3, 4]);
        out.extend([0, 0x40, 6, 5, 6, 7, 8, 9, 10]);
        out
    }

    #[test]
    fn chunks_may_end_anywhere() {
        let target = Target {
            path: "/f".into(),
            size: Some(10),
            file: None,
        };
        let wish = Wish {
            target: 0,
            range: None,
            head: false,
        };
        let tally = Tally::new(Default::default());
        let bytes = response();
        for size in 1..=bytes.len() {
            let mut exchange = Exchange::new(&wish, &target, None, &tally);
            let mut frames = Frames::default();
            for chunk in bytes.chunks(size) {
                frames.push(chunk, &mut exchange).unwrap();
            }
            assert!(frames.is_whole() && exchange.end().is_ok(), "chunks of {size}");
            assert_eq!(exchange.status(), 200);
        }
        let mut exchange = Exchange::new(&wish, &target, None, &tally);
        let mut frames = Frames::default();
        frames.push(&bytes[..bytes.len() - 1], &mut exchange).unwrap();
        assert!(!frames.is_whole());
        assert!(matches!(exchange.end(), Err(Fault::Short { got: 9, of: 10, .. })));
    }
}
