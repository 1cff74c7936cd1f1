//! HTTP/3 (RFC 9114) as far as a server of files needs it: frames, field sections and the rules of a request, fed with
//! the bytes of streams and giving back requests. No stream, socket or clock is known here: the shell moves the bytes.
//! The dynamic table of QPACK is left unused in both directions (its capacity is 0), so that no request ever waits for
//! another stream and a connection holds no table.

pub mod control;
pub mod fields;
pub mod frame;
pub mod huffman;
pub mod qpack;
pub mod request;
mod static_table;
pub mod varint;

/// Error codes of HTTP/3 (RFC 9114 §8.1) and QPACK (RFC 9204 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Nothing is wrong.
    NoError = 0x100,
    /// The peer broke a rule that has no code of its own.
    GeneralProtocolError = 0x101,
    /// We cannot go on.
    InternalError = 0x102,
    /// A stream that must not be.
    StreamCreationError = 0x103,
    /// A stream that the connection needs was closed.
    ClosedCriticalStream = 0x104,
    /// A frame that is not allowed there.
    FrameUnexpected = 0x105,
    /// A frame that contradicts itself.
    FrameError = 0x106,
    /// The peer asks for too much.
    ExcessiveLoad = 0x107,
    /// An id that was not given, or went the wrong way.
    IdError = 0x108,
    /// A setting that must not be.
    SettingsError = 0x109,
    /// No settings at the start of the control stream.
    MissingSettings = 0x10a,
    /// The request was not looked at: it may be sent again.
    RequestRejected = 0x10b,
    /// The request, or its response, is no longer wanted.
    RequestCancelled = 0x10c,
    /// The request ended too early.
    RequestIncomplete = 0x10d,
    /// The request is malformed.
    MessageError = 0x10e,
    /// A field section that cannot be decoded.
    QpackDecompressionFailed = 0x200,
    /// The encoder stream cannot be read.
    QpackEncoderStreamError = 0x201,
    /// The decoder stream cannot be read.
    QpackDecoderStreamError = 0x202,
}

impl ErrorCode {
    /// The code on the wire.
    pub fn code(self) -> u64 {
        self as u64
    }
}

/// What a broken rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The one stream.
    #[error("stream error {0:?}")]
    Stream(ErrorCode),
    /// The whole connection.
    #[error("connection error {0:?}")]
    Connection(ErrorCode),
}
