//! Arguments.

mod forecast;

pub use forecast::{
    ExplainArgs, ForecastArgs, Method, MethodArgs, PastArgs, PredictArgs, ServiceArgs, TrainArgs,
};

use crate::{error::PlannerError, history::engine::Engine, nights::Setup};
use cdn_types::{BitsPerSecond, Bytes, Hour, PlanNumber, RegionId, TitleId, time::Date};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fill_core::{evaluate::replay::Cell, halves::Half};
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

/// The ways to run.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plans from files, and writes plan-N.json, report-N.md and report-N.json.
    Plan(PlanArgs),
    /// Plans from the control plane's data and publishes the plan there; for cron.
    Run(RunArgs),
    /// Publishes and activates the active plan with one title more, for a launch that nobody foresaw.
    Urgent(UrgentArgs),
    /// Sets a plan against the demand of its day, and leaves the outcome with the control plane; for cron, once the day is over.
    Review(ReviewArgs),
    /// Demand history kept as Parquet, one file a day and region.
    #[command(subcommand)]
    History(HistoryCommand),
    /// Writes data sets that others publish as this planner's own files, for `evaluate nights` to replay.
    Import(ImportArgs),
    /// Writes what a model may know of every object and region before a day, as Parquet: lags, means, other regions' demand.
    Features(FeaturesArgs),
    /// Trains the learnt nightly forecast, judges it by the last two weeks, and writes it to a file.
    Train(TrainArgs),
    /// Writes what each object is expected to draw of a day in each region, as CSV.
    Predict(PredictArgs),
    /// Says why an object is expected to draw what it is.
    Explain(ExplainArgs),
    /// Sets forecasts against demand that came, beside simple methods and an oracle.
    #[command(subcommand)]
    Evaluate(Evaluation),
}

/// What to do with a history.
#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Adds whole days; what there was of their regions on those days is replaced.
    Add {
        /// Folder of the history; made if it is not there.
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
        /// CSV as `plan` takes it.
        #[arg(long, num_args = 1.., required = true)]
        demand: Vec<PathBuf>,
    },
    /// Lists the days that are there.
    Show {
        /// Folder of the history.
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
    },
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What to read.
    #[command(subcommand)]
    pub source: Source,
    /// Folder to write demand.csv, catalogue.json, titles.csv and launches.csv to; made if it is not there.
    #[arg(long, value_name = "DIR", global = true, default_value = "imported")]
    pub out: PathBuf,
    /// Region that all demand is counted in: these data sets tell none.
    #[arg(long, value_name = "ID", global = true, default_value = "all")]
    pub region: RegionId,
}

/// A data set that others publish.
#[derive(Debug, Subcommand)]
pub enum Source {
    /// A libCacheSim trace in the format oracleGeneral, unpacked.
    OracleGeneral {
        /// The trace; `-` reads standard input.
        file: PathBuf,
        /// Hour of universal time at which its clock began.
        #[arg(long, value_name = "HOUR", default_value = "2024-01-01T00Z")]
        start: Hour,
    },
    /// Watches of the online cinema KION.
    Kion {
        /// interactions.csv.
        watches: PathBuf,
        /// items.csv, which tells films from series.
        #[arg(long, value_name = "FILE")]
        items: Option<PathBuf>,
        /// Bit rate at which playing time becomes bytes.
        #[arg(long, default_value = "4 Mbps")]
        rate: BitsPerSecond,
    },
    /// Daily plays of short videos from KuaiRec.
    Kuairec {
        /// item_daily_features.csv.
        file: PathBuf,
        /// Bit rate at which playing time becomes bytes.
        #[arg(long, default_value = "1 Mbps")]
        rate: BitsPerSecond,
    },
}

/// Arguments of `features`.
#[derive(Debug, Args)]
pub struct FeaturesArgs {
    /// Folder of the history.
    #[arg(long, value_name = "DIR")]
    pub store: PathBuf,
    /// The day to plan. Nothing of that day (universal time) or later is looked at.
    #[arg(long)]
    pub date: Date,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Who computes.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// Who computes what is asked of the history.
#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// The engine that SQL over the history runs on.
    #[arg(long, value_enum, default_value_t = EngineName::Local)]
    pub engine: EngineName,
    /// The Ballista scheduler, e.g. `df://scheduler.example:50050`. Its executors must see the history's folder under the same path.
    #[arg(long, value_name = "URL")]
    pub scheduler: Option<String>,
}

/// Engines to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// DataFusion in this process.
    Local,
    /// A Ballista cluster.
    Ballista,
}

impl EngineArgs {
    /// The engine.
    ///
    /// # Errors
    /// A scheduler without Ballista, or Ballista without a scheduler.
    pub fn engine(&self) -> Result<Engine, PlannerError> {
        match (self.engine, &self.scheduler) {
            (EngineName::Local, None) => Ok(Engine::Local),
            (EngineName::Ballista, Some(url)) => Ok(Engine::Ballista(url.clone())),
            (EngineName::Local, Some(_)) => Err(PlannerError::Usage(
                "--scheduler is for --engine ballista; give that too, or leave it out".into(),
            )),
            (EngineName::Ballista, None) => Err(PlannerError::Usage(
                "--engine ballista needs --scheduler URL, e.g. df://scheduler.example:50050".into(),
            )),
        }
    }
}

/// What to evaluate on.
#[derive(Debug, Subcommand)]
pub enum Evaluation {
    /// Nights of a service's own demand, planned one after the other.
    Nights(NightsArgs),
    /// Engagement reports of a whole catalogue: what to hold for the next half-year.
    Halves {
        /// The half-year to judge by, such as 2024Jul-Dec; all earlier ones are learnt from. Default: the last one.
        #[arg(long, value_name = "HALF")]
        test: Option<Half>,
        /// Where the data are, and where results go.
        #[command(flatten)]
        args: EvaluationArgs,
    },
    /// Weekly top-ten lists by country: what each country is to hold for the next week.
    Lists {
        /// Last week that is learnt from, numbered from 0.
        #[arg(long, value_name = "WEEK", default_value_t = 44)]
        train_to: usize,
        /// Last week to judge by.
        #[arg(long, value_name = "WEEK", default_value_t = 51)]
        until: usize,
        /// Where the data are, and where results go.
        #[command(flatten)]
        args: EvaluationArgs,
    },
}

/// What all evaluations share.
#[derive(Debug, Args)]
pub struct EvaluationArgs {
    /// Folder with the published files; docs/formats/planner.md names them.
    #[arg(long, value_name = "DIR", env = "NIGHTFILL_DATA")]
    pub data: PathBuf,
    /// File to write the scores to, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// File to write the model to that was grown with the calendar.
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
    /// Seed of models and intervals.
    #[arg(long, default_value_t = DEFAULT_SEED)]
    pub seed: u64,
}

/// Arguments of `evaluate nights`.
#[derive(Debug, Args)]
pub struct NightsArgs {
    /// Demand history, CSV or Parquet with the columns hour (or day),region,object,requests,bytes; several files are added up.
    #[arg(long, num_args = 1.., required = true)]
    pub demand: Vec<PathBuf>,
    /// The catalogue: JSON as GET /v1/catalogue gives it, or a table (CSV, Parquet).
    #[arg(long)]
    pub catalog: PathBuf,
    /// What is known of titles.
    #[command(flatten)]
    pub service: ServiceArgs,
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
            rates: false,
        }
    }
}

/// Which control plane, and who asks.
#[derive(Debug, Clone, Args)]
pub struct AccessArgs {
    /// The control plane, e.g. `http://127.0.0.1:8000`.
    #[arg(long, value_name = "URL", env = "NIGHTFILL_CONTROL")]
    pub control: String,
    /// Token with the planner role; `nightfill token planner` or `control-plane token --role planner` makes one.
    #[arg(long, env = "NIGHTFILL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File that holds the token, used before --token; what is in the command line is seen by other users of the machine.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `urgent`.
#[derive(Debug, Args)]
pub struct UrgentArgs {
    /// Which control plane, and who asks.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The title.
    #[arg(long, value_name = "ID")]
    pub title: TitleId,
    /// Only in this region; may be given several times.
    #[arg(long, value_name = "ID")]
    pub region: Vec<RegionId>,
    /// What each region's viewers are expected to draw of it in a day, e.g. `2 TB`. Default: as much as of the title that they draw
    /// most of.
    #[arg(long, value_name = "BYTES")]
    pub expected: Option<Bytes>,
    /// Print what would change, and publish nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Folder to write the plan and its report to as well.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Arguments of `review`.
#[derive(Debug, Args)]
pub struct ReviewArgs {
    /// Which control plane, and who asks.
    #[command(flatten)]
    pub access: AccessArgs,
    /// The plan. Default: the newest whose day is over.
    #[arg(long, value_name = "N")]
    pub plan: Option<u64>,
    /// Demand of the day, CSV as `plan` takes it, instead of what the control plane knows: for what is replayed or simulated.
    #[arg(long, num_args = 1..)]
    pub demand: Vec<PathBuf>,
    /// Print the outcome, and leave nothing with the control plane.
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Demand history, CSV or Parquet with the columns hour (or day),region,object,requests,bytes; several files are added up.
    #[arg(long, num_args = 1..)]
    pub demand: Vec<PathBuf>,
    /// Demand history kept by `fill-planner history add`, instead of files.
    #[arg(long, value_name = "DIR", conflicts_with = "demand")]
    pub history: Option<PathBuf>,
    /// Who computes what is asked of the history.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// The catalogue: JSON as GET /v1/catalogue gives it, or a table (CSV, Parquet).
    #[arg(long)]
    pub catalog: PathBuf,
    /// The fleet: JSON as GET /v1/fleet gives it, or a table (CSV, Parquet).
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
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which control plane, and who asks.
    #[command(flatten)]
    pub access: AccessArgs,
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
    /// Folder that runs share: demand is kept there as history, so that a night asks for its newest days alone, and the last forecast
    /// made of fresh demand, which stands in when demand does not come.
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// File for monitoring, in the format of node_exporter's textfile collector (`*.prom`).
    #[arg(long, value_name = "FILE")]
    pub textfile: Option<PathBuf>,
    /// How to forecast and to break ties.
    #[command(flatten)]
    pub method: MethodArgs,
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
