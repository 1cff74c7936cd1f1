//! Frames of a connection (RFC 9113, section 4), read from pieces that end anywhere. Bodies go through as they come; of everything else
//! a whole frame is kept until it is complete.

use super::super::{fault::Fault, setup::DEFAULT_WINDOW};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Bytes of a frame's head.
const FRAME_HEAD: usize = 9;
/// Largest frame that we allow: the default, which is that of browsers.
const FRAME: usize = 16 << 10;
/// Longest field section that is taken.
const SECTION: usize = 64 << 10;

/// What a frame tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// A field section of a stream, and whether the stream ends with it.
    Fields(u32, &'a [u8], bool),
    /// Bytes of a stream's body.
    Data(u32, &'a [u8]),
    /// Bytes of a stream's flow that are no body.
    Padding(u32, u32),
    /// A stream has ended.
    End(u32),
    /// A stream was reset, with a code.
    Reset(u32, u32),
    /// The server's settings.
    Settings,
    /// A ping to be sent back.
    Ping([u8; 8]),
    /// No streams after this one are looked at; with a code.
    GoAway(u32, u32),
}

#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Where the connection's stream of bytes is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The frame that is being read, once its head is known.
    frame: Option<Head>,
    /// Bytes of it that went through.
    passed: usize,
    /// The beginning of something whose end has not come.
    partial: Vec<u8>,
    /// A field section that goes on: its stream and whether that ends with it.
    section: Option<(u32, bool, Vec<u8>)>,
}

impl Frames {
    /// The next bytes; `tell` gets what they say.
    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while !bytes.is_empty() {
            bytes = match self.frame {
                None => self.push_head(bytes, tell)?,
                Some(head) if head.kind == DATA && !head.has(PADDED) => self.push_data(head, bytes, tell)?,
                Some(head) => self.push_other(head, bytes, tell)?,
            };
        }
        Ok(())
    }

    fn push_head<'b>(
        &mut self,
        bytes: &'b [u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<&'b [u8], Fault> {
        let (mine, rest) = bytes.split_at(bytes.len().min(FRAME_HEAD - self.partial.len()));
        self.partial.extend_from_slice(mine);
        let &[l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.partial.as_slice() else {
            return Ok(rest);
        };
        self.partial.clear();
        let head = Head {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        };
        if head.length > FRAME {
            return Err(Fault::Protocol(format!("a frame of {} bytes", head.length)));
        }
        self.frame = Some(head);
        self.passed = 0;
        if head.length == 0 {
            self.finish(head, tell)?;
        }
        Ok(rest)
    }

    fn push_data<'b>(
        &mut self,
        head: Head,
        bytes: &'b [u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<&'b [u8], Fault> {
        let (mine, rest) = bytes.split_at(bytes.len().min(head.length - self.passed));
        self.passed += mine.len();
        tell(Event::Data(head.stream, mine))?;
        if self.passed == head.length {
            self.finish(head, tell)?;
        }
        Ok(rest)
    }

    fn push_other<'b>(
        &mut self,
        head: Head,
        bytes: &'b [u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<&'b [u8], Fault> {
        let (mine, rest) = bytes.split_at(bytes.len().min(head.length - self.partial.len()));
        self.partial.extend_from_slice(mine);
        if self.partial.len() == head.length {
            self.finish(head, tell)?;
        }
        Ok(rest)
    }

    /// The frame is complete.
    fn finish(
        &mut self,
        head: Head,
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.frame = None;
        let payload = std::mem::take(&mut self.partial);
        let result = self.handle(head, &payload, tell);
        self.partial = payload;
        self.partial.clear();
        result
    }

    fn handle(
        &mut self,
        head: Head,
        payload: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let broken = || Fault::Protocol(format!("a frame of kind {} that is too short", head.kind));
        if self.section.is_some() && head.kind != CONTINUATION {
            return Err(Fault::Protocol(
                "a field section that another frame interrupts".to_owned(),
            ));
        }
        match head.kind {
            DATA => {
                if head.has(PADDED) {
                    let body = unpadded(payload).ok_or_else(broken)?;
                    tell(Event::Data(head.stream, body))?;
                    tell(Event::Padding(head.stream, (payload.len() - body.len()) as u32))?;
                }
                if head.has(END_STREAM) {
                    tell(Event::End(head.stream))?;
                }
                Ok(())
            }
            HEADERS => {
                let mut block = payload;
                if head.has(PADDED) {
                    block = unpadded(block).ok_or_else(broken)?;
                }
                if head.has(PRIORITY) {
                    block = block.get(5..).ok_or_else(broken)?;
                }
                let ends = head.has(END_STREAM);
                if head.has(END_HEADERS) {
                    return tell(Event::Fields(head.stream, block, ends));
                }
                self.section = Some((head.stream, ends, block.to_vec()));
                Ok(())
            }
            CONTINUATION => self.go_on(head, payload, tell),
            RST_STREAM => tell(Event::Reset(head.stream, number(payload, 0).ok_or_else(broken)?)),
            SETTINGS if head.has(ACK) => Ok(()),
            SETTINGS => tell(Event::Settings),
            PUSH_PROMISE => Err(Fault::Protocol("a push that we did not allow".to_owned())),
            PING if head.has(ACK) => Ok(()),
            PING => tell(Event::Ping(payload.try_into().map_err(|_| broken())?)),
            GOAWAY => tell(Event::GoAway(
                number(payload, 0).ok_or_else(broken)? & 0x7fff_ffff,
                number(payload, 4).ok_or_else(broken)?,
            )),
            _ => Ok(()),
        }
    }

    fn go_on(
        &mut self,
        head: Head,
        payload: &[u8],
        tell: &mut impl FnMut(Event<'_>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some((stream, ends, mut section)) = self.section.take().filter(|s| s.0 == head.stream) else {
            return Err(Fault::Protocol("a continuation of nothing".to_owned()));
        };
        section.extend_from_slice(payload);
        if section.len() > SECTION {
            return Err(Fault::Protocol(format!("a field section over {SECTION} bytes")));
        }
        if head.has(END_HEADERS) {
            return tell(Event::Fields(stream, &section, ends));
        }
        self.section = Some((stream, ends, section));
        Ok(())
    }
}

fn unpadded(payload: &[u8]) -> Option<&[u8]> {
    let (&padding, rest) = payload.split_first()?;
    rest.get(..rest.len().checked_sub(padding.into())?)
}

fn number(payload: &[u8], at: usize) -> Option<u32> {
    let bytes = payload.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
}

/// Appends the client's preface: our settings, and a connection's window.
pub(super) fn preface(stream_window: u32, connection_window: u32, out: &mut Vec<u8>) {
    out.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut settings = Vec::new();
    // No dynamic table, no pushes, the window of a stream.
    for (name, value) in [(1_u16, 0_u32), (2, 0), (4, stream_window)] {
        settings.extend(name.to_be_bytes());
        settings.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &settings, out);
    if connection_window > DEFAULT_WINDOW {
        window(0, connection_window - DEFAULT_WINDOW, out);
    }
}

/// Appends a request, complete with its only field section.
pub(super) fn request(stream: u32, section: &[u8], out: &mut Vec<u8>) {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, section, out);
}

/// Appends more room for a stream, or for the connection (0).
pub(super) fn window(stream: u32, bytes: u32, out: &mut Vec<u8>) {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes(), out);
}

/// Appends "we do not want the rest".
pub(super) fn cancel(stream: u32, out: &mut Vec<u8>) {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes(), out);
}

/// Appends that the server's settings were taken.
pub(super) fn settings_taken(out: &mut Vec<u8>) {
    frame(SETTINGS, ACK, 0, &[], out);
}

/// Appends the answer to a ping.
pub(super) fn pong(data: [u8; 8], out: &mut Vec<u8>) {
    frame(PING, ACK, 0, &data, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_may_end_anywhere() {
        let mut bytes = Vec::new();
        frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100], &mut bytes);
        frame(
            HEADERS,
            PADDED | PRIORITY,
            1,
            &[1, 0, 0, 0, 0, 9, 0x88, 0],
            &mut bytes,
        );
        frame(CONTINUATION, END_HEADERS, 1, &[0x40], &mut bytes);
        frame(DATA, 0, 1, b"abcdef", &mut bytes);
        frame(DATA, PADDED | END_STREAM, 1, b"\x02gh\0\0", &mut bytes);
        frame(DATA, END_STREAM, 3, b"", &mut bytes);
        frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0], &mut bytes);
        for size in 1..=bytes.len() {
            let (mut frames, mut body, mut said) = (Frames::default(), Vec::new(), Vec::new());
            let mut tell = |event: Event<'_>| {
                match event {
                    Event::Data(1, bytes) => body.extend_from_slice(bytes),
                    other => said.push(format!("{other:?}")),
                }
                Ok(())
            };
            for piece in bytes.chunks(size) {
                frames.push(piece, &mut tell).unwrap();
            }
            assert_eq!(body, b"abcdefgh", "pieces of {size}");
            let expected = [
                "Settings",
                "Fields(1, [136, 64], false)",
                "Padding(1, 3)",
                "End(1)",
                "End(3)",
                "GoAway(1, 0)",
            ];
            assert_eq!(said, expected, "pieces of {size}");
        }
        let too_large = Frames::default().push(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01", &mut |_| Ok(()));
        assert!(matches!(too_large, Err(Fault::Protocol(_))));
    }
}
