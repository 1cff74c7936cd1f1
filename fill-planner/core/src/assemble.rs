//! From inputs to plan and report: runs the steps for every site, and has their outcome written down.

mod scribe;

use crate::{
    InputError,
    bundle::Bundles,
    fleet::{Appliance, Fleet, SiteFleet},
    forecast::{Forecast, Predictor},
    history::History,
    place::{self, Present},
    report::{HistoryReport, PlanReport, REPORT_FORMAT},
    rules::Rules,
    sources::Sources,
    worth::{GlobalDemand, RegionDemand, Worth},
};
use cdn_types::{
    Bytes, ObjectDigest, PlanNumber,
    api::v1::{Catalogue, FleetSnapshot},
    plan::{PLAN_FORMAT, Plan},
};
use scribe::Scribe;
use std::collections::{BTreeMap, BTreeSet};

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
        promise: None,
        warnings: warnings(inputs.history, &forecast, &bundles, &fleet),
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

fn warnings(history: &History, forecast: &Forecast, bundles: &Bundles<'_>, fleet: &Fleet) -> Vec<String> {
    let mut out = Vec::new();
    match history.days().first() {
        None => out.push("no demand is known before the planned day".into()),
        Some(newest) if history.is_stale() => out.push(format!(
            "the newest known demand is of {newest}, {} days before the planned day",
            history.age(0)
        )),
        Some(_) => {}
    }
    if forecast.regions().next().is_none() {
        out.push("nothing is expected: titles are spread evenly".into());
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
