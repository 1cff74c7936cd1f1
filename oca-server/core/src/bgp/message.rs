//! Messages as a session sees them: no octets, no capabilities that an appliance has no use for.

use super::{Families, Family};
use std::{fmt, net::Ipv4Addr, time::Duration};

/// AS number that stands for one of four octets where two are sent (RFC 6793).
pub const AS_TRANS: u32 = 23456;

/// OPEN (RFC 4271 §4.2) with the capabilities that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Version of BGP; 4.
    pub version: u8,
    /// The sender's AS, from the capability of RFC 6793 if it has that.
    pub asn: u32,
    /// Proposed hold time in seconds; 0 = no keepalives.
    pub hold_time: u16,
    /// The sender's BGP identifier.
    pub id: Ipv4Addr,
    /// Families of its multiprotocol capabilities (RFC 4760); without any, IPv4.
    pub families: Families,
    /// Route refresh (RFC 2918).
    pub refresh: bool,
    /// AS numbers of four octets (RFC 6793).
    pub as4: bool,
    /// Families for which it can send several paths (RFC 7911).
    pub add_path: Families,
    /// Families for which it can take several paths.
    pub takes_paths: Families,
    /// Graceful restart (RFC 4724).
    pub graceful: Option<GracefulRestart>,
}

/// The capability of RFC 4724 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The sender has just restarted.
    pub restarting: bool,
    /// How long its routes shall be kept after a loss of the session.
    pub time: Duration,
    /// Families that restart gracefully.
    pub families: Families,
    /// Of these, those whose forwarding state it kept over the restart.
    pub kept: Families,
}

/// NOTIFICATION (RFC 4271 §4.5): the end of a session, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// Diagnostic octets.
    pub data: Vec<u8>,
}

impl Notification {
    /// Without data.
    pub fn new(code: u8, subcode: u8) -> Self {
        Self {
            code,
            subcode,
            data: Vec::new(),
        }
    }

    /// The name of the code, as RFC 4271 §4.5 and RFC 4486 have it.
    pub fn name(&self) -> &'static str {
        match (self.code, self.subcode) {
            (1, _) => "message header error",
            (2, 2) => "bad peer AS",
            (2, 3) => "bad BGP identifier",
            (2, 6) => "unacceptable hold time",
            (2, _) => "OPEN message error",
            (3, _) => "UPDATE message error",
            (4, _) => "hold timer expired",
            (5, _) => "finite state machine error",
            (6, 1) => "maximum number of prefixes reached",
            (6, 2) => "administrative shutdown",
            (6, 3) => "peer de-configured",
            (6, 4) => "administrative reset",
            (6, 5) => "connection rejected",
            (6, 7) => "connection collision resolution",
            (6, _) => "cease",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.name(), self.code, self.subcode)
    }
}

/// What a session sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// The own OPEN.
    Open,
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH (RFC 2918).
    Refresh(Family),
    /// The end of a table, which is empty (RFC 4724 §2): a neighbour that restarts waits for it.
    EndOfRib(Family),
    /// NOTIFICATION; the session ends with it.
    Notification(Notification),
}
