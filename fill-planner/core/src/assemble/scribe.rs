//! Writes down one site's placement: the parts that its appliances execute, and the report that says why. Nothing is
//! decided here but the order of filling and of dropping.

use super::Decided;
use crate::{
    bundle::Bundles,
    demand::{Basis, RegionDemand},
    fleet::SiteFleet,
    place::{Choice, Placed, Placement, Refusal},
    present::Present,
    report::{Action, ApplianceReport, LeftOut, SiteReport, TitleReport},
    sources::Ranked,
};
use cdn_types::{
    Bytes,
    plan::{AppliancePlan, PlanDrop, PlanItem},
};
use std::collections::{BTreeMap, BTreeSet};

/// Writes one site's parts and report.
pub struct Scribe<'a> {
    decided: &'a Decided<'a>,
    bundles: &'a Bundles<'a>,
    index: usize,
    site: &'a SiteFleet,
    placement: &'a Placement,
    present: Present,
    demand: &'a RegionDemand<'a>,
    /// By bundle: copies by this plan.
    copies: Vec<u8>,
}

/// Something held that goes.
struct Drop {
    bundle: Option<u32>,
    held: u32,
}

impl<'a> Scribe<'a> {
    pub(super) fn new(decided: &'a Decided<'a>, index: usize) -> Self {
        let site = &decided.fleet.sites[index];
        let placement = &decided.placement.sites[index];
        let mut copies = vec![0u8; decided.bundles.list.len()];
        for placed in placement.appliances.iter().flat_map(|a| &a.chosen) {
            let count = &mut copies[placed.bundle as usize];
            *count = count.saturating_add(1);
        }
        Self {
            decided,
            bundles: decided.bundles,
            index,
            site,
            placement,
            present: decided.world.holdings.present(index),
            demand: &decided.regions[&site.region],
            copies,
        }
    }

    /// One appliance's part and report.
    pub fn appliance(&self, a: usize) -> (AppliancePlan, ApplianceReport) {
        let order = self.fill_order(a);
        let drops = self.drops(a);
        let part = self.part(a, &order, &drops);
        let report = self.appliance_report(a, &order, &drops, &part);
        (part, report)
    }

    /// The site's report, without its appliances.
    pub fn site_report(&self) -> SiteReport {
        let held = (0..self.bundles.list.len() as u32).filter(|b| self.copies(*b) > 0);
        let hits: f64 = held.map(|b| self.expected(b)).sum();
        let all = self.demand.total * self.site.share;
        let refused = &self.placement.refused;
        SiteReport {
            site: self.site.id.clone(),
            region: self.site.region.clone(),
            expected: bytes(all),
            hit_share: share(hits, all),
            survives: self.placement.survives,
            from_origin: Bytes(self.placement.far[0]),
            from_sites: Bytes(self.placement.far[1]),
            appliances: Vec::new(),
            left_out_titles: refused.bundles,
            left_out_expected: bytes(refused.expected),
            left_out: refused
                .listed
                .iter()
                .map(|(b, r)| self.left_out(*b, *r))
                .collect(),
        }
    }

    /// Bytes that the site's viewers are expected to draw of a bundle.
    fn expected(&self, bundle: u32) -> f64 {
        f64::from(self.demand.bundles[bundle as usize].expected) * self.site.share
    }

    /// Copies of a bundle at the site by this plan.
    fn copies(&self, bundle: u32) -> usize {
        usize::from(self.copies[bundle as usize])
    }

    fn fill(&self, a: usize, bundle: u32) -> u64 {
        let size: u64 = self.bundles.of(bundle).iter().map(|o| o.size.0).sum();
        size.saturating_sub(self.present.bytes(bundle, a))
    }

    /// An appliance's bundles in the order of filling: first what it holds or fetches itself, then what it copies from a
    /// neighbour that fetches it in the same night, so that the neighbour has it by then. In each part the most expected
    /// bytes here per byte to fill come first; what is held counts whole. What another requires comes before it.
    fn fill_order(&self, a: usize) -> Vec<Placed> {
        let value = |b: u32| {
            let here = self.expected(b) / self.copies(b).max(1) as f64;
            let cost = match self.fill(a, b) {
                0 => self.bundles.size(b),
                fill => fill,
            };
            here / cost as f64
        };
        let follows = |b: u32| self.copies(b) > 1 && self.decided.sources.follows((self.index, a), b);
        let chosen = &self.placement.appliances[a].chosen;
        let keyed = chosen.iter().map(|p| (follows(p.bundle), value(p.bundle), *p));
        let mut keyed: Vec<(bool, f64, Placed)> = keyed.collect();
        let needs = |p: &Placed| self.bundles.list[p.bundle as usize].needs_previous;
        for n in 1..keyed.len() {
            keyed[n].0 |= needs(&keyed[n].2) && keyed[n - 1].0;
        }
        for n in (1..keyed.len()).rev() {
            if needs(&keyed[n].2) {
                keyed[n - 1].1 = keyed[n - 1].1.max(keyed[n].1);
            }
        }
        keyed.sort_by(|x, y| {
            let by_value = x.0.cmp(&y.0).then(y.1.total_cmp(&x.1));
            by_value.then(x.2.bundle.cmp(&y.2.bundle))
        });
        keyed.into_iter().map(|(_, _, p)| p).collect()
    }

    fn part(&self, a: usize, order: &[Placed], drops: &[Drop]) -> AppliancePlan {
        let (appliance, sources) = (&self.site.appliances[a], &self.decided.sources);
        // Objects of one bundle have the same sources, nearly always: they are ranked once.
        let mut ranked: Vec<Vec<Ranked>> = Vec::new();
        let mut of_object: Vec<u32> = Vec::new();
        for placed in order {
            let mut before = None;
            for object in self.bundles.range(placed.bundle) {
                if !before.is_some_and(|b| sources.alike(b, object)) {
                    ranked.push(sources.rank((self.index, a), object));
                }
                of_object.push(ranked.len() as u32 - 1);
                before = Some(object);
            }
        }
        let named: BTreeSet<&Ranked> = ranked.iter().flatten().collect();
        let place: BTreeMap<&Ranked, u16> = named.iter().copied().zip(0..=u16::MAX).collect();
        let indices = |from: &Vec<Ranked>| -> Vec<u16> { from.iter().map(|s| place[s]).collect() };
        let indices: Vec<Vec<u16>> = ranked.iter().map(indices).collect();
        let mut of_object = of_object.iter();
        let mut items = Vec::with_capacity(of_object.len());
        for Placed { bundle, .. } in order {
            let per_copy = self.site.share / self.copies(*bundle).max(1) as f64;
            for index in self.bundles.range(*bundle) {
                let object = self.bundles.objects[index];
                let from = of_object.next().map(|n| indices[*n as usize].clone());
                items.push(PlanItem {
                    digest: object.digest,
                    size: object.size,
                    title: object.title.clone(),
                    path: object.path.clone(),
                    media_type: object.media_type.clone(),
                    from: from.unwrap_or_default(),
                    expected: bytes(self.demand.object(*bundle, index) * per_copy),
                    kept: sources.holds((self.index, a), index),
                });
            }
        }
        AppliancePlan {
            appliance: appliance.id.clone(),
            site: self.site.id.clone(),
            region: self.site.region.clone(),
            window: self.site.window.clone(),
            fill_rate: appliance.fill_rate,
            sources: sources.list(&named),
            items,
            drops: drops.iter().map(|d| self.plan_drop(d)).collect(),
        }
    }

    fn plan_drop(&self, drop: &Drop) -> PlanDrop {
        PlanDrop {
            digest: self.decided.fleet.objects[drop.held as usize],
            size: self.size(drop),
        }
    }

    fn size(&self, drop: &Drop) -> Bytes {
        Bytes(self.decided.world.holdings.sizes[drop.held as usize])
    }

    /// Objects held and no longer listed, with their bundle, the least useful first.
    fn drops(&self, a: usize) -> Vec<Drop> {
        let assignment = &self.placement.appliances[a];
        let mut drops = Vec::new();
        for held in &self.site.appliances[a].holds {
            let objects = self.decided.world.holdings.catalogued(*held);
            let mut bundles = objects.iter().map(|o| self.bundles.bundle_of(*o));
            if !bundles.clone().any(|b| assignment.get(b).is_some()) {
                drops.push(Drop {
                    bundle: bundles.next(),
                    held: *held,
                });
            }
        }
        let value = |b: Option<u32>| b.map_or(-1.0, |b| self.expected(b) / self.bundles.size(b) as f64);
        drops.sort_by(|x, y| {
            let by_value = value(x.bundle).total_cmp(&value(y.bundle));
            by_value.then(x.bundle.cmp(&y.bundle)).then(x.held.cmp(&y.held))
        });
        drops
    }

    fn appliance_report(
        &self,
        a: usize,
        order: &[Placed],
        drops: &[Drop],
        part: &AppliancePlan,
    ) -> ApplianceReport {
        let appliance = &self.site.appliances[a];
        let mut titles: Vec<TitleReport> = order.iter().map(|p| self.title_report(a, *p)).collect();
        let here = |p: &Placed| self.expected(p.bundle) / self.copies(p.bundle).max(1) as f64;
        let expected: f64 = order.iter().map(here).sum();
        let mut dropped: BTreeMap<Option<u32>, u64> = BTreeMap::new();
        for drop in drops {
            *dropped.entry(drop.bundle).or_default() += self.size(drop).0;
        }
        titles.extend(dropped.iter().map(|(b, size)| self.drop_report(a, *b, *size)));
        ApplianceReport {
            appliance: appliance.id.clone(),
            storage: Bytes(appliance.storage),
            fill_cap: Bytes(appliance.fill_cap),
            kept: Bytes(part.items.iter().filter(|i| i.kept).map(|i| i.size.0).sum()),
            added: Bytes(self.placement.appliances[a].filled),
            dropped: Bytes(dropped.values().sum()),
            expected: bytes(expected),
            hit_share: share(expected, self.demand.total * self.site.share),
            titles,
        }
    }

    fn title_report(&self, a: usize, placed: Placed) -> TitleReport {
        let Placed { bundle: b, choice } = placed;
        let copies = self.copies(b);
        let basis = self.demand.bundles[b as usize].basis;
        let why = match basis {
            Basis::Region => format!(
                "viewers here are expected to draw {} of it",
                bytes(self.expected(b))
            ),
            Basis::Elsewhere => "other regions draw it".to_owned(),
            Basis::Unseen => "nobody has drawn it yet, and there is room".to_owned(),
        };
        let why = if self.decided.is_pinned(self.index, b) {
            format!("pinned; {why}")
        } else {
            why
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
            title: Some(self.bundles.title(b).clone()),
            file: self.file(b),
            action,
            size: Bytes(self.bundles.size(b)),
            fill: Bytes(self.fill(a, b)),
            expected: bytes(self.expected(b) / copies.max(1) as f64),
            copies,
            basis: Some(basis),
            because,
        }
    }

    /// The largest file of a bundle that is not its whole title.
    fn file(&self, bundle: u32) -> Option<String> {
        let whole = self.bundles.list[bundle as usize].whole;
        let objects = self.bundles.of(bundle).iter().filter(|_| !whole);
        let largest = objects.max_by(|x, y| x.size.cmp(&y.size).then(y.path.cmp(&x.path)));
        largest.map(|o| o.path.rsplit('/').next().unwrap_or_default().to_owned())
    }

    fn drop_report(&self, a: usize, bundle: Option<u32>, size: u64) -> TitleReport {
        let because = match bundle {
            None => "the catalogue no longer has these objects",
            Some(b) if self.decided.is_barred(self.index, b) => Refusal::Barred.because(),
            Some(b) if self.fill(a, b) > 0 => "only a part of it is held, and the rest is not worth its fill",
            Some(_) => "its room went to what is worth more per byte",
        };
        TitleReport {
            title: bundle.map(|b| self.bundles.title(b).clone()),
            file: bundle.and_then(|b| self.file(b)),
            action: Action::Dropped,
            size: Bytes(size),
            fill: Bytes(0),
            expected: Bytes(0),
            copies: bundle.map_or(0, |b| self.copies(b)),
            basis: bundle.map(|b| self.demand.bundles[b as usize].basis),
            because: because.to_owned(),
        }
    }

    fn left_out(&self, bundle: u32, reason: Refusal) -> LeftOut {
        LeftOut {
            title: self.bundles.title(bundle).clone(),
            file: self.file(bundle),
            size: Bytes(self.bundles.size(bundle)),
            expected: bytes(self.expected(bundle)),
            reason,
        }
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
