//! The improvement of a choice that is made: the last gaps are filled, and marginal copies are exchanged wherever an exchange
//! gains: a bundle that found no room at its turn for one that came later, or for two.

use super::state::{Fit, State};

/// Marginal copies of an appliance, and candidates without a place, that are tried against each other.
const EXCHANGED: usize = 96;
/// Passes of exchange over a site.
const PASSES: usize = 8;
/// A gain below this share of what is exchanged is rounding.
const LEAST_GAIN: f64 = 1e-9;

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
