//! What an appliance hears by BGP, decided: messages, one session's states, the routes of all sessions, and what of
//! them the control plane is told. An appliance listens and never announces, so there is no decision process to speak
//! of, no export and no connecting.
//!
//! Nothing here has a socket or a clock: bytes and time (since some start) are arguments. `oca-server`'s `bgp` holds
//! the sockets.

pub mod attributes;
pub mod bmp;
pub mod feed;
pub mod filter;
pub mod frame;
pub mod message;
pub mod mrt;
pub mod nlri;
pub mod rib;
pub mod session;
pub mod update;

/// An address family of unicast routes (SAFI 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// AFI 1.
    V4,
    /// AFI 2.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The address family identifier of RFC 4760.
    pub fn afi(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// The family of these numbers, if it is one that is listened to.
    pub fn of(afi: u16, safi: u8) -> Option<Self> {
        let family = Self::ALL.into_iter().find(|f| f.afi() == afi);
        family.filter(|_| safi == UNICAST)
    }

    /// The family of a prefix.
    pub fn of_prefix(prefix: &ipnet::IpNet) -> Self {
        match prefix {
            ipnet::IpNet::V4(_) => Self::V4,
            ipnet::IpNet::V6(_) => Self::V6,
        }
    }

    /// Longest prefix.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// SAFI of unicast routes.
pub const UNICAST: u8 = 1;

/// Some of the two families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Families {
    /// IPv4 unicast.
    pub v4: bool,
    /// IPv6 unicast.
    pub v6: bool,
}

impl Families {
    /// Both.
    pub const ALL: Self = Self { v4: true, v6: true };

    /// Whether it is one of them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Adds one.
    pub fn add(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = true,
            Family::V6 => self.v6 = true,
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = false,
            Family::V6 => self.v6 = false,
        }
    }

    /// Those that are in it, in order.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |f| self.has(*f))
    }

    /// Whether none is in it.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}
