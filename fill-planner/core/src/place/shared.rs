//! Links that several sites or appliances share. Their prices are searched for around the sites' own: at each toll every
//! site answers with its bound and with what it would bring in, and tolls rise where links are overused. The best tolls
//! give the fleet's bound; each site's part of a link is what it uses at them on average, and what is left over is given
//! out at the end.

use super::{
    FleetPlacement, Placement, Score, Spread,
    dual::{self, Dual, Prices, Tolls},
    exchange, finish, greedy,
    problem::Problem,
    state::{Ledger, State},
};

/// Rounds of tolls.
const ROUNDS: usize = 40;
/// Part of a site's full search that is done again for new tolls: its prices move little.
const AGAIN: f64 = 0.2;
/// As in [`dual`].
const FIRST_STEP: f64 = 0.05;
const LAST_STEP: f64 = 1e-5;
const PATIENCE: usize = 3;
/// Passes in which what is left over of links is given out.
const PASSES: usize = 2;

/// The best tolls found.
struct Found {
    bound: f64,
    tolls: Vec<f64>,
    duals: Vec<Dual>,
    /// By site and link: bytes used on average over the later rounds.
    uses: Vec<Vec<f64>>,
}

/// Places everything under shared links.
pub fn place(problems: &[Problem<'_>], spread: &impl Spread) -> FleetPlacement {
    let Some(first) = problems.first() else {
        return FleetPlacement {
            sites: Vec::new(),
            score: Score::default(),
            links: Vec::new(),
        };
    };
    let links = &first.world.terms.links;
    let caps: Vec<u64> = links.iter().map(|l| l.cap).collect();
    let found = search(problems, &caps, spread);
    let quotas = quotas(&found.uses, &caps);
    let mut states: Vec<State<'_, '_>> = spread.each(problems.len(), &|s| {
        let tolls = tolls(&problems[s], &found.tolls);
        greedy::site(
            &problems[s],
            &Ledger(quotas[s].clone()),
            &found.duals[s].prices,
            &tolls,
        )
    });
    let spent = |states: &[State<'_, '_>], l: usize| -> u64 {
        let of = |(s, state): (usize, &State<'_, '_>)| quotas[s][l] - state.ledger.0[l];
        states.iter().enumerate().map(of).sum()
    };
    let mut used: Vec<u64> = (0..caps.len()).map(|l| spent(&states, l)).collect();
    for _ in 0..PASSES {
        for state in &mut states {
            state.ledger = Ledger(
                caps.iter()
                    .zip(&used)
                    .map(|(c, u)| c.saturating_sub(*u))
                    .collect(),
            );
            exchange::improve(state);
            used = caps
                .iter()
                .zip(&state.ledger.0)
                .map(|(c, left)| c - left)
                .collect();
        }
    }
    let sites: Vec<Placement> = states
        .into_iter()
        .zip(&found.duals)
        .map(|(state, dual)| finish(state, dual.bound))
        .collect();
    let sum = |of: fn(&Score) -> f64| sites.iter().map(|p| of(&p.score)).sum();
    let score = Score {
        worth: sum(|s| s.worth),
        tomorrow: sum(|s| s.tomorrow),
        bound: found.bound,
    };
    FleetPlacement {
        sites,
        score,
        links: used,
    }
}

/// What one site pays at given tolls of the links.
fn tolls(problem: &Problem<'_>, of_links: &[f64]) -> Tolls {
    let mut out = Tolls::none(problem);
    for (link, shared) in problem.far_links() {
        if shared.origin {
            out.origin += of_links[link];
        } else {
            out.far += of_links[link];
        }
    }
    for (toll, pool) in out.fill.iter_mut().zip(&problem.pools) {
        *toll = problem.links_of(pool.members[0]).map(|l| of_links[l]).sum();
    }
    out
}

/// Bytes that a site puts on each link.
fn on_links(problem: &Problem<'_>, dual: &Dual, links: usize) -> Vec<f64> {
    let mut out = vec![0.0; links];
    for (link, shared) in problem.far_links() {
        out[link] += if shared.origin {
            dual.uses.origin
        } else {
            dual.uses.far
        };
    }
    for (bytes, pool) in dual.uses.fill.iter().zip(&problem.pools) {
        for link in problem.links_of(pool.members[0]) {
            out[link] += bytes;
        }
    }
    out
}

fn search(problems: &[Problem<'_>], caps: &[u64], spread: &impl Spread) -> Found {
    let mut of_links = vec![0.0; caps.len()];
    let answer = |of_links: &[f64], from: Option<&[Dual]>| -> Vec<Dual> {
        spread.each(problems.len(), &|s| {
            let (prices, effort) = match from {
                Some(duals) => (duals[s].prices.clone(), AGAIN),
                None => (Prices::first(&problems[s]), 1.0),
            };
            dual::search(&problems[s], &tolls(&problems[s], of_links), prices, effort)
        })
    };
    let mut duals = answer(&of_links, None);
    let mut best = Found {
        bound: f64::INFINITY,
        tolls: of_links.clone(),
        duals: duals.clone(),
        uses: vec![vec![0.0; caps.len()]; problems.len()],
    };
    let (mut step, mut stalled, mut averaged) = (FIRST_STEP, 0, 0.0);
    for round in 0..ROUNDS {
        let uses: Vec<Vec<f64>> = problems
            .iter()
            .zip(&duals)
            .map(|(p, d)| on_links(p, d, caps.len()))
            .collect();
        // The first rounds know nothing of scarcity yet.
        if round <= ROUNDS / 3 {
            (best.uses, averaged) = (uses.clone(), 1.0);
        } else {
            averaged += 1.0;
            for (mean, now) in best.uses.iter_mut().flatten().zip(uses.iter().flatten()) {
                *mean += (now - *mean) / averaged;
            }
        }
        let paid: f64 = of_links.iter().zip(caps).map(|(t, c)| t * *c as f64).sum();
        let bound = duals.iter().map(|d| d.bound).sum::<f64>() + paid;
        if bound < best.bound * (1.0 - 1e-9) {
            (best.bound, best.tolls, best.duals) = (bound, of_links.clone(), duals.clone());
            stalled = 0;
        } else {
            stalled += 1;
        }
        if stalled > PATIENCE {
            (step, stalled) = (step / 2.0, 0);
        }
        let slope: Vec<f64> = (0..caps.len())
            .map(|l| {
                let used: f64 = uses.iter().map(|u| u[l]).sum();
                let left = (caps[l] as f64 - used) / (caps[l] as f64).max(1.0);
                if of_links[l] <= 0.0 && left > 0.0 {
                    0.0
                } else {
                    left
                }
            })
            .collect();
        let norm: f64 = slope.iter().map(|g| g * g).sum();
        if norm <= 0.0 || step < LAST_STEP {
            break;
        }
        let length = (bound - best.bound * (1.0 - step)) / norm;
        for (l, toll) in of_links.iter_mut().enumerate() {
            *toll = (*toll - length * slope[l] / (caps[l] as f64).max(1.0)).max(0.0);
        }
        duals = answer(&of_links, Some(&duals));
    }
    best
}

/// Each site's part of each link: by use; evenly where nobody would use it.
fn quotas(uses: &[Vec<f64>], caps: &[u64]) -> Vec<Vec<u64>> {
    let part = |site: &Vec<f64>, l: usize| {
        let all: f64 = uses.iter().map(|u| u[l]).sum();
        let share = if all > 0.0 {
            site[l] / all
        } else {
            1.0 / uses.len() as f64
        };
        // Rounded down, and the sum of shares is 1 but for rounding: never more than the cap in all.
        (share * (1.0 - 1e-12) * caps[l] as f64) as u64
    };
    let parts = |site: &Vec<f64>| (0..caps.len()).map(|l| part(site, l)).collect();
    uses.iter().map(parts).collect()
}
