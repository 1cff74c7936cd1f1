//! A policy's rules with the names resolved in one fleet, found by client.

use super::{Action, Country, Licence, Location, Policy, Whom};
use crate::{
    fleet::{ApplianceIx, FleetIndex, SiteIx, TitleIx},
    routes::HolderName,
};
use foldhash::fast::FixedState;
use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;
use std::{collections::HashMap, net::IpAddr};

/// With which appliances a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Site(SiteIx),
    Appliance(ApplianceIx),
}

/// One rule that matches a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Match {
    pub action: Action,
    pub target: Target,
}

/// All rules of one fleet.
#[derive(Debug, Default)]
pub(crate) struct BoundRules {
    by_prefix: JointPrefixMap<IpNet, Vec<Match>>,
    by_asn: HashMap<u32, Vec<Match>, FixedState>,
    by_country: HashMap<Country, Vec<Match>>,
    licences: HashMap<TitleIx, Licence, FixedState>,
    /// By site; empty when the policy has none.
    locations: Vec<Option<Location>>,
    pub unknown: Vec<String>,
}

impl BoundRules {
    pub fn new(policy: &Policy, fleet: &FleetIndex) -> Self {
        let mut bound = Self::default();
        for rule in &policy.rules {
            let target = match &rule.target {
                HolderName::Site(id) => fleet.site_ix(id).map(Target::Site).ok_or(id.as_str()),
                HolderName::Appliance(id) => fleet.appliance_ix(id).map(Target::Appliance).ok_or(id.as_str()),
            };
            let target = match target {
                Ok(target) => target,
                Err(name) => {
                    bound.unknown.push(name.to_owned());
                    continue;
                }
            };
            let list = match rule.whom {
                Whom::Prefix(prefix) => bound.by_prefix.entry(prefix).or_default(),
                Whom::Asn(asn) => bound.by_asn.entry(asn).or_default(),
                Whom::Country(country) => bound.by_country.entry(country).or_default(),
            };
            list.push(Match {
                action: rule.action,
                target,
            });
        }
        let of_title = |(id, licence): (&cdn_types::TitleId, &Licence)| {
            Some((fleet.title_ix(id.as_str())?, licence.clone()))
        };
        bound.licences = policy.licences.iter().filter_map(of_title).collect();
        if !policy.locations.is_empty() {
            let of_site = |(_, site): (SiteIx, &crate::fleet::Site)| policy.locations.get(&site.id).copied();
            bound.locations = fleet.sites().map(of_site).collect();
        }
        bound.unknown.sort_unstable();
        bound.unknown.dedup();
        bound
    }

    /// Puts the rules for a client into `found`; `asn` is asked only when a rule needs it.
    pub fn matching(
        &self,
        client: IpAddr,
        country: Option<Country>,
        asn: impl FnOnce() -> Option<u32>,
        found: &mut Vec<Match>,
    ) {
        found.clear();
        if !self.by_prefix.is_empty() {
            let around = self.by_prefix.cover(&IpNet::from(client));
            found.extend(around.flat_map(|(_, list)| list));
        }
        if !self.by_asn.is_empty()
            && let Some(list) = asn().and_then(|asn| self.by_asn.get(&asn))
        {
            found.extend(list);
        }
        if !self.by_country.is_empty()
            && let Some(list) = country.and_then(|c| self.by_country.get(&c))
        {
            found.extend(list);
        }
    }
    /// Whether two addresses have the same rules by network.
    pub fn alike(&self, a: IpAddr, b: IpAddr) -> bool {
        let around = |ip| self.by_prefix.cover_keys(&IpNet::from(ip)).collect::<Vec<_>>();
        self.by_prefix.is_empty() || around(a) == around(b)
    }
    /// Whether a title may be watched in a country.
    pub fn licensed(&self, title: TitleIx, country: Option<Country>) -> bool {
        self.licences.is_empty() || self.licences.get(&title).is_none_or(|l| l.allows(country))
    }
    /// Where a site is.
    pub fn location(&self, site: SiteIx) -> Option<Location> {
        self.locations.get(site.0 as usize).copied().flatten()
    }
}

/// What the matching rules say of one appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effect {
    pub pinned: bool,
    pub blocked: bool,
    pub preference: i16,
}

impl Effect {
    pub fn of(matches: &[Match], ix: ApplianceIx, site: SiteIx) -> Self {
        let mut effect = Self::default();
        for rule in matches {
            if rule.target != Target::Site(site) && rule.target != Target::Appliance(ix) {
                continue;
            }
            match rule.action {
                Action::Prefer(by) => effect.preference = effect.preference.saturating_add(by),
                Action::Pin => effect.pinned = true,
                Action::Block => effect.blocked = true,
            }
        }
        effect
    }
}
