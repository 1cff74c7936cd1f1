//! The choice by worth per priced byte.
//!
//! Copies compete by what they are worth over what they take at the dual's prices: storage, fill and shared links. Whoever
//! comes late finds no room. A copy that must be filled competes with a reduced worth, and one beside smaller renditions
//! lends its worth to those that it requires. That is done twice, anew and beside what is held: nothing is moved that does
//! not earn it.

use super::{
    dual::{Prices, Tolls},
    exchange::improve,
    problem::{Candidate, Problem},
    state::{Fit, Ledger, State},
};
use std::{cmp::Ordering, collections::BinaryHeap};

/// Share of a site's worth that a placement anew must bring over one that begins with what is held.
const WORTH_MOVING: f64 = 0.005;

/// One copy that looks for its place. The greatest comes first; ties go by the title's hash, then the lower index.
#[derive(Debug, Clone, Copy)]
struct Offer {
    key: f64,
    tie: u64,
    candidate: u32,
}

impl Ord for Offer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key
            .total_cmp(&other.key)
            .then(self.tie.cmp(&other.tie))
            .then(other.candidate.cmp(&self.candidate))
    }
}
impl PartialOrd for Offer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Offer {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Offer {}

/// What the choice of a site needs besides its state.
struct Chooser<'q> {
    prices: &'q Prices,
    tolls: &'q Tolls,
    /// Least price of a byte of storage, so that free room has an order too.
    floor: f64,
    /// By candidate: times that it counts more for those that require it.
    lent: Vec<f64>,
}

/// Places a site: anew, and beginning with what is held. The latter is taken unless the former is worth clearly more, loads
/// appliances less at the peak, or has a pin that the other has not.
pub fn site<'p, 'a>(
    problem: &'p Problem<'a>,
    ledger: &Ledger,
    prices: &Prices,
    tolls: &Tolls,
) -> State<'p, 'a> {
    let mut anew = State::new(problem, ledger.clone());
    place(&mut anew, prices, tolls);
    improve(&mut anew);
    if problem.present.held.is_empty() {
        return anew;
    }
    let mut staying = State::new(problem, ledger.clone());
    stay(&mut staying);
    place(&mut staying, prices, tolls);
    improve(&mut staying);
    let least = staying.worth() * WORTH_MOVING + luck(problem, prices);
    let better = anew.worth() > staying.worth() + least;
    let lighter = anew.overload() < staying.overload() * (1.0 - WORTH_MOVING);
    if better || lighter || anew.unmet_pins() < staying.unmet_pins() {
        anew
    } else {
        staying
    }
}

/// What two good placements may differ by: the room of one bundle on each appliance. With few and large bundles that is much, and
/// no reason to move anything.
fn luck(problem: &Problem<'_>, prices: &Prices) -> f64 {
    let all: f64 = problem.candidates.iter().map(|c| c.size as f64).sum();
    let bundle = all / problem.candidates.len().max(1) as f64;
    let price = |pool: &usize| prices.storage[*pool];
    problem.pool_of.iter().map(price).sum::<f64>() * bundle
}

/// Gives everything back to those that hold it, but for what a new appliance wins.
fn stay(state: &mut State<'_, '_>) {
    let problem = state.problem;
    let density = |c: &usize| problem.candidates[*c].first / problem.candidates[*c].size as f64;
    let candidates = 0..problem.candidates.len();
    let mut held: Vec<usize> = candidates.filter(|c| problem.candidates[*c].held > 0).collect();
    held.sort_by(|x, y| density(y).total_cmp(&density(x)).then(x.cmp(y)));
    let any_new = problem.is_new.contains(&true);
    let empty = State::new(problem, state.ledger.clone());
    let has_room = |a: usize, size: u64| size <= problem.limits[a].tonight;
    let taken_over = |c: usize| {
        let size = problem.candidates[c].size;
        any_new
            && empty
                .winner(c)
                .is_some_and(|a| problem.is_new[a] && has_room(a, size))
    };
    for c in held.into_iter().filter(|c| !taken_over(*c)) {
        for holder in problem.holders(&problem.candidates[c]) {
            let a = holder.appliance as usize;
            let whole = holder.bytes >= problem.candidates[c].size;
            if whole && state.copies[c] < problem.candidates[c].copies && state.fit(c, a).is_some() {
                state.give(c, a, Fit::Tonight);
            }
        }
    }
}

/// Places everything at a site, densest first, beside what is placed already.
fn place(state: &mut State<'_, '_>, prices: &Prices, tolls: &Tolls) {
    let chooser = Chooser::new(state.problem, prices, tolls);
    let mut offers: Vec<Offer> = (0..state.copies.len())
        .filter(|c| state.copies[*c] < state.candidate(*c).copies)
        .map(|c| chooser.offer(state, c, None))
        .collect();
    offers.sort_unstable_by(|a, b| b.cmp(a));
    let least = state.problem.candidates.iter().map(|c| c.size).min().unwrap_or(1);
    let mut later: BinaryHeap<Offer> = BinaryHeap::new();
    let mut waiting = vec![false; state.copies.len()];
    let mut first = offers.into_iter().peekable();
    loop {
        let offer = if first.peek() > later.peek() {
            first.next()
        } else {
            later.pop()
        };
        let Some(offer) = offer else { break };
        let c = offer.candidate as usize;
        let Some((a, fit)) = state.choose(c) else {
            waiting[c] = true;
            if (0..state.problem.limits.len()).all(|a| state.free(a) < least) {
                break;
            }
            continue;
        };
        // Its best place may have gone since it was offered: a fill then competes as a fill.
        let now = chooser.offer(state, c, Some(a));
        if now.key < offer.key - 1e-12 * offer.key.abs() {
            later.push(now);
            continue;
        }
        if !chooser.is_useful(state, c, a) {
            continue;
        }
        state.give(c, a, fit);
        if state.copies[c] < state.candidate(c).copies {
            later.push(chooser.offer(state, c, None));
        }
        // Those that require it and came too early have their turn now.
        if waiting.get(c + 1) == Some(&true) && state.candidate(c + 1).needs_previous {
            waiting[c + 1] = false;
            later.push(chooser.offer(state, c + 1, None));
        }
    }
}

impl<'q> Chooser<'q> {
    fn new(problem: &Problem<'_>, prices: &'q Prices, tolls: &'q Tolls) -> Self {
        let (worth, size) = problem
            .candidates
            .iter()
            .fold((0.0, 0.0), |(w, s), c| (w + c.first, s + c.size as f64));
        let mut lent = vec![1.0; problem.candidates.len()];
        // From the last rendition to the first: each with those after it, as long as they raise its worth per byte.
        let mut next: Vec<(f64, f64)> = Vec::new();
        for (c, candidate) in problem.candidates.iter().enumerate().rev() {
            let own = (candidate.first, candidate.size as f64);
            let mut all = own;
            while let Some(after) = next.last().copied().filter(|n| n.0 / n.1 > all.0 / all.1) {
                all = (all.0 + after.0, all.1 + after.1);
                next.pop();
            }
            lent[c] = (all.0 / all.1) / (own.0 / own.1);
            if candidate.needs_previous {
                next.push(all);
            } else {
                next.clear();
            }
        }
        Self {
            prices,
            tolls,
            floor: f64::EPSILON * worth / f64::max(size, 1.0),
            lent,
        }
    }

    /// The next copy of a candidate, on an appliance, or wherever it would be best.
    fn offer(&self, state: &State<'_, '_>, c: usize, on: Option<usize>) -> Offer {
        let candidate = state.candidate(c);
        let key = match on {
            _ if state.copies[c] < candidate.pinned => f64::INFINITY,
            Some(a) => self.key(state, c, a),
            None if candidate.held > 0 => {
                let all = 0..state.problem.limits.len();
                let free = all.filter(|a| !state.has(*a, c));
                free.map(|a| self.key(state, c, a))
                    .fold(f64::NEG_INFINITY, f64::max)
            }
            None => {
                let pools = state.problem.pools.iter();
                pools
                    .map(|p| self.key(state, c, p.members[0]))
                    .fold(f64::NEG_INFINITY, f64::max)
            }
        };
        Offer {
            key,
            tie: state.problem.world.title_keys[candidate.bundle as usize],
            candidate: c as u32,
        }
    }

    /// Worth of one more copy on an appliance over what it takes; together with those after it, where that is more: a first
    /// copy that pays for egress and links may be worth it for the second's sake.
    fn key(&self, state: &State<'_, '_>, c: usize, a: usize) -> f64 {
        let (candidate, pool) = (state.candidate(c), state.problem.pool_of[a]);
        let missing = state.problem.missing(candidate, a);
        let size = candidate.size as f64;
        let fill = self.prices.fill[pool] + self.tolls.fill[pool];
        let storage = self.prices.storage[pool].max(self.floor) * size;
        let (mut worth, mut takes, mut best) = (0.0, 0.0, f64::NEG_INFINITY);
        let placed = usize::from(state.copies[c]);
        for copy in placed + 1..=usize::from(candidate.copies).max(placed + 1) {
            let missing = if copy == placed + 1 {
                missing
            } else {
                candidate.size
            };
            let of_copy = state.problem.worth.copy(candidate.bundle, copy);
            worth += state.problem.net(of_copy, candidate.size, missing);
            takes += storage + fill * missing as f64;
            if copy == 1 {
                worth -= self.prices.egress * state.problem.worth.drawn(candidate.bundle);
                takes += self.toll(candidate);
            }
            best = best.max(worth / takes);
        }
        if best > 0.0 { self.lent[c] * best } else { best }
    }

    /// What a first copy pays for coming from outside.
    fn toll(&self, candidate: &Candidate) -> f64 {
        candidate.far as f64 * (self.tolls.far + if candidate.origin { self.tolls.origin } else { 0.0 })
    }

    /// Whether a copy may be placed: a fill beyond what the site can send at its peak would be for nothing.
    fn is_useful(&self, state: &State<'_, '_>, c: usize, a: usize) -> bool {
        let candidate = state.candidate(c);
        state.copies[c] < candidate.pinned
            || state.problem.missing(candidate, a) == 0
            || state.gain(c, a) > 0.0
    }
}
