//! For how many addresses an answer to one client holds: what a cache between us and the viewers has to know.
//!
//! The longest match is not enough. Where a /16 has a /24 within it, an answer for a client in the rest of the /16 must
//! not be kept for the /24 (RFC 7871 §7.2.1: overlapping prefixes are deaggregated). So the scope is the largest network
//! around the client in which no route, no rule and no measurement begins or ends.

use crate::{index::Index, index::network, policy::Whom};
use ipnet::IpNet;
use std::net::IpAddr;

/// Bits of a client's network of which throughput is measured: IPv4, IPv6.
const MEASURED_BITS: (u8, u8) = (24, 48);

impl Index {
    /// The largest network around a client to all of which the same routes and rules apply. To rank its first address
    /// is to rank all of it, which also settles what hangs on the client's own address: the sibling that a hot title is
    /// dealt to. The cost is one look-up and one look at each of the policy's rules by network.
    pub fn scope(&self, client: IpAddr) -> IpNet {
        let client = client.to_canonical();
        let mut len = self.routes().scope(client);
        if !self.measured().is_empty() {
            let (v4, v6) = MEASURED_BITS;
            len = len.max(if client.is_ipv4() { v4 } else { v6 });
        }
        for rule in &self.policy().rules {
            if let Whom::Prefix(prefix) = rule.whom {
                len = len.max(apart(client, prefix));
            }
        }
        network(client, len)
    }
}

/// Least length of a network around `client` that is wholly within `prefix`, or wholly without.
fn apart(client: IpAddr, prefix: IpNet) -> u8 {
    let common = match (client, prefix.addr()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
        _ => return 0,
    };
    // Within it all its bits are common; without, the first that differs keeps them apart.
    (common as u8 + 1).min(prefix.prefix_len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_within_a_prefix_or_apart_from_it() {
        for (client, prefix, wanted) in [
            ("10.1.2.3", "10.0.0.0/8", 8),
            ("11.0.0.1", "10.0.0.0/8", 8),
            ("12.0.0.1", "10.0.0.0/8", 6),
            ("10.1.2.3", "0.0.0.0/0", 0),
            ("10.1.2.3", "10.1.2.3/32", 32),
            ("10.1.2.3", "2001:db8::/32", 0),
            ("2001:db9::1", "2001:db8::/32", 32),
            ("3001::1", "2001:db8::/32", 4),
        ] {
            let got = apart(client.parse().unwrap(), prefix.parse().unwrap());
            assert_eq!(got, wanted, "{client} {prefix}");
        }
    }
}
