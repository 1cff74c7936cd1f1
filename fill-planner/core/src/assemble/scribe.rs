//! Writes down one site's placement: the parts that its appliances execute, and the report that says why. Nothing is
//! decided here but the order of filling and of dropping.

use crate::{
    bundle::Bundles,
    fleet::SiteFleet,
    place::{Assignment, Choice, Placement, Present},
    report::{Action, ApplianceReport, LeftOut, SiteReport, TitleReport},
    sources::{Ranked, Sources},
    worth::{Basis, RegionDemand},
};
use cdn_types::{
    Bytes, ObjectDigest,
    plan::{AppliancePlan, PlanDrop, PlanItem},
};
use std::collections::{BTreeMap, BTreeSet};

/// Writes one site's parts and report.
pub(super) struct Scribe<'a> {
    pub(super) bundles: &'a Bundles<'a>,
    pub(super) sources: &'a Sources<'a>,
    pub(super) sizes: &'a BTreeMap<ObjectDigest, Bytes>,
    pub(super) site: &'a SiteFleet,
    pub(super) index: usize,
    pub(super) placement: &'a Placement,
    pub(super) present: &'a Present,
    pub(super) demand: &'a RegionDemand,
}

impl Scribe<'_> {
    /// The appliances' parts, in the site's order, and the report.
    pub(super) fn write(&self) -> (Vec<AppliancePlan>, SiteReport) {
        let mut parts = Vec::new();
        let mut reports = Vec::new();
        for a in 0..self.site.appliances.len() {
            let order = self.fill_order(a);
            let part = self.part(a, &order);
            reports.push(self.appliance_report(a, &order, &part));
            parts.push(part);
        }
        let hits: f64 = (0..self.bundles.list.len())
            .filter(|b| self.copies(*b) > 0)
            .map(|b| self.expected(b))
            .sum();
        let report = SiteReport {
            site: self.site.id.clone(),
            region: self.site.region.clone(),
            expected: bytes(self.demand.total * self.site.share),
            hit_share: share(hits, self.demand.total * self.site.share),
            appliances: reports,
            left_out: self.left_out(),
        };
        (parts, report)
    }

    /// Bytes that the site's viewers are expected to draw of a bundle.
    fn expected(&self, bundle: usize) -> f64 {
        self.demand.bundles[bundle].expected * self.site.share
    }

    /// Copies of a bundle at the site by this plan.
    fn copies(&self, bundle: usize) -> usize {
        let all = self.placement.appliances.iter();
        all.filter(|a| a.chosen.contains_key(&bundle)).count()
    }

    fn fill(&self, a: usize, bundle: usize) -> u64 {
        let held = self.present.held[a].get(&bundle).copied().unwrap_or(0);
        let size: u64 = self.bundles.list[bundle].objects.iter().map(|o| o.size.0).sum();
        size.saturating_sub(held)
    }

    /// An appliance's bundles, most expected bytes here per byte to fill first; what is held counts whole.
    fn fill_order(&self, a: usize) -> Vec<usize> {
        let value = |b: usize| {
            let here = self.expected(b) / self.copies(b).max(1) as f64;
            let cost = match self.fill(a, b) {
                0 => self.bundles.list[b].size,
                fill => fill,
            };
            here / cost as f64
        };
        let mut order: Vec<usize> = self.placement.appliances[a].chosen.keys().copied().collect();
        order.sort_by(|x, y| value(*y).total_cmp(&value(*x)).then(x.cmp(y)));
        order
    }

    fn part(&self, a: usize, order: &[usize]) -> AppliancePlan {
        let appliance = &self.site.appliances[a];
        let mut named: BTreeSet<Ranked> = BTreeSet::new();
        let mut ranked: Vec<Vec<Ranked>> = Vec::new();
        for b in order {
            for object in &self.bundles.list[*b].objects {
                let sources = self.sources.rank((self.index, a), *b, &object.digest);
                named.extend(sources.iter().cloned());
                ranked.push(sources);
            }
        }
        let place: BTreeMap<&Ranked, u16> = named.iter().zip(0..=u16::MAX).collect();
        let mut ranked = ranked.into_iter();
        let mut items = Vec::new();
        for b in order {
            let demand = &self.demand.bundles[*b];
            let per_copy = self.site.share / self.copies(*b).max(1) as f64;
            for (object, expected) in self.bundles.list[*b].objects.iter().zip(&demand.objects) {
                let sources = ranked.next().unwrap_or_default();
                items.push(PlanItem {
                    digest: object.digest,
                    size: object.size,
                    title: object.title.clone(),
                    path: object.path.clone(),
                    media_type: object.media_type.clone(),
                    from: sources.iter().map(|s| place[s]).collect(),
                    expected: bytes(expected * per_copy),
                    kept: appliance.holds.contains(&object.digest),
                });
            }
        }
        let drops = self.drops(a, &items).into_iter().map(|(_, drop)| drop).collect();
        AppliancePlan {
            appliance: appliance.id.clone(),
            site: self.site.id.clone(),
            region: self.site.region.clone(),
            window: self.site.window.clone(),
            fill_rate: appliance.fill_rate,
            sources: self.sources.list(&named),
            items,
            drops,
        }
    }

    /// Objects held and no longer listed, with their bundle, the least useful first.
    fn drops(&self, a: usize, items: &[PlanItem]) -> Vec<(Option<usize>, PlanDrop)> {
        let listed: BTreeSet<_> = items.iter().map(|i| i.digest).collect();
        let mut drops: Vec<_> = self.site.appliances[a]
            .holds
            .difference(&listed)
            .map(|digest| {
                let bundle = self.bundles.with(digest).first().copied();
                let size = self.sizes.get(digest).copied().unwrap_or_default();
                (
                    bundle,
                    PlanDrop {
                        digest: *digest,
                        size,
                    },
                )
            })
            .collect();
        let value =
            |b: Option<usize>| b.map_or(-1.0, |b| self.expected(b) / self.bundles.list[b].size as f64);
        drops.sort_by(|(x, xd), (y, yd)| {
            let by_value = value(*x).total_cmp(&value(*y));
            by_value.then(x.cmp(y)).then(xd.digest.cmp(&yd.digest))
        });
        drops
    }

    fn appliance_report(&self, a: usize, order: &[usize], part: &AppliancePlan) -> ApplianceReport {
        let appliance = &self.site.appliances[a];
        let assignment: &Assignment = &self.placement.appliances[a];
        let mut titles: Vec<TitleReport> = order.iter().map(|b| self.title_report(a, *b)).collect();
        let expected: f64 = order
            .iter()
            .map(|b| self.expected(*b) / self.copies(*b).max(1) as f64)
            .sum();
        let mut dropped: BTreeMap<Option<usize>, u64> = BTreeMap::new();
        for (bundle, drop) in self.drops(a, &part.items) {
            *dropped.entry(bundle).or_default() += drop.size.0;
        }
        titles.extend(dropped.iter().map(|(b, size)| self.drop_report(a, *b, *size)));
        ApplianceReport {
            appliance: appliance.id.clone(),
            storage: Bytes(appliance.storage),
            fill_cap: Bytes(appliance.fill_cap),
            kept: Bytes(part.items.iter().filter(|i| i.kept).map(|i| i.size.0).sum()),
            added: Bytes(assignment.filled),
            dropped: Bytes(dropped.values().sum()),
            expected: bytes(expected),
            hit_share: share(expected, self.demand.total * self.site.share),
            titles,
        }
    }

    fn title_report(&self, a: usize, b: usize) -> TitleReport {
        let choice = self.placement.appliances[a].chosen[&b];
        let copies = self.copies(b);
        let demand = &self.demand.bundles[b];
        let why = match demand.basis {
            Basis::Region => format!(
                "viewers here are expected to draw {} of it",
                bytes(self.expected(b))
            ),
            Basis::Elsewhere => "other regions draw it".to_owned(),
            Basis::Unseen => "nobody has drawn it yet, and there is room".to_owned(),
        };
        let (action, because) = match choice {
            Choice::Kept { copy: 1 } => (Action::Kept, why),
            Choice::Kept { copy } => (Action::Kept, format!("copy {copy} for load and loss: {why}")),
            Choice::Spare => (Action::Kept, "a further copy; nothing needs its room".to_owned()),
            Choice::Added { taken_over: true, .. } => (
                Action::Added,
                format!("taken over from a neighbour, this appliance is new: {why}"),
            ),
            Choice::Added { copy: 1, .. } => (Action::Added, why),
            Choice::Added { copy, .. } => (Action::Added, format!("copy {copy} for load and loss: {why}")),
        };
        TitleReport {
            title: Some(self.bundles.list[b].title.clone()),
            action,
            size: Bytes(self.bundles.list[b].size),
            fill: Bytes(self.fill(a, b)),
            expected: bytes(self.expected(b) / copies.max(1) as f64),
            copies,
            basis: Some(demand.basis),
            because,
        }
    }

    fn drop_report(&self, a: usize, bundle: Option<usize>, size: u64) -> TitleReport {
        let because = match bundle {
            None => "the catalogue no longer has these objects",
            Some(b) if self.fill(a, b) > 0 => "only a part of it is held, and the rest is not worth its fill",
            Some(_) => "its room went to what is worth more per byte",
        };
        TitleReport {
            title: bundle.map(|b| self.bundles.list[b].title.clone()),
            action: Action::Dropped,
            size: Bytes(size),
            fill: Bytes(0),
            expected: Bytes(0),
            copies: bundle.map_or(0, |b| self.copies(b)),
            basis: bundle.map(|b| self.demand.bundles[b].basis),
            because: because.to_owned(),
        }
    }

    fn left_out(&self) -> Vec<LeftOut> {
        let mut out: Vec<(f64, LeftOut)> = self
            .placement
            .refused
            .iter()
            .map(|(b, reason)| {
                let left = LeftOut {
                    title: self.bundles.list[*b].title.clone(),
                    size: Bytes(self.bundles.list[*b].size),
                    expected: bytes(self.expected(*b)),
                    reason: *reason,
                };
                (self.expected(*b), left)
            })
            .collect();
        out.sort_by(|x, y| y.0.total_cmp(&x.0).then_with(|| x.1.title.cmp(&y.1.title)));
        out.into_iter().map(|(_, left)| left).collect()
    }
}

/// Whole bytes of an expectation.
fn bytes(expected: f64) -> Bytes {
    Bytes(expected.max(0.0).round() as u64)
}

/// `part` of `whole`, 0 to 1.
fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| (part / whole).clamp(0.0, 1.0))
}
