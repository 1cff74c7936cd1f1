//! The Lagrangian dual of one site's problem: prices of storage, fill, egress and links, and the upper bound that they
//! prove.
//!
//! At given prices every bundle is looked at by itself: it takes as many copies as pay, on the cheapest appliances, those
//! that hold it already first. What it then gains, summed, plus all capacities at their prices, is at least what any plan
//! can be worth: that holds at whatever prices, so the search for good ones may stop at any time. Appliances that are alike
//! share their prices, that a rendition is on the same appliance as the smaller one is left out (not that both are at the
//! site), and so are pins: all that can only raise the bound.
//!
//! Prices move against what is over- or underused, each in the units of its own capacity, by Polyak's step towards a
//! target that comes nearer when nothing is won. No randomness, no clock: the number of rounds depends on sizes alone.

use super::{
    problem::{Candidate, Problem},
    slope::Slope,
};

/// Bundles times rounds that are worth their time at one site.
const WORK: usize = 1_500_000;
/// Most and least rounds.
const ROUNDS: std::ops::RangeInclusive<usize> = 20..=300;
/// The target's first distance from the bound, and the one at which the search ends, as shares of the bound.
const FIRST_STEP: f64 = 0.05;
const LAST_STEP: f64 = 3e-5;
/// Rounds without gain after which the target comes nearer.
const PATIENCE: usize = 4;

/// Prices of a site's own capacities.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// By pool: of a byte of storage.
    pub storage: Vec<f64>,
    /// By pool: of a byte of fill.
    pub fill: Vec<f64>,
    /// Of a byte that viewers draw, 0 to 1.
    pub egress: f64,
}

/// Prices of shared links, as one site pays them.
#[derive(Debug, Clone, PartialEq)]
pub struct Tolls {
    /// Of a byte from outside of the site.
    pub far: f64,
    /// Of a byte from the origin, in addition.
    pub origin: f64,
    /// By pool: of a byte of fill.
    pub fill: Vec<f64>,
}

/// What bundles take at given prices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Uses {
    /// By pool.
    pub storage: Vec<f64>,
    /// By pool.
    pub fill: Vec<f64>,
    /// Bytes that viewers draw of first copies.
    pub drawn: f64,
    /// Bytes from outside.
    pub far: f64,
    /// Bytes from the origin.
    pub origin: f64,
}

/// The outcome of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Dual {
    /// Upper bound of the site's worth, less what it pays in tolls.
    pub bound: f64,
    /// The prices that prove it.
    pub prices: Prices,
    /// What is used on average over the later rounds: near to the best fractional plan.
    pub uses: Uses,
}

/// One way to hold a bundle: number of copies on holders and on others.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    gain: f64,
    holders: usize,
    others: usize,
}

/// The problem with everything that one evaluation needs at hand.
struct Evaluation<'p, 'a> {
    problem: &'p Problem<'a>,
    prices: &'p Prices,
    tolls: &'p Tolls,
    /// Price of a byte on an appliance that lacks it, by pool, and the pools, cheapest first.
    whole: Vec<f64>,
    cheapest: Vec<usize>,
    uses: Uses,
    /// Scratch: price and appliance of each holder, cheapest first.
    holders: Vec<(f64, usize)>,
    others: Vec<usize>,
}

impl Tolls {
    /// No link has a price.
    pub fn none(problem: &Problem<'_>) -> Self {
        Self {
            far: 0.0,
            origin: 0.0,
            fill: vec![0.0; problem.pools.len()],
        }
    }
}

impl Prices {
    /// One price a byte: the worth per byte of what would just not fit. Of a pool that cannot fill its storage tonight it is
    /// the fill's, else the storage's.
    pub fn first(problem: &Problem<'_>) -> Self {
        let mut held = vec![0.0; problem.pools.len()];
        for h in &problem.present.held {
            held[problem.pool_of[h.appliance as usize]] += h.bytes as f64;
        }
        let reach = |p: usize| problem.pools[p].fill + held[p];
        let mut order: Vec<&Candidate> = problem.candidates.iter().collect();
        let density = |c: &Candidate| c.first / c.size as f64;
        order.sort_unstable_by(|a, b| density(b).total_cmp(&density(a)).then(a.bundle.cmp(&b.bundle)));
        let pools = 0..problem.pools.len();
        let mut room: f64 = pools
            .clone()
            .map(|p| problem.pools[p].storage.min(reach(p)))
            .sum();
        let margin = order.into_iter().find(|c| {
            room -= c.size as f64;
            room < 0.0
        });
        let price = margin.map_or(0.0, density).max(problem.cut);
        let full = |p: usize| reach(p) >= problem.pools[p].storage;
        Self {
            storage: pools.clone().map(|p| if full(p) { price } else { 0.0 }).collect(),
            fill: pools.map(|p| if full(p) { 0.0 } else { price }).collect(),
            egress: 0.0,
        }
    }
}

/// Searches from given prices, with a part (0 to 1) of the full effort.
pub fn search(problem: &Problem<'_>, tolls: &Tolls, from: Prices, effort: f64) -> Dual {
    let rounds = (WORK / problem.candidates.len().max(1)).clamp(*ROUNDS.start(), *ROUNDS.end());
    let rounds = (rounds as f64 * effort).ceil() as usize;
    let mut best = Dual {
        bound: f64::INFINITY,
        prices: from.clone(),
        uses: Uses::default(),
    };
    let (mut prices, mut step, mut stalled, mut averaged) = (from, FIRST_STEP, 0, 0.0);
    let mut mean = Uses::default();
    for round in 0..rounds {
        let (bound, uses) = evaluate(problem, &prices, tolls);
        if round >= rounds / 3 {
            averaged += 1.0;
            mean.add(&uses, 1.0 / averaged);
        }
        if bound < best.bound * (1.0 - 1e-9) {
            stalled = 0;
            (best.bound, best.prices) = (bound, prices.clone());
        } else {
            stalled += 1;
        }
        let slope = Slope::new(problem, &prices, &uses);
        if slope.norm <= 0.0 || step < LAST_STEP {
            break;
        }
        if stalled > PATIENCE {
            (step, stalled) = (step / 2.0, 0);
        }
        let target = best.bound * (1.0 - step);
        slope.go(problem, &mut prices, (bound - target) / slope.norm);
    }
    best.uses = if averaged > 0.0 {
        mean
    } else {
        evaluate(problem, &best.prices, tolls).1
    };
    best
}

/// The bound at given prices, and what is used at them.
pub fn evaluate(problem: &Problem<'_>, prices: &Prices, tolls: &Tolls) -> (f64, Uses) {
    let pools = problem.pools.len();
    let whole: Vec<f64> = (0..pools)
        .map(|p| prices.storage[p] + prices.fill[p] + tolls.fill[p])
        .collect();
    let mut cheapest: Vec<usize> = (0..pools).collect();
    cheapest.sort_by(|a, b| whole[*a].total_cmp(&whole[*b]).then(a.cmp(b)));
    let least = whole.iter().copied().fold(f64::INFINITY, f64::min);
    let mut evaluation = Evaluation {
        problem,
        prices,
        tolls,
        cheapest,
        whole,
        uses: Uses::zero(pools),
        holders: Vec::new(),
        others: Vec::new(),
    };
    let mut bound = 0.0;
    let chains = problem.candidates.chunk_by(|_, next| next.needs_previous);
    for chain in chains {
        bound += match chain {
            // Most bundles do not pay by far.
            [one] if one.held == 0 && one.first < least * one.size as f64 => 0.0,
            [one] => evaluation.take(one),
            _ => evaluation.take_chain(chain),
        };
    }
    for (p, pool) in problem.pools.iter().enumerate() {
        bound += prices.storage[p] * pool.storage + prices.fill[p] * pool.fill;
    }
    if prices.egress > 0.0 {
        bound += prices.egress * problem.egress;
    }
    (bound, evaluation.uses)
}

impl Evaluation<'_, '_> {
    /// Takes the best way to hold a bundle and returns its gain.
    fn take(&mut self, c: &Candidate) -> f64 {
        let way = self.best_way(c);
        if way.gain <= 0.0 {
            return 0.0;
        }
        self.note(c, way);
        way.gain
    }

    /// The same for bundles of which each is of use only beside the one before it: as many as pay together.
    fn take_chain(&mut self, chain: &[Candidate]) -> f64 {
        let ways: Vec<Way> = chain.iter().map(|c| self.best_way(c)).collect();
        let (mut sum, mut best, mut count) = (0.0, 0.0, 0);
        for (n, way) in ways.iter().enumerate() {
            sum += way.gain;
            if sum > best {
                (best, count) = (sum, n + 1);
            }
        }
        for (c, way) in chain.iter().zip(&ways).take(count) {
            self.list_appliances(c);
            self.note(c, *way);
        }
        best
    }

    /// The best way to hold at least one copy, whether it pays or not. Leaves its appliances listed.
    fn best_way(&mut self, c: &Candidate) -> Way {
        self.list_appliances(c);
        let fixed = c.far as f64 * (self.tolls.far + if c.origin { self.tolls.origin } else { 0.0 })
            + self.prices.egress * self.problem.worth.drawn(c.bundle);
        let mut best = Way {
            gain: f64::NEG_INFINITY,
            ..Way::default()
        };
        let mut on_holders = -fixed;
        for holders in 0..=self.holders.len().min(usize::from(c.copies)) {
            if let Some((price, _)) = holders.checked_sub(1).map(|h| self.holders[h]) {
                on_holders += self.problem.worth.copy(c.bundle, holders) - price;
            }
            let way = self.with_others(c, holders, on_holders);
            if way.gain > best.gain {
                best = way;
            }
        }
        best
    }

    /// Who could hold a bundle: holders by price, others as pools by price, a pool once for each appliance.
    fn list_appliances(&mut self, c: &Candidate) {
        let problem = self.problem;
        self.holders.clear();
        self.others.clear();
        let held = problem.holders(c);
        for h in held {
            let (a, pool) = (h.appliance as usize, problem.pool_of[h.appliance as usize]);
            let missing = c.size.saturating_sub(h.bytes);
            let limits = &problem.limits[a];
            if c.size <= limits.storage && missing <= limits.fill() {
                let fill = self.prices.fill[pool] + self.tolls.fill[pool];
                let price = self.prices.storage[pool] * c.size as f64 + fill * missing as f64;
                self.holders.push((price, a));
            }
        }
        self.holders
            .sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
        for pool in &self.cheapest {
            if self.others.len() >= usize::from(c.copies) {
                break;
            }
            let of = &problem.pools[*pool];
            if c.size <= of.largest {
                let members = of.members.iter();
                let free = members.filter(|a| held.iter().all(|h| h.appliance as usize != **a));
                self.others
                    .extend(free.map(|_| *pool).take(usize::from(c.copies)));
            }
        }
    }

    /// The best number of further copies on appliances that lack the bundle.
    fn with_others(&self, c: &Candidate, holders: usize, on_holders: f64) -> Way {
        let mut best = Way {
            gain: if holders > 0 {
                on_holders
            } else {
                f64::NEG_INFINITY
            },
            holders,
            others: 0,
        };
        let mut gain = on_holders;
        for (n, pool) in self.others.iter().enumerate() {
            let copy = holders + n + 1;
            if copy > usize::from(c.copies) {
                break;
            }
            let worth = self.problem.worth.copy(c.bundle, copy);
            gain += self.problem.net(worth, c.size, c.size) - self.whole[*pool] * c.size as f64;
            if gain > best.gain {
                best = Way {
                    gain,
                    holders,
                    others: n + 1,
                };
            }
        }
        best
    }

    fn note(&mut self, c: &Candidate, way: Way) {
        let problem = self.problem;
        for (_, a) in &self.holders[..way.holders] {
            let pool = problem.pool_of[*a];
            self.uses.storage[pool] += c.size as f64;
            self.uses.fill[pool] += problem.missing(c, *a) as f64;
        }
        for pool in &self.others[..way.others] {
            self.uses.storage[*pool] += c.size as f64;
            self.uses.fill[*pool] += c.size as f64;
        }
        self.uses.drawn += problem.worth.drawn(c.bundle);
        self.uses.far += c.far as f64;
        self.uses.origin += if c.origin { c.far as f64 } else { 0.0 };
    }
}

impl Uses {
    fn zero(pools: usize) -> Self {
        Self {
            storage: vec![0.0; pools],
            fill: vec![0.0; pools],
            ..Self::default()
        }
    }

    /// Moves a mean by a part of the way to another.
    fn add(&mut self, other: &Self, part: f64) {
        let go = |mean: &mut f64, to: f64| *mean += part * (to - *mean);
        self.storage.resize(other.storage.len(), 0.0);
        self.fill.resize(other.fill.len(), 0.0);
        for (mean, to) in self.storage.iter_mut().zip(&other.storage) {
            go(mean, *to);
        }
        for (mean, to) in self.fill.iter_mut().zip(&other.fill) {
            go(mean, *to);
        }
        go(&mut self.drawn, other.drawn);
        go(&mut self.far, other.far);
        go(&mut self.origin, other.origin);
    }
}
