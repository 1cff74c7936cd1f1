//! The boosted nightly forecast in evaluations: trained on the past as it was known then, anew every two weeks. How it is grown is
//! the same for those who plan with it; [`walk`] trains and judges for them.

pub mod walk;

use crate::model::{self, Recipe, TrainError};
use fill_core::{
    evaluate::{
        naive::{Expected, Forecaster},
        panel::Past,
    },
    nightly::{NightlyModel, Nights, Sampling},
    trees::Scale,
};

/// Examples without which nothing is learnt.
const LEAST_EXAMPLES: usize = 2_000;

/// How it is trained in evaluations.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// What it learns from.
    pub sampling: Sampling,
    /// Days after which it is trained anew.
    pub every: usize,
    /// How its trees are grown.
    pub recipe: Recipe,
    /// Seed of growing.
    pub seed: u64,
}

/// Days of examples.
pub const EXAMPLE_DAYS: usize = 35;

impl Default for Training {
    fn default() -> Self {
        Self {
            sampling: Sampling {
                days: EXAMPLE_DAYS,
                thin: 14,
            },
            every: 14,
            recipe: recipe(),
            seed: 1,
        }
    }
}

/// How its trees are grown.
pub fn recipe() -> Recipe {
    Recipe {
        scales: vec![Scale::Ratio],
        seeds: 1,
        trees: 60,
        learning_rate: 0.12,
        depth: 6,
        leaves: 16,
        leaf_weight: 30.0,
        rows: 1.0,
        features: 1.0,
        folds: 0, // errors are learnt from the nights after those that it was grown on
    }
}

/// Grows a model of what was lived through.
///
/// # Errors
/// When there is too little to learn from, or the library refuses it.
pub fn grow(nights: &Nights, past: Past<'_>, recipe: &Recipe, seed: u64) -> Result<NightlyModel, TrainError> {
    let table = nights
        .table(past)
        .map_err(|e| TrainError::Boosting(e.to_string()))?;
    if table.len() < LEAST_EXAMPLES {
        return Err(TrainError::TooFew {
            rows: table.len(),
            least: LEAST_EXAMPLES,
        });
    }
    Ok(nights.model(past, model::train(&table, &[], recipe, seed)?))
}

/// The forecast.
pub struct Nightly {
    training: Training,
    nights: Nights,
    model: Option<NightlyModel>,
    trained: usize,
}

impl Nightly {
    /// An untrained forecast, with or without the launch calendar.
    pub fn new(calendar: bool, training: Training) -> Self {
        Self {
            nights: Nights::new(calendar, training.sampling),
            training,
            model: None,
            trained: 0,
        }
    }
}

impl Forecaster for Nightly {
    fn name(&self) -> &'static str {
        "boosted"
    }

    fn forecast(&mut self, past: Past<'_>) -> Expected {
        self.nights.live(past);
        if self.model.is_none() || past.day() >= self.trained + self.training.every {
            // Without a model the plain expectation is used; an older model stays until a new one is there.
            if let Ok(model) = grow(&self.nights, past, &self.training.recipe, self.training.seed) {
                self.model = Some(model);
                self.trained = past.day();
            }
        }
        self.nights.expect(past, self.model.as_ref())
    }
}
