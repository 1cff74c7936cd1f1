//! Random small fleets with everything that makes placement hard, and their linear programs.
#![allow(dead_code, reason = "each test file uses a part of it")]

use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, FleetSnapshot, Site},
};
use fill_core::{
    History, InputError, Inputs, Policy, Rules,
    assemble::{Decided, Expect},
    bundle::Bundles,
    decide,
    demand::Demand,
    place::{InTurn, problem::Problem},
    policy::{Link, Over},
    rendezvous::mix,
};
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, Variable, constraint, microlp, variable};
use std::collections::BTreeMap;

/// Everything a plan is made of.
pub struct SmallFleet {
    pub catalogue: Catalogue,
    pub fleet: FleetSnapshot,
    pub policy: Policy,
    pub rules: Rules,
    pub demand: ByRegion,
}

/// Expected bytes by region and object.
pub struct ByRegion(pub BTreeMap<RegionId, Vec<f32>>);

impl Expect for ByRegion {
    fn name(&self) -> &'static str {
        "given"
    }
    fn expect(&self, _: &Bundles<'_>) -> Demand {
        Demand::new(self.0.clone())
    }
}

/// A generator that is the same everywhere.
pub struct Dice(u64);
impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5eed))
    }
    /// Below `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % below.max(1)
    }
    /// Between two numbers.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.roll(1 << 32) as f64 / (1u64 << 32) as f64
    }
}

const GB: f64 = 1e9;

impl SmallFleet {
    /// One to three sites of one to four appliances, 60 to 140 titles, storage for 15 to 60 % of them at a site; tight
    /// and ample fill; half of the fleets hold something, half have shared links, a quarter is short of egress. The largest title
    /// is at most a twentieth of any storage and a tenth of any night's fill and of any link, as in real fleets, where it is a
    /// hundredth or less.
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let titles = 60 + dice.roll(81) as usize;
        let sizes: Vec<f64> = (0..titles).map(|_| GB * dice.between(0.0, 1.4).exp()).collect();
        let all: f64 = sizes.iter().sum();
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        let catalogue = catalogue(&sizes);
        let site_count = 1 + dice.roll(3);
        let regions = 1 + dice.roll(2);
        let mut sites = vec![];
        let mut appliances = vec![];
        for s in 0..site_count {
            let region = RegionId::new(format!("r{}", s % regions)).unwrap();
            sites.push(Site::new(site_id(s), region));
            let n = 1 + dice.roll(4);
            let storage = all * dice.between(0.15, 0.6) / n as f64;
            for a in 0..n {
                // No title is above a twentieth of any appliance.
                let storage = (storage * dice.between(0.6, 1.4)).max(20.0 * largest);
                let fill = (storage * dice.between(0.1, 1.2)).max(10.0 * largest);
                appliances.push(appliance(s, a, storage, fill));
            }
        }
        let mut out = Self {
            catalogue,
            fleet: FleetSnapshot::of(sites, appliances),
            policy: Policy::default(),
            rules: Rules {
                max_copies: 3,
                ..Rules::default()
            },
            demand: ByRegion(BTreeMap::new()),
        };
        out.demand = out.demand(&mut dice, &sizes, regions);
        out.egress(&mut dice, seed % 4 == 3);
        if seed % 2 == 1 {
            out.hold(&mut dice);
        }
        if seed / 2 % 2 == 1 {
            out.links(&mut dice);
        }
        out
    }

    /// Zipf-like, with a rank of its own in each region, and a tail that nobody has drawn.
    fn demand(&self, dice: &mut Dice, sizes: &[f64], regions: u64) -> ByRegion {
        let exponent = dice.between(0.6, 1.2);
        let of_region = |dice: &mut Dice| -> Vec<f32> {
            let mut ranks: Vec<(u64, usize)> = (0..sizes.len()).map(|t| (dice.roll(1 << 40), t)).collect();
            ranks.sort_unstable();
            let mut list = vec![0.0; sizes.len()];
            for (rank, (_, t)) in ranks.iter().enumerate().take(sizes.len() * 9 / 10) {
                list[*t] = (30.0 * sizes[*t] / (1.0 + rank as f64).powf(exponent)) as f32;
            }
            list
        };
        let id = |r| RegionId::new(format!("r{r}")).unwrap();
        ByRegion((0..regions).map(|r| (id(r), of_region(dice))).collect())
    }

    /// Enough egress for the peak of all demand, or for half of it and more.
    fn egress(&mut self, dice: &mut Dice, short: bool) {
        let all: f64 = self.demand.0.values().flatten().map(|b| f64::from(*b)).sum();
        let peak = all * 8.0 / 86_400.0 * 2.0 / self.fleet.appliances.len() as f64;
        for a in &mut self.fleet.appliances {
            let part = if short {
                dice.between(0.5, 0.9)
            } else {
                dice.between(1.5, 4.0)
            };
            a.capacity.egress = BitsPerSecond((peak * part) as u64);
        }
    }

    /// Appliances hold something already, some of it not worth keeping.
    fn hold(&mut self, dice: &mut Dice) {
        self.fleet.objects = self.catalogue.objects.iter().map(|o| o.digest).collect();
        for a in &mut self.fleet.appliances {
            let mut room = a.capacity.storage.0 as f64 * dice.between(0.2, 1.0);
            for (o, object) in self.catalogue.objects.iter().enumerate() {
                if dice.roll(3) == 0 && object.size.0 as f64 <= room {
                    room -= object.size.0 as f64;
                    a.holds.push(o as u32);
                }
            }
        }
    }

    /// The origin, two sites' uplink and two appliances' switch.
    fn links(&mut self, dice: &mut Dice) {
        let fill: f64 = self.fleet.appliances.iter().map(fill_cap).sum();
        let sites: Vec<SiteId> = self.fleet.sites.iter().take(2).map(|s| s.id.clone()).collect();
        let few: Vec<OcaId> = self
            .fleet
            .appliances
            .iter()
            .take(2)
            .map(|a| a.id.clone())
            .collect();
        let of_few: f64 = self.fleet.appliances.iter().take(2).map(fill_cap).sum();
        let largest = self.catalogue.objects.iter().map(|o| o.size.0).max().unwrap() as f64;
        let mut link = |name: &str, bytes: f64, over| Link {
            name: name.into(),
            cap: Bytes((bytes * dice.between(0.2, 0.8)).max(10.0 * largest) as u64),
            over,
        };
        self.policy.links = vec![
            link("origin", fill, Over::Origin),
            link("uplink", fill, Over::Sites(sites)),
            link("switch", of_few, Over::Appliances(few)),
        ];
    }

    /// Decides, and hands over the decisions with each site's problem.
    pub fn decide<R>(&self, then: impl FnOnce(&Decided<'_>, &[Problem<'_>]) -> R) -> R {
        self.try_decide(then).unwrap()
    }

    /// The same, for inputs that may be wrong.
    pub fn try_decide<R>(
        &self,
        then: impl FnOnce(&Decided<'_>, &[Problem<'_>]) -> R,
    ) -> Result<R, InputError> {
        let history = History::before("2026-11-23".parse().unwrap(), &[]);
        let inputs = Inputs {
            number: PlanNumber(1),
            seed: 1,
            history: &history,
            catalogue: &self.catalogue,
            fleet: &self.fleet,
            previous: None,
            rules: self.rules,
            policy: &self.policy,
        };
        decide(&inputs, &self.demand, &InTurn, |decided| {
            let problems: Vec<_> = (0..decided.fleet.sites.len())
                .map(|s| decided.problem(s))
                .collect();
            then(decided, &problems)
        })
    }

    /// What each appliance holds by the plan, as the snapshot lists it.
    pub fn holds(&self, decided: &Decided<'_>) -> BTreeMap<OcaId, Vec<u32>> {
        let mut holds = BTreeMap::new();
        for (site, placed) in decided.fleet.sites.iter().zip(&decided.placement.sites) {
            for (a, got) in site.appliances.iter().zip(&placed.appliances) {
                let objects = got.chosen.iter().flat_map(|c| decided.bundles.range(c.bundle));
                holds.insert(a.id.clone(), objects.map(|o| o as u32).collect());
            }
        }
        holds
    }

    /// Appliances hold this and nothing else.
    pub fn hold_exactly(&mut self, holds: &BTreeMap<OcaId, Vec<u32>>) {
        self.fleet.objects = self.catalogue.objects.iter().map(|o| o.digest).collect();
        for a in &mut self.fleet.appliances {
            a.holds = holds.get(&a.id).cloned().unwrap_or_default();
        }
    }
}

fn fill_cap(a: &ApplianceView) -> f64 {
    a.capacity.fill_rate.bytes_in(86_400).0 as f64
}

fn catalogue(sizes: &[f64]) -> Catalogue {
    let object = |(t, size): (usize, &f64)| {
        let title = TitleId::new(format!("title-{t:04}")).unwrap();
        let path = format!("/t/{title}/v1/f.mp4");
        CatalogueObject {
            digest: ObjectDigest::of(path.as_bytes()),
            size: Bytes(*size as u64),
            title,
            path,
            media_type: "video/mp4".into(),
            rendition: None,
        }
    };
    Catalogue {
        objects: sizes.iter().enumerate().map(object).collect(),
    }
}

fn site_id(site: u64) -> SiteId {
    SiteId::new(format!("site{site}")).unwrap()
}

pub fn appliance(site: u64, a: u64, storage: f64, fill: f64) -> ApplianceView {
    let capacity = Capacity {
        storage: Bytes(storage as u64),
        egress: BitsPerSecond(0),
        fill_rate: BitsPerSecond((fill * 8.0 / 86_400.0) as u64),
    };
    let id = OcaId::new(format!("oca-{site}-{a}")).unwrap();
    ApplianceView::serving(id, site_id(site), capacity)
}

/// The optimum of the linear program: the problem as the module of placement states it, with fractions allowed. A
/// variable is copy `c` of a bundle on an appliance.
pub fn optimum(problems: &[Problem<'_>]) -> f64 {
    let mut vars = ProblemVariables::new();
    let mut worth = Expression::default();
    let mut rows: Vec<(Expression, f64)> = vec![];
    let links = &problems[0].world.terms.links;
    let mut on_link: Vec<Expression> = vec![Expression::default(); links.len()];
    let unit = || variable().min(0.0).max(1.0);
    for p in problems {
        let n = p.limits.len();
        let mut stored: Vec<Expression> = vec![Expression::default(); n];
        let mut filled: Vec<Expression> = vec![Expression::default(); n];
        let mut drawn = Expression::default();
        for c in &p.candidates {
            let (mut here, mut before) = (Expression::default(), None);
            let copies: Vec<Vec<Variable>> = (0..c.copies)
                .map(|_| (0..n).map(|_| vars.add(unit())).collect())
                .collect();
            for (copy, on) in copies.iter().enumerate() {
                let mut once = Expression::default();
                for (a, x) in on.iter().enumerate() {
                    let missing = p.missing(c, a);
                    let w = p.worth.copy(c.bundle, copy + 1);
                    worth += p.net(w, c.size, missing) * *x;
                    stored[a] += c.size as f64 / GB * *x;
                    filled[a] += missing as f64 / GB * *x;
                    once += *x;
                    for link in p.links_of(a) {
                        on_link[link] += missing as f64 / GB * *x;
                    }
                }
                if copy == 0 {
                    here = once.clone();
                }
                // No second copy without a first.
                let more = once.clone() - before.replace(once.clone()).unwrap_or_else(|| 0.into());
                rows.push((more, if copy == 0 { 1.0 } else { 0.0 }));
            }
            for a in 0..n {
                // No two copies on one appliance, not even of a part.
                let on_one: Expression = copies.iter().map(|on| on[a]).sum();
                rows.push((on_one - here.clone(), 0.0));
            }
            drawn += p.worth.drawn(c.bundle) / GB * here.clone();
            for (link, shared) in p.far_links() {
                if !shared.origin || c.origin {
                    on_link[link] += c.far as f64 / GB * here.clone();
                }
            }
        }
        for a in 0..n {
            rows.push((stored[a].clone(), p.limits[a].storage as f64 / GB));
            rows.push((filled[a].clone(), p.limits[a].fill() as f64 / GB));
        }
        let beyond = vars.add(variable().min(0.0));
        worth -= GB * beyond;
        rows.push((drawn - beyond, p.egress / GB));
    }
    for (bytes, link) in on_link.into_iter().zip(links) {
        rows.push((bytes, link.cap as f64 / GB));
    }
    let mut model = vars.maximise(worth.clone()).using(microlp);
    for (row, most) in rows {
        if most.is_finite() {
            model.add_constraint(constraint!(row <= most));
        }
    }
    model.solve().unwrap().eval(worth)
}

/// Recounts every limit from the outcome.
pub fn check(decided: &Decided<'_>, problems: &[Problem<'_>]) {
    for (p, placed) in problems.iter().zip(&decided.placement.sites) {
        for (a, assignment) in placed.appliances.iter().enumerate() {
            let size = |b: u32| decided.bundles.size(b);
            let missing = |b: u32| size(b) - p.present.bytes(b, a);
            let stored: u64 = assignment.chosen.iter().map(|c| size(c.bundle)).sum();
            let filled: u64 = assignment.chosen.iter().map(|c| missing(c.bundle)).sum();
            assert!(stored <= p.limits[a].storage, "storage");
            assert!(
                filled <= p.limits[a].tonight && filled == assignment.filled,
                "fill"
            );
            assert!(assignment.room_made <= p.limits[a].later, "room");
        }
    }
    let links = &problems[0].world.terms.links;
    for (used, link) in decided.placement.links.iter().zip(links) {
        assert!(*used <= link.cap, "{}: {used} of {}", link.name, link.cap);
    }
    let origin: u64 = decided.placement.sites.iter().map(|s| s.far[0]).sum();
    if let Some(link) = links.iter().find(|l| l.origin) {
        assert!(origin <= link.cap, "origin");
    }
}
