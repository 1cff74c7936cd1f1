//! What viewers are expected to draw tomorrow, per region and object. Predictors sit behind [`Predictor`]; the
//! baseline is [`DecayedMean`], the learnt one [`Boosted`].

mod boosted;
mod decayed_mean;
pub mod elsewhere;
mod seasonal_naive;
mod shares;

pub use boosted::{Boosted, Explanation};
pub use decayed_mean::DecayedMean;
pub use seasonal_naive::SeasonalNaive;

use crate::{history::History, nightly::LEVELS};
use cdn_types::{ObjectDigest, RegionId};
use std::collections::BTreeMap;

/// Expects a day's demand from the days before it.
pub trait Predictor {
    /// Stable name, for reports.
    fn name(&self) -> &str;
    /// Expected bytes of [`History::planned`]. Any history will do, also none.
    fn predict(&self, history: &History) -> Forecast;
    /// BLAKE3 over all that it depends on beside the history, such as a model and a launch calendar; none if there is nothing.
    fn basis(&self) -> Option<ObjectDigest> {
        None
    }
}

/// A forecast that was made before, whatever the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// What it is called in reports.
    pub name: String,
    /// The forecast.
    pub forecast: Forecast,
    /// What it depended on beside the history.
    pub basis: Option<ObjectDigest>,
}

impl Predictor for Given {
    fn name(&self) -> &str {
        &self.name
    }
    fn predict(&self, _: &History) -> Forecast {
        self.forecast.clone()
    }
    fn basis(&self) -> Option<ObjectDigest> {
        self.basis
    }
}

/// One object's day.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Expectation {
    bytes: f64,
    /// Bytes not exceeded with the probabilities [`LEVELS`]; as much as is expected where nothing is known of errors.
    quantiles: [f64; LEVELS.len()],
}

/// Expected bytes of one day per region and object. What is absent was never drawn there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forecast {
    elsewhere: Option<f64>,
    regions: BTreeMap<RegionId, BTreeMap<ObjectDigest, Expectation>>,
}

impl Forecast {
    /// Sets the expectation of one object; anything but a positive number is no demand.
    pub fn set(&mut self, region: &RegionId, object: ObjectDigest, bytes: f64) {
        self.set_doubted(region, object, bytes, [bytes; LEVELS.len()]);
    }
    /// The same where errors are known: bytes that are not exceeded with the probabilities [`LEVELS`].
    pub fn set_doubted(
        &mut self,
        region: &RegionId,
        object: ObjectDigest,
        bytes: f64,
        quantiles: [f64; LEVELS.len()],
    ) {
        if !(bytes.is_finite() && bytes > 0.0) {
            return;
        }
        let expectation = Expectation { bytes, quantiles };
        match self.regions.get_mut(region) {
            Some(objects) => objects.insert(object, expectation),
            None => self
                .regions
                .entry(region.clone())
                .or_default()
                .insert(object, expectation),
        };
    }
    /// Expected bytes of an object in a region; 0 if absent.
    pub fn get(&self, region: &RegionId, object: &ObjectDigest) -> f64 {
        self.of(region, object).map_or(0.0, |e| e.bytes)
    }
    /// Bytes that are not exceeded with the probabilities [`LEVELS`]; 0 if absent.
    pub fn quantiles(&self, region: &RegionId, object: &ObjectDigest) -> [f64; LEVELS.len()] {
        self.of(region, object)
            .map_or([0.0; LEVELS.len()], |e| e.quantiles)
    }
    fn of(&self, region: &RegionId, object: &ObjectDigest) -> Option<&Expectation> {
        self.regions.get(region).and_then(|o| o.get(object))
    }
    /// Says what a region draws of titles that so far only others have drawn, as a share of its part of what those draw.
    pub fn set_elsewhere(&mut self, share: Option<f64>) {
        self.elsewhere = share;
    }
    /// That share; none where it was not measured.
    pub fn elsewhere(&self) -> Option<f64> {
        self.elsewhere
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
            .map(|(o, e)| (o, e.bytes))
    }
}
