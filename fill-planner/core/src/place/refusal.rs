//! What a site goes without, and why.

use super::{problem::Candidate, state::State};

/// Bundles without a copy that a site's placement lists; the others are counted.
pub const MAX_LISTED: usize = 10_000;

/// Why a bundle has no copy at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The policy bars it here on the planned day.
    Barred,
    /// Larger than any appliance's storage.
    LargerThanStorage,
    /// No appliance can fill what it lacks of it in one window.
    LargerThanFill,
    /// The smaller rendition that it needs beside it has no copy.
    NoBase,
    /// The room went to what is worth more per byte.
    NoRoom,
    /// Room is made for it tonight; it is filled the next night.
    RoomTomorrow,
    /// There is room, but the night's fill went to what is worth more.
    NoFillLeft,
    /// There is room and fill, but a shared link's bytes went to what is worth more.
    NoLinkLeft,
    /// At the peak the site's appliances are busy with what they have: it would not be served from here.
    NoEgress,
}

/// What a site goes without.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refused {
    /// The most expected ones, at most [`MAX_LISTED`].
    pub listed: Vec<(u32, Refusal)>,
    /// Bundles in all.
    pub bundles: u64,
    /// Bytes that viewers are expected to draw of them.
    pub expected: f64,
}

/// All bundles without a copy, and why.
pub(super) fn refused(state: &State<'_, '_>) -> Refused {
    let problem = state.problem;
    let drawn = |b: u32| problem.worth.drawn(b);
    let mut without: Vec<u32> = Vec::new();
    let mut waits: Vec<u32> = Vec::new();
    let mut candidates = problem.candidates.iter().enumerate().peekable();
    for bundle in 0..problem.world.bundles.list.len() as u32 {
        let own = candidates.next_if(|(_, c)| c.bundle == bundle);
        let has = |(c, _): (usize, &Candidate)| state.holders(c).any(|a| !state.waits(a, c));
        if own.is_some_and(has) {
            continue;
        }
        if own.is_some_and(|(c, _)| state.copies[c] > 0) {
            waits.push(bundle);
        }
        without.push(bundle);
    }
    let mut out = Refused {
        listed: Vec::new(),
        bundles: without.len() as u64,
        expected: without.iter().map(|b| drawn(*b)).sum(),
    };
    let most = |x: &u32, y: &u32| drawn(*y).total_cmp(&drawn(*x)).then(x.cmp(y));
    if without.len() > MAX_LISTED {
        without.select_nth_unstable_by(MAX_LISTED, most);
        without.truncate(MAX_LISTED);
    }
    without.sort_unstable_by(most);
    let reason = |b: u32| match waits.binary_search(&b) {
        Ok(_) => Refusal::RoomTomorrow,
        Err(_) => why_not(state, b),
    };
    out.listed = without.into_iter().map(|b| (b, reason(b))).collect();
    out
}

fn why_not(state: &State<'_, '_>, bundle: u32) -> Refusal {
    let problem = state.problem;
    let found = problem.candidates.binary_search_by_key(&bundle, |c| c.bundle);
    if problem.world.terms.of(problem.index, bundle) == Some(crate::policy::Term::Barred) {
        return Refusal::Barred;
    }
    let size = problem.world.bundles.size(bundle);
    let missing = |a: usize| size.saturating_sub(problem.present.bytes(bundle, a));
    let any = |test: &dyn Fn(usize) -> bool| (0..problem.limits.len()).any(test);
    let stores = |a: usize| size <= problem.limits[a].storage;
    let fills = |a: usize| missing(a) <= problem.site.appliances[a].fill_cap;
    let has_room = |a: usize| size <= state.free(a);
    let can_fill = |a: usize| missing(a) <= problem.limits[a].tonight.saturating_sub(state.filled(a));
    if !any(&stores) {
        return Refusal::LargerThanStorage;
    }
    if !any(&|a| stores(a) && fills(a)) {
        return Refusal::LargerThanFill;
    }
    let base = |c: usize| problem.candidates[c].needs_previous && !any(&|a| state.has(a, c - 1));
    match found {
        Ok(c) if base(c) => Refusal::NoBase,
        Ok(c) if state.choose(c).is_some() => Refusal::NoEgress,
        _ if !any(&has_room) => Refusal::NoRoom,
        Ok(_) if any(&|a| has_room(a) && can_fill(a)) => Refusal::NoLinkLeft,
        _ => Refusal::NoFillLeft,
    }
}
