//! One site's part of the placement problem, as arrays: which bundles are in question, what limits each appliance has,
//! and which appliances are alike.

use crate::{
    bundle::Bundles,
    demand::RegionDemand,
    fleet::SiteFleet,
    policy::{Shared, Term, Terms},
    present::{Held, Holdings, Present},
    rendezvous,
    rules::Rules,
    worth::{self, Worth},
};

/// An appliance filled to less than this part of its site's mean is taken for new.
const NEW_BELOW: f64 = 0.5;
/// Bundles beyond this many times the site's storage, densest first, are not looked at: no price at which they would be
/// chosen could be right.
const STORAGE_LOOKED_AT: f64 = 2.0;
/// Bundles that are always looked at.
const ALWAYS_LOOKED_AT: usize = 4_096;
/// Appliances whose fill for each byte of storage differs by less than this are alike.
const ALIKE: f64 = 1.1;
/// Times more egress for each byte of storage that makes an appliance fast.
const FAST: f64 = 2.0;

/// Everything that placement is about, besides the site.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// What is placed.
    pub bundles: &'a Bundles<'a>,
    /// What is where.
    pub holdings: &'a Holdings<'a>,
    /// What is asked.
    pub terms: &'a Terms,
    /// How to weigh.
    pub rules: &'a Rules,
    /// By bundle: its name for hashing.
    pub title_keys: &'a [u64],
    /// Seed of the hashing.
    pub seed: u64,
}

/// A bundle in question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The bundle.
    pub bundle: u32,
    /// Its bytes.
    pub size: u64,
    /// Worth of its first copy, bytes a day.
    pub first: f64,
    /// Bytes that its first copy brings in from outside of the site.
    pub far: u64,
    /// Whether those come from the origin.
    pub origin: bool,
    /// Where those that hold any of it begin in [`Present::held`].
    pub holders: u32,
    /// Number of them.
    pub held: u16,
    /// Whether it is of use only beside the candidate before it.
    pub needs_previous: bool,
    /// Copies that are worth anything, or that are pinned.
    pub copies: u8,
    /// Copies that must be.
    pub pinned: u8,
}

/// What an appliance can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of storage.
    pub storage: u64,
    /// Bytes that can be filled tonight beside what is stored.
    pub tonight: u64,
    /// Bytes for which room can be made tonight, to be filled the next night.
    pub later: u64,
}

impl Limits {
    /// Bytes that can be filled in all.
    pub fn fill(&self) -> u64 {
        self.tonight.saturating_add(self.later)
    }
}

/// Appliances of a site that are alike, so that one price does for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Its appliances.
    pub members: Vec<usize>,
    /// Their storage.
    pub storage: f64,
    /// What they can fill.
    pub fill: f64,
    /// The largest bundle that one of them can fill.
    pub largest: u64,
}

/// One site's problem.
#[derive(Debug)]
pub struct Problem<'a> {
    /// Index of the site in the fleet.
    pub index: usize,
    /// The site.
    pub site: &'a SiteFleet,
    /// The rest.
    pub world: World<'a>,
    /// Worth of copies.
    pub worth: Worth<'a>,
    /// What is held.
    pub present: Present,
    /// Bundles in question, rising.
    pub candidates: Vec<Candidate>,
    /// Worth per byte below which bundles are not in question; 0 if all are.
    pub cut: f64,
    /// By appliance.
    pub limits: Vec<Limits>,
    /// Appliances that are alike.
    pub pools: Vec<Pool>,
    /// By appliance: its pool.
    pub pool_of: Vec<usize>,
    /// Bytes a day whose busiest hour fills the site's egress; infinite if the egress is not known.
    pub egress: f64,
    /// By appliance: its name for hashing.
    pub appliance_keys: Vec<u64>,
    /// By appliance: whether it is new or was emptied.
    pub is_new: Vec<bool>,
    /// By appliance: whether it is one of the fast ones of a mixed site.
    pub is_fast: Vec<bool>,
    /// Worth per byte from which a bundle belongs on the fast appliances; infinite if there are none.
    pub hot: f64,
}

impl<'a> Problem<'a> {
    /// A site's problem.
    pub fn new(index: usize, site: &'a SiteFleet, demand: &'a RegionDemand<'a>, world: World<'a>) -> Self {
        let present = world.holdings.present(index);
        let limits: Vec<Limits> = site
            .appliances
            .iter()
            .zip(&present.stored)
            .map(|(a, stored)| limits(a.storage, a.fill_cap, *stored))
            .collect();
        let egress = match site.egress() {
            0 => f64::INFINITY,
            bits => worth::bytes_of_peak(bits as f64, world.rules),
        };
        let key = |id: &cdn_types::OcaId| rendezvous::key(world.seed, "appliance", id.as_str());
        let mut out = Self {
            index,
            site,
            world,
            worth: Worth::at(site, demand, world.bundles, world.rules),
            candidates: Vec::new(),
            cut: 0.0,
            pools: Vec::new(),
            pool_of: Vec::new(),
            egress,
            appliance_keys: site.appliances.iter().map(|a| key(&a.id)).collect(),
            is_new: newcomers(site, &present),
            is_fast: fast(site),
            hot: f64::INFINITY,
            present,
            limits,
        };
        out.make_pools();
        out.choose_candidates(demand);
        out.hot = out.heat_of_the_fast();
        out
    }

    /// Bytes of a candidate that an appliance lacks.
    pub fn missing(&self, candidate: &Candidate, appliance: usize) -> u64 {
        let mut holders = self.holders(candidate).iter();
        let held = holders.find(|h| h.appliance as usize == appliance);
        candidate.size.saturating_sub(held.map_or(0, |h| h.bytes))
    }

    /// Who holds any of a candidate.
    pub fn holders(&self, candidate: &Candidate) -> &[Held] {
        &self.present.held[candidate.holders as usize..][..usize::from(candidate.held)]
    }

    /// Worth of a copy on an appliance that lacks `missing` bytes of it: less what its fill must earn.
    pub fn net(&self, worth: f64, size: u64, missing: u64) -> f64 {
        if missing == 0 {
            return worth;
        }
        let rules = self.world.rules;
        let share = missing as f64 / size as f64;
        let priced = (worth - rules.fill_cost * missing as f64) / (1.0 + rules.swap_margin * share);
        // Below the price of a fill order still matters, and free room is still to be used.
        if priced > 0.0 {
            priced
        } else {
            worth * f64::EPSILON
        }
    }

    /// Links that carry what the site fetches from outside, and for each whether only what comes from the origin.
    pub fn far_links(&self) -> impl Iterator<Item = (usize, &Shared)> {
        let links = self.world.terms.links.iter().enumerate();
        links.filter(|(_, l)| l.sites[self.index])
    }

    /// Links that carry an appliance's whole fill.
    pub fn links_of(&self, appliance: usize) -> impl Iterator<Item = usize> {
        let at = (self.index as u32, appliance as u32);
        let links = self.world.terms.links.iter().enumerate();
        links
            .filter(move |(_, l)| l.appliances.binary_search(&at).is_ok())
            .map(|(n, _)| n)
    }

    fn make_pools(&mut self) {
        let n = self.site.appliances.len();
        let ratio = |a: usize| {
            let l = &self.limits[a];
            (l.fill() as f64 / l.storage.max(1) as f64).min(1.0)
        };
        let links: Vec<Vec<usize>> = (0..n).map(|a| self.links_of(a).collect()).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| {
            let by_kind = (self.is_fast[*a], &links[*a]).cmp(&(self.is_fast[*b], &links[*b]));
            by_kind.then(ratio(*a).total_cmp(&ratio(*b))).then(a.cmp(b))
        });
        let mut pools: Vec<Pool> = Vec::new();
        for a in order {
            let alike = |p: &Pool| {
                let first = p.members[0];
                ratio(a) <= ALIKE * ratio(first)
                    && self.is_fast[a] == self.is_fast[first]
                    && links[a] == links[first]
            };
            if !pools.last().is_some_and(alike) {
                pools.push(Pool {
                    members: Vec::new(),
                    storage: 0.0,
                    fill: 0.0,
                    largest: 0,
                });
            }
            if let Some(pool) = pools.last_mut() {
                let l = &self.limits[a];
                pool.members.push(a);
                pool.storage += l.storage as f64;
                pool.fill += l.fill() as f64;
                pool.largest = pool.largest.max(l.storage.min(l.fill()));
            }
        }
        self.pool_of = vec![0; n];
        for (p, pool) in pools.iter().enumerate() {
            for a in &pool.members {
                self.pool_of[*a] = p;
            }
        }
        self.pools = pools;
    }

    /// The densest bundles, everything held, everything pinned, and what those require.
    fn choose_candidates(&mut self, demand: &RegionDemand<'_>) {
        let bundles = self.world.bundles;
        let storage: f64 = self.pools.iter().map(|p| p.storage).sum();
        let largest = self.pools.iter().map(|p| p.largest).max().unwrap_or(0);
        let mut chosen = Vec::new();
        let mut bytes = 0.0;
        for bundle in &demand.by_density {
            if bytes > STORAGE_LOOKED_AT * storage && chosen.len() >= ALWAYS_LOOKED_AT {
                // A little above, since the order is of rounded figures.
                self.cut = 1.000_001 * self.worth.first(*bundle) / bundles.size(*bundle) as f64;
                break;
            }
            let size = bundles.size(*bundle);
            bytes += if size <= largest { size as f64 } else { 0.0 };
            chosen.push(*bundle);
        }
        chosen.extend(self.present.held.iter().map(|h| h.bundle));
        let terms = self
            .world
            .terms
            .sites
            .get(self.index)
            .map_or(&[][..], Vec::as_slice);
        chosen.extend(terms.iter().map(|(b, _)| *b));
        chosen.sort_unstable();
        chosen.dedup();
        let mut last = None;
        for bundle in chosen {
            let mut first = bundle;
            while bundles.list[first as usize].needs_previous && last < Some(first - 1) {
                first -= 1;
            }
            for b in first..=bundle {
                self.candidates.extend(self.candidate(b));
            }
            last = Some(bundle);
        }
    }

    fn candidate(&self, bundle: u32) -> Option<Candidate> {
        let pinned = match self.world.terms.of(self.index, bundle) {
            Some(Term::Barred) => return None,
            Some(Term::Pinned(copies)) => copies,
            None => 0,
        };
        let bundles = self.world.bundles;
        let size = bundles.size(bundle);
        let held = self.present.of(bundle);
        let source = |h: &&Held| self.site.appliances[h.appliance as usize].source;
        let most = held.iter().filter(source).map(|h| h.bytes).max().unwrap_or(0);
        let far = size.saturating_sub(most);
        Some(Candidate {
            bundle,
            size,
            first: self.worth.first(bundle),
            far,
            origin: far > 0 && !self.world.holdings.elsewhere(bundle, false),
            holders: self.present.first_of(bundle) as u32,
            held: held.len() as u16,
            needs_previous: bundles.list[bundle as usize].needs_previous,
            copies: u8::try_from(self.worth.copies(bundle))
                .unwrap_or(u8::MAX)
                .max(pinned),
            pinned,
        })
    }

    /// The fast appliances belong to the hottest bundles, as many as they can store and, at the peak, send.
    fn heat_of_the_fast(&self) -> f64 {
        let fast = || {
            self.site
                .appliances
                .iter()
                .zip(&self.is_fast)
                .filter(|(_, f)| **f)
        };
        let mut storage: f64 = fast().map(|(a, _)| a.storage as f64).sum();
        let mut egress: f64 = fast().map(|(a, _)| a.egress as f64).sum();
        if storage <= 0.0 {
            return f64::INFINITY;
        }
        let heat = |c: &Candidate| c.first / c.size as f64;
        let mut order: Vec<&Candidate> = self.candidates.iter().collect();
        order.sort_unstable_by(|a, b| heat(b).total_cmp(&heat(a)).then(a.bundle.cmp(&b.bundle)));
        for candidate in order {
            storage -= candidate.size as f64;
            egress -= self.worth.peak(candidate.bundle);
            if storage < 0.0 || egress < 0.0 {
                return heat(candidate);
            }
        }
        0.0
    }
}

fn limits(storage: u64, fill_cap: u64, stored: u64) -> Limits {
    let free = storage.saturating_sub(stored);
    let tonight = fill_cap.min(free);
    Limits {
        storage,
        tonight,
        later: fill_cap.saturating_sub(free - tonight),
    }
}

/// Which appliances hold so little, next to their site's mean, that they must be new or emptied.
fn newcomers(site: &SiteFleet, present: &Present) -> Vec<bool> {
    let mut held = vec![0u64; site.appliances.len()];
    for h in &present.held {
        held[h.appliance as usize] += h.bytes;
    }
    let storage: f64 = site.appliances.iter().map(|a| a.storage as f64).sum();
    let mean = held.iter().map(|h| *h as f64).sum::<f64>() / storage.max(1.0);
    let is_new = |(a, h): (&crate::fleet::Appliance, u64)| (h as f64) < NEW_BELOW * mean * a.storage as f64;
    site.appliances.iter().zip(held).map(is_new).collect()
}

/// The appliances of a mixed site with much egress for each byte of storage: cut at the widest step, if it is wide.
fn fast(site: &SiteFleet) -> Vec<bool> {
    let ratio = |a: &crate::fleet::Appliance| a.egress as f64 / a.storage.max(1) as f64;
    let filled = site.appliances.iter().filter(|a| a.storage > 0);
    let mut ratios: Vec<f64> = filled.map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    let widest = ratios
        .windows(2)
        .filter(|w| w[1] >= FAST * w[0] && w[1] > 0.0)
        .max_by(|x, y| (x[1] / x[0]).total_cmp(&(y[1] / y[0])));
    let from = widest.map_or(f64::INFINITY, |w| w[1]);
    site.appliances
        .iter()
        .map(|a| a.storage > 0 && ratio(a) >= from)
        .collect()
}
