//! How viewers are told apart, and lumped together, where what they say of themselves is gathered: networks of one size, steps
//! of throughput, hashes of sessions. Appliances gather and steering joins, so both must make the same of the same viewer.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// Bits of a network of IPv4.
const V4_BITS: u8 = 24;
/// Bits of a network of IPv6.
const V6_BITS: u8 = 48;
/// Set in networks of IPv4; those of IPv6 have 48 bits.
const V4: u64 = 1 << 63;

/// A network of the size that is taken for one place: /24 of IPv4, /48 of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "192.0.2.0/24"))]
#[serde(try_from = "IpNet", into = "IpNet")]
pub struct Network(u64);

/// Why a prefix is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no network of viewers: give a /{V4_BITS} of IPv4 or a /{V6_BITS} of IPv6, without host bits")]
pub struct NetworkError(IpNet);

impl Network {
    /// Where a viewer is.
    pub fn of(viewer: IpAddr) -> Self {
        match viewer.to_canonical() {
            IpAddr::V4(a) => Self(V4 | u64::from(u32::from(a) >> (32 - V4_BITS))),
            IpAddr::V6(a) => Self((u128::from(a) >> (128 - V6_BITS)) as u64),
        }
    }
}

impl From<Network> for IpNet {
    fn from(Network(bits): Network) -> Self {
        let net = match bits & V4 {
            0 => {
                let address = Ipv6Addr::from(u128::from(bits) << (128 - V6_BITS));
                Ipv6Net::new(address, V6_BITS).map(IpNet::V6)
            }
            _ => {
                let address = Ipv4Addr::from((bits as u32) << (32 - V4_BITS));
                Ipv4Net::new(address, V4_BITS).map(IpNet::V4)
            }
        };
        net.expect("both lengths are within their families'")
    }
}

impl TryFrom<IpNet> for Network {
    type Error = NetworkError;

    fn try_from(net: IpNet) -> Result<Self, NetworkError> {
        let network = Self::of(net.addr());
        match IpNet::from(network) == net {
            true => Ok(network),
            false => Err(NetworkError(net)),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpNet::from(*self).fmt(f)
    }
}

/// Steps of throughput that are told apart.
pub const STEPS: usize = 12;
/// Upper end of the lowest step in bit/s; every further one is twice as high.
const LOWEST: u64 = 500_000;
/// Largest throughput in bit/s that is believed: 1 Tbit/s.
pub const MAX_THROUGHPUT: u64 = 1_000_000_000_000;

/// Least throughput of a step in bit/s.
pub fn from(step: u8) -> u64 {
    if step == 0 { 0 } else { LOWEST << step }
}

/// The step of a throughput in bit/s: below [`STEPS`].
pub fn step(bits_per_second: u64) -> u8 {
    let over = (bits_per_second / LOWEST).max(1);
    (over.ilog2() as usize).min(STEPS - 1) as u8
}

/// Longest session id in characters (CTA-5004 §3.2).
const MAX_SID: usize = 64;

/// The hash of the id that a player gives its session (CMCD `sid`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SidHash(u64);

impl SidHash {
    /// Of an id as it stands between its quotes; none if it is none that the standard allows.
    pub fn of(sid: &str) -> Option<Self> {
        let sid = sid.as_bytes();
        // Without an early exit, so that it is done for many bytes at once.
        let graphic = sid.iter().fold(true, |all, b| all & b.is_ascii_graphic());
        if sid.is_empty() || sid.len() > MAX_SID || !graphic {
            return None;
        }
        let (words, rest) = sid.as_chunks::<8>();
        let word = |hash: u64, word: &[u8; 8]| mix(hash ^ u64::from_le_bytes(*word));
        let hash = words.iter().fold(sid.len() as u64, word);
        let last = rest.iter().rev().fold(0, |last, b| last << 8 | u64::from(*b));
        Some(Self(if rest.is_empty() { hash } else { mix(hash ^ last) }))
    }

    /// Of the session with this id in a network.
    pub fn within(self, network: Network) -> SessionHash {
        SessionHash(mix(self.0 ^ mix(network.0)).max(1))
    }
}

/// What a session is known by among programs: a hash of its player's id for it and its network. It is stable, never 0, and
/// shows neither. Sessions of two networks differ, so that one player that gives every session the same id does not make
/// one session of all its viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-f]{16}$"))]
#[serde(try_from = "String", into = "String")]
pub struct SessionHash(u64);

/// Why a text is no [`SessionHash`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session's hash is 16 hexadecimal digits, not all 0")]
pub struct SessionHashError;

impl SessionHash {
    /// As a number, for tables; never 0.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl FromStr for SessionHash {
    type Err = SessionHashError;

    fn from_str(text: &str) -> Result<Self, SessionHashError> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|n| digits && *n != 0);
        number.map(Self).ok_or(SessionHashError)
    }
}

impl TryFrom<String> for SessionHash {
    type Error = SessionHashError;

    fn try_from(text: String) -> Result<Self, SessionHashError> {
        text.parse()
    }
}

impl From<SessionHash> for String {
    fn from(hash: SessionHash) -> Self {
        format!("{:016x}", hash.0)
    }
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(viewer: &str) -> Network {
        Network::of(viewer.parse().unwrap())
    }

    #[test]
    fn networks_are_of_one_size_and_read_back() {
        for (viewer, text) in [
            ("192.0.2.7", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.0/24"),
            ("2001:db8:7:8::1", "2001:db8:7::/48"),
            ("255.255.255.255", "255.255.255.0/24"),
            ("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff::/48"),
        ] {
            let network = network(viewer);
            assert_eq!(network.to_string(), text);
            let json = serde_json::to_string(&network).unwrap();
            assert_eq!(serde_json::from_str::<Network>(&json).unwrap(), network);
        }
        for bad in ["192.0.2.7/24", "192.0.0.0/16", "2001:db8::/32"] {
            let net: IpNet = bad.parse().unwrap();
            assert_eq!(Network::try_from(net), Err(NetworkError(net)));
        }
    }

    #[test]
    fn steps_double() {
        assert_eq!(
            [0, 499_999, 500_000, 999_999, 1_000_000, 4_000_000].map(step),
            [0, 0, 0, 0, 1, 3]
        );
        assert_eq!(step(u64::MAX), STEPS as u8 - 1);
        for at in 1..STEPS as u8 {
            assert_eq!((step(from(at)), step(from(at) - 1)), (at, at - 1));
        }
    }

    /// Programs of two releases talk to each other: what a hash is must not change.
    #[test]
    fn hashes_are_stable_and_differ_by_id_and_network() {
        let sid = "6e2fb550-c457-11e9-bb97-0800200c9a66";
        let hash = |sid: &str, viewer| SidHash::of(sid).unwrap().within(network(viewer));
        let one = hash(sid, "192.0.2.7");
        assert_eq!(String::from(one), "7c0d21dbff126dc9");
        assert_eq!(one, hash(sid, "192.0.2.8"));
        assert_ne!(one, hash(sid, "192.0.3.7"));
        let near = ["a", "b", "a1", "a2", "aaaaaaaab", "aaaaaaaaab"].map(|s| hash(s, "192.0.2.7"));
        let different: std::collections::BTreeSet<_> = near.into_iter().collect();
        assert_eq!(different.len(), near.len());
        assert_eq!(String::from(one).parse(), Ok(one));
        for bad in [
            "",
            "0000000000000000",
            "+000000000000001",
            "1",
            "g000000000000001",
        ] {
            assert_eq!(bad.parse::<SessionHash>(), Err(SessionHashError), "{bad}");
        }
        for none in ["", "with space", "ü", &"x".repeat(65)] {
            assert_eq!(SidHash::of(none), None, "{none}");
        }
    }
}
