//! Arguments.

use crate::{
    history::Viewers,
    nights, scale,
    world::{WorldSetup, export::Export},
};
use anyhow::{Context, ensure};
use cdn_types::{RegionId, time::Date};
use clap::{Args, Parser, Subcommand};
use fill_core::{bundle::Grouping, evaluate::replay::Cell};
use fill_planner::nights::Setup;
use std::{collections::BTreeSet, path::PathBuf};

/// The fleet in virtual time, and seeded demand history. All its output is SIMULATED.
#[derive(Debug, Parser)]
#[command(name = "fleet-sim", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What it can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes SIMULATED hourly demand for the objects of a catalogue.
    History(HistoryArgs),
    /// Runs a synthetic fleet for some nights and prints SIMULATED hit shares.
    Nights(NightsArgs),
    /// Measures SIMULATED demand as the public figures were measured that it was fitted to.
    Measure(WorldArgs),
    /// Writes a SIMULATED service: catalogue, titles, launch calendar, demand, fleet.
    World(ExportArgs),
    /// Replays SIMULATED nights with the planner, baselines and oracles, and reports.
    Evaluate(EvaluateArgs),
    /// Times the planning of a night for growing catalogues, and prints its peak memory and its gap to the LP bound.
    Scale(ScaleArgs),
}

/// Arguments of `history`.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// The catalogue, JSON as GET /v1/catalogue gives it.
    #[arg(long)]
    pub catalog: PathBuf,
    /// Regions, by comma.
    #[arg(long, value_delimiter = ',', required = true)]
    pub regions: Vec<RegionId>,
    /// Days of history.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=730))]
    pub days: u16,
    /// The first day that is not in it, e.g. today; universal time.
    #[arg(long)]
    pub until: Date,
    /// Sessions a day in a region of middle size.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sessions: u32,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// File to write: .csv for `fill-planner plan --demand`, .json for POST /v1/demand.
    #[arg(long)]
    pub out: PathBuf,
}

impl HistoryArgs {
    /// Who watches.
    pub fn viewers(&self) -> Viewers {
        // A region named twice (two sites of one region) is one region.
        let regions: BTreeSet<_> = self.regions.iter().cloned().collect();
        Viewers {
            regions: regions.into_iter().collect(),
            days: i64::from(self.days),
            until: self.until,
            sessions: f64::from(self.sessions),
            seed: self.seed,
        }
    }
}

/// Arguments of `nights`.
#[derive(Debug, Args)]
pub struct NightsArgs {
    /// Titles in the catalogue.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub titles: u32,
    /// Appliances, two a site.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub appliances: u32,
    /// Nights to plan.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..=365))]
    pub nights: u16,
    /// Regions.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub regions: u16,
    /// Storage of a site, in percent of the catalogue.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub storage: u16,
    /// What an appliance can fill in a night, in percent of its storage. 5.4: 6.5 TB for 120 TB.
    #[arg(long, default_value_t = 5.4)]
    pub fill: f64,
    /// Sessions a day in a region.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub sessions: u32,
    /// How much taste changes in a week, 0 (nothing) to 1 (all).
    #[arg(long, default_value_t = 0.25)]
    pub churn: f64,
    /// Share of titles, in percent, that appear for the first time during the simulated time.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(0..=100))]
    pub launches: u16,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl NightsArgs {
    /// The checked set-up.
    pub fn setup(&self) -> anyhow::Result<nights::Setup> {
        ensure!(
            (0.0..=1.0).contains(&self.churn),
            "--churn {} must be 0 to 1",
            self.churn
        );
        ensure!(
            self.fill > 0.0 && self.fill <= 100.0,
            "--fill {} must be above 0 and at most 100 percent",
            self.fill
        );
        Ok(nights::Setup {
            titles: self.titles as usize,
            appliances: self.appliances as usize,
            nights: i64::from(self.nights),
            regions: usize::from(self.regions),
            storage: f64::from(self.storage) / 100.0,
            fill: self.fill / 100.0,
            sessions: f64::from(self.sessions),
            churn: self.churn,
            launches: f64::from(self.launches) / 100.0,
            seed: self.seed,
            first: FIRST_NIGHT.parse().context("the first night is a date")?,
        })
    }
}

/// Day that the first planned night serves: virtual time, so that a run needs no clock. A Monday.
const FIRST_NIGHT: &str = "2026-11-23";

/// What a synthetic service is made of.
#[derive(Debug, Args)]
pub struct WorldArgs {
    /// Regions.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..=100))]
    pub regions: u16,
    /// Weeks of viewing.
    #[arg(long, default_value_t = 26, value_parser = clap::value_parser!(u16).range(10..=104))]
    pub weeks: u16,
    /// Sessions a day in a region of middle size.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub sessions: u32,
    /// Size of catalogue and calendar; 1 is what was fitted.
    #[arg(long, default_value_t = 1.0)]
    pub scale: f64,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seeds from there on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub seeds: u16,
}

impl WorldArgs {
    /// The checked set-up of each seed.
    pub fn setups(&self) -> anyhow::Result<Vec<WorldSetup>> {
        ensure!(
            self.scale > 0.0 && self.scale <= 20.0,
            "--scale {} must be above 0 and at most 20",
            self.scale
        );
        let first: Date = WORLD_BEGINS.parse().context("the first day is a date")?;
        let seeds = (0..u64::from(self.seeds)).map(|s| self.seed + s);
        let setup = |seed| WorldSetup {
            seed,
            regions: usize::from(self.regions),
            weeks: usize::from(self.weeks),
            sessions: f64::from(self.sessions),
            scale: self.scale,
            first,
        };
        Ok(seeds.map(setup).collect())
    }
}

/// First simulated day: a Monday.
const WORLD_BEGINS: &str = "2026-06-01";

/// Arguments of `evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// What is simulated.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Storage of a region's site, in percent of the catalogue's bytes, by comma.
    #[arg(long, value_delimiter = ',', default_value = "10,20")]
    pub storage: Vec<f64>,
    /// Bytes that a site can fill in a night, in TB, by comma.
    #[arg(long, value_delimiter = ',', default_value = "2.1,6.5")]
    pub fill: Vec<f64>,
    /// Nights that are judged: the last ones.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u16).range(7..=365))]
    pub nights: u16,
    /// Leave the reactive caches out.
    #[arg(long)]
    pub no_reactive: bool,
    /// Replay the planner with its simple predictors too.
    #[arg(long)]
    pub predictors: bool,
    /// Seeds at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: u8,
    /// Folder to write nights.json and nights.html to; made if it is not there.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// Nights before the judged ones in which the common start is forgotten.
const SETTLE_NIGHTS: usize = 4;

impl EvaluateArgs {
    /// The checked set-up.
    pub fn setup(&self) -> anyhow::Result<Setup> {
        for (name, list, most) in [("storage", &self.storage, 400.0), ("fill", &self.fill, 1e6)] {
            ensure!(
                !list.is_empty() && list.iter().all(|v| *v > 0.0 && *v <= most),
                "--{name} must be above 0 and at most {most}"
            );
        }
        let cells = self.storage.iter().flat_map(|storage| {
            let fills = self.fill.iter();
            fills.map(move |fill| Cell {
                storage: storage / 100.0,
                fill: fill * 1e12,
            })
        });
        Ok(Setup {
            cells: cells.collect(),
            nights: usize::from(self.nights),
            settle: SETTLE_NIGHTS,
            reactive: !self.no_reactive,
            predictors: self.predictors,
            rates: true,
        })
    }
}

/// Arguments of `world`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What is simulated; the first seed is written.
    #[command(flatten)]
    pub world: WorldArgs,
    /// Days of demand, the last ones. A day has a million rows and more; --scale makes fewer.
    #[arg(long, default_value_t = 28, value_parser = clap::value_parser!(u16).range(1..=730))]
    pub days: u16,
    /// Storage of a region's appliance, in percent of the catalogue's bytes.
    #[arg(long, default_value_t = 15.0)]
    pub storage: f64,
    /// Bytes that it can fill in a night, in TB.
    #[arg(long, default_value_t = 6.5)]
    pub fill: f64,
    /// Folder to write to; made if it is not there.
    #[arg(long)]
    pub out: PathBuf,
}

impl ExportArgs {
    /// What is written.
    pub fn export(&self) -> anyhow::Result<Export> {
        ensure!(
            self.storage > 0.0 && self.fill > 0.0,
            "--storage and --fill must be above 0"
        );
        Ok(Export {
            days: usize::from(self.days),
            storage: self.storage / 100.0,
            fill: self.fill * 1e12,
        })
    }
}

/// Arguments of `scale`.
#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// Objects of the catalogue, by comma.
    #[arg(long, value_delimiter = ',', default_value = "10000,100000,1000000", value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    pub objects: Vec<u32>,
    /// Appliances; the fourth of each site is a fast one.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    pub appliances: u32,
    /// Regions.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub regions: u16,
    /// Appliances of a site.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=100))]
    pub per_site: u16,
    /// Storage of a site, in percent of the catalogue's bytes.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=400))]
    pub storage: u16,
    /// What is placed: title, ladder or file.
    #[arg(long, default_value = "title", value_parser = grouping)]
    pub grouping: Grouping,
    /// TB that the origin sends in a night for each site; without it no link is shared.
    #[arg(long)]
    pub origin_cap: Option<f64>,
    /// Threads that plan.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: u8,
    /// Seed of everything.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn grouping(text: &str) -> Result<Grouping, String> {
    serde_json::from_value(text.into()).map_err(|_| "must be title, ladder or file".into())
}

impl ScaleArgs {
    /// The checked set-up of each size.
    pub fn setups(&self) -> anyhow::Result<Vec<scale::Setup>> {
        ensure!(
            self.appliances >= self.per_site.into(),
            "--appliances {} must be at least --per-site {}",
            self.appliances,
            self.per_site
        );
        ensure!(
            self.origin_cap.is_none_or(|cap| cap > 0.0 && cap <= 1e6),
            "--origin-cap must be above 0 and at most 1000000"
        );
        let setup = |objects: &u32| scale::Setup {
            objects: *objects as usize,
            appliances: self.appliances as usize,
            regions: self.regions.into(),
            per_site: self.per_site.into(),
            storage: f64::from(self.storage) / 100.0,
            grouping: self.grouping,
            origin_cap: self.origin_cap.map(|cap| cap * 1e12),
            threads: self.threads.into(),
            seed: self.seed,
        };
        Ok(self.objects.iter().map(setup).collect())
    }
}
