//! The DNS door: titles as names, for clients that cannot be redirected (RFC 1035; client subnets by RFC 7871).
//!
//! `{title}.{zone}` is the best appliance for the client: its address (A or AAAA) where its base URL names an address, a
//! CNAME where it names a host. One appliance only: resolvers shuffle what they get, and an order of preference cannot
//! be told. The client is the subnet that the resolver tells, else the resolver itself. The zone is not signed.
//!
//! The codec is our own: one question and eight types of records are less than a library's interface to them, and the
//! case of a question, the bits of a subnet and every refusal stay in our hands. dig and kdig are its counterparts in tests.

pub mod query;
pub mod rate;
pub mod reply;
pub mod server;
pub mod wire;
pub mod zone;

use clap::Args;
use std::net::{IpAddr, SocketAddr};
use wire::Name;

/// Most name servers of a zone.
const MAX_SERVERS: usize = 32;

/// The DNS door, as typed.
#[derive(Debug, Args)]
#[command(next_help_heading = "DNS")]
pub struct DnsArgs {
    /// Address to answer DNS on, UDP and TCP; port 0 takes a free one
    #[arg(long, value_name = "ADDR", requires_all = ["dns_zone", "dns_ns"])]
    dns_listen: Option<SocketAddr>,
    /// Zone to answer for: each title of the fleet is a name in it
    #[arg(long, value_name = "NAME", requires = "dns_listen", value_parser = name)]
    dns_zone: Option<Name>,
    /// Name server of the zone, the first for SOA; NAME=IP where its name is in the zone; may be repeated
    #[arg(long, value_name = "NAME[=IP]", requires = "dns_listen", value_parser = name_server)]
    dns_ns: Vec<NameServer>,
    /// Seconds that resolvers keep an answer, 1 to 3600
    #[arg(long, value_name = "S", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3600))]
    dns_ttl: u32,
    /// Answers a second over UDP to a network of clients (/24, /56); beyond it every second one sends them to TCP; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    dns_rate: u32,
}

/// A name server of the zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServer {
    /// Its name.
    pub name: Name,
    /// Its address, where the name is in the zone.
    pub address: Option<IpAddr>,
}

/// The DNS door, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The zone.
    pub zone: Name,
    /// `hostmaster` in the zone, for SOA.
    pub contact: Name,
    /// Its name servers, at least one.
    pub servers: Vec<NameServer>,
    /// Seconds that answers are kept.
    pub ttl: u32,
    /// Answers a second over UDP to a network of clients; 0: no limit.
    pub rate: u32,
}

/// What does not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsConfigError {
    /// A name server that nobody could find, or an address that nobody would ask for.
    #[error("--dns-ns: give NAME=IP for a name within --dns-zone, and NAME alone for one that is not")]
    Glue,
    /// More than an answer should have.
    #[error("--dns-ns: at most {MAX_SERVERS}")]
    Servers,
    /// No room for names in it.
    #[error("--dns-zone: at most 180 characters, so that a title fits before it")]
    Zone,
}

impl DnsArgs {
    /// Checks it; absent when there shall be no DNS.
    pub fn config(self) -> Result<Option<DnsConfig>, DnsConfigError> {
        let (Some(listen), Some(zone)) = (self.dns_listen, self.dns_zone) else {
            return Ok(None);
        };
        let found = |s: &NameServer| s.name.is_within(&zone) == s.address.is_some();
        if !self.dns_ns.iter().all(found) {
            return Err(DnsConfigError::Glue);
        }
        if self.dns_ns.len() > MAX_SERVERS {
            return Err(DnsConfigError::Servers);
        }
        if zone.wire().len() > 182 {
            return Err(DnsConfigError::Zone);
        }
        Ok(Some(DnsConfig {
            listen,
            contact: zone.child("hostmaster").ok_or(DnsConfigError::Zone)?,
            zone,
            servers: self.dns_ns,
            ttl: self.dns_ttl,
            rate: self.dns_rate,
        }))
    }
}

fn name(text: &str) -> Result<Name, &'static str> {
    Name::new(text).ok_or("no name of a host or zone: labels of letters, digits, - and _, with dots between")
}

fn name_server(text: &str) -> Result<NameServer, &'static str> {
    let (text, address) = match text.split_once('=') {
        Some((text, ip)) => (
            text,
            Some(ip.parse().map_err(|_| "after = there has to be an IP address")?),
        ),
        None => (text, None),
    };
    Ok(NameServer {
        name: name(text)?,
        address,
    })
}
