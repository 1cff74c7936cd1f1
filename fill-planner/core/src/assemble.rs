//! From inputs to plan and report: runs the steps for every site, and has their outcome written down.
//!
//! [`plan`] gives the whole documents. Those of a thousand appliances are larger than anyone wants in memory at once:
//! [`decide`] hands over a [`Decided`], which writes them one appliance at a time.

mod scribe;

pub use scribe::Scribe;

use crate::{
    InputError,
    bundle::Bundles,
    demand::{Demand, RegionDemand},
    fleet::Fleet,
    forecast::Predictor,
    history::History,
    place::{
        self, FleetPlacement, InTurn, Spread,
        problem::{Problem, World},
    },
    policy::{Policy, Term, Terms},
    present::Holdings,
    rendezvous,
    report::{HistoryReport, LinkReport, OptimumReport, PlanReport, REPORT_FORMAT, SiteReport},
    rules::Rules,
    sources::Sources,
};
use cdn_types::{
    Bytes, ObjectDigest, PlanNumber, RegionId,
    api::v1::{Catalogue, FleetSnapshot},
    plan::{PLAN_FORMAT, Plan},
};
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
    /// What operators and contracts ask.
    pub policy: &'a Policy,
}

/// A plan and why it is so.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Its report.
    pub report: PlanReport,
}

/// Expects the planned day's demand.
pub trait Expect {
    /// Stable name, for reports.
    fn name(&self) -> &str;
    /// Expected bytes of each of [`Bundles::objects`], by region.
    fn expect(&self, bundles: &Bundles<'_>) -> Demand;
    /// As [`Predictor::basis`].
    fn basis(&self) -> Option<ObjectDigest> {
        None
    }
}

/// A predictor and what it knows.
struct FromHistory<'a> {
    history: &'a History,
    predictor: &'a dyn Predictor,
}

impl Expect for FromHistory<'_> {
    fn name(&self) -> &str {
        self.predictor.name()
    }
    fn expect(&self, bundles: &Bundles<'_>) -> Demand {
        Demand::of(&self.predictor.predict(self.history), bundles)
    }
    fn basis(&self) -> Option<ObjectDigest> {
        self.predictor.basis()
    }
}

/// Everything that is decided, from which plan and report are written.
pub struct Decided<'a> {
    /// The checked fleet.
    pub fleet: &'a Fleet,
    /// What was placed.
    pub bundles: &'a Bundles<'a>,
    /// Where it goes.
    pub placement: &'a FleetPlacement,
    head: Plan,
    report: PlanReport,
    regions: &'a BTreeMap<&'a RegionId, RegionDemand<'a>>,
    world: World<'a>,
    sources: Sources<'a>,
}

/// Plans the day after the history.
pub fn plan(inputs: &Inputs<'_>, predictor: &dyn Predictor) -> Result<Planned, InputError> {
    plan_spread(inputs, predictor, &InTurn)
}

/// As [`plan`], with the sites' work spread as told; the outcome is the same.
pub fn plan_spread(
    inputs: &Inputs<'_>,
    predictor: &dyn Predictor,
    spread: &impl Spread,
) -> Result<Planned, InputError> {
    let history = inputs.history;
    decide(inputs, &FromHistory { history, predictor }, spread, |decided| {
        decided.planned()
    })
}

/// Decides, and hands the decisions to `then`.
pub fn decide<R>(
    inputs: &Inputs<'_>,
    expect: &dyn Expect,
    spread: &impl Spread,
    then: impl FnOnce(&Decided<'_>) -> R,
) -> Result<R, InputError> {
    if let Some(previous) = inputs.previous.map(|p| p.number).filter(|n| *n >= inputs.number) {
        let number = inputs.number;
        return Err(InputError::Number { number, previous });
    }
    let bundles = Bundles::new(inputs.catalogue, inputs.policy.grouping)?;
    let fleet = Fleet::new(inputs.fleet, inputs.history.planned())?;
    let terms = Terms::new(inputs.policy, inputs.history.planned(), &fleet, &bundles)?;
    let holdings = Holdings::new(&fleet, &bundles, inputs.previous);
    let demand = expect.expect(&bundles);
    let ids: BTreeSet<&RegionId> = fleet.sites.iter().map(|s| &s.region).collect();
    let ids: Vec<&RegionId> = ids.into_iter().collect();
    let of_region = |r: usize| RegionDemand::new(ids[r], &demand, &bundles, &inputs.rules);
    let of_regions = spread.each(ids.len(), &of_region);
    let regions: BTreeMap<&RegionId, RegionDemand<'_>> = ids.iter().copied().zip(of_regions).collect();
    let title_key = |b: u32| rendezvous::key(inputs.seed, "title", bundles.title(b).as_str());
    let title_keys: Vec<u64> = (0..bundles.list.len() as u32).map(title_key).collect();
    let world = World {
        bundles: &bundles,
        holdings: &holdings,
        terms: &terms,
        rules: &inputs.rules,
        title_keys: &title_keys,
        seed: inputs.seed,
    };
    let placement = place::place(&fleet, &regions, world, spread);
    let digest = digest(inputs, &bundles, &fleet, expect);
    let sources = Sources::new(
        &fleet,
        &bundles,
        &holdings,
        &placement.sites,
        &title_keys,
        inputs.seed,
    );
    let head = Plan {
        format: PLAN_FORMAT,
        number: inputs.number,
        date: inputs.history.planned(),
        seed: inputs.seed,
        inputs: digest,
        appliances: Vec::new(),
    };
    let report = PlanReport {
        format: REPORT_FORMAT,
        number: head.number,
        date: head.date,
        seed: head.seed,
        inputs: digest,
        method: expect.name().to_owned(),
        history: history_report(inputs.history),
        promise: None,
        warnings: warnings(inputs.history, demand.is_nothing(), &bundles, &fleet),
        optimum: OptimumReport::new(&placement.score),
        links: link_reports(&terms, &fleet, &placement),
        sites: Vec::new(),
    };
    Ok(then(&Decided {
        fleet: &fleet,
        bundles: &bundles,
        placement: &placement,
        head,
        report,
        regions: &regions,
        world,
        sources,
    }))
}

impl Decided<'_> {
    /// The plan without its parts.
    pub fn head(&self) -> &Plan {
        &self.head
    }
    /// The report without its sites.
    pub fn summary(&self) -> &PlanReport {
        &self.report
    }
    /// One site's placement problem, as it was solved.
    pub fn problem(&self, site: usize) -> Problem<'_> {
        let of = &self.fleet.sites[site];
        Problem::new(site, of, &self.regions[&of.region], self.world)
    }
    /// Writes one site's parts and report, an appliance at a time.
    pub fn site(&self, site: usize) -> Scribe<'_> {
        Scribe::new(self, site)
    }

    fn is_pinned(&self, site: usize, bundle: u32) -> bool {
        matches!(self.world.terms.of(site, bundle), Some(Term::Pinned(_)))
    }
    fn is_barred(&self, site: usize, bundle: u32) -> bool {
        self.world.terms.of(site, bundle) == Some(Term::Barred)
    }

    /// The whole documents.
    fn planned(&self) -> Planned {
        let (mut plan, mut report) = (self.head.clone(), self.report.clone());
        for s in 0..self.fleet.sites.len() {
            let scribe = self.site(s);
            let mut appliances = Vec::new();
            for a in 0..self.fleet.sites[s].appliances.len() {
                let (part, about) = scribe.appliance(a);
                plan.appliances.push(part);
                appliances.push(about);
            }
            report.sites.push(SiteReport {
                appliances,
                ..scribe.site_report()
            });
        }
        plan.appliances.sort_by(|a, b| a.appliance.cmp(&b.appliance));
        Planned { plan, report }
    }
}

/// BLAKE3 over everything that the plan depends on, in a defined order.
fn digest(inputs: &Inputs<'_>, bundles: &Bundles<'_>, fleet: &Fleet, expect: &dyn Expect) -> ObjectDigest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&inputs.seed.to_le_bytes());
    hasher.update(expect.name().as_bytes());
    if let Some(basis) = expect.basis() {
        hasher.update(basis.as_bytes());
    }
    hasher.update(&inputs.rules.digest_bytes());
    hasher.update(format!("{:?}", inputs.policy).as_bytes());
    inputs.history.digest_into(&mut hasher);
    for object in &bundles.objects {
        hasher.update(object.digest.as_bytes());
        hasher.update(&object.size.0.to_le_bytes());
        hasher.update(object.title.as_str().as_bytes());
        hasher.update(object.path.as_bytes());
        hasher.update(object.media_type.as_bytes());
    }
    fleet.digest_into(&mut hasher);
    if let Some(previous) = inputs.previous {
        hasher.update(&previous.number.0.to_le_bytes());
        hasher.update(previous.inputs.as_bytes());
    }
    ObjectDigest::from_bytes(*hasher.finalize().as_bytes())
}

/// The origin, what each site brings in from outside, and the policy's links, each with the night's bytes.
fn link_reports(terms: &Terms, fleet: &Fleet, placement: &FleetPlacement) -> Vec<LinkReport> {
    let link = |link: String, cap: Option<u64>, bytes: u64| LinkReport {
        link,
        cap: cap.map(Bytes),
        bytes: Bytes(bytes),
    };
    let origin: u64 = placement.sites.iter().map(|p| p.far[0]).sum();
    let mut out = vec![link("origin".into(), None, origin)];
    for (site, placed) in fleet.sites.iter().zip(&placement.sites) {
        out.push(link(
            format!("into site {}", site.id),
            None,
            placed.far.iter().sum(),
        ));
    }
    let of_policy = terms.links.iter().zip(&placement.links);
    out.extend(of_policy.map(|(l, bytes)| link(l.name.clone(), Some(l.cap), *bytes)));
    out
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

fn warnings(history: &History, nothing: bool, bundles: &Bundles<'_>, fleet: &Fleet) -> Vec<String> {
    let mut out = Vec::new();
    match history.days().first() {
        None => out.push("no demand is known before the planned day".into()),
        Some(newest) if history.is_stale() => out.push(format!(
            "the newest known demand is of {newest}, {} days before the planned day",
            history.age(0)
        )),
        Some(_) => {}
    }
    if nothing {
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
