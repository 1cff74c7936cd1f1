//! Placement: which appliance shall hold which bundle, how near that is to the best, and why.
//!
//! # The problem
//!
//! For each appliance `a` of a site `s` and each bundle `u` of `z_u` bytes, of which `a` lacks `m_au`: is `u` on `a`
//! (`x_au` in {0, 1})? Wanted is the most worth
//!
//! ```text
//! max  Σ_s [ Σ_u V_s(u; x) - max(0, Σ_u d_su [u at s] - E_s) ]
//! ```
//!
//! where copy `c` of `u` at `s` is worth `w_suc` bytes a day, falling in `c` ([`crate::worth`]); `V` is the sum over its
//! copies, those counted first that lack least, each reduced by what its fill must earn:
//! `w` if nothing is missing, else `(w - fill_cost m) / (1 + swap_margin m/z)` ([`crate::rules`]; never below a rounding's worth of
//! `w`, so that free room is used). `d_su` is what the site's viewers are expected to draw of `u`, and `E_s` what its
//! appliances can send of that when the busiest hour fills their egress: what is drawn beyond comes from elsewhere. Subject to
//!
//! - storage: `Σ_u z_u x_au <= S_a`;
//! - fill: `Σ_u m_au x_au <= T_a`. What goes is dropped only when all that comes is held, so both must fit side by side:
//!   tonight `a` can fill `C_a = min(night's cap, free storage)`, and can make room for the next night's fill,
//!   `T_a - C_a`. An empty appliance has `C_a` = its cap. A copy for which only room is made counts as placed;
//! - links: what a site brings in from outside (`u` once, if no appliance of it that may be asked holds it: the copies after
//!   the first are fetched from the first) is on every link of the site, on the origin's too if no other site has
//!   it; the whole fill of an appliance is on every link of the appliance. Each link has a cap a night;
//! - terms: pinned bundles have their copies, barred ones none; a larger rendition is only where the smaller one is.
//!
//! # The way
//!
//! Each site's Lagrangian dual ([`dual`]) gives prices and a bound that no plan can pass; links, which couple sites, are
//! priced around that ([`shared`]). Copies are chosen greedily by worth over priced bytes, then improved by
//! exchange ([`greedy`]). The bound, the plan's worth, and the gap between them go into the report.
//!
//! # Where a copy goes
//!
//! An appliance that holds a bundle is asked first, then the others by weighted rendezvous hashing, and the first with room
//! and fill takes it: forecasts that merely tremble move nothing, an appliance that joins takes over what it wins by hashing
//! (its share of the site's bytes, once), one that leaves gives up only what it had. In a site of fast and large
//! appliances the hottest bundles belong to the fast ones, as many as those can store and send, and an appliance
//! whose egress is taken at the peak is asked last.
//!
//! What is held and was not placed stays as a further copy as long as there is room: dropping it would gain nothing.

pub mod dual;
mod exchange;
pub mod greedy;
pub mod problem;
pub mod refusal;
pub mod shared;
mod slope;
pub mod state;

use crate::{demand::RegionDemand, fleet::Fleet};
use cdn_types::RegionId;
pub use refusal::{Refusal, Refused};

use problem::{Candidate, Problem, World};
use state::{Ledger, State};
use std::collections::BTreeMap;

/// How work on each of many sites is spread: the outcome must not depend on it.
pub trait Spread: Sync {
    /// `work(0)`, `work(1)`, … in that order, done in any.
    fn each<T: Send>(&self, n: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T>;
}

/// One after the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct InTurn;

impl Spread for InTurn {
    fn each<T: Send>(&self, n: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
        (0..n).map(work).collect()
    }
}

/// Why a bundle is on an appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Held already and worth its room; copy number `copy` of the site.
    Kept {
        /// 1 for the first copy.
        copy: u8,
    },
    /// Held already; not needed as a further copy, but nothing needs the room.
    Spare,
    /// To be filled; copy number `copy` of the site.
    Added {
        /// 1 for the first copy.
        copy: u8,
        /// Whether another appliance of the site holds it already and this one is new.
        taken_over: bool,
    },
}

/// One bundle of an appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The bundle.
    pub bundle: u32,
    /// Why.
    pub choice: Choice,
}

/// The bundles of one appliance.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Assignment {
    /// By bundle, rising.
    pub chosen: Vec<Placed>,
    /// Bytes to be filled.
    pub filled: u64,
    /// Bytes for which room is made tonight.
    pub room_made: u64,
}

impl Assignment {
    /// Why a bundle is here, if it is.
    pub fn get(&self, bundle: u32) -> Option<Choice> {
        let at = self.chosen.binary_search_by_key(&bundle, |p| p.bundle).ok()?;
        Some(self.chosen[at].choice)
    }
}

/// Bytes a day.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    /// Worth of what is placed.
    pub worth: f64,
    /// Part of it for which only room is made tonight.
    pub tomorrow: f64,
    /// What no plan can pass.
    pub bound: f64,
}

impl Score {
    /// How far the worth is below the bound, as a share of the bound.
    pub fn gap(&self) -> f64 {
        if self.bound > 0.0 {
            ((self.bound - self.worth) / self.bound).max(0.0)
        } else {
            0.0
        }
    }
}

/// A site's placement.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// By appliance, in the site's order.
    pub appliances: Vec<Assignment>,
    /// What has no copy.
    pub refused: Refused,
    /// Worth; its bound is the site's own, with shared links free of charge.
    pub score: Score,
    /// Bytes that the night brings from the origin, and from other sites.
    pub far: [u64; 2],
    /// Share of the expected bytes that the site can still send at the peak when the appliance that matters most fails;
    /// absent if it has only one.
    pub survives: Option<f64>,
}

/// The fleet's placement.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetPlacement {
    /// By site.
    pub sites: Vec<Placement>,
    /// All sites together.
    pub score: Score,
    /// By link of the policy: bytes of the night.
    pub links: Vec<u64>,
}

/// Places bundles over the whole fleet.
pub fn place(
    fleet: &Fleet,
    regions: &BTreeMap<&RegionId, RegionDemand<'_>>,
    world: World<'_>,
    spread: &impl Spread,
) -> FleetPlacement {
    let problem = |s: usize| Problem::new(s, &fleet.sites[s], &regions[&fleet.sites[s].region], world);
    if !world.terms.links.is_empty() {
        let problems = spread.each(fleet.sites.len(), &problem);
        return shared::place(&problems, spread);
    }
    let sites = spread.each(fleet.sites.len(), &|s| {
        let problem = problem(s);
        let tolls = dual::Tolls::none(&problem);
        let dual = dual::search(&problem, &tolls, dual::Prices::first(&problem), 1.0);
        let state = greedy::site(&problem, &Ledger(Vec::new()), &dual.prices, &tolls);
        finish(state, dual.bound)
    });
    let sum = |of: fn(&Score) -> f64| sites.iter().map(|p: &Placement| of(&p.score)).sum();
    let score = Score {
        worth: sum(|s| s.worth),
        tomorrow: sum(|s| s.tomorrow),
        bound: sum(|s| s.bound),
    };
    FleetPlacement {
        sites,
        score,
        links: Vec::new(),
    }
}

/// Keeps spares, and writes a site's placement down.
fn finish(mut state: State<'_, '_>, bound: f64) -> Placement {
    keep_spares(&mut state);
    let problem = state.problem;
    let n = problem.limits.len();
    let mut appliances = vec![Assignment::default(); n];
    let mut far = [0u64; 2];
    let mut tomorrow = 0.0;
    for (c, candidate) in problem.candidates.iter().enumerate() {
        let mut at: Vec<(u64, usize)> = state
            .holders(c)
            .map(|a| (problem.missing(candidate, a), a))
            .collect();
        at.sort_unstable();
        let tonight = at.iter().any(|(_, a)| !state.waits(*a, c));
        if tonight {
            far[usize::from(!candidate.origin)] += candidate.far;
        } else if !at.is_empty() {
            tomorrow += state.worth_of(c);
        }
        for ((missing, a), copy) in at.into_iter().zip(1u8..) {
            if !state.waits(a, c) {
                let choice = choice(problem, candidate, a, missing, copy);
                appliances[a].chosen.push(Placed {
                    bundle: candidate.bundle,
                    choice,
                });
            }
        }
    }
    for (a, out) in appliances.iter_mut().enumerate() {
        out.filled = state.filled(a);
        out.room_made = state.later(a);
    }
    let worth = state.worth();
    Placement {
        appliances,
        refused: refusal::refused(&state),
        score: Score {
            worth,
            tomorrow,
            bound,
        },
        far,
        survives: survives(&state),
    }
}

fn choice(problem: &Problem<'_>, candidate: &Candidate, a: usize, missing: u64, copy: u8) -> Choice {
    let held_whole = |h: &crate::present::Held| h.appliance as usize != a && h.bytes >= candidate.size;
    match missing {
        0 if copy > candidate.copies => Choice::Spare,
        0 => Choice::Kept { copy },
        _ => Choice::Added {
            copy,
            taken_over: problem.is_new[a] && problem.holders(candidate).iter().any(held_whole),
        },
    }
}

/// Keeps held bundles that no copy needed, as long as there is room, those first whose further copy is the most use.
fn keep_spares(state: &mut State<'_, '_>) {
    let problem = state.problem;
    let density = |c: usize| problem.candidates[c].first / problem.candidates[c].size as f64;
    let mut held: Vec<usize> = (0..problem.candidates.len())
        .filter(|c| problem.candidates[*c].held > 0)
        .collect();
    held.sort_by(|x, y| density(*y).total_cmp(&density(*x)).then(x.cmp(y)));
    for a in 0..problem.limits.len() {
        for c in &held {
            if problem.missing(&problem.candidates[*c], a) == 0
                && let Some(fit) = state.fit(*c, a)
            {
                state.give(*c, a, fit);
            }
        }
    }
}

/// What is left of the peak when the appliance that matters most fails.
fn survives(state: &State<'_, '_>) -> Option<f64> {
    let problem = state.problem;
    let n = problem.limits.len();
    let total = problem.worth.total();
    if n < 2 || total <= 0.0 {
        return None;
    }
    let mut only = vec![0.0; n];
    let mut all = 0.0;
    for (c, candidate) in problem.candidates.iter().enumerate() {
        let mut at = state.holders(c).filter(|a| !state.waits(*a, c));
        let drawn = problem.worth.drawn(candidate.bundle);
        match (at.next(), at.next()) {
            (None, _) => {}
            (Some(a), None) => {
                all += drawn;
                only[a] += drawn;
            }
            _ => all += drawn,
        }
    }
    let egress = |a: usize| {
        let others = problem
            .site
            .appliances
            .iter()
            .enumerate()
            .filter(|(o, _)| *o != a);
        let bits: f64 = others.map(|(_, o)| o.egress as f64).sum();
        match problem.site.egress() {
            0 => f64::INFINITY,
            _ => crate::worth::bytes_of_peak(bits, problem.world.rules),
        }
    };
    let left = (0..n).map(|a| (all - only[a]).min(egress(a)) / total);
    left.min_by(f64::total_cmp)
}
