//! The planner itself as a keeper of stores: each night it is asked for a plan of a fleet with one site a region, and the
//! plan is executed.
//!
//! An appliance drops only when all that comes is held, so a full one makes room in one night for the next night's fill.
//! [`Room::Before`] plans twice: once to make room before the night's window, once to fill it.

use super::{naive::Expected, panel::Past, store::Store};
use crate::{
    InputError, Policy, Rules,
    assemble::{self, Inputs},
    forecast::{Forecast, Predictor, elsewhere},
    history::History,
};
use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, OcaId, PlanNumber, SiteId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, FleetSnapshot, Site},
    plan::Plan,
};
use std::collections::BTreeMap;

/// Seconds of the night's window, 02:00 to 14:00.
const WINDOW_SECONDS: f64 = 12.0 * 3600.0;
/// Egress of a site's appliances together: far above any peak here, since what is judged is what they hold.
const SITE_EGRESS: u64 = 400_000_000_000;

/// When room is made for what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// In the night before: one plan a night.
    NightBefore,
    /// Before the same night's window: two plans a night.
    Before,
}

/// A fleet, and the plans that it was given.
#[derive(Debug, Clone)]
pub struct PlannedFleet {
    rules: Rules,
    calendar: bool,
    room: Room,
    appliances: usize,
    storage: f64,
    fill: f64,
    number: u64,
    previous: Option<Plan>,
    /// By region, appliance: titles held.
    pub held: Vec<Vec<Vec<u32>>>,
}

/// A forecast made elsewhere.
struct Given(Forecast);

impl Predictor for Given {
    fn name(&self) -> &'static str {
        "given"
    }
    fn predict(&self, _: &History) -> Forecast {
        self.0.clone()
    }
}

impl PlannedFleet {
    /// Stores as they are, cut evenly over `appliances` a site; `storage` and `fill` are a site's.
    pub fn new(
        stores: &[Store],
        appliances: usize,
        storage: f64,
        fill: f64,
        room: Room,
        rules: Rules,
    ) -> Self {
        let held = stores.iter().map(|store| {
            let titles = (0..store.held.len()).filter(|t| store.held[*t]);
            let mut of = vec![Vec::new(); appliances];
            titles
                .enumerate()
                .for_each(|(i, t)| of[i % appliances].push(t as u32));
            of
        });
        let held = held.collect();
        Self {
            rules,
            calendar: false,
            room,
            appliances,
            storage,
            fill,
            number: 0,
            previous: None,
            held,
        }
    }

    /// The same fleet, planned from forecasts that know the launch calendar or do not.
    #[must_use]
    pub fn with_calendar(self, calendar: bool) -> Self {
        Self { calendar, ..self }
    }

    /// Plans and executes a night.
    pub fn night(
        &mut self,
        past: Past<'_>,
        expected: &Expected,
        stores: &mut [Store],
    ) -> Result<Vec<Vec<u32>>, InputError> {
        let elsewhere = elsewhere::share(past, self.calendar);
        if self.room == Room::Before {
            let plan = self.plan(past, expected, elsewhere)?;
            self.execute(past, &plan, true);
        }
        let plan = self.plan(past, expected, elsewhere)?;
        self.execute(past, &plan, false);
        self.previous = Some(plan);
        Ok(stores
            .iter_mut()
            .zip(&self.held)
            .map(|(store, held)| {
                let mut next = Store::empty(store.held.len());
                for t in held.iter().flatten() {
                    if !next.held[*t as usize] {
                        next.held[*t as usize] = true;
                        next.used += past.titles()[*t as usize].size as f64;
                    }
                }
                let come = (0..next.held.len()).filter(|t| next.held[*t] && !store.held[*t]);
                let come = come.map(|t| t as u32).collect();
                *store = next;
                come
            })
            .collect())
    }

    fn plan(
        &mut self,
        past: Past<'_>,
        expected: &Expected,
        elsewhere: Option<f64>,
    ) -> Result<Plan, InputError> {
        self.number += 1;
        let mut forecast = Forecast::default();
        forecast.set_elsewhere(elsewhere);
        for (region, expected) in past.regions().iter().zip(expected) {
            for (object, bytes) in past.objects().iter().zip(expected) {
                forecast.set(region, *object, f64::from(*bytes));
            }
        }
        let inputs = Inputs {
            number: PlanNumber(self.number),
            seed: 1,
            history: &History::before(past.date(), &[]),
            catalogue: &self.catalogue(past, expected),
            fleet: &self.snapshot(past),
            previous: self.previous.as_ref(),
            rules: self.rules,
            policy: &Policy::default(),
        };
        Ok(assemble::plan(&inputs, &Given(forecast))?.plan)
    }

    fn execute(&mut self, past: Past<'_>, plan: &Plan, only_drop: bool) {
        let index: BTreeMap<_, u32> = past.objects().iter().copied().zip(0..).collect();
        for (region, appliances) in self.held.iter_mut().enumerate() {
            for (a, held) in appliances.iter_mut().enumerate() {
                let part = plan
                    .appliances
                    .iter()
                    .find(|p| p.appliance.as_str() == name(region, a));
                let items = part.map(|p| p.items.as_slice()).unwrap_or_default();
                let items = items.iter().filter(|i| i.kept || !only_drop);
                *held = items.filter_map(|i| index.get(&i.digest).copied()).collect();
                held.sort_unstable();
            }
        }
    }

    fn snapshot(&self, past: Past<'_>) -> FleetSnapshot {
        let part = 1.0 / self.appliances as f64;
        let capacity = Capacity {
            storage: Bytes((self.storage * part) as u64),
            egress: BitsPerSecond((SITE_EGRESS as f64 * part) as u64),
            fill_rate: BitsPerSecond((self.fill * part * 8.0 / WINDOW_SECONDS).ceil() as u64),
        };
        let site = |region: usize| SiteId::new(format!("site-{region:03}"));
        let sites = past.regions().iter().enumerate().filter_map(|(r, region)| {
            Some(Site {
                window: FillWindow::new("02:00", "14:00", "UTC").ok()?,
                ..Site::new(site(r).ok()?, region.clone())
            })
        });
        let appliances = self.held.iter().enumerate().flat_map(|(r, appliances)| {
            appliances.iter().enumerate().filter_map(move |(a, held)| {
                Some(ApplianceView {
                    held: held.len() as u64,
                    holds: held.clone(),
                    ..ApplianceView::serving(OcaId::new(name(r, a)).ok()?, site(r).ok()?, capacity)
                })
            })
        });
        FleetSnapshot {
            generation: self.number,
            objects: past.objects().to_vec(),
            ..FleetSnapshot::of(sites.collect(), appliances.collect())
        }
    }
}

fn name(region: usize, appliance: usize) -> String {
    format!("oca-{region:03}-{appliance:02}")
}

/// Bytes of the densest titles that are offered, over a site's storage: what is not among them would not be placed.
const OFFERED: f64 = 2.0;

impl PlannedFleet {
    /// Titles that are held somewhere, or that some region expects to be worth their room.
    fn catalogue(&self, past: Past<'_>, expected: &Expected) -> Catalogue {
        let titles = past.titles();
        let mut offered = vec![false; titles.len()];
        for t in self.held.iter().flatten().flatten() {
            offered[*t as usize] = true;
        }
        for expected in expected {
            let density = |t: usize| f64::from(expected[t]) / titles[t].size as f64;
            let mut order: Vec<usize> = (0..titles.len()).filter(|t| expected[*t] > 0.0).collect();
            order.sort_unstable_by(|a, b| density(*b).total_cmp(&density(*a)).then(a.cmp(b)));
            let mut bytes = 0.0;
            for t in order {
                bytes += titles[t].size as f64;
                if bytes > OFFERED * self.storage {
                    break;
                }
                offered[t] = true;
            }
        }
        let object = |t: usize| CatalogueObject {
            digest: past.objects()[t],
            size: Bytes(titles[t].size),
            title: titles[t].id.clone(),
            path: format!("/t/{}/v1/video.mp4", titles[t].id),
            media_type: "video/mp4".into(),
            rendition: None,
        };
        Catalogue {
            objects: (0..titles.len()).filter(|t| offered[*t]).map(object).collect(),
        }
    }
}
