//! Forecast and placement: demand, catalogue and fleet to a numbered plan; pure.
//!
//! One call does the night's work: [`plan`] takes the [`History`] before the decision day, the catalogue, the fleet
//! and a [`Predictor`], and gives the [`Plan`](cdn_types::plan::Plan) with a [`PlanReport`] that says why each title
//! is where it is. The steps, one module each:
//!
//! 1. [`history`] cuts demand at the decision day: nothing later can reach a predictor.
//! 2. [`forecast`] expects tomorrow's bytes per region and object.
//! 3. [`bundle`] groups the catalogue's objects into the units that are placed; [`fleet`] checks the fleet, [`present`]
//!    says what it holds, [`policy`] what is asked of the plan.
//! 4. [`demand`] sums the forecast by bundle; [`worth`] says what each further copy of a bundle is worth at a site.
//! 5. [`place`] chooses copies by worth per byte under storage, fill and shared links, staying with what is held, and
//!    proves how near that is to the best.
//! 6. [`sources`] ranks where each object is fetched from.
//! 7. [`assemble`] writes plan and report; [`markdown`] makes the report readable.
//!
//! [`promise`] says how far the day may be off, by planning the days before it anew, and sets a plan against its day once that is over.
//! [`evaluate`] replays history to judge forecasts and plans; [`features`] are what a learnt forecast is told.
//!
//! There is no clock, file or socket here, and no randomness but the seed: the same inputs give the same bytes, in
//! whatever order their rows come.

pub mod assemble;
pub mod budget;
pub mod bundle;
pub mod demand;
pub mod evaluate;
pub mod features;
pub mod fleet;
pub mod forecast;
pub mod halves;
pub mod history;
pub mod lists;
pub mod markdown;
pub mod nightly;
pub mod place;
pub mod policy;
pub mod present;
pub mod promise;
pub mod rendezvous;
pub mod report;
pub mod rules;
pub mod service;
pub mod sources;
pub mod spread;
pub mod table;
pub mod titles;
pub mod trees;
pub mod urgent;
pub mod worth;

pub use assemble::{Inputs, Planned, decide, plan, plan_spread};
pub use forecast::{Boosted, DecayedMean, Forecast, Given, Predictor, SeasonalNaive};
pub use history::History;
pub use policy::Policy;
pub use report::PlanReport;
pub use rules::Rules;

/// Why no plan can be made of the inputs. Every variant is the caller's data, none is ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The catalogue contradicts itself.
    #[error("catalogue: {0}")]
    Catalogue(#[from] bundle::CatalogueError),
    /// The fleet contradicts itself.
    #[error("fleet: {0}")]
    Fleet(#[from] fleet::FleetError),
    /// The policy asks for what cannot be.
    #[error("policy: {0}")]
    Policy(#[from] policy::PolicyError),
    /// The new plan's number is not above the previous plan's.
    #[error("number {number} is not above the previous plan's number {previous}; give a higher one")]
    Number {
        /// Number asked for.
        number: cdn_types::PlanNumber,
        /// Number of the previous plan.
        previous: cdn_types::PlanNumber,
    },
}
