//! The choice by worth per priced byte, and its improvement.
//!
//! Copies compete by what they are worth over what they take at the dual's prices: storage, fill and shared links. Whoever
//! comes late finds no room. A copy that must be filled competes with a reduced worth, and one beside smaller renditions
//! lends its worth to those that it requires. That is done twice, anew and beside what is held: nothing is moved that does
//! not earn it.
//!
//! Then the last gaps are filled, and marginal copies are exchanged wherever an exchange gains: a bundle that found no room at
//! its turn for one that came later, or for two.

use super::{
    dual::{Prices, Tolls},
    problem::{Candidate, Problem},
    state::{Fit, Ledger, State},
};
use std::{cmp::Ordering, collections::BinaryHeap};

/// Marginal copies of an appliance, and candidates without a place, that are tried against each other.
const EXCHANGED: usize = 96;
/// Passes of exchange over a site.
const PASSES: usize = 8;
/// Share of a site's worth that a placement anew must bring over one that begins with what is held.
const WORTH_MOVING: f64 = 0.005;
/// A gain below this share of what is exchanged is rounding.
const LEAST_GAIN: f64 = 1e-9;

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
    let better = anew.worth() > staying.worth() * (1.0 + WORTH_MOVING);
    let lighter = anew.overload() < staying.overload() * (1.0 - WORTH_MOVING);
    if better || lighter || anew.unmet_pins() < staying.unmet_pins() {
        anew
    } else {
        staying
    }
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
    let taken_over = |c: usize| any_new && empty.winner(c).is_some_and(|a| problem.is_new[a]);
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

/// Fills gaps and exchanges marginal copies until nothing gains, or for a few passes.
pub fn improve(state: &mut State<'_, '_>) {
    for _ in 0..PASSES {
        let outside = outside(state);
        let mut changed = false;
        for c in &outside {
            changed |= insert(state, *c);
        }
        for a in 0..state.problem.limits.len() {
            let mut marginal = marginal(state, a);
            for c in &outside {
                changed |= exchange(state, *c, a, &mut marginal);
            }
        }
        if !changed {
            break;
        }
    }
}

/// Candidates whose next copy has no place, the most worth per byte first.
fn outside(state: &State<'_, '_>) -> Vec<usize> {
    let density = |c: usize| {
        let candidate = state.candidate(c);
        let copy = usize::from(state.copies[c]) + 1;
        state.problem.worth.copy(candidate.bundle, copy) / candidate.size as f64
    };
    let mut outside: Vec<(f64, usize)> = (0..state.copies.len())
        .filter(|c| state.copies[*c] < state.candidate(*c).copies)
        .map(|c| (density(c), c))
        .collect();
    let order = |x: &(f64, usize), y: &(f64, usize)| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1));
    if outside.len() > EXCHANGED {
        outside.select_nth_unstable_by(EXCHANGED, order);
        outside.truncate(EXCHANGED);
    }
    outside.sort_unstable_by(order);
    outside.into_iter().map(|(_, c)| c).collect()
}

/// An appliance's copies that are worth least per byte, and that nothing requires.
fn marginal(state: &State<'_, '_>, a: usize) -> Vec<usize> {
    let loss = |c: usize| {
        let candidate = state.candidate(c);
        let worth = state
            .problem
            .worth
            .copy(candidate.bundle, usize::from(state.copies[c]));
        worth / candidate.size as f64
    };
    let mut list: Vec<(f64, usize)> = (0..state.copies.len())
        .filter(|c| state.has(a, *c) && may_go(state, *c, a))
        .map(|c| (loss(c), c))
        .collect();
    let order = |x: &(f64, usize), y: &(f64, usize)| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1));
    if list.len() > EXCHANGED {
        list.select_nth_unstable_by(EXCHANGED, order);
        list.truncate(EXCHANGED);
    }
    list.sort_unstable_by(order);
    list.into_iter().map(|(_, c)| c).collect()
}

/// Whether a copy may be taken away.
fn may_go(state: &State<'_, '_>, c: usize, a: usize) -> bool {
    let next = c + 1 < state.copies.len() && state.candidate(c + 1).needs_previous && state.has(a, c + 1);
    !next && state.copies[c] > state.candidate(c).pinned
}

fn insert(state: &mut State<'_, '_>, c: usize) -> bool {
    if state.copies[c] >= state.candidate(c).copies {
        return false;
    }
    match state.choose(c) {
        Some((a, fit)) if state.gain(c, a) > 0.0 => {
            state.give(c, a, fit);
            true
        }
        _ => false,
    }
}

/// Puts a candidate in the place of one or two marginal copies of an appliance, if that gains.
fn exchange(state: &mut State<'_, '_>, c: usize, a: usize, marginal: &mut Vec<usize>) -> bool {
    if state.has(a, c) || state.copies[c] >= state.candidate(c).copies {
        return false;
    }
    let hoped = state.problem.worth.first(state.candidate(c).bundle);
    let need = state.candidate(c).size;
    let mut best: Option<(f64, [Option<usize>; 2])> = None;
    let tries = marginal.clone();
    for (n, first) in tries.iter().enumerate() {
        if !state.has(a, *first) || !may_go(state, *first, a) {
            continue;
        }
        let alone = try_out(state, c, a, [Some(*first), None]);
        keep_better(&mut best, alone, [Some(*first), None]);
        let gap = state.free(a) + state.candidate(*first).size;
        if gap >= need || n >= EXCHANGED / 4 {
            continue;
        }
        // One is too small: with a second, the least that is enough of the cheap ones.
        let second = tries[n + 1..]
            .iter()
            .find(|s| state.has(a, **s) && may_go(state, **s, a) && gap + state.candidate(**s).size >= need);
        if let Some(second) = second {
            let pair = [Some(*first), Some(*second)];
            let both = try_out(state, c, a, pair);
            keep_better(&mut best, both, pair);
        }
    }
    let Some((gain, out)) = best else { return false };
    if gain <= LEAST_GAIN * hoped {
        return false;
    }
    for old in out.into_iter().flatten() {
        state.take(old, a);
        marginal.retain(|m| *m != old);
    }
    if let Some(fit) = state.fit(c, a) {
        state.give(c, a, fit);
    }
    true
}

fn keep_better(best: &mut Option<(f64, [Option<usize>; 2])>, gain: Option<f64>, out: [Option<usize>; 2]) {
    if let Some(gain) = gain.filter(|g| best.is_none_or(|(b, _)| *g > b)) {
        *best = Some((gain, out));
    }
}

/// What an exchange would gain, if it is possible. The state is as before afterwards.
fn try_out(state: &mut State<'_, '_>, c: usize, a: usize, out: [Option<usize>; 2]) -> Option<f64> {
    let touched = || out.into_iter().flatten().chain([c]);
    let (candidate, next) = (state.candidate(c), usize::from(state.copies[c]) + 1);
    let room: u64 = out.into_iter().flatten().map(|o| state.candidate(o).size).sum();
    if state.free(a) + room < candidate.size {
        return None;
    }
    // Cheap to tell: even without a fill it would not be worth what a last copy alone is.
    let alone = out.into_iter().flatten().filter(|o| state.copies[*o] == 1);
    let lost: f64 = alone
        .map(|o| {
            let old = state.candidate(o);
            state
                .problem
                .net(old.first, old.size, state.problem.missing(old, a))
        })
        .sum();
    if over_egress(state) <= 0.0 && state.problem.worth.copy(candidate.bundle, next) <= lost {
        return None;
    }
    let before: f64 = touched().map(|t| state.worth_of(t)).sum::<f64>() - over_egress(state);
    let mut taken: Vec<(usize, Fit)> = Vec::with_capacity(2);
    for old in out.into_iter().flatten() {
        let fit = if state.waits(a, old) {
            Fit::Tomorrow
        } else {
            Fit::Tonight
        };
        taken.push((old, fit));
        state.take(old, a);
    }
    let gain = state.fit(c, a).map(|fit| {
        state.give(c, a, fit);
        let after: f64 = touched().map(|t| state.worth_of(t)).sum::<f64>() - over_egress(state);
        state.take(c, a);
        after - before
    });
    for (old, fit) in taken.into_iter().rev() {
        state.give(old, a, fit);
    }
    gain
}

fn over_egress(state: &State<'_, '_>) -> f64 {
    (state.drawn - state.problem.egress).max(0.0)
}
