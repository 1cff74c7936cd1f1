//! A site's placement while it is being made: what each appliance has got, and whether and where one more copy goes.

use super::problem::{Candidate, Problem};
use crate::rendezvous;

/// Times as hot as the fast appliances' threshold from which a bundle leaves the others for them; the reverse below
/// which it prefers the others. Between, it stays where it is.
const CLEARLY: f64 = 2.0;

/// When an appliance can take a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Tonight.
    Tonight,
    /// Tonight there would be room only once others have gone.
    Tomorrow,
}

/// Bytes left of each shared link.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger(pub Vec<u64>);

/// What one appliance has got.
#[derive(Debug, Clone)]
struct Got {
    /// Bytes of all bundles, and of the room made.
    used: u64,
    /// Bytes to be filled tonight.
    filled: u64,
    /// Bytes to be filled the next night.
    later: u64,
    /// Bits a second at the peak.
    load: f64,
    /// By candidate.
    has: Bits,
    /// By candidate: of `has`, those for which only room is made.
    waits: Bits,
}

/// A set of candidates.
#[derive(Debug, Clone)]
struct Bits(Vec<u64>);

/// Who could take a copy, in the order in which they are asked: the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Claim {
    /// It can send it at the peak, or has it anyway.
    can_send: bool,
    /// It is fast, and the bundle is hot.
    hot: bool,
    /// It is new, and wins the bundle by hashing.
    takes_over: bool,
    /// Bytes of it that it holds.
    held: u64,
    /// The previous plan gave it the bundle.
    intended: bool,
    /// It is not fast, and the bundle is cold.
    cold: bool,
    /// Its score by hashing.
    score: f64,
}

/// A placement in the making.
#[derive(Debug, Clone)]
pub struct State<'p, 'a> {
    /// The problem.
    pub problem: &'p Problem<'a>,
    /// Bytes left of each shared link.
    pub ledger: Ledger,
    /// By candidate: copies placed or with room made.
    pub copies: Vec<u8>,
    /// Bytes that viewers draw of what is placed.
    pub drawn: f64,
    appliances: Vec<Got>,
}

impl Bits {
    fn new(n: usize) -> Self {
        Self(vec![0; n.div_ceil(64)])
    }
    fn has(&self, c: usize) -> bool {
        self.0[c / 64] >> (c % 64) & 1 == 1
    }
    fn set(&mut self, c: usize, to: bool) {
        let bit = 1 << (c % 64);
        if to {
            self.0[c / 64] |= bit;
        } else {
            self.0[c / 64] &= !bit;
        }
    }
}

impl<'p, 'a> State<'p, 'a> {
    /// Nothing is placed yet.
    pub fn new(problem: &'p Problem<'a>, ledger: Ledger) -> Self {
        let n = problem.candidates.len();
        let got = Got {
            used: 0,
            filled: 0,
            later: 0,
            load: 0.0,
            has: Bits::new(n),
            waits: Bits::new(n),
        };
        Self {
            problem,
            ledger,
            copies: vec![0; n],
            drawn: 0.0,
            appliances: vec![got; problem.site.appliances.len()],
        }
    }

    /// A candidate.
    pub fn candidate(&self, c: usize) -> &'p Candidate {
        &self.problem.candidates[c]
    }
    /// Whether an appliance has got a candidate, or has its room made.
    pub fn has(&self, a: usize, c: usize) -> bool {
        self.appliances[a].has.has(c)
    }
    /// Whether only room is made for it.
    pub fn waits(&self, a: usize, c: usize) -> bool {
        self.appliances[a].waits.has(c)
    }
    /// Appliances that have got a candidate.
    pub fn holders(&self, c: usize) -> impl Iterator<Item = usize> {
        (0..self.appliances.len()).filter(move |a| self.has(*a, c))
    }
    /// Bytes free on an appliance.
    pub fn free(&self, a: usize) -> u64 {
        self.problem.limits[a]
            .storage
            .saturating_sub(self.appliances[a].used)
    }
    /// Bytes used on an appliance.
    pub fn used(&self, a: usize) -> u64 {
        self.appliances[a].used
    }
    /// Bytes to be filled tonight.
    pub fn filled(&self, a: usize) -> u64 {
        self.appliances[a].filled
    }
    /// Bytes for which room is made.
    pub fn later(&self, a: usize) -> u64 {
        self.appliances[a].later
    }

    /// The best place for one more copy, and when it can be there.
    pub fn choose(&self, c: usize) -> Option<(usize, Fit)> {
        let mut best: [Option<(Claim, usize)>; 2] = [None, None];
        let winner = if self.problem.is_new.contains(&true) {
            self.winner(c)
        } else {
            None
        };
        for a in 0..self.appliances.len() {
            let Some(fit) = self.fit(c, a) else { continue };
            let claim = self.claim(c, a, winner == Some(a));
            let best = &mut best[usize::from(fit == Fit::Tomorrow)];
            if best.is_none_or(|(other, _)| claim > other) {
                *best = Some((claim, a));
            }
        }
        let [tonight, tomorrow] = best;
        let of = |found: Option<(Claim, usize)>, fit| found.map(|(_, a)| (a, fit));
        of(tonight, Fit::Tonight).or(of(tomorrow, Fit::Tomorrow))
    }

    /// Who wins a candidate by hashing alone.
    pub fn winner(&self, c: usize) -> Option<usize> {
        let score = |a: &usize| self.score(c, *a);
        (0..self.appliances.len()).max_by(|a, b| score(a).total_cmp(&score(b)).then(b.cmp(a)))
    }

    /// Whether and when an appliance can take a candidate.
    pub fn fit(&self, c: usize, a: usize) -> Option<Fit> {
        let (candidate, got, limits) = (self.candidate(c), &self.appliances[a], &self.problem.limits[a]);
        if got.has.has(c) || candidate.size > limits.storage.saturating_sub(got.used) {
            return None;
        }
        if candidate.needs_previous && !(c > 0 && got.has.has(c - 1)) {
            return None;
        }
        let missing = self.problem.missing(candidate, a);
        if missing == 0 {
            return Some(Fit::Tonight);
        }
        if !self.links_allow(c, a, missing) {
            return None;
        }
        let base_waits = candidate.needs_previous && got.waits.has(c - 1);
        if missing <= limits.tonight.saturating_sub(got.filled) && !base_waits {
            Some(Fit::Tonight)
        } else if missing <= limits.later.saturating_sub(got.later) && !self.given_up(c) {
            Some(Fit::Tomorrow)
        } else {
            None
        }
    }

    /// Whether an appliance that holds a candidate whole is to drop it. No room is made for that on another: it would be gone
    /// for an evening and come back by a fill.
    fn given_up(&self, c: usize) -> bool {
        let candidate = self.candidate(c);
        let mut holders = self.problem.holders(candidate).iter();
        holders.any(|h| h.bytes >= candidate.size && !self.has(h.appliance as usize, c))
    }

    /// What one more copy on an appliance adds to the site's worth.
    pub fn gain(&self, c: usize, a: usize) -> f64 {
        let candidate = self.candidate(c);
        let copy = usize::from(self.copies[c]) + 1;
        let worth = self.problem.worth.copy(candidate.bundle, copy);
        let net = self
            .problem
            .net(worth, candidate.size, self.problem.missing(candidate, a));
        match copy {
            1 => net - self.beyond_egress(self.problem.worth.drawn(candidate.bundle)),
            _ => net,
        }
    }

    /// Bytes of `more` that the site's appliances could not send at the peak.
    fn beyond_egress(&self, more: f64) -> f64 {
        let egress = self.problem.egress;
        (self.drawn + more - egress).max(0.0) - (self.drawn - egress).max(0.0)
    }

    /// Gives a candidate to an appliance.
    pub fn give(&mut self, c: usize, a: usize, fit: Fit) {
        self.book(c, a, true);
        let missing = self.problem.missing(self.candidate(c), a);
        let got = &mut self.appliances[a];
        match fit {
            Fit::Tonight => got.filled += missing,
            Fit::Tomorrow => {
                got.later += missing;
                got.waits.set(c, true);
            }
        }
    }

    /// Takes it back.
    pub fn take(&mut self, c: usize, a: usize) {
        let missing = self.problem.missing(self.candidate(c), a);
        let got = &mut self.appliances[a];
        if got.waits.has(c) {
            got.later -= missing;
            got.waits.set(c, false);
        } else {
            got.filled -= missing;
        }
        self.book(c, a, false);
    }

    /// Notes everything about a copy but its fill.
    fn book(&mut self, c: usize, a: usize, comes: bool) {
        let candidate = self.candidate(c);
        let missing = self.problem.missing(candidate, a);
        if !comes {
            self.copies[c] -= 1;
        }
        let drawn = self.problem.worth.drawn(candidate.bundle);
        let load = self
            .problem
            .worth
            .load(candidate.bundle, usize::from(self.copies[c]) + 1);
        let far = if self.copies[c] == 0 { candidate.far } else { 0 };
        let sign = if comes { 1.0 } else { -1.0 };
        if self.copies[c] == 0 {
            self.drawn += sign * drawn;
        }
        let book = |left: &mut u64, bytes: u64| {
            *left = if comes {
                left.saturating_sub(bytes)
            } else {
                left.saturating_add(bytes)
            };
        };
        for (link, shared) in self.problem.far_links() {
            if !shared.origin || candidate.origin {
                book(&mut self.ledger.0[link], far);
            }
        }
        for link in self.problem.links_of(a) {
            book(&mut self.ledger.0[link], missing);
        }
        let got = &mut self.appliances[a];
        got.load += sign * load;
        got.has.set(c, comes);
        if comes {
            got.used += candidate.size;
            self.copies[c] += 1;
        } else {
            got.used -= candidate.size;
        }
    }

    fn links_allow(&self, c: usize, a: usize, missing: u64) -> bool {
        if self.problem.world.terms.links.is_empty() {
            return true;
        }
        let candidate = self.candidate(c);
        let far = if self.copies[c] == 0 { candidate.far } else { 0 };
        let mut over = self
            .problem
            .far_links()
            .filter(|(_, l)| !l.origin || candidate.origin);
        over.all(|(link, _)| far <= self.ledger.0[link])
            && self
                .problem
                .links_of(a)
                .all(|link| missing <= self.ledger.0[link])
    }

    fn claim(&self, c: usize, a: usize, wins: bool) -> Claim {
        let (candidate, problem) = (self.candidate(c), self.problem);
        let held = candidate.size - problem.missing(candidate, a);
        let load = problem
            .worth
            .load(candidate.bundle, usize::from(self.copies[c]) + 1);
        let heat = candidate.first / candidate.size as f64;
        let egress = problem.site.appliances[a].egress as f64;
        Claim {
            can_send: held == candidate.size || self.appliances[a].load + load <= egress,
            hot: problem.is_fast[a] && heat >= CLEARLY * problem.hot,
            takes_over: wins && problem.is_new[a],
            held,
            intended: problem.present.intended[a]
                .binary_search(&candidate.bundle)
                .is_ok(),
            cold: !problem.is_fast[a] && heat <= problem.hot / CLEARLY,
            score: self.score(c, a),
        }
    }

    fn score(&self, c: usize, a: usize) -> f64 {
        // Empty storage cannot win anything.
        let weight = (self.problem.limits[a].storage as f64).max(1.0);
        let title = self.problem.world.title_keys[self.candidate(c).bundle as usize];
        rendezvous::score(title, self.problem.appliance_keys[a], weight)
    }

    /// Worth of a candidate's copies: the first counts where most of it is held.
    pub fn worth_of(&self, c: usize) -> f64 {
        let candidate = self.candidate(c);
        let mut missing: Vec<u64> = self
            .holders(c)
            .map(|a| self.problem.missing(candidate, a))
            .collect();
        missing.sort_unstable();
        let copies = missing.iter().zip(1..);
        copies
            .map(|(missing, copy)| {
                let worth = self.problem.worth.copy(candidate.bundle, copy);
                self.problem.net(worth, candidate.size, *missing)
            })
            .sum()
    }

    /// Bits a second at the peak beyond what each appliance can send.
    pub fn overload(&self) -> f64 {
        let egress = self.problem.site.appliances.iter().map(|a| a.egress as f64);
        self.appliances
            .iter()
            .zip(egress)
            .map(|(got, e)| (got.load - e).max(0.0))
            .sum()
    }

    /// Pinned copies that have no place.
    pub fn unmet_pins(&self) -> usize {
        let pinned = self.problem.candidates.iter().zip(&self.copies);
        pinned
            .map(|(c, copies)| usize::from(c.pinned.saturating_sub(*copies)))
            .sum()
    }

    /// Worth of the whole placement.
    pub fn worth(&self) -> f64 {
        let placed = (0..self.copies.len()).filter(|c| self.copies[*c] > 0);
        placed.map(|c| self.worth_of(c)).sum::<f64>() - (self.drawn - self.problem.egress).max(0.0)
    }
}
