//! What copies of a bundle are worth at a site, in bytes a day.
//!
//! The first copy is worth what the site's viewers are expected to draw: without it all of that comes from further
//! away. A further copy is worth less: what the copies before it cannot carry at the peak of an evening of which nine in ten are no
//! busier (a launch may draw twice what is expected of it, a title known for weeks does not), and, for the
//! titles that make up most of the site's bytes, what would be lost if an appliance failed. For the very hottest
//! ([`Rules::guard_share`]) the second copy counts as much as the first: they are to survive the loss of any one appliance.
//! Worth falls from copy to copy, which is what makes the greedy choice and the bound of [`crate::place`] right.

use crate::{bundle::Bundles, demand::RegionDemand, fleet::SiteFleet, rules::Rules};

/// Seconds of a day.
const SECONDS_A_DAY: f64 = 86_400.0;

/// What bundles' copies are worth at one site.
#[derive(Debug, Clone, Copy)]
pub struct Worth<'a> {
    demand: &'a RegionDemand<'a>,
    bundles: &'a Bundles<'a>,
    rules: &'a Rules,
    share: f64,
    most: usize,
    /// What one copy can carry of one title, in bit/s.
    carries: f64,
}

impl<'a> Worth<'a> {
    /// Worth of every bundle's copies at a site.
    pub fn at(
        site: &SiteFleet,
        demand: &'a RegionDemand<'a>,
        bundles: &'a Bundles<'a>,
        rules: &'a Rules,
    ) -> Self {
        let n = site.appliances.len().max(1);
        Self {
            demand,
            bundles,
            rules,
            share: site.share,
            most: rules.max_copies.min(n).max(1),
            carries: rules.hot_egress_share * site.egress() as f64 / n as f64,
        }
    }

    /// Bytes that the site's viewers are expected to draw of a bundle.
    pub fn drawn(&self, bundle: u32) -> f64 {
        f64::from(self.demand.bundles[bundle as usize].expected) * self.share
    }

    /// Bytes that they are expected to draw of all bundles.
    pub fn total(&self) -> f64 {
        self.demand.total * self.share
    }

    /// What a second copy is worth for the case that an appliance fails, as a share of the first one's worth.
    pub fn second(&self, bundle: u32) -> f64 {
        f64::from(self.demand.bundles[bundle as usize].second)
    }

    /// Bits a second that they are expected to draw of it in the busiest hour.
    pub fn peak(&self, bundle: u32) -> f64 {
        peak(self.drawn(bundle), self.rules)
    }

    /// Bits a second that copy number `copy` (from 1) is to send in the busiest hour; 0 where no egress is known.
    pub fn load(&self, bundle: u32, copy: usize) -> f64 {
        let before = copy.saturating_sub(1) as f64 * self.carries;
        (self.peak(bundle) - before).clamp(0.0, self.carries)
    }

    /// Bytes a day that the first copy is worth.
    pub fn first(&self, bundle: u32) -> f64 {
        match self.drawn(bundle) {
            drawn if drawn > 0.0 => drawn,
            _ => self.demand.unseen * self.bundles.size(bundle) as f64,
        }
    }

    /// Bytes a day that copy number `copy` (from 1) is worth; 0 from some copy on.
    pub fn copy(&self, bundle: u32, copy: usize) -> f64 {
        if copy == 1 {
            return self.first(bundle);
        }
        let drawn = self.drawn(bundle);
        if copy > self.most || drawn <= 0.0 {
            return 0.0;
        }
        let high = f64::from(self.demand.bundles[bundle as usize].high) * self.share;
        let peak = peak(high, self.rules);
        let relief = unserved(peak, self.carries, copy - 1) - unserved(peak, self.carries, copy);
        let survival = if copy == 2 { self.second(bundle) } else { 0.0 };
        drawn * (relief + survival).min(1.0)
    }

    /// Copies that are worth anything, at least 1.
    pub fn copies(&self, bundle: u32) -> usize {
        (2..=self.most)
            .find(|c| self.copy(bundle, *c) <= 0.0)
            .map_or(self.most, |c| c - 1)
    }
}

/// Busiest hour's bits a second of a day's bytes.
pub fn peak(bytes_a_day: f64, rules: &Rules) -> f64 {
    bytes_a_day * 8.0 / SECONDS_A_DAY * rules.peak_to_mean
}

/// Bytes of a day whose busiest hour needs this many bits a second: the reverse of [`peak`].
pub fn bytes_of_peak(bits_a_second: f64, rules: &Rules) -> f64 {
    bits_a_second / 8.0 * SECONDS_A_DAY / rules.peak_to_mean
}

/// Share of a title's peak that `copies` copies cannot carry.
fn unserved(peak: f64, carries: f64, copies: usize) -> f64 {
    if carries <= 0.0 {
        return 0.0; // No egress is known: nothing can be said about relief.
    }
    (1.0 - copies as f64 * carries / peak).max(0.0)
}
