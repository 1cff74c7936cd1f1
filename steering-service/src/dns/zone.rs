//! What the zone answers: pure, from one fleet, one query and the address of who asks.

use super::{
    DnsConfig,
    query::Query,
    reply::{Data, Owner, Record, Reply},
    wire::{IN, Name, rcode, rtype},
};
use crate::fleet::Fleet;
use std::{collections::BTreeSet, net::IpAddr};
use steering_core::{Options, TitleIx, rank_into};

/// Where viewers of a name are sent.
enum Place {
    Address { ip: IpAddr, tls_port: Option<u16> },
    Host(Name),
}

/// Answers one query.
pub fn answer(config: &DnsConfig, fleet: Option<&Fleet>, query: &Query, peer: IpAddr) -> Reply {
    if query.edns.is_some_and(|e| e.version != 0) {
        return Reply::code(rcode::BADVERS);
    }
    let transfer = matches!(query.rtype, rtype::AXFR | rtype::IXFR);
    let Some(below) = query
        .name
        .below(&config.zone)
        .filter(|_| query.class == IN && !transfer)
    else {
        return Reply::code(rcode::REFUSED);
    };
    let Some(fleet) = fleet else {
        return Reply::code(rcode::SERVFAIL);
    };
    let zone = Zone { config, fleet };
    if below.is_empty() {
        return zone.apex(query.rtype);
    }
    let servers: Vec<_> = config.servers.iter().filter(|s| s.name == query.name).collect();
    if !servers.is_empty() {
        let addresses = servers.iter().filter_map(|s| s.address);
        let wanted = addresses.filter(|ip| asks_for(query.rtype, *ip));
        return zone.data(wanted.map(Data::Address).collect(), 0);
    }
    match zone.title(below) {
        Some(title) => zone.steer(title, query, peer),
        None => zone.negative(rcode::NXDOMAIN, 0),
    }
}

struct Zone<'a> {
    config: &'a DnsConfig,
    fleet: &'a Fleet,
}

impl Zone<'_> {
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
    fn steer(&self, title: TitleIx, query: &Query, peer: IpAddr) -> Reply {
        let index = &self.fleet.index;
        let told = query.subnet().filter(|s| s.source > 0).map(|s| s.address);
        let around = index.scope(told.unwrap_or(peer));
        let scope = match told {
            None => 0,
            // Such a subnet is one of IPv4 written in IPv6, and so is its scope.
            Some(IpAddr::V6(_)) if around.addr().is_ipv4() => around.prefix_len() + 96,
            Some(_) => around.prefix_len(),
        };
        let mut ranking = steering_core::Ranking::default();
        let options = Options {
            limit: 1,
            ..Options::default()
        };
        rank_into(index, around.addr(), title, &options, &mut ranking);
        if !ranking.licensed {
            return self.negative(rcode::NOERROR, scope);
        }
        let best = ranking.entries.iter().map(|e| e.appliance);
        let bases = best.map(|ix| index.appliance(ix).base_url.as_str());
        let last = ranking
            .reserve
            .iter()
            .map(|ix| index.appliance(*ix).base_url.as_str());
        let mut places = bases
            .chain(index.fallback.as_deref())
            .chain(last)
            .filter_map(place);
        match places.next() {
            None => Reply::code(rcode::SERVFAIL),
            Some(Place::Host(host)) => self.data(vec![Data::Cname(host)], scope),
            Some(Place::Address { ip, .. }) if asks_for(query.rtype, ip) => {
                self.data(vec![Data::Address(ip)], scope)
            }
            Some(Place::Address {
                ip: hint,
                tls_port: Some(port),
            }) if query.rtype == rtype::HTTPS => {
                let port = (port != 443).then_some(port);
                self.data(vec![Data::Https { port, hint }], scope)
            }
            Some(Place::Address { .. }) => self.negative(rcode::NOERROR, scope),
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
