//! What the zone answers: pure, from one fleet, one query and the address of who asks.

use super::{
    DnsConfig,
    query::Query,
    reply::{Data, Owner, Record, Reply},
    wire::{IN, Name, rcode, rtype},
};
use crate::{fleet::Fleet, http::ways};
use ipnet::IpNet;
use std::{collections::BTreeSet, net::IpAddr};
use steering_core::{Index, Options, TitleIx, rank_into};

/// Where viewers of a name are sent, as DNS can name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// By address.
    Address {
        /// The address.
        ip: IpAddr,
        /// Port of TLS, if it has that.
        tls_port: Option<u16>,
    },
    /// By name.
    Host(Name),
}

/// The decision that an answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent<'a> {
    /// The client's network as it was told, a /24 or /48 at most; a narrower one where that is what ranks alike.
    pub network: IpNet,
    /// What was asked for.
    pub title: TitleIx,
    /// The appliance's id, or the fallback's.
    pub to: &'a str,
}

/// An answer, and the decision in it if it sends somebody somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// To be written.
    pub reply: Reply,
    /// To be logged.
    pub sent: Option<Sent<'a>>,
}

impl From<Reply> for Answer<'_> {
    fn from(reply: Reply) -> Self {
        Self { reply, sent: None }
    }
}

/// Answers one query.
pub fn answer<'a>(config: &DnsConfig, fleet: Option<&'a Fleet>, query: &Query, peer: IpAddr) -> Answer<'a> {
    if query.edns.is_some_and(|e| e.version != 0) {
        return Reply::code(rcode::BADVERS).into();
    }
    let transfer = matches!(query.rtype, rtype::AXFR | rtype::IXFR);
    let Some(below) = query
        .name
        .below(&config.zone)
        .filter(|_| query.class == IN && !transfer)
    else {
        return Reply::code(rcode::REFUSED).into();
    };
    let Some(fleet) = fleet else {
        return Reply::code(rcode::SERVFAIL).into();
    };
    let zone = Zone { config, fleet };
    if below.is_empty() {
        return zone.apex(query.rtype).into();
    }
    let servers: Vec<_> = config.servers.iter().filter(|s| s.name == query.name).collect();
    if !servers.is_empty() {
        let addresses = servers.iter().filter_map(|s| s.address);
        let wanted = addresses.filter(|ip| asks_for(query.rtype, *ip));
        return zone.data(wanted.map(Data::Address).collect(), 0).into();
    }
    match zone.title(below) {
        Some(title) => zone.steer(title, query, peer),
        None => zone.negative(rcode::NXDOMAIN, 0).into(),
    }
}

/// The best place of a title for a network ([`Index::scope`]) that DNS can name, and whose it is. Nothing where no
/// country is known and the title needs one.
pub fn best(index: &Index, around: IpNet, title: TitleIx) -> Option<Option<(&str, Place)>> {
    let mut ranking = steering_core::Ranking::default();
    let options = Options {
        limit: 1,
        ..Options::default()
    };
    rank_into(index, index.client(around.addr()), title, &options, &mut ranking);
    ranking.licensed.then(|| {
        let mut ways = ways(index, &ranking).into_iter();
        ways.find_map(|(id, base)| Some((id, place(base)?)))
    })
}

struct Zone<'a, 'f> {
    config: &'a DnsConfig,
    fleet: &'f Fleet,
}

impl<'f> Zone<'_, 'f> {
    /// The zone's own name. Who asks for ANY gets the SOA: one set of records is enough (RFC 8482 §4.1).
    fn apex(&self, rtype: u16) -> Reply {
        match rtype {
            rtype::SOA | rtype::ANY => self.data(vec![self.soa()], 0),
            rtype::NS => {
                let names: BTreeSet<_> = self.config.servers.iter().map(|s| &s.name).collect();
                self.data(names.into_iter().cloned().map(Data::Ns).collect(), 0)
            }
            _ => self.negative(rcode::NOERROR, 0),
        }
    }

    /// The title whose name is one label before the zone. Names know no case, titles do: one that has capital letters
    /// in its id has no name, nor has one with dots.
    fn title(&self, below: &[u8]) -> Option<TitleIx> {
        let (len, label) = below.split_first()?;
        if usize::from(*len) != label.len() {
            return None;
        }
        self.fleet.index.title_ix(std::str::from_utf8(label).ok()?)
    }

    /// The best place of a title for who asks.
    fn steer(&self, title: TitleIx, query: &Query, peer: IpAddr) -> Answer<'f> {
        let index = &self.fleet.index;
        let told = query.subnet().filter(|s| s.source > 0);
        let client = told.map_or(peer, |s| s.address);
        let around = index.scope(client);
        let scope = match client {
            _ if told.is_none() => 0,
            // Such a subnet is one of IPv4 written in IPv6, and so is its scope.
            IpAddr::V6(_) if around.addr().is_ipv4() => around.prefix_len() + 96,
            _ => around.prefix_len(),
        };
        let (id, place) = match best(index, around, title) {
            None => return self.negative(rcode::NOERROR, scope).into(),
            Some(None) => return Reply::code(rcode::SERVFAIL).into(),
            Some(Some(best)) => best,
        };
        let data = match place {
            Place::Host(host) => Data::Cname(host),
            Place::Address { ip, .. } if asks_for(query.rtype, ip) => Data::Address(ip),
            Place::Address {
                ip: hint,
                tls_port: Some(port),
            } if query.rtype == rtype::HTTPS => Data::Https {
                port: (port != 443).then_some(port),
                hint,
            },
            Place::Address { .. } => return self.negative(rcode::NOERROR, scope).into(),
        };
        Answer {
            reply: self.data(vec![data], scope),
            sent: Some(Sent {
                network: logged(client, told.map(|s| s.source), around),
                title,
                to: id,
            }),
        }
    }

    fn data(&self, data: Vec<Data>, scope: u8) -> Reply {
        if data.is_empty() {
            return self.negative(rcode::NOERROR, scope);
        }
        let own = |data| Record {
            owner: Owner::Question,
            ttl: self.config.ttl,
            data,
        };
        Reply {
            authoritative: true,
            scope,
            answers: data.into_iter().map(own).collect(),
            ..Reply::default()
        }
    }

    /// No such name, or nothing of that type; with the SOA, so that it can be kept (RFC 2308 §2).
    fn negative(&self, code: u16, scope: u8) -> Reply {
        Reply {
            code,
            authoritative: true,
            scope,
            answers: Vec::new(),
            authority: vec![Record {
                owner: Owner::Zone(self.config.zone.wire().len()),
                ttl: self.config.ttl,
                data: self.soa(),
            }],
        }
    }

    fn soa(&self) -> Data {
        Data::Soa {
            mname: self.config.servers[0].name.clone(),
            rname: self.config.contact.clone(),
            serial: self.fleet.index.generation as u32,
            minimum: self.config.ttl,
        }
    }
}

/// What is kept of a client: its network as it was told, a /24 or /48 at most, but never more than ranks alike.
fn logged(client: IpAddr, source: Option<u8>, around: IpNet) -> IpNet {
    let (most, mapped) = match around {
        IpNet::V4(_) => (24, if client.is_ipv6() { 96 } else { 0 }),
        IpNet::V6(_) => (48, 0),
    };
    let len = source.map_or(most, |bits| bits.saturating_sub(mapped).min(most));
    if around.prefix_len() >= len {
        return around;
    }
    let client = client.to_canonical();
    IpNet::new(client, len).map_or(around, |net| net.trunc())
}

/// Whether an address answers a question of that type. Who asks for ANY gets it (RFC 8482 §4.1).
fn asks_for(rtype: u16, ip: IpAddr) -> bool {
    match rtype {
        rtype::ANY => true,
        rtype::A => ip.is_ipv4(),
        rtype::AAAA => ip.is_ipv6(),
        _ => false,
    }
}

/// The host of an address as DNS can name it. The port of one without TLS cannot be told, the path of none.
fn place(base_url: &str) -> Option<Place> {
    let (scheme, rest) = base_url.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match host.parse() {
        Err(_) => Some(Place::Host(Name::new(host)?)),
        Ok(ip) => {
            let port = port.map_or(Some(443), |p| p.parse().ok());
            let tls_port = port.filter(|_| scheme == "https");
            Some(Place::Address { ip, tls_port })
        }
    }
}
