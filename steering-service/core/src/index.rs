//! All that a ranking reads, made ready: the fleet, the routes, the policy, what was measured, and who fails viewers.
//!
//! Each of the five changes at its own pace and is shared; putting them together costs a few microseconds an
//! appliance, so that a load report does not rebuild a million routes, nor a route the presence of a million objects.

pub use crate::fleet::{
    Appliance, ApplianceIx, FALLBACK_ID, FleetIndex, IndexError, Site, SiteIx, Title, TitleIx,
};
use crate::{
    bits::Bits,
    circuit::{Verdict, fleet::Verdicts},
    policy::{Policy, rules::BoundRules},
    rank::{DropReason, Headroom},
    rendezvous::Seed,
    routes::{Candidate, Covered, Covering, Holder, HolderName, RouteBuilder, RouteTable},
    throughput::Measured,
};
use cdn_types::{
    SiteId,
    api::v1::{ApplianceState, FleetSnapshot},
};
use ipnet::IpNet;
use std::{net::IpAddr, ops::Deref, sync::Arc};

/// A network that two sites claim with the same length: the site whose id sorts first has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contested {
    /// The network.
    pub prefix: IpNet,
    /// Who has it.
    pub kept: SiteId,
    /// Who claims it too.
    pub ignored: SiteId,
}

/// What a group of holders of one route is in this fleet.
#[derive(Debug, Clone, Copy)]
struct Reached {
    /// The site of the first holder that the fleet has, which may be a site without appliances.
    site: Option<SiteIx>,
    /// Where the group's appliances end; they begin where those of the group before end.
    end: u32,
}

/// A client and who covers it. To make one is to have begun to read the routes, and does not wait for them: what is looked
/// up between that and a ranking is looked up in the same time.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub(crate) ip: IpAddr,
    pub(crate) covering: Covering<'a>,
}

/// What a ranking asks of every candidate, side by side in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    pub seed: Seed,
    pub weight: u64,
    pub site: SiteIx,
    /// Position among those of its site, at most 255.
    pub sibling: u8,
    /// Position among all appliances by id: the last word between equals.
    pub order: u32,
    pub headroom: Headroom,
    pub circuit: Verdict,
}

/// Everything, ready to be ranked. It is a fleet with more to it, and can be asked what a [`FleetIndex`] can.
#[derive(Debug)]
pub struct Index {
    /// Networks that more than one site claims.
    pub contested: Vec<Contested>,
    fleet: Arc<FleetIndex>,
    routes: Arc<RouteTable>,
    policy: Arc<Policy>,
    measured: Arc<Measured>,
    circuits: Arc<Verdicts>,
    rules: BoundRules,
    /// By group of holders.
    reached: Vec<Reached>,
    /// The groups' appliances, one group after the other.
    reached_appliances: Vec<ApplianceIx>,
    standing: Vec<Standing>,
    available: Bits,
    /// The same, those with most room first.
    by_headroom: [Bits; 3],
}

impl Deref for Index {
    type Target = FleetIndex;
    fn deref(&self) -> &FleetIndex {
        &self.fleet
    }
}

impl Index {
    /// Indexes a snapshot on its own: no routes but its sites' networks, the policy as shipped, nothing measured.
    pub fn build(snapshot: &FleetSnapshot) -> Result<Self, IndexError> {
        let fleet = Arc::new(FleetIndex::build(snapshot)?);
        let mut routes = RouteBuilder::new();
        let contested = cover(&mut routes, &fleet);
        let parts = Parts {
            fleet,
            routes: Arc::new(routes.publish()),
            policy: Arc::default(),
            measured: Arc::default(),
            circuits: Arc::default(),
        };
        Ok(Self::join(parts, contested))
    }

    /// Puts the parts together.
    pub fn join(parts: Parts, contested: Vec<Contested>) -> Self {
        let Parts {
            fleet,
            routes,
            policy,
            measured,
            circuits,
        } = parts;
        let mut available = Bits::new(fleet.appliance_count());
        let mut by_headroom = [(); 3].map(|()| available.clone());
        let standing: Vec<_> = fleet
            .appliances()
            .map(|(ix, a)| {
                let headroom = policy.headroom.step(a.load_permille);
                let circuit = circuits.of(a);
                let fails = matches!(circuit, Verdict::Open { .. });
                let serves = a.state == ApplianceState::Serving && a.unusable.is_none() && !fails;
                if serves && headroom != Headroom::Full {
                    available.add(ix.0);
                    by_headroom[headroom as usize].add(ix.0);
                }
                Standing {
                    seed: a.seed,
                    weight: a.weight,
                    site: a.site,
                    sibling: a.sibling,
                    order: a.order,
                    headroom,
                    circuit,
                }
            })
            .collect();
        let (reached, reached_appliances) = reached(&routes, &fleet);
        Self {
            contested,
            reached,
            reached_appliances,
            rules: BoundRules::new(&policy, &fleet),
            standing,
            available,
            by_headroom,
            fleet,
            routes,
            policy,
            measured,
            circuits,
        }
    }

    /// The parts, to put other ones in.
    pub fn parts(&self) -> Parts {
        Parts {
            fleet: Arc::clone(&self.fleet),
            routes: Arc::clone(&self.routes),
            policy: Arc::clone(&self.policy),
            measured: Arc::clone(&self.measured),
            circuits: Arc::clone(&self.circuits),
        }
    }

    /// A client, to be ranked for.
    pub fn client(&self, ip: IpAddr) -> Client<'_> {
        let ip = ip.to_canonical();
        Client {
            ip,
            covering: self.routes.covering(ip),
        }
    }

    /// The site that is a client's own, and the network that says so: the one with the best route to the client, which
    /// is the longest match where sites have nothing but their networks.
    pub fn site_of(&self, client: IpAddr) -> Option<(SiteIx, IpNet)> {
        let client = client.to_canonical();
        let found = self.own_site(self.routes.covering(client).iter());
        found.map(|(site, len)| (site, network(client, len)))
    }
    pub(crate) fn own_site(&self, mut routes: impl Iterator<Item = Candidate>) -> Option<(SiteIx, u8)> {
        let site = |c: Candidate| Some((self.reached[c.group as usize].site?, c.prefix_len));
        routes.find_map(site)
    }

    /// The widest network around a client, a /24 or /48 at most, whose first address has the same routes and rules as
    /// the client: what a log may keep of an address and still be ranked alike.
    pub fn network_alike(&self, client: IpAddr) -> IpNet {
        let client = client.to_canonical();
        let covering = self.routes.covering(client);
        let (shortest, whole) = if client.is_ipv4() { (24, 32) } else { (48, 128) };
        let alike = |net: &IpNet| {
            self.routes.covering(net.network()).is_like(&covering) && self.rules.alike(client, net.network())
        };
        let nets = (shortest..whole).map(|len| network(client, len));
        nets.into_iter().find(alike).unwrap_or_else(|| client.into())
    }

    /// The routes.
    pub fn routes(&self) -> &RouteTable {
        &self.routes
    }
    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }
    /// Names in the policy's rules that this fleet does not have.
    pub fn unknown_in_policy(&self) -> &[String] {
        &self.rules.unknown
    }
    /// What was measured of throughput.
    pub fn measured(&self) -> &Arc<Measured> {
        &self.measured
    }
    /// What circuits say.
    pub fn circuits(&self) -> &Arc<Verdicts> {
        &self.circuits
    }
    pub(crate) fn rules(&self) -> &BoundRules {
        &self.rules
    }
    /// The appliances that have a route: all of a site's where it is the site's own.
    pub(crate) fn reached(&self, route: &Candidate) -> &[ApplianceIx] {
        let group = route.group as usize;
        let from = group.checked_sub(1).map_or(0, |before| self.reached[before].end);
        &self.reached_appliances[from as usize..self.reached[group].end as usize]
    }
    pub(crate) fn standing(&self, ix: ApplianceIx) -> &Standing {
        &self.standing[ix.0 as usize]
    }
    /// Who could take a viewer of something, as words of bits.
    pub(crate) fn available(&self) -> &[u64] {
        &self.available.0
    }

    /// The same in steps, those with most room first.
    pub(crate) fn by_headroom(&self) -> &[Bits; 3] {
        &self.by_headroom
    }

    /// Why a site cannot take a viewer of a title: what its appliance that is nearest to serving lacks. None if one can.
    pub fn miss(&self, site: SiteIx, title: TitleIx) -> Option<Miss> {
        let mut nearest = Miss::Content;
        for ix in &self.site(site).appliances {
            let miss = match self.refusals(*ix, title).as_slice() {
                [] => return None,
                [DropReason::OverCapacity { .. }] => Miss::Capacity,
                reasons
                    if reasons
                        .iter()
                        .any(|r| matches!(r, DropReason::ContentMissing { .. })) =>
                {
                    Miss::Content
                }
                _ => Miss::Health,
            };
            nearest = nearest.min(miss);
        }
        Some(nearest)
    }

    /// Everything that speaks against sending a viewer of `title` to an appliance, but for policy.
    pub(crate) fn refusals(&self, ix: ApplianceIx, title: TitleIx) -> Vec<DropReason> {
        let appliance = self.appliance(ix);
        let mut reasons = Vec::new(); // does not allocate while empty
        match appliance.state {
            ApplianceState::Serving => {}
            ApplianceState::Joined => reasons.push(DropReason::NotReported),
            ApplianceState::Draining => reasons.push(DropReason::Draining),
            ApplianceState::Unhealthy => reasons.push(DropReason::Unhealthy),
            ApplianceState::Lost => reasons.push(DropReason::Lost),
        }
        if let Some(detail) = appliance.unusable {
            reasons.push(DropReason::Unusable { detail });
        }
        if !self.holds(ix, title) {
            reasons.push(DropReason::ContentMissing {
                objects: self.missing(ix, title),
            });
        }
        if self.standing(ix).headroom == Headroom::Full {
            reasons.push(DropReason::OverCapacity {
                load_permille: appliance.load_permille,
            });
        }
        reasons
    }
}

/// What a site lacks that cannot take a viewer; nearest to serving first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// Room: an appliance is well and has the title, but is full.
    Capacity,
    /// Health: an appliance has the title, but is not well, drains or fails.
    Health,
    /// The title.
    Content,
}

impl Miss {
    /// Stable name, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Health => "health",
            Self::Content => "content",
        }
    }
}

/// What an [`Index`] is put together from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The fleet.
    pub fleet: Arc<FleetIndex>,
    /// Its routes.
    pub routes: Arc<RouteTable>,
    /// The operator's policy.
    pub policy: Arc<Policy>,
    /// What was measured of throughput.
    pub measured: Arc<Measured>,
    /// Who fails viewers.
    pub circuits: Arc<Verdicts>,
}

fn reached(routes: &RouteTable, fleet: &FleetIndex) -> (Vec<Reached>, Vec<ApplianceIx>) {
    let mut appliances = Vec::new();
    let group = |holders: &[Holder]| {
        let mut first = None;
        for holder in holders {
            let site = match &routes.holders()[holder.0 as usize] {
                HolderName::Site(id) => fleet.site_ix(id).inspect(|site| {
                    appliances.extend_from_slice(&fleet.site(*site).appliances);
                }),
                HolderName::Appliance(id) => fleet.appliance_ix(id).map(|ix| {
                    appliances.push(ix);
                    fleet.appliance(ix).site
                }),
            };
            first = first.or(site);
        }
        Reached {
            site: first,
            end: appliances.len() as u32,
        }
    };
    let groups = routes.groups().map(group).collect();
    (groups, appliances)
}

/// Brings a table's networks of sites up to those of a fleet, and returns what two sites claim.
pub fn cover(routes: &mut RouteBuilder, fleet: &FleetIndex) -> Vec<Contested> {
    let ignored = routes.cover(fleet.networks().to_vec());
    let contested = ignored.into_iter().filter_map(|Covered { prefix, site }| {
        let kept = routes.covered_by(prefix)?.clone();
        Some(Contested {
            prefix,
            kept,
            ignored: site,
        })
    });
    contested.collect()
}

/// The network of an address with `len` bits.
pub(crate) fn network(client: IpAddr, len: u8) -> IpNet {
    IpNet::new(client, len).map_or_else(|_| client.into(), |net| net.trunc())
}
