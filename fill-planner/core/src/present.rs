//! What is where before the plan: bytes of each bundle on each appliance, and where else in the fleet they are.

use crate::{bundle::Bundles, fleet::Fleet};
use cdn_types::{OcaId, plan::Plan};
use std::collections::BTreeMap;

/// Bytes of one bundle on one appliance of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The bundle.
    pub bundle: u32,
    /// Place of the appliance in its site.
    pub appliance: u32,
    /// Bytes held of it.
    pub bytes: u64,
}

/// One site's contents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Present {
    /// By bundle, then appliance.
    pub held: Vec<Held>,
    /// By appliance: bytes of everything that it holds, as far as sizes are known.
    pub stored: Vec<u64>,
    /// By appliance: bundles that the previous plan gave it, rising.
    pub intended: Vec<Vec<u32>>,
}

impl Present {
    /// Who holds a bundle, whole or in part.
    pub fn of(&self, bundle: u32) -> &[Held] {
        let rest = &self.held[self.first_of(bundle)..];
        &rest[..rest.partition_point(|h| h.bundle == bundle)]
    }

    /// Where those that hold a bundle begin, or would.
    pub fn first_of(&self, bundle: u32) -> usize {
        self.held.partition_point(|h| h.bundle < bundle)
    }

    /// Bytes of a bundle on an appliance.
    pub fn bytes(&self, bundle: u32, appliance: usize) -> u64 {
        let mut of = self.of(bundle).iter();
        of.find(|h| h.appliance as usize == appliance)
            .map_or(0, |h| h.bytes)
    }
}

/// The whole fleet's contents.
#[derive(Debug)]
pub struct Holdings<'a> {
    fleet: &'a Fleet,
    bundles: &'a Bundles<'a>,
    /// By [`Fleet::objects`]: where its catalogue objects begin in `objects`.
    starts: Vec<u32>,
    objects: Vec<u32>,
    /// By [`Fleet::objects`]: its size, 0 if nobody knows it.
    pub sizes: Vec<u64>,
    intended: BTreeMap<&'a OcaId, Vec<u32>>,
    /// By bundle: sites with an appliance that holds it whole and that may be asked for it.
    sites_with: Vec<u16>,
}

impl<'a> Holdings<'a> {
    /// Notes who holds what, and what the previous plan gave to whom.
    pub fn new(fleet: &'a Fleet, bundles: &'a Bundles<'a>, previous: Option<&'a Plan>) -> Self {
        let parts = previous.map_or(&[][..], |p| p.appliances.as_slice());
        let mut out = Self {
            fleet,
            bundles,
            starts: Vec::with_capacity(fleet.objects.len() + 1),
            objects: Vec::new(),
            sizes: vec![0; fleet.objects.len()],
            intended: BTreeMap::new(),
            sites_with: vec![0; bundles.list.len()],
        };
        for part in parts {
            let mut given = Vec::new();
            for item in &part.items {
                let same = bundles.with(&item.digest).iter();
                given.extend(same.map(|o| bundles.bundle_of(*o)));
                if let Ok(rank) = fleet.objects.binary_search(&item.digest) {
                    out.sizes[rank] = item.size.0;
                }
            }
            given.sort_unstable();
            given.dedup();
            out.intended.insert(&part.appliance, given);
        }
        for (digest, size) in fleet.objects.iter().zip(&mut out.sizes) {
            out.starts.push(out.objects.len() as u32);
            let same = bundles.with(digest);
            out.objects.extend(same);
            if let Some(object) = same.first() {
                *size = bundles.objects[*object as usize].size.0;
            }
        }
        out.starts.push(out.objects.len() as u32);
        out.count_sites();
        out
    }

    /// Catalogue objects of one of [`Fleet::objects`].
    pub fn catalogued(&self, held: u32) -> &[u32] {
        let held = held as usize;
        &self.objects[self.starts[held] as usize..self.starts[held + 1] as usize]
    }

    /// What a site's appliances hold.
    pub fn present(&self, site: usize) -> Present {
        let appliances = &self.fleet.sites[site].appliances;
        let mut held = Vec::new();
        for (a, appliance) in appliances.iter().enumerate() {
            for object in appliance.holds.iter().flat_map(|h| self.catalogued(*h)) {
                held.push(Held {
                    bundle: self.bundles.bundle_of(*object),
                    appliance: a as u32,
                    bytes: self.bundles.objects[*object as usize].size.0,
                });
            }
        }
        held.sort_unstable();
        held.dedup_by(|next, sum| {
            let same = (next.bundle, next.appliance) == (sum.bundle, sum.appliance);
            if same {
                sum.bytes += next.bytes;
            }
            same
        });
        let stored = appliances.iter().map(|a| {
            let sizes = a.holds.iter().map(|h| self.sizes[*h as usize]);
            sizes.fold(0u64, u64::saturating_add)
        });
        let intended = |a: &crate::fleet::Appliance| self.intended.get(&a.id).cloned().unwrap_or_default();
        Present {
            held,
            stored: stored.collect(),
            intended: appliances.iter().map(intended).collect(),
        }
    }

    /// Whether another site can give a bundle, when this one does (`own`) or does not have it itself.
    pub fn elsewhere(&self, bundle: u32, own: bool) -> bool {
        self.sites_with[bundle as usize] > u16::from(own)
    }

    fn count_sites(&mut self) {
        for (s, site) in self.fleet.sites.iter().enumerate() {
            let mut last = None;
            for held in self.present(s).held {
                let source = site.appliances[held.appliance as usize].source;
                if source && held.bytes >= self.bundles.size(held.bundle) && last != Some(held.bundle) {
                    last = Some(held.bundle);
                    let sites = &mut self.sites_with[held.bundle as usize];
                    *sites = sites.saturating_add(1);
                }
            }
        }
    }
}
