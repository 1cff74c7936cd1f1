//! Which routes count for nothing: what no viewer can have as an address, what is too long to be a network that anybody
//! else would route, what has been here before. They are kept apart and shown to the operator with the reason.

use super::Family;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Why a route counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Within space of special purpose (RFC 6890 and later), or outside IPv6's global unicast.
    Bogon,
    /// 0.0.0.0/0 or ::/0: it says nothing on who is where.
    DefaultRoute,
    /// Longer than the limit.
    OverSpecific,
    /// The own AS is in its path.
    AsPathLoop,
}

impl Reason {
    /// All.
    pub const ALL: [Self; 4] = [
        Self::Bogon,
        Self::DefaultRoute,
        Self::OverSpecific,
        Self::AsPathLoop,
    ];

    /// Its name in metrics and on the admin listener.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bogon => "bogon",
            Self::DefaultRoute => "default_route",
            Self::OverSpecific => "over_specific",
            Self::AsPathLoop => "as_path_loop",
        }
    }
}

/// The limits of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Longest IPv4 prefix.
    pub longest_v4: u8,
    /// Longest IPv6 prefix.
    pub longest_v6: u8,
    /// Take routes of special-purpose space as any other: laboratories.
    pub allow_bogons: bool,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            longest_v4: 24,
            longest_v6: 48,
            allow_bogons: false,
        }
    }
}

/// Special-purpose IPv4 space that is not globally reachable (RFC 6890 with the registry's later entries), multicast and
/// class E.
const BOGONS_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// All that is allocated to be globally reachable lies here (RFC 4291 §2.4, IANA).
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What of it is of special purpose: IETF protocols, documentation twice, 6to4.
const BOGONS_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

impl Filter {
    /// Why the prefix counts for nothing, if so.
    pub fn refuses(&self, prefix: &IpNet) -> Option<Reason> {
        let longest = match Family::of_prefix(prefix) {
            Family::V4 => self.longest_v4,
            Family::V6 => self.longest_v6,
        };
        if prefix.prefix_len() == 0 {
            Some(Reason::DefaultRoute)
        } else if !self.allow_bogons && is_bogon(prefix) {
            Some(Reason::Bogon)
        } else {
            (prefix.prefix_len() > longest).then_some(Reason::OverSpecific)
        }
    }
}

fn is_bogon(prefix: &IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => BOGONS_V4
            .iter()
            .any(|(a, len)| Ipv4Net::new(*a, *len).is_ok_and(|bogon| bogon.contains(net))),
        IpNet::V6(net) => {
            let within = |(a, len): &(Ipv6Addr, u8)| Ipv6Net::new(*a, *len).is_ok_and(|b| b.contains(net));
            !within(&GLOBAL_V6) || BOGONS_V6.iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_prefix_is_refused_for_its_reason() {
        let filter = Filter::default();
        for (prefix, reason) in [
            ("8.8.8.0/24", None),
            ("11.0.0.0/8", None),
            ("2400::/12", None),
            ("2a00:1450::/48", None),
            ("0.0.0.0/0", Some(Reason::DefaultRoute)),
            ("::/0", Some(Reason::DefaultRoute)),
            ("10.1.0.0/16", Some(Reason::Bogon)),
            ("100.64.0.0/10", Some(Reason::Bogon)),
            ("192.0.2.0/24", Some(Reason::Bogon)),
            ("224.0.0.0/4", Some(Reason::Bogon)),
            ("255.255.255.255/32", Some(Reason::Bogon)),
            ("192.0.0.0/16", None), // less specific than a bogon: most of it is in use
            ("2001:db8:1::/48", Some(Reason::Bogon)),
            ("2002::/16", Some(Reason::Bogon)),
            ("fc00::/7", Some(Reason::Bogon)),
            ("fe80::/10", Some(Reason::Bogon)),
            ("8.8.8.0/25", Some(Reason::OverSpecific)),
            ("2a00:1450::/49", Some(Reason::OverSpecific)),
        ] {
            assert_eq!(filter.refuses(&prefix.parse().unwrap()), reason, "{prefix}");
        }
        let laboratory = Filter {
            allow_bogons: true,
            longest_v4: 28,
            ..filter
        };
        assert_eq!(laboratory.refuses(&"10.0.0.0/28".parse().unwrap()), None);
        let longer = laboratory.refuses(&"10.0.0.0/29".parse().unwrap());
        assert_eq!(longer, Some(Reason::OverSpecific));
    }
}
