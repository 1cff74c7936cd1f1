//! What viewers are expected to draw tomorrow, per region and object. Predictors sit behind [`Predictor`]; the
//! baseline is [`DecayedMean`].

mod decayed_mean;
mod seasonal_naive;

pub use decayed_mean::DecayedMean;
pub use seasonal_naive::SeasonalNaive;

use crate::history::History;
use cdn_types::{ObjectDigest, RegionId};
use std::collections::BTreeMap;

/// Expects a day's demand from the days before it.
pub trait Predictor {
    /// Stable name, for reports.
    fn name(&self) -> &str;
    /// Expected bytes of [`History::planned`]. Any history will do, also none.
    fn predict(&self, history: &History) -> Forecast;
}

/// A forecast that was made before, whatever the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// What it is called in reports.
    pub name: String,
    /// The forecast.
    pub forecast: Forecast,
}

impl Predictor for Given {
    fn name(&self) -> &str {
        &self.name
    }
    fn predict(&self, _: &History) -> Forecast {
        self.forecast.clone()
    }
}

/// Expected bytes of one day per region and object. What is absent was never drawn there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecast {
    regions: BTreeMap<RegionId, BTreeMap<ObjectDigest, f64>>,
}

impl Forecast {
    /// Sets the expectation of one object; anything but a positive number is no demand.
    pub fn set(&mut self, region: &RegionId, object: ObjectDigest, bytes: f64) {
        if bytes.is_finite() && bytes > 0.0 {
            match self.regions.get_mut(region) {
                Some(objects) => objects.insert(object, bytes),
                None => self
                    .regions
                    .entry(region.clone())
                    .or_default()
                    .insert(object, bytes),
            };
        }
    }
    /// Expected bytes of an object in a region; 0 if absent.
    pub fn get(&self, region: &RegionId, object: &ObjectDigest) -> f64 {
        self.regions
            .get(region)
            .and_then(|o| o.get(object))
            .copied()
            .unwrap_or(0.0)
    }
    /// Regions with demand, in order.
    pub fn regions(&self) -> impl Iterator<Item = &RegionId> {
        self.regions.keys()
    }
    /// A region's expected objects, in order.
    pub fn objects(&self, region: &RegionId) -> impl Iterator<Item = (&ObjectDigest, f64)> {
        self.regions
            .get(region)
            .into_iter()
            .flatten()
            .map(|(o, b)| (o, *b))
    }
}
