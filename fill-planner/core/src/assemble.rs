//! From inputs to plan and report: runs the steps for every site and writes down their outcome.

use crate::{
    InputError,
    bundle::Bundles,
    fleet::{Appliance, Fleet, SiteFleet},
    forecast::Predictor,
    history::History,
    place::{self, Assignment, Choice, Placement, Present},
    report::{
        Action, ApplianceReport, HistoryReport, LeftOut, PlanReport, REPORT_FORMAT, SiteReport, TitleReport,
    },
    rules::Rules,
    sources::{Ranked, Sources},
    worth::{Basis, GlobalDemand, RegionDemand, Worth},
};
use cdn_types::{
    Bytes, ObjectDigest, PlanNumber,
    api::v1::{Catalogue, FleetSnapshot},
    plan::{AppliancePlan, PLAN_FORMAT, Plan, PlanDrop, PlanItem},
};
use std::collections::{BTreeMap, BTreeSet};

/// Days between the newest known day and the planned one from which on the report warns.
const STALE_DAYS: u32 = 3;

/// Everything that a plan depends on, besides the predictor.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Number of the new plan.
    pub number: PlanNumber,
    /// Seed of hashing and ties. Keep it from night to night: another seed is another hashing.
    pub seed: u64,
    /// Demand before the day to plan; the day itself is [`History::planned`].
    pub history: &'a History,
    /// All objects.
    pub catalogue: &'a Catalogue,
    /// The fleet with what it holds.
    pub fleet: &'a FleetSnapshot,
    /// The plan before, if any: what it gave to an appliance and is still on its way goes there again.
    pub previous: Option<&'a Plan>,
    /// How to weigh.
    pub rules: Rules,
}

/// A plan and why it is so.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its report.
    pub report: PlanReport,
}

/// Plans the day after the history.
pub fn plan(inputs: &Inputs<'_>, predictor: &dyn Predictor) -> Result<Planned, InputError> {
    if let Some(previous) = inputs.previous.map(|p| p.number).filter(|n| *n >= inputs.number) {
        let number = inputs.number;
        return Err(InputError::Number { number, previous });
    }
    let bundles = Bundles::new(inputs.catalogue)?;
    let fleet = Fleet::new(inputs.fleet)?;
    let forecast = predictor.predict(inputs.history);
    let global = GlobalDemand::new(&forecast);
    let intended = intended(inputs.previous, &bundles);
    let sizes = sizes(inputs);
    let mut regions = BTreeMap::new();
    for site in &fleet.sites {
        regions
            .entry(&site.region)
            .or_insert_with(|| RegionDemand::new(&site.region, &bundles, &forecast, &global, &inputs.rules));
    }
    let mut presents = Vec::with_capacity(fleet.sites.len());
    let mut placements = Vec::with_capacity(fleet.sites.len());
    for site in &fleet.sites {
        let worth = Worth::at(site, &regions[&site.region], &bundles, &inputs.rules);
        let present = present(site, &bundles, &intended, &sizes);
        placements.push(place::place(
            site,
            &bundles,
            &worth,
            &present,
            inputs.seed,
            &inputs.rules,
        ));
        presents.push(present);
    }
    let sources = Sources::new(&fleet, &bundles, &placements, inputs.seed);
    let mut parts = Vec::new();
    let mut site_reports = Vec::new();
    for (s, site) in fleet.sites.iter().enumerate() {
        let scribe = Scribe {
            bundles: &bundles,
            sources: &sources,
            sizes: &sizes,
            site,
            index: s,
            placement: &placements[s],
            present: &presents[s],
            demand: &regions[&site.region],
        };
        let (mut site_parts, report) = scribe.write();
        parts.append(&mut site_parts);
        site_reports.push(report);
    }
    parts.sort_by(|a, b| a.appliance.cmp(&b.appliance));
    let inputs_digest = digest(inputs, &bundles, &fleet, predictor.name());
    let plan = Plan {
        format: PLAN_FORMAT,
        number: inputs.number,
        date: inputs.history.planned(),
        seed: inputs.seed,
        inputs: inputs_digest,
        appliances: parts,
    };
    let report = PlanReport {
        format: REPORT_FORMAT,
        number: plan.number,
        date: plan.date,
        seed: plan.seed,
        inputs: inputs_digest,
        method: predictor.name().to_owned(),
        history: history_report(inputs.history),
        warnings: warnings(inputs.history, &bundles, &fleet),
        sites: site_reports,
    };
    Ok(Planned { plan, report })
}

/// Bundles that the previous plan gave to each appliance, by appliance id.
fn intended<'a>(previous: Option<&'a Plan>, bundles: &Bundles<'_>) -> BTreeMap<&'a str, BTreeSet<usize>> {
    let parts = previous.map(|p| p.appliances.as_slice()).unwrap_or_default();
    parts
        .iter()
        .map(|part| {
            let items = part.items.iter();
            let bundles = items.flat_map(|i| bundles.with(&i.digest).iter().copied());
            (part.appliance.as_str(), bundles.collect())
        })
        .collect()
}

/// Sizes of objects, of those that have left the catalogue as the previous plan knew them.
fn sizes(inputs: &Inputs<'_>) -> BTreeMap<ObjectDigest, Bytes> {
    let parts = inputs
        .previous
        .map(|p| p.appliances.as_slice())
        .unwrap_or_default();
    let gone = parts.iter().flat_map(|p| &p.items).map(|i| (i.digest, i.size));
    let known = inputs.catalogue.objects.iter().map(|o| (o.digest, o.size));
    gone.chain(known).collect()
}

/// What a site's appliances hold, by bundle.
fn present(
    site: &SiteFleet,
    bundles: &Bundles<'_>,
    intended: &BTreeMap<&str, BTreeSet<usize>>,
    sizes: &BTreeMap<ObjectDigest, Bytes>,
) -> Present {
    let held = |a: &Appliance| {
        let mut held = BTreeMap::new();
        for object in &a.holds {
            for b in bundles.with(object) {
                let same = bundles.list[*b].objects.iter().filter(|o| o.digest == *object);
                *held.entry(*b).or_insert(0u64) += same.map(|o| o.size.0).sum::<u64>();
            }
        }
        held
    };
    let stored = |a: &Appliance| {
        let sizes = a.holds.iter().filter_map(|o| sizes.get(o));
        sizes.fold(0u64, |sum, s| sum.saturating_add(s.0))
    };
    let intended = |a: &Appliance| intended.get(a.id.as_str()).cloned().unwrap_or_default();
    Present {
        held: site.appliances.iter().map(held).collect(),
        stored: site.appliances.iter().map(stored).collect(),
        intended: site.appliances.iter().map(intended).collect(),
    }
}

/// BLAKE3 over everything that the plan depends on, in a defined order.
fn digest(inputs: &Inputs<'_>, bundles: &Bundles<'_>, fleet: &Fleet, method: &str) -> ObjectDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&inputs.seed.to_le_bytes());
    hasher.update(method.as_bytes());
    hasher.update(&inputs.rules.digest_bytes());
    inputs.history.digest_into(&mut hasher);
    for bundle in &bundles.list {
        for object in &bundle.objects {
            hasher.update(object.digest.as_bytes());
            hasher.update(&object.size.0.to_le_bytes());
            hasher.update(object.title.as_str().as_bytes());
            hasher.update(object.path.as_bytes());
            hasher.update(object.media_type.as_bytes());
        }
    }
    fleet.digest_into(&mut hasher);
    if let Some(previous) = inputs.previous {
        hasher.update(&previous.number.0.to_le_bytes());
        hasher.update(previous.inputs.as_bytes());
    }
    ObjectDigest::from_bytes(*hasher.finalize().as_bytes())
}

fn history_report(history: &History) -> HistoryReport {
    let bytes = history.regions().flat_map(|r| history.totals(r));
    HistoryReport {
        days: history.days().len(),
        newest: history.days().first().copied(),
        oldest: history.days().last().copied(),
        bytes: Bytes(bytes.fold(0, u64::saturating_add)),
    }
}

fn warnings(history: &History, bundles: &Bundles<'_>, fleet: &Fleet) -> Vec<String> {
    let mut out = Vec::new();
    match history.days().first() {
        None => out.push(
            "no demand is known before the planned day: titles are spread evenly, nothing is expected".into(),
        ),
        Some(newest) if history.age(0) >= STALE_DAYS => out.push(format!(
            "the newest known demand is of {newest}, {} days before the planned day",
            history.age(0)
        )),
        Some(_) => {}
    }
    let planned: BTreeSet<_> = fleet.sites.iter().map(|s| &s.region).collect();
    for region in history.regions().filter(|r| !planned.contains(r)) {
        out.push(format!(
            "region {region} has demand but no site; it counts for other regions only"
        ));
    }
    let (mut unknown, mut all) = (0u128, 0u128);
    for (object, series) in history.regions().flat_map(|r| history.objects(r)) {
        let bytes: u128 = series.iter().map(|b| u128::from(*b)).sum();
        all += bytes;
        unknown += if bundles.with(object).is_empty() { bytes } else { 0 };
    }
    if unknown > 0 {
        let share = 100.0 * unknown as f64 / all as f64;
        out.push(format!(
            "{share:.1} % of the known demand is for objects that the catalogue does not have"
        ));
    }
    if fleet.sites.is_empty() {
        out.push("no site has an appliance: the plan has no part".into());
    }
    for (appliance, reason) in &fleet.left_out {
        out.push(format!("appliance {appliance} gets no part: {reason}"));
    }
    out
}

/// Writes one site's parts and report.
struct Scribe<'a> {
    bundles: &'a Bundles<'a>,
    sources: &'a Sources<'a>,
    sizes: &'a BTreeMap<ObjectDigest, Bytes>,
    site: &'a SiteFleet,
    index: usize,
    placement: &'a Placement,
    present: &'a Present,
    demand: &'a RegionDemand,
}

impl Scribe<'_> {
    fn write(&self) -> (Vec<AppliancePlan>, SiteReport) {
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
