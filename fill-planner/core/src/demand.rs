//! What each region's viewers are expected to draw of each bundle, as arrays by index: a fleet of a thousand
//! appliances has fifty regions with a million objects each.
//!
//! A title without demand in the region is expected to draw a part of what other regions draw of it: as large a part as the forecast
//! has measured ([`crate::forecast::elsewhere`]), or as the rules assume. One that nobody has
//! drawn yet is taken for half as good as the least drawn title, byte for byte: it fills what room is left, and no more.

use crate::{bundle::Bundles, forecast::Forecast, rules::Rules};
use cdn_types::RegionId;
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

/// The most drawn bundles are guarded by a second copy, down to the one that makes [`Rules::guard_share`] of the bytes full.
/// One that is drawn less than that has a second copy of less worth, and at this part of it of none: a step would have
/// demand that merely trembles move copies.
const GUARD_FADES: f64 = 0.5;

/// Expected bytes of every object in every region.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    regions: BTreeMap<RegionId, Vec<f32>>,
    /// Bytes that are not exceeded in nine days of ten, where errors are known.
    high: BTreeMap<RegionId, Vec<f32>>,
    everywhere: Vec<f32>,
    total: f64,
    /// What a region draws of titles that only others have drawn, where the forecast has measured it.
    elsewhere: Option<f64>,
}

impl Demand {
    /// From each region's expected bytes by [`Bundles::objects`]; missing objects at the end of a list are not drawn.
    pub fn new(regions: BTreeMap<RegionId, Vec<f32>>) -> Self {
        let objects = regions.values().map(Vec::len).max().unwrap_or(0);
        let mut everywhere = vec![0f32; objects];
        for region in regions.values() {
            for (sum, bytes) in everywhere.iter_mut().zip(region) {
                *sum += *bytes;
            }
        }
        let total = everywhere.iter().map(|b| f64::from(*b)).sum();
        Self {
            regions,
            high: BTreeMap::new(),
            everywhere,
            total,
            elsewhere: None,
        }
    }

    /// From a forecast. An object that several titles share is drawn for one of them at a time.
    pub fn of(forecast: &Forecast, bundles: &Bundles<'_>) -> Self {
        let (mut regions, mut highs) = (BTreeMap::new(), BTreeMap::new());
        for region in forecast.regions() {
            let mut list = vec![0f32; bundles.objects.len()];
            let mut high = Vec::new();
            for (digest, bytes) in forecast.objects(region) {
                let same = bundles.with(digest);
                let [.., most] = forecast.quantiles(region, digest);
                if most > bytes && high.is_empty() {
                    high.resize(list.len(), 0f32);
                }
                for object in same {
                    list[*object as usize] = (bytes / same.len() as f64) as f32;
                    if let Some(high) = high.get_mut(*object as usize) {
                        *high = (most / same.len() as f64) as f32;
                    }
                }
            }
            regions.insert(region.clone(), list);
            highs.insert(region.clone(), high);
        }
        Self {
            high: highs,
            elsewhere: forecast.elsewhere(),
            ..Self::new(regions)
        }
    }

    /// Whether nothing is expected anywhere.
    pub fn is_nothing(&self) -> bool {
        self.total <= 0.0
    }

    /// Factor from global to a region's bytes: its part of all demand, or an average region's where it has none.
    fn scale(&self, region_total: f64) -> f64 {
        if self.total <= 0.0 {
            0.0
        } else if region_total > 0.0 {
            region_total / self.total
        } else {
            1.0 / self.regions.len().max(1) as f64
        }
    }
}

/// Expectation for one bundle in a region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BundleDemand {
    /// Expected bytes.
    pub expected: f32,
    /// Bytes that are not exceeded in nine days of ten; as much as is expected where errors are not known.
    pub high: f32,
    /// Where it comes from.
    pub basis: Basis,
    /// What a second copy is worth for the case that an appliance fails, as a share of the first one's worth.
    pub second: f32,
}

/// A region's expectations for every bundle of the catalogue.
#[derive(Debug, Clone)]
pub struct RegionDemand<'a> {
    /// By bundle.
    pub bundles: Vec<BundleDemand>,
    /// Expected bytes of all bundles.
    pub total: f64,
    /// Worth per byte of a bundle that nobody has drawn.
    pub unseen: f64,
    /// All bundles, most expected bytes per byte first.
    pub by_density: Vec<u32>,
    own: &'a [f32],
    everywhere: &'a [f32],
    borrowed: f64,
}

impl<'a> RegionDemand<'a> {
    /// A region's expectations, borrowing from other regions where it has none.
    pub fn new(region: &RegionId, demand: &'a Demand, bundles: &Bundles<'_>, rules: &Rules) -> Self {
        let own = demand.regions.get(region).map_or(&[][..], Vec::as_slice);
        let own_high = demand.high.get(region).map_or(&[][..], Vec::as_slice);
        let drawn: f64 = own.iter().map(|b| f64::from(*b)).sum();
        let mut out = Self {
            bundles: Vec::with_capacity(bundles.list.len()),
            total: 0.0,
            unseen: 0.0,
            by_density: (0..bundles.list.len() as u32).collect(),
            own,
            everywhere: &demand.everywhere,
            borrowed: demand.elsewhere.unwrap_or(rules.elsewhere_weight) * demand.scale(drawn),
        };
        for b in 0..bundles.list.len() as u32 {
            let here: f64 = bundles.range(b).map(|o| at(own, o)).sum();
            let elsewhere: f64 = bundles
                .range(b)
                .map(|o| out.borrowed * at(out.everywhere, o))
                .sum();
            let (expected, basis) = if here > 0.0 {
                (here, Basis::Region)
            } else if elsewhere > 0.0 {
                (elsewhere, Basis::Elsewhere)
            } else {
                (0.0, Basis::Unseen)
            };
            out.total += expected;
            let high: f64 = bundles.range(b).map(|o| at(own_high, o)).sum();
            out.bundles.push(BundleDemand {
                expected: expected as f32,
                high: high.max(expected) as f32,
                basis,
                second: 0.0,
            });
        }
        out.unseen = out.unseen_density(bundles);
        out.weigh_seconds(bundles, rules);
        let density: Vec<f32> = out
            .bundles
            .iter()
            .zip(&bundles.list)
            .map(|(d, b)| d.expected / b.size as f32)
            .collect();
        out.by_density.sort_unstable_by(|a, b| {
            let [x, y] = [a, b].map(|b| density[*b as usize]);
            y.total_cmp(&x).then(a.cmp(b))
        });
        out
    }

    /// Expected bytes of one object of a bundle.
    pub fn object(&self, bundle: u32, object: usize) -> f64 {
        match self.bundles[bundle as usize].basis {
            Basis::Region => at(self.own, object),
            Basis::Elsewhere => self.borrowed * at(self.everywhere, object),
            Basis::Unseen => 0.0,
        }
    }

    /// Half of the least of the drawn ones. Where nothing was drawn every title is worth the same per byte.
    fn unseen_density(&self, bundles: &Bundles<'_>) -> f64 {
        let drawn = self.bundles.iter().zip(&bundles.list);
        drawn
            .filter(|(d, _)| d.expected > 0.0)
            .map(|(d, b)| f64::from(d.expected) / b.size as f64)
            .min_by(f64::total_cmp)
            .map_or(f64::MIN_POSITIVE.sqrt(), |d| d / 2.0)
    }

    /// Weighs second copies of the most drawn bundles.
    fn weigh_seconds(&mut self, bundles: &Bundles<'_>, rules: &Rules) {
        let expected = |b: u32| self.bundles[b as usize].expected;
        let mut order: Vec<u32> = (0..self.bundles.len() as u32)
            .filter(|b| expected(*b) > 0.0)
            .collect();
        order.sort_unstable_by(|a, b| expected(*b).total_cmp(&expected(*a)).then(a.cmp(b)));
        let (mut sum, mut least) = (0.0, f64::INFINITY);
        for b in order {
            let demand = &mut self.bundles[b as usize];
            let drawn = f64::from(demand.expected);
            let share = sum / self.total;
            if share < rules.guard_share {
                least = drawn;
            }
            let guarded = ((drawn / least - GUARD_FADES) / (1.0 - GUARD_FADES)).max(0.0);
            let survives = if share < rules.survival_share {
                rules.loss_chance
            } else {
                0.0
            };
            if guarded.max(survives) <= 0.0 {
                break;
            }
            demand.second = guarded.max(survives) as f32;
            sum += drawn;
        }
        // What is of use only beside another needs as many copies of that.
        for b in (1..self.bundles.len()).rev() {
            if bundles.list[b].needs_previous {
                self.bundles[b - 1].second = self.bundles[b - 1].second.max(self.bundles[b].second);
            }
        }
    }
}

fn at(list: &[f32], object: usize) -> f64 {
    list.get(object).copied().map_or(0.0, f64::from)
}
