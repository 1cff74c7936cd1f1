//! How long a night's planning takes, and how much memory, as the catalogue grows. Everything is synthetic and from a
//! seed: titles of eight files, Zipf demand with a taste of its own in each region, launches, daily noise, weekends.
//!
//! Three nights of one fleet: boxes are delivered with yesterday's plan on them; then the night that is timed, with the
//! next day's demand and the real fill caps; then one appliance joins. The timed night includes the forecast from
//! fourteen days of demand, the decisions, and the writing of every appliance's part (which is dropped at once).

use cdn_types::{
    BitsPerSecond, Bytes, ObjectDigest, OcaId, PlanNumber, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, FleetSnapshot, Site},
    time::Date,
};
use fill_core::{
    DecayedMean, History, Inputs, Policy, Rules,
    assemble::{Decided, Expect},
    bundle::{Bundles, Grouping},
    decide,
    demand::Demand,
    place::Spread,
    policy::{Link, Over},
    rendezvous::mix,
};
use fill_planner::spread::Threads;
use std::{collections::BTreeMap, sync::Mutex, time::Instant};

/// Bit rates of a title's files: two of sound, six of pictures.
const RATES: [u64; 8] = [
    96_000, 192_000, 300_000, 750_000, 1_500_000, 3_000_000, 5_800_000, 12_000_000,
];
/// Share of a title's bytes that viewers draw of each.
const DRAWN: [f64; 8] = [0.02, 0.03, 0.02, 0.05, 0.13, 0.25, 0.35, 0.15];
/// Days of demand.
const DAYS: usize = 14;

/// What is planned.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Objects of the catalogue.
    pub objects: usize,
    /// Appliances; the fourth of each site is a fast one.
    pub appliances: usize,
    /// Regions.
    pub regions: usize,
    /// Appliances of a site, at least four.
    pub per_site: usize,
    /// A site's storage as a share of the catalogue's bytes.
    pub storage: f64,
    /// What is placed.
    pub grouping: Grouping,
    /// Bytes that the origin sends in a night for each site; without it no link is shared.
    pub origin_cap: Option<f64>,
    /// Threads that plan.
    pub threads: usize,
    /// Seed of everything.
    pub seed: u64,
}

/// Head of the table.
pub const HEAD: &str = "\
| objects | forecast s | decisions s | parts s | all s | peak memory | copies placed | gap | bytes moved when one joins, over its share |
|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

/// One size: a line of the table.
///
/// # Errors
/// A plan that cannot be made, e.g. of a fleet without sites.
pub fn line(setup: &Setup) -> anyhow::Result<String> {
    reset_peak_memory();
    let mut world = World::new(setup)?;
    let delivered = world.night(0, true)?;
    world.hold(&delivered);
    let timed = world.night(1, false)?;
    let peak = peak_memory();
    world.hold(&timed);
    let joined = world.join(setup)?;
    let after = world.night(1, false)?;
    // Its fair share is by storage: fast ones have less.
    let capacity = |a: &ApplianceView| a.capacity.storage.0 as f64;
    let site = &world.fleet.sites[joined].id;
    let all: f64 = world
        .fleet
        .appliances
        .iter()
        .filter(|a| a.site == *site)
        .map(capacity)
        .sum();
    let fair = world.fleet.appliances.last().map_or(0.0, capacity) / all;
    let moved = after.filled_at(joined) / after.stored_at(joined).max(1.0) / fair;
    Ok(format!(
        "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {} | {} | {:.2} % | {moved:.2} |",
        setup.objects,
        timed.forecast,
        timed.decisions,
        timed.parts,
        timed.forecast + timed.decisions + timed.parts,
        peak,
        timed.copies,
        100.0 * timed.gap,
    ))
}

/// What a night came to.
struct Night {
    forecast: f64,
    decisions: f64,
    parts: f64,
    copies: usize,
    gap: f64,
    /// By appliance: what it holds by the plan, as catalogue indices.
    holds: BTreeMap<OcaId, Vec<u32>>,
    /// By site: bytes filled, and stored.
    sites: Vec<(f64, f64)>,
}

impl Night {
    fn filled_at(&self, site: usize) -> f64 {
        self.sites[site].0
    }
    fn stored_at(&self, site: usize) -> f64 {
        self.sites[site].1
    }
}

/// Everything that a plan is made of.
struct World {
    catalogue: Catalogue,
    /// By title: bytes of all its files.
    sizes: Vec<f64>,
    fleet: FleetSnapshot,
    policy: Policy,
    regions: Vec<RegionId>,
    /// Bytes a day that a region draws.
    region_bytes: f64,
    date: Date,
    seed: u64,
    threads: Threads,
}

/// The forecast of one night, from demand that is made when it is asked for.
struct Nightly<'a> {
    world: &'a World,
    shift: usize,
    /// Seconds of the forecast, and of making up demand.
    seconds: Mutex<(f64, f64)>,
}

/// A number between 0 and 1 that depends on all of these alone.
fn unit(seed: u64, a: usize, b: usize, c: usize) -> f64 {
    let mixed = mix(mix(mix(seed ^ a as u64) ^ b as u64) ^ c as u64);
    ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

impl World {
    fn new(setup: &Setup) -> anyhow::Result<Self> {
        let titles = setup.objects.div_ceil(RATES.len());
        let mut list = Vec::with_capacity(titles * RATES.len());
        let mut sizes = Vec::with_capacity(titles);
        for t in 0..titles {
            let seconds = 60.0 * (20.0 + 100.0 * unit(setup.seed, t, 1, 0));
            let title = TitleId::new(format!("title-{t:06}"))?;
            let mut all = 0.0;
            for (f, rate) in RATES.iter().enumerate() {
                let size = *rate as f64 / 8.0 * seconds;
                all += size;
                let path = format!("/t/{title}/0123456789ab/f{f}.mp4");
                list.push(CatalogueObject {
                    digest: ObjectDigest::of(path.as_bytes()),
                    size: Bytes(size as u64),
                    title: title.clone(),
                    path,
                    media_type: if f < 2 { "audio/mp4" } else { "video/mp4" }.into(),
                    rendition: None,
                });
            }
            sizes.push(all);
        }
        let regions: Vec<RegionId> = (0..setup.regions)
            .map(|r| RegionId::new(format!("region-{r:02}")))
            .collect::<Result<_, _>>()?;
        let all: f64 = sizes.iter().sum();
        let storage = all * setup.storage / (setup.per_site as f64 - 0.75);
        let site_count = setup.appliances / setup.per_site;
        let mut sites = Vec::new();
        let mut appliances = Vec::new();
        for s in 0..site_count {
            let id = SiteId::new(format!("site-{s:03}"))?;
            sites.push(Site::new(id, regions[s % regions.len()].clone()));
            for a in 0..setup.per_site {
                appliances.push(appliance(s, a, storage)?);
            }
        }
        // In the busiest hour six tenths of the fleet's egress are asked for.
        let egress: f64 = appliances.iter().map(|a| a.capacity.egress.0 as f64).sum();
        let policy = Policy {
            grouping: setup.grouping,
            links: setup
                .origin_cap
                .map(|cap| origin(cap * site_count as f64))
                .into_iter()
                .collect(),
            ..Policy::default()
        };
        Ok(Self {
            sizes,
            fleet: FleetSnapshot {
                objects: list.iter().map(|o| o.digest).collect(),
                ..FleetSnapshot::of(sites, appliances)
            },
            catalogue: Catalogue { objects: list },
            policy,
            region_bytes: 0.6 * egress / 2.0 / 8.0 * 86_400.0 / regions.len() as f64,
            regions,
            date: "2026-11-23".parse()?,
            seed: setup.seed,
            threads: Threads(setup.threads),
        })
    }

    /// Plans one night; `shift` days later than the first, and without fill caps if boxes are `delivered`.
    fn night(&self, shift: usize, delivered: bool) -> anyhow::Result<Night> {
        let mut fleet = self.fleet.clone();
        if delivered {
            for a in &mut fleet.appliances {
                a.capacity.fill_rate = BitsPerSecond(u64::MAX);
            }
        }
        let history = History::before(self.date, &[]);
        let inputs = Inputs {
            number: PlanNumber(1),
            seed: 1,
            history: &history,
            catalogue: &self.catalogue,
            fleet: &fleet,
            previous: None,
            rules: Rules::default(),
            policy: &self.policy,
        };
        let nightly = Nightly {
            world: self,
            shift,
            seconds: Mutex::new((0.0, 0.0)),
        };
        let start = Instant::now();
        let night = decide(&inputs, &nightly, &self.threads, |decided| {
            let decisions = start.elapsed().as_secs_f64();
            self.write(decided, decisions)
        })?;
        let (forecast, making) = nightly.split();
        Ok(Night {
            forecast,
            decisions: night.decisions - forecast - making,
            ..night
        })
    }

    /// Writes every part and report and keeps only what the next night needs.
    fn write(&self, decided: &Decided<'_>, decisions: f64) -> Night {
        let start = Instant::now();
        let written = self.threads.each(decided.fleet.sites.len(), &|s| {
            let scribe = decided.site(s);
            let site = &decided.fleet.sites[s];
            let parts = (0..site.appliances.len()).map(|a| scribe.appliance(a).0);
            parts.fold((0, 0.0, 0.0), |(items, filled, stored), part| {
                let all: f64 = part.items.iter().map(|i| i.size.0 as f64).sum();
                let kept = part.items.iter().filter(|i| i.kept);
                let kept: f64 = kept.map(|i| i.size.0 as f64).sum();
                (items + part.items.len(), filled + all - kept, stored + all)
            })
        });
        let parts = start.elapsed().as_secs_f64();
        let mut holds = BTreeMap::new();
        for (site, placed) in decided.fleet.sites.iter().zip(&decided.placement.sites) {
            for (appliance, got) in site.appliances.iter().zip(&placed.appliances) {
                let objects = got.chosen.iter().flat_map(|c| decided.bundles.range(c.bundle));
                holds.insert(appliance.id.clone(), objects.map(|o| o as u32).collect());
            }
        }
        Night {
            forecast: 0.0,
            decisions,
            parts,
            copies: written.iter().map(|w| w.0).sum(),
            gap: decided.placement.score.gap(),
            holds,
            sites: written.into_iter().map(|w| (w.1, w.2)).collect(),
        }
    }

    /// Appliances hold what the plan lists.
    fn hold(&mut self, night: &Night) {
        // The catalogue is in the planner's order already, as the grouping by title keeps it; the snapshot's list is it.
        for a in &mut self.fleet.appliances {
            a.holds = night.holds.get(&a.id).cloned().unwrap_or_default();
        }
    }

    /// One more appliance in the first site, with a week's fill in one night; its site.
    fn join(&mut self, setup: &Setup) -> anyhow::Result<usize> {
        let mut new = appliance(0, setup.per_site, 0.0)?;
        new.capacity = self.fleet.appliances[1].capacity;
        new.capacity.fill_rate = BitsPerSecond(u64::MAX);
        self.fleet.appliances.push(new);
        Ok(0)
    }
}

impl Nightly<'_> {
    /// Seconds of the forecast itself, and of making up the demand that it reads.
    fn split(&self) -> (f64, f64) {
        *self.seconds.lock().expect("no thread died")
    }

    /// A region's bytes a day of each title, newest day first.
    fn demand(&self, region: usize) -> Vec<[f32; DAYS]> {
        let world = self.world;
        let mut list: Vec<[f32; DAYS]> = Vec::with_capacity(world.sizes.len());
        let mut all = 0.0;
        for t in 0..world.sizes.len() {
            // Taste: a region's own factor, so that two regions share the top of their lists in part.
            let taste = (2.0 * (unit(world.seed, t, 2, region) - 0.5) * 1.5).exp();
            let level = taste / (t as f64 + 10.0).powf(0.95);
            let launch = match unit(world.seed, t, 3, 0) {
                u if u < 0.01 => Some((u * 100.0 * DAYS as f64) as usize),
                _ => None,
            };
            let mut days = [0f32; DAYS];
            for (ago, bytes) in days.iter_mut().enumerate() {
                let day = self.shift + DAYS - ago;
                let noise = 0.7 + 0.6 * unit(world.seed, t, 4 + day, region);
                let weekend = if day % 7 < 2 { 1.2 } else { 1.0 };
                let age = launch.map(|l| day as f64 - l as f64);
                let launched = age.map_or(1.0, |a| if a < 0.0 { 0.0 } else { 30.0 * (-a / 5.0).exp() });
                *bytes = (level * noise * weekend * launched) as f32;
                all += f64::from(*bytes);
            }
            list.push(days);
        }
        let scale = (world.region_bytes * DAYS as f64 / all) as f32;
        for bytes in list.iter_mut().flatten() {
            *bytes *= scale;
        }
        list
    }

    /// Expected bytes of each object, by the same method as the planner's own.
    fn forecast(&self, titles: &[[f32; DAYS]]) -> Vec<f32> {
        let planned = self.world.date;
        let mut days: Vec<Date> = Vec::with_capacity(DAYS);
        let mut day = planned;
        for _ in 0..DAYS {
            day = day.yesterday().unwrap_or(day);
            days.push(day);
        }
        let total = |ago: usize| titles.iter().map(|t| f64::from(t[ago])).sum::<f64>() as u64;
        let totals: Vec<u64> = (0..DAYS).map(total).collect();
        let of_region = DecayedMean::default().of_region(planned, &days, &totals);
        let mut out = Vec::with_capacity(titles.len() * RATES.len());
        for title in titles {
            for share in DRAWN {
                let series = title.map(|bytes| (f64::from(bytes) * share) as u64);
                out.push(of_region.expect(&series) as f32);
            }
        }
        out
    }
}

impl Expect for Nightly<'_> {
    fn name(&self) -> &'static str {
        "decayed mean of synthetic demand"
    }

    fn expect(&self, _: &Bundles<'_>) -> Demand {
        let world = self.world;
        let lists = world.threads.each(world.regions.len(), &|r| {
            let start = Instant::now();
            let demand = self.demand(r);
            let made = start.elapsed().as_secs_f64();
            let list = self.forecast(&demand);
            let whole = start.elapsed().as_secs_f64();
            (list, whole - made, made)
        });
        let share = world.threads.0.max(1) as f64;
        let sum = |of: fn(&(Vec<f32>, f64, f64)) -> f64| lists.iter().map(of).sum::<f64>() / share;
        *self.seconds.lock().expect("no thread died") = (sum(|l| l.1), sum(|l| l.2));
        let lists = lists.into_iter().map(|l| l.0);
        Demand::new(world.regions.iter().cloned().zip(lists).collect())
    }
}

/// The last of a site's appliances is fast: a quarter of the storage, three times the egress.
fn appliance(site: usize, a: usize, storage: f64) -> anyhow::Result<ApplianceView> {
    let fast = a == 3;
    let (storage, gbit) = if fast { (storage / 4.0, 100) } else { (storage, 36) };
    Ok(ApplianceView::serving(
        OcaId::new(format!("oca-{site:03}-{a}"))?,
        SiteId::new(format!("site-{site:03}"))?,
        Capacity {
            storage: Bytes(storage as u64),
            egress: BitsPerSecond(gbit * 1_000_000_000),
            // A night fills a twelfth of the storage: 6.5 TB of 78.
            fill_rate: BitsPerSecond((storage / 12.0 * 8.0 / 86_400.0) as u64),
        },
    ))
}

fn origin(cap: f64) -> Link {
    Link {
        name: "origin".into(),
        cap: Bytes(cap as u64),
        over: Over::Origin,
    }
}

/// From here on [`peak_memory`] counts anew, from what is resident now (proc(5), `clear_refs`).
fn reset_peak_memory() {
    // Where it may not be written, the peak is that of all sizes so far: too much, never too little.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Most memory that this process had since the last reset.
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kilobytes: f64 = line
        .and_then(|l| l.split_whitespace().next())
        .and_then(|n| n.parse().ok())
        .unwrap_or(f64::NAN);
    format!("{:.2} GiB", kilobytes / 1024.0 / 1024.0)
}
