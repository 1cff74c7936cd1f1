//! Which networks each site is for, as other content delivery networks are told (RFC 8008 §4): the address space cut among
//! the sites exactly as a ranking would, so that no address is promised by two of them.

use crate::{
    index::{Index, SiteIx},
    routes::{Covering, SiteClass},
};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use std::{collections::BTreeMap, net::IpAddr};

/// The networks of each site that has some, largest possible and in order, IPv4 first. An address belongs to the site with
/// the best route to it. Routes over transit count for nothing: what is paid for by the bit is no offer to others.
pub fn footprints(index: &Index) -> BTreeMap<SiteIx, Vec<IpNet>> {
    let mut sites = BTreeMap::<SiteIx, Vec<IpNet>>::new();
    let mut run: Option<Run> = None;
    for (first, last, covering) in index.routes().ranges() {
        let site = site_of(index, covering);
        match &mut run {
            Some(run) if Some(run.site) == site && follows(run.last, first) => run.last = last,
            _ => {
                let next = site.map(|site| Run { site, first, last });
                if let Some(done) = std::mem::replace(&mut run, next) {
                    done.add_to(&mut sites);
                }
            }
        }
    }
    if let Some(done) = run {
        done.add_to(&mut sites);
    }
    sites
}

fn site_of(index: &Index, covering: Covering) -> Option<SiteIx> {
    // Candidates are sorted by class first.
    let offered = covering.iter().take_while(|c| c.class != SiteClass::Transit);
    index.own_site(offered).map(|(site, _)| site)
}

/// Addresses in a row that belong to one site.
struct Run {
    site: SiteIx,
    first: IpAddr,
    last: IpAddr,
}

impl Run {
    fn add_to(self, sites: &mut BTreeMap<SiteIx, Vec<IpNet>>) {
        let networks = sites.entry(self.site).or_default();
        match (self.first, self.last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => networks.extend(Ipv4Subnets::new(a, b, 0).map(IpNet::V4)),
            (IpAddr::V6(a), IpAddr::V6(b)) => networks.extend(Ipv6Subnets::new(a, b, 0).map(IpNet::V6)),
            _ => unreachable!("a range lies within one family"),
        }
    }
}

fn follows(last: IpAddr, first: IpAddr) -> bool {
    match (last, first) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u32::from(a).checked_add(1) == Some(u32::from(b)),
        (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a).checked_add(1) == Some(u128::from(b)),
        _ => false,
    }
}
