//! Who asks: the TCP peer, or what a trusted proxy says.
//!
//! `X-Forwarded-For` is a claim. Each proxy appends the address that it saw, so the list is read from the right, over
//! as many trusted proxies as stand there; the first address that is none of them is the client. From an untrusted
//! peer the header is not looked at.

use crate::app::Shared;
use axum::http::HeaderMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use steering_core::policy::Country;

/// Who asks, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// The address.
    pub ip: IpAddr,
    /// The country, where a trusted proxy names one.
    pub country: Option<Country>,
}

impl Viewer {
    /// From a request's peer and headers.
    pub fn of(shared: &Shared, peer: SocketAddr, headers: &HeaderMap) -> Self {
        let trusted = &shared.trusted_proxies;
        let country = shared.country_header.as_ref().and_then(|name| {
            let believed = trusted.iter().any(|net| net.contains(&peer.ip().to_canonical()));
            let text = headers.get(name).filter(|_| believed)?.to_str().ok()?;
            text.trim().parse().ok()
        });
        Self {
            ip: client_ip(peer, headers, trusted),
            country,
        }
    }
}

/// Most entries read: a longer list is somebody's joke.
const MAX_HOPS: usize = 32;

/// The client's address, IPv4 in its own form.
pub fn client_ip(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.ip().to_canonical();
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let lines = headers.get_all("x-forwarded-for");
    let mut hops: Vec<&str> = Vec::new();
    for line in lines.iter().filter_map(|l| l.to_str().ok()) {
        hops.extend(line.split(','));
    }
    for hop in hops.into_iter().rev().take(MAX_HOPS) {
        if !is_trusted(&client) {
            break;
        }
        match parse(hop.trim()) {
            Some(ip) => client = ip,
            None => break,
        }
    }
    client
}

/// An address as proxies write it: plain, `[v6]`, with or without a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let ip = hop
        .parse::<IpAddr>()
        .ok()
        .or_else(|| hop.parse::<SocketAddr>().ok().map(|s| s.ip()))
        .or_else(|| hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_from_the_right() {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, forwarded, wanted) in [
            ("192.0.2.1:5", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1:5", &[], "10.0.0.1"),
            ("10.0.0.1:5", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1:5", &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
            (
                "10.0.0.1:5",
                &["1.1.1.1", "198.51.100.7, 10.2.3.4"],
                "198.51.100.7",
            ),
            ("10.0.0.1:5", &["10.9.9.9"], "10.9.9.9"),
            ("10.0.0.1:5", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1:5", &["198.51.100.7:443"], "198.51.100.7"),
            ("[::ffff:10.0.0.1]:5", &["[2001:db8::1]"], "2001:db8::1"),
            ("[fd00::1]:5", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("[::ffff:192.0.2.1]:5", &[], "192.0.2.1"),
        ] {
            let mut headers = HeaderMap::new();
            for line in forwarded {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            let client = client_ip(peer.parse().unwrap(), &headers, &trusted);
            assert_eq!(client, wanted.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
