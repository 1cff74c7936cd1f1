//! Arguments of forecasts: what they are made from, by which method, and of the commands that train, show and explain them.

use super::DEFAULT_SEED;
use crate::load::{self, LoadError};
use cdn_types::{
    RegionId,
    api::v1::{Catalogue, FleetSnapshot},
    time::Date,
};
use clap::{Args, ValueEnum};
use fill_core::Policy;
use std::path::PathBuf;

/// What is known of titles beside catalogue and demand.
#[derive(Debug, Clone, Default, Args)]
pub struct ServiceArgs {
    /// Facts of titles, CSV or Parquet; see docs/formats/planner.md.
    #[arg(long, value_name = "FILE")]
    pub titles: Option<PathBuf>,
    /// Launch calendar, CSV or Parquet with the columns title,region,instant,expected and perhaps pin.
    #[arg(long, value_name = "FILE")]
    pub launches: Option<PathBuf>,
}

/// Demand from files, or from a history on disk.
#[derive(Debug, Args)]
pub struct PastArgs {
    /// Demand history, CSV or Parquet with the columns hour (or day),region,object,requests,bytes; several files are added up.
    #[arg(long, num_args = 1.., required_unless_present = "history")]
    pub demand: Vec<PathBuf>,
    /// Demand history kept by `fill-planner history add` or `run --state` (its folder `history`), instead of files.
    #[arg(long, value_name = "DIR", conflicts_with = "demand")]
    pub history: Option<PathBuf>,
    /// The catalogue: JSON as GET /v1/catalogue gives it, or a table (CSV, Parquet).
    #[arg(long)]
    pub catalog: PathBuf,
    /// What is known of titles.
    #[command(flatten)]
    pub service: ServiceArgs,
}

/// Arguments of `train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// What is learnt from.
    #[command(flatten)]
    pub past: PastArgs,
    /// The day to forecast; nothing of that day (universal time) or later is learnt from. Default: the day after the newest demand.
    #[arg(long)]
    pub date: Option<Date>,
    /// Storage of a region's site that forecasts are judged by, in percent of the catalogue's bytes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub storage: u16,
    /// Seed of growing.
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// File to write the model to.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// What `predict` and `explain` share.
#[derive(Debug, Args)]
pub struct ForecastArgs {
    /// What is known.
    #[command(flatten)]
    pub past: PastArgs,
    /// The day to forecast. Demand of that day (universal time) and later is not looked at.
    #[arg(long)]
    pub date: Date,
    /// The model, as `train` writes it.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
}

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// What is forecast from.
    #[command(flatten)]
    pub forecast: ForecastArgs,
    /// File to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Digest of an object of the catalogue, or id of a title.
    #[arg(value_name = "OBJECT")]
    pub object: String,
    /// The region.
    #[arg(long, value_name = "ID")]
    pub region: RegionId,
    /// What is forecast from.
    #[command(flatten)]
    pub forecast: ForecastArgs,
}

/// How `plan` and `run` forecast, break ties, and obey.
#[derive(Debug, Clone, Args)]
pub struct MethodArgs {
    /// Seed of hashing and ties; keep it from night to night.
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Forecast. Default: `boosted` with --model, `auto` with --state, else `decayed-mean`.
    #[arg(long, value_enum)]
    pub method: Option<Method>,
    /// Model for `boosted`, as `train` writes it; `run --state` keeps one of its own.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// What is known of titles: for learnt forecasts; what the calendar pins holds for every plan.
    #[command(flatten)]
    pub service: ServiceArgs,
    /// What must and must not be where, shared links and how titles are cut, JSON; see docs/formats/planner.md.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
}

impl MethodArgs {
    /// What holds on `day`: the policy of the file, and what the launch calendar pins; with warnings of pins that cannot be obeyed.
    pub fn policy(
        &self,
        day: Date,
        catalogue: &Catalogue,
        fleet: &FleetSnapshot,
    ) -> Result<(Policy, Vec<String>), LoadError> {
        let mut policy = match &self.policy {
            Some(file) => load::json(file, "a policy with grouping, pins, blackouts and links")?,
            None => Policy::default(),
        };
        let warnings = policy.pin_launches(&self.service.launches()?, day, catalogue, fleet);
        Ok((policy, warnings))
    }
}

/// Forecasts to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// The learnt one, if it did not do worse than the decayed mean in the last two weeks; else that one. Trains its model anew when it
    /// is two weeks old.
    Auto,
    /// The learnt one.
    Boosted,
    /// Weekday-aware decayed mean.
    DecayedMean,
    /// The same day last week.
    SeasonalNaive,
}
