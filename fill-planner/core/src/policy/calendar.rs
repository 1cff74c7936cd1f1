//! What the launch calendar pins: a premiere must be there on its day, whatever a forecast thinks of it. A calendar is made weeks
//! ahead and names titles that are not packed yet, and regions that no site serves; so what it pins and cannot be obeyed is
//! a warning, where a policy's own pin would be an error.

use super::{Pin, Policy};
use crate::service::Launch;
use cdn_types::{
    RegionId, TitleId,
    api::v1::{Catalogue, FleetSnapshot},
    time::Date,
};
use std::collections::BTreeSet;

impl Policy {
    /// Adds one copy's pin for each launch that is pinned on `day`: from the day of its instant (universal time) to its last
    /// pinned day. Returns what cannot be obeyed.
    pub fn pin_launches(
        &mut self,
        launches: &[Launch],
        day: Date,
        catalogue: &Catalogue,
        fleet: &FleetSnapshot,
    ) -> Vec<String> {
        let in_force =
            |l: &&Launch| l.instant.date() <= day && l.pinned_until.is_some_and(|until| day <= until);
        let mut pinned: Vec<&Launch> = launches.iter().filter(in_force).collect();
        if pinned.is_empty() {
            return Vec::new(); // most nights: the catalogue need not be gone through
        }
        pinned.sort_by_key(|l| (&l.title, &l.region));
        pinned.dedup_by_key(|l| (&l.title, &l.region));
        let titles: BTreeSet<&TitleId> = catalogue.objects.iter().map(|o| &o.title).collect();
        let regions: BTreeSet<&RegionId> = fleet.sites.iter().map(|s| &s.region).collect();
        let mut warnings = Vec::new();
        for Launch { title, region, .. } in pinned {
            if !titles.contains(title) {
                warnings.push(format!(
                    "the launch calendar pins {title} in {region}, and the catalogue has no such title: add it, or take the pin out"
                ));
            } else if !regions.contains(region) {
                warnings.push(format!(
                    "the launch calendar pins {title} in {region}, and the fleet has no site there"
                ));
            } else {
                self.pins.push(Pin {
                    title: title.clone(),
                    region: Some(region.clone()),
                    site: None,
                    copies: 1,
                    until: None,
                });
            }
        }
        warnings
    }
}
