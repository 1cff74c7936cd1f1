//! How a site's bound changes with its prices, and a step downhill.

use super::{
    dual::{Prices, Uses},
    problem::Problem,
};

/// How much of each capacity is left, as a share of it: the bound's slope.
pub(super) struct Slope {
    storage: Vec<f64>,
    fill: Vec<f64>,
    egress: f64,
    /// Square of its length; 0 where nothing is to be gained.
    pub(super) norm: f64,
}

impl Slope {
    pub(super) fn new(problem: &Problem<'_>, prices: &Prices, uses: &Uses) -> Self {
        // What is free already cannot become cheaper.
        let left = |capacity: f64, used: f64, price: f64| {
            let left = (capacity - used) / capacity.max(1.0);
            if price <= 0.0 && left > 0.0 { 0.0 } else { left }
        };
        let each = |capacity: &dyn Fn(usize) -> f64, used: &[f64], price: &[f64]| -> Vec<f64> {
            (0..used.len())
                .map(|p| left(capacity(p), used[p], price[p]))
                .collect()
        };
        let storage = each(&|p| problem.pools[p].storage, &uses.storage, &prices.storage);
        let fill = each(&|p| problem.pools[p].fill, &uses.fill, &prices.fill);
        let egress = match problem.egress.is_finite() {
            true => left(problem.egress, uses.drawn, prices.egress),
            false => 0.0,
        };
        let norm = storage.iter().chain(&fill).chain([&egress]).map(|g| g * g).sum();
        Self {
            storage,
            fill,
            egress,
            norm,
        }
    }

    /// Moves prices down the slope.
    pub(super) fn go(&self, problem: &Problem<'_>, prices: &mut Prices, step: f64) {
        for (p, pool) in problem.pools.iter().enumerate() {
            let move_ = |price: &mut f64, slope: f64, capacity: f64| {
                *price = (*price - step * slope / capacity.max(1.0)).max(0.0);
            };
            move_(&mut prices.storage[p], self.storage[p], pool.storage);
            move_(&mut prices.fill[p], self.fill[p], pool.fill);
            // Bundles below the cut were left out because they cannot pay.
            let whole = prices.storage[p] + prices.fill[p];
            prices.storage[p] += (problem.cut - whole).max(0.0);
        }
        if problem.egress.is_finite() {
            prices.egress = (prices.egress - step * self.egress / problem.egress.max(1.0)).clamp(0.0, 1.0);
        }
    }
}
