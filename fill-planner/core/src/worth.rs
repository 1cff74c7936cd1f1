//! What copies of a title are worth at a site, in bytes a day.
//!
//! The first copy is worth what the site's viewers are expected to draw: without it all of that comes from further
//! away. A further copy is worth less: what the copies before it cannot carry at the evening peak, and, for the
//! titles that make up most of the site's bytes, what would be lost if an appliance failed.
//!
//! A title without demand in the region is worth a part of what other regions draw of it. One that nobody has drawn
//! yet is worth half of the least drawn title's worth per byte: it fills what room is left, and no more.

use crate::{bundle::Bundles, fleet::SiteFleet, forecast::Forecast, rules::Rules};
use cdn_types::{ObjectDigest, RegionId};
use std::collections::BTreeMap;

/// Where the expectation for a title comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The region's own viewers have drawn it.
    Region,
    /// Only other regions' viewers have.
    Elsewhere,
    /// Nobody has.
    Unseen,
}

/// A region's expectations for every bundle of the catalogue.
#[derive(Debug, Clone)]
pub struct RegionDemand {
    /// By bundle.
    pub bundles: Vec<BundleDemand>,
    /// Expected bytes of all bundles.
    pub total: f64,
}

/// Expectation for one bundle in a region.
#[derive(Debug, Clone)]
pub struct BundleDemand {
    /// Where it comes from.
    pub basis: Basis,
    /// Expected bytes.
    pub expected: f64,
    /// Expected bytes of each object of the bundle, in its order.
    pub objects: Vec<f64>,
}

/// The forecast summed over regions, from which a region without demand for a title borrows.
#[derive(Debug, Clone)]
pub struct GlobalDemand {
    objects: BTreeMap<ObjectDigest, f64>,
    total: f64,
    regions: usize,
}

impl GlobalDemand {
    /// Sums a forecast over its regions.
    pub fn new(forecast: &Forecast) -> Self {
        let mut objects: BTreeMap<ObjectDigest, f64> = BTreeMap::new();
        for region in forecast.regions() {
            for (object, bytes) in forecast.objects(region) {
                *objects.entry(*object).or_default() += bytes;
            }
        }
        let total = objects.values().sum();
        Self {
            objects,
            total,
            regions: forecast.regions().count(),
        }
    }

    /// Factor from global to this region's bytes: its part of all demand, or an average region's where it has none.
    fn scale(&self, region_total: f64) -> f64 {
        if self.total <= 0.0 {
            0.0
        } else if region_total > 0.0 {
            region_total / self.total
        } else {
            1.0 / self.regions.max(1) as f64
        }
    }
}

impl RegionDemand {
    /// A region's expectations, borrowing from other regions where it has none.
    pub fn new(
        region: &RegionId,
        bundles: &Bundles<'_>,
        forecast: &Forecast,
        global: &GlobalDemand,
        rules: &Rules,
    ) -> Self {
        // An object that several titles share is drawn for one of them at a time.
        let part = |bytes: f64, object: &ObjectDigest| bytes / bundles.with(object).len().max(1) as f64;
        let mut list: Vec<BundleDemand> = bundles
            .list
            .iter()
            .map(|b| {
                let objects = b.objects.iter();
                let objects: Vec<f64> = objects
                    .map(|o| part(forecast.get(region, &o.digest), &o.digest))
                    .collect();
                BundleDemand {
                    basis: Basis::Region,
                    expected: objects.iter().sum(),
                    objects,
                }
            })
            .collect();
        let own: f64 = list.iter().map(|d| d.expected).sum();
        let scale = rules.elsewhere_weight * global.scale(own);
        for (demand, bundle) in list.iter_mut().zip(&bundles.list) {
            if demand.expected > 0.0 {
                continue;
            }
            for (bytes, object) in demand.objects.iter_mut().zip(&bundle.objects) {
                let everywhere = global.objects.get(&object.digest).copied().unwrap_or(0.0);
                *bytes = scale * part(everywhere, &object.digest);
            }
            demand.expected = demand.objects.iter().sum();
            demand.basis = if demand.expected > 0.0 {
                Basis::Elsewhere
            } else {
                Basis::Unseen
            };
        }
        let total = list.iter().map(|d| d.expected).sum();
        Self { bundles: list, total }
    }
}

/// What a bundle's copies are worth at one site.
#[derive(Debug, Clone, PartialEq)]
pub struct Worth {
    /// By bundle: bytes a day that each copy in turn is worth; falling, at least one.
    pub copies: Vec<Vec<f64>>,
}

impl Worth {
    /// Worth of every bundle's copies at a site.
    pub fn at(site: &SiteFleet, demand: &RegionDemand, bundles: &Bundles<'_>, rules: &Rules) -> Self {
        let drawn: Vec<f64> = demand.bundles.iter().map(|d| d.expected * site.share).collect();
        let floor = unseen_density(&drawn, bundles);
        let kept_twice = survivors(&drawn, rules.survival_share);
        let most = rules.max_copies.min(site.appliances.len()).max(1);
        // What one copy can carry of one title, in bit/s.
        let carries = rules.hot_egress_share * site.egress() as f64 / site.appliances.len().max(1) as f64;
        let copies = (0..drawn.len())
            .map(|b| {
                if drawn[b] <= 0.0 {
                    return vec![floor * bundles.list[b].size as f64];
                }
                let peak = drawn[b] * 8.0 / SECONDS_A_DAY * rules.peak_to_mean;
                let mut worth = vec![drawn[b]];
                for copy in 2..=most {
                    let relief = unserved(peak, carries, copy - 1) - unserved(peak, carries, copy);
                    let survival = if copy == 2 && kept_twice[b] {
                        rules.loss_chance
                    } else {
                        0.0
                    };
                    let value = drawn[b] * (relief + survival).min(1.0);
                    if value <= 0.0 {
                        break;
                    }
                    worth.push(value);
                }
                worth
            })
            .collect();
        Self { copies }
    }
}

/// Seconds of a day.
const SECONDS_A_DAY: f64 = 86_400.0;

/// Share of a title's peak that `copies` copies cannot carry.
fn unserved(peak: f64, carries: f64, copies: usize) -> f64 {
    if carries <= 0.0 {
        return 0.0; // No egress is known: nothing can be said about relief.
    }
    (1.0 - copies as f64 * carries / peak).max(0.0)
}

/// Worth per byte of a title that nobody has drawn: half of the least of the drawn ones. Where nothing was drawn
/// every title is worth the same per byte.
fn unseen_density(drawn: &[f64], bundles: &Bundles<'_>) -> f64 {
    let least = drawn
        .iter()
        .zip(&bundles.list)
        .filter(|(d, _)| **d > 0.0)
        .map(|(d, b)| d / b.size as f64)
        .min_by(f64::total_cmp);
    least.map_or(f64::MIN_POSITIVE.sqrt(), |d| d / 2.0)
}

/// The most drawn titles that together make `share` of all bytes.
fn survivors(drawn: &[f64], share: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..drawn.len()).collect();
    order.sort_by(|a, b| drawn[*b].total_cmp(&drawn[*a]).then(a.cmp(b)));
    let wanted = share * drawn.iter().sum::<f64>();
    let (mut sum, mut chosen) = (0.0, vec![false; drawn.len()]);
    for b in order {
        if sum >= wanted || drawn[b] <= 0.0 {
            break;
        }
        sum += drawn[b];
        chosen[b] = true;
    }
    chosen
}
