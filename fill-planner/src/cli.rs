//! Arguments.

use crate::nights::Setup;
use cdn_types::{PlanNumber, time::Date};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fill_core::{DecayedMean, Predictor, SeasonalNaive, evaluate::replay::Cell};
use std::path::PathBuf;

/// Seed unless another is given. It is kept from night to night, since another seed is another hashing.
pub const DEFAULT_SEED: u64 = 1;

/// Plans what each appliance shall hold tomorrow.
#[derive(Debug, Parser)]
#[command(name = "fill-planner", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Log filter, e.g. `debug`.
    #[arg(long, global = true, env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// The two ways to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plans from files, and writes plan-N.json, report-N.md and report-N.json.
    Plan(PlanArgs),
    /// Plans from the control plane's data and publishes the plan there; for cron.
    Run(RunArgs),
    /// Replays history: forecasts and plans beside simple methods and an oracle.
    #[command(subcommand)]
    Evaluate(Evaluation),
}

/// What to evaluate on.
#[derive(Debug, Subcommand)]
pub enum Evaluation {
    /// Nights of a service's own demand, planned one after the other.
    Nights(NightsArgs),
}

/// Arguments of `evaluate nights`.
#[derive(Debug, Args)]
pub struct NightsArgs {
    /// Demand history, CSV with the columns hour,region,object,requests,bytes; several files are added up.
    #[arg(long, num_args = 1.., required = true)]
    pub demand: Vec<PathBuf>,
    /// The catalogue, JSON as GET /v1/catalogue gives it.
    #[arg(long)]
    pub catalog: PathBuf,
    /// Facts of titles, CSV.
    #[arg(long)]
    pub titles: Option<PathBuf>,
    /// Launch calendar, CSV with the columns title,region,instant,expected.
    #[arg(long)]
    pub launches: Option<PathBuf>,
    /// Storage of a region's site, in percent of the catalogue's bytes, by comma.
    #[arg(long, value_delimiter = ',', default_value = "10,20", value_parser = clap::value_parser!(u16).range(1..=400))]
    pub storage: Vec<u16>,
    /// Bytes that a site can fill in a night, in GB, by comma.
    #[arg(long, value_delimiter = ',', default_value = "2100,6500", value_parser = clap::value_parser!(u32).range(1..))]
    pub fill: Vec<u32>,
    /// Nights that are judged: the last ones.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(7..=365))]
    pub nights: u16,
    /// Folder to write nights.json and nights.html to; made if it is not there.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

impl NightsArgs {
    /// What is replayed.
    pub fn setup(&self) -> Setup {
        let cells = self.storage.iter().flat_map(|storage| {
            self.fill.iter().map(move |fill| Cell {
                storage: f64::from(*storage) / 100.0,
                fill: f64::from(*fill) * 1e9,
            })
        });
        Setup {
            cells: cells.collect(),
            nights: usize::from(self.nights),
            settle: 3,
            reactive: true,
            predictors: true,
        }
    }
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Demand history, CSV with the columns hour,region,object,requests,bytes; several files are added up.
    #[arg(long, num_args = 1..)]
    pub demand: Vec<PathBuf>,
    /// The catalogue, JSON as GET /v1/catalogue gives it.
    #[arg(long)]
    pub catalog: PathBuf,
    /// The fleet, JSON as GET /v1/fleet gives it.
    #[arg(long)]
    pub fleet: PathBuf,
    /// The day to plan, e.g. 2026-11-24. Demand of that day (universal time) and later is not looked at.
    #[arg(long)]
    pub date: Date,
    /// Folder to write to; made if it is not there.
    #[arg(long, required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Number of the plan. Default: one above the previous plan's and all in the folder.
    #[arg(long)]
    pub number: Option<u64>,
    /// The plan before, JSON: what it gave to an appliance goes there again.
    #[arg(long)]
    pub previous: Option<PathBuf>,
    /// Print what would change, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How to forecast and to break ties.
    #[command(flatten)]
    pub method: MethodArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The control plane, e.g. `http://127.0.0.1:8000`.
    #[arg(long, value_name = "URL", env = "NIGHTFILL_CONTROL")]
    pub control: String,
    /// Token with the planner role; `nightfill token planner` or `control-plane token --role planner` makes one.
    #[arg(long, env = "NIGHTFILL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File that holds the token, used before --token; what is in the command line is seen by other users of the machine.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The day to plan: `today`, `tomorrow` (universal time) or a date.
    #[arg(long, default_value = "tomorrow")]
    pub date: Day,
    /// Make the plan the active one.
    #[arg(long)]
    pub activate: bool,
    /// Print what would change, and publish nothing.
    #[arg(long, conflicts_with = "activate")]
    pub dry_run: bool,
    /// Folder to write the plan and its reports to as well.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Seconds after which to give up.
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    pub deadline: u64,
    /// Lock file against double runs. Default: one per control plane in the folder for temporary files.
    #[arg(long)]
    pub lock: Option<PathBuf>,
    /// How to forecast and to break ties.
    #[command(flatten)]
    pub method: MethodArgs,
}

/// What both ways share.
#[derive(Debug, Clone, Args)]
pub struct MethodArgs {
    /// Seed of hashing and ties; keep it from night to night.
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
    /// Forecast.
    #[arg(long, value_enum, default_value_t = Method::DecayedMean)]
    pub method: Method,
}

/// Forecasts to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Weekday-aware decayed mean.
    DecayedMean,
    /// The same day last week.
    SeasonalNaive,
}

impl Method {
    /// The predictor.
    pub fn predictor(self) -> Box<dyn Predictor + Send> {
        match self {
            Self::DecayedMean => Box::new(DecayedMean::default()),
            Self::SeasonalNaive => Box::new(SeasonalNaive),
        }
    }
}

/// A day as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// The day that runs.
    Today,
    /// The one after.
    Tomorrow,
    /// This one.
    On(Date),
}

impl std::str::FromStr for Day {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "today" => Ok(Self::Today),
            "tomorrow" => Ok(Self::Tomorrow),
            _ => text
                .parse()
                .map(Self::On)
                .map_err(|_| format!("`{text}` is not today, tomorrow or a date such as 2026-11-24")),
        }
    }
}

impl Day {
    /// The date, given today's in universal time.
    pub fn date(self, today: Date) -> Date {
        match self {
            Self::Today => today,
            Self::Tomorrow => today.tomorrow().unwrap_or(today),
            Self::On(date) => date,
        }
    }
}

/// The number of a plan that follows `known`: one above all of them.
pub fn next_number(known: impl IntoIterator<Item = PlanNumber>) -> PlanNumber {
    PlanNumber(
        known
            .into_iter()
            .map(|n| n.0)
            .max()
            .unwrap_or(0)
            .saturating_add(1),
    )
}
