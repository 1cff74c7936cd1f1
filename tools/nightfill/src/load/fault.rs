//! What can go wrong with a request. Each kind is counted apart in the report: a body that ends short is not a reset, and
//! wrong bytes are not a refusal.

use std::{io, time::Duration};

/// Why a request or a connection failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// A connection that TLS, QUIC or HTTP/2 could not be agreed on.
    #[error("handshake: {0}")]
    Handshake(String),
    /// It took too long.
    #[error("not done within {0:?}")]
    Timeout(Duration),
    /// What came is not HTTP.
    #[error("not as HTTP says: {0}")]
    Protocol(String),
    /// The connection or the stream was reset.
    #[error("reset: {0}")]
    Reset(String),
    /// A clean end before the last byte.
    #[error("{path}: ended after {got} of {of} bytes")]
    Short {
        /// What was asked for.
        path: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that should have come.
        of: u64,
    },
    /// The announced or sent length is not that of what was asked for.
    #[error("{path}: {got} bytes instead of {wanted}")]
    Length {
        /// What was asked for.
        path: String,
        /// Announced or sent.
        got: u64,
        /// Asked for.
        wanted: u64,
    },
    /// A byte is not that of the local file.
    #[error("{path}: byte {at} differs from the local file")]
    Differs {
        /// What was asked for.
        path: String,
        /// Offset in the object.
        at: u64,
    },
    /// The local file cannot be read.
    #[error("{path}: the local file cannot be read: {why}")]
    Tree {
        /// What was asked for.
        path: String,
        /// Why not.
        why: io::Error,
    },
    /// The server did not answer with what was asked for.
    #[error("{path}: status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// The answer's status.
        status: u16,
    },
}

impl Fault {
    /// The word under which it is counted.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Handshake(_) => "handshake",
            Self::Timeout(_) => "timeout",
            Self::Protocol(_) => "protocol",
            Self::Reset(_) => "reset",
            Self::Short { .. } => "short",
            Self::Length { .. } => "length",
            Self::Differs { .. } => "differs",
            Self::Tree { .. } => "tree",
            Self::Status { .. } => "status",
        }
    }

    /// Of an error while a connection was in use.
    pub(super) fn reset(error: &io::Error) -> Self {
        Self::Reset(error.to_string())
    }
}
