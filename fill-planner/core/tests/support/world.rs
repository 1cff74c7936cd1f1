//! Small worlds for the property tests: catalogue, fleet and demand made from a seed.
#![allow(dead_code, reason = "each test file uses a part of it")]

use cdn_types::{
    BitsPerSecond, Bytes, Hour, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, DemandRow, FleetSnapshot, Site},
    plan::Plan,
    time::Date,
};
use fill_core::{
    DecayedMean, History, Inputs, Policy, Rules,
    assemble::Planned,
    place::{InTurn, Spread},
    rendezvous::{key, mix},
};

/// Everything a plan is made of.
#[derive(Debug, Clone)]
pub struct World {
    pub catalogue: Catalogue,
    pub fleet: FleetSnapshot,
    pub demand: Vec<DemandRow>,
    pub date: Date,
    pub number: u64,
    pub seed: u64,
}

/// Sizes of a world.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub seed: u64,
    pub titles: u64,
    pub sites: u64,
    pub per_site: u64,
    /// Storage of an appliance as a share of all titles, in percent.
    pub storage_percent: u64,
    /// Bytes an appliance can fill, as a share of all titles, in percent.
    pub fill_percent: u64,
    pub days: i64,
}

/// A generator that is the same everywhere.
pub struct Dice(u64);
impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % below.max(1)
    }
}

pub fn title_id(i: u64) -> TitleId {
    TitleId::new(format!("title-{i:04}")).unwrap()
}

impl World {
    pub fn new(shape: Shape) -> Self {
        let mut dice = Dice::new(shape.seed);
        let mut objects = vec![];
        for t in 0..shape.titles {
            for file in 0..1 + dice.roll(3) {
                let path = format!("/t/{}/v1/f{file}.mp4", title_id(t));
                objects.push(CatalogueObject {
                    digest: ObjectDigest::of(path.as_bytes()),
                    size: Bytes(1_000 + dice.roll(9_000)),
                    title: title_id(t),
                    path,
                    media_type: "video/mp4".into(),
                    rendition: None,
                });
            }
        }
        let all: u64 = objects.iter().map(|o| o.size.0).sum();
        let date: Date = "2026-11-23".parse().unwrap();
        let mut world = Self {
            catalogue: Catalogue { objects },
            fleet: fleet(shape, all),
            demand: vec![],
            date,
            number: 1,
            seed: 1,
        };
        world.demand = world.demand_of(&mut dice, shape);
        world
    }

    /// A steady Zipf-like demand with some noise; some titles are drawn by nobody.
    fn demand_of(&self, dice: &mut Dice, shape: Shape) -> Vec<DemandRow> {
        let mut rows = vec![];
        for region in 0..shape.sites.min(2) {
            for object in &self.catalogue.objects {
                let rank = 1 + mix(key(region, "rank", object.title.as_str())) % (shape.titles * 5 / 4);
                if rank > shape.titles {
                    continue;
                }
                for day in 1..=shape.days {
                    rows.push(DemandRow {
                        hour: Hour(Hour::start_of(self.date).0 - 24 * day + 20),
                        region: RegionId::new(format!("r{region}")).unwrap(),
                        object: object.digest,
                        requests: 1,
                        bytes: Bytes(object.size.0 * 100 / rank + dice.roll(object.size.0)),
                    });
                }
            }
        }
        rows
    }

    pub fn plan(&self) -> Planned {
        self.plan_after(None)
    }

    pub fn plan_after(&self, previous: Option<&Plan>) -> Planned {
        self.planned(previous, &InTurn)
    }

    pub fn plan_spread(&self, spread: &impl Spread) -> Planned {
        self.planned(None, spread)
    }

    fn planned(&self, previous: Option<&Plan>, spread: &impl Spread) -> Planned {
        let history = History::before(self.date, &self.demand);
        fill_core::plan_spread(
            &Inputs {
                number: PlanNumber(self.number),
                seed: self.seed,
                history: &history,
                catalogue: &self.catalogue,
                fleet: &self.fleet,
                previous,
                rules: Rules::default(),
                policy: &Policy::default(),
            },
            &DecayedMean::default(),
            spread,
        )
        .unwrap()
    }

    /// Every appliance executes its part: it holds what the plan lists and nothing else.
    pub fn execute(&mut self, plan: &Plan) {
        self.fleet.objects = self.catalogue.objects.iter().map(|o| o.digest).collect();
        let index = |d: &ObjectDigest| self.fleet.objects.iter().position(|o| o == d).unwrap() as u32;
        let mut holds: Vec<Vec<u32>> = vec![];
        for appliance in &self.fleet.appliances {
            let part = plan.part(&appliance.id);
            let mut held: Vec<u32> =
                part.map_or(vec![], |p| p.items.iter().map(|i| index(&i.digest)).collect());
            held.sort_unstable();
            holds.push(held);
        }
        for (appliance, held) in self.fleet.appliances.iter_mut().zip(holds) {
            appliance.holds = held;
        }
        self.number = plan.number.0 + 1;
    }

    pub fn shuffle(&mut self, seed: u64) {
        let mut dice = Dice::new(seed);
        fn deal<T>(list: &mut [T], dice: &mut Dice) {
            for i in (1..list.len()).rev() {
                list.swap(i, dice.roll(i as u64 + 1) as usize);
            }
        }
        deal(&mut self.catalogue.objects, &mut dice);
        deal(&mut self.demand, &mut dice);
        deal(&mut self.fleet.sites, &mut dice);
        deal(&mut self.fleet.appliances, &mut dice);
    }
}

fn fleet(shape: Shape, all: u64) -> FleetSnapshot {
    let mut appliances = vec![];
    let mut sites = vec![];
    for s in 0..shape.sites {
        let region = RegionId::new(format!("r{}", s % 2)).unwrap();
        sites.push(Site::new(site_id(s), region));
        for a in 0..shape.per_site {
            appliances.push(appliance(s, a, shape, all));
        }
    }
    FleetSnapshot::of(sites, appliances)
}

fn site_id(site: u64) -> SiteId {
    SiteId::new(format!("site{site}")).unwrap()
}

pub fn appliance(site: u64, a: u64, shape: Shape, all: u64) -> ApplianceView {
    let capacity = Capacity {
        storage: Bytes(all * shape.storage_percent / 100),
        egress: BitsPerSecond(1_000_000_000),
        // FillWindow::always() is 86,400 s, so a rate of 8/86,400 bit/s a byte; rounded down.
        fill_rate: BitsPerSecond(all * shape.fill_percent / 100 * 8 / 86_400),
    };
    let id = OcaId::new(format!("oca-{site}-{a}")).unwrap();
    ApplianceView::serving(id, site_id(site), capacity)
}
