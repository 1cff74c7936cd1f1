//! Whether the appliances of a site hear the same prefixes: if not, viewers of some prefixes have fewer appliances than the
//! site has, and mostly a filter towards one of them is wrong.

use super::Rib;
use cdn_types::{
    OcaId, SiteId,
    api::v1::routes::{ApplianceRouteCheck, EXAMPLES, SiteRouteCheck},
};
use ipnet::IpNet;
use std::collections::BTreeSet;

impl Rib {
    /// Checks a site; appliances that have never told routes do not listen, and are left out. None if no two listen.
    pub fn check(&self, site: &SiteId, appliances: &[OcaId]) -> Option<SiteRouteCheck> {
        let listening: Vec<_> = appliances
            .iter()
            .filter_map(|id| Some((id, &self.heard[self.index(id)?].routes)))
            .collect();
        if listening.len() < 2 {
            return None;
        }
        let all: BTreeSet<&IpNet> = listening.iter().flat_map(|(_, routes)| routes.keys()).collect();
        let one = |(id, routes): &(&OcaId, &std::collections::BTreeMap<IpNet, _>)| {
            let missing = all.iter().filter(|prefix| !routes.contains_key(prefix));
            ApplianceRouteCheck {
                appliance: (*id).clone(),
                prefixes: routes.len() as u64,
                missing: (all.len() - routes.len()) as u64,
                examples: missing.take(EXAMPLES).map(|prefix| **prefix).collect(),
            }
        };
        let checks: Vec<_> = listening.iter().map(one).collect();
        Some(SiteRouteCheck {
            site: site.clone(),
            prefixes: all.len() as u64,
            consistent: checks.iter().all(|c| c.missing == 0),
            appliances: checks,
        })
    }
}
