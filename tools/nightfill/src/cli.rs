//! Arguments of every command, and what is called for each. To add a command: a variant of [`Command`] and an arm
//! of [`run`].

use crate::{
    commands,
    demo::{self, DemoArgs},
    load::{self, LoadArgs},
    pack::SegmentLayout,
    steer::{self, SteerCommand},
};
use cdn_types::{OcaId, RegionId, SiteId, TitleId, api::v1::Role};
use clap::{Parser, Subcommand, builder::RangedU64ValueParser};
use ipnet::IpNet;
use std::{net::IpAddr, path::PathBuf, process::ExitCode};

/// Operates a Nightfill CDN: packs films, publishes them, asks the fleet about itself.
#[derive(Debug, Parser)]
#[command(name = "nightfill", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes titles from films: three video renditions and sound, for HLS and DASH.
    Pack(PackArgs),
    /// Puts packed titles into the origin store and registers them.
    Publish(PublishArgs),
    /// Takes titles out of the catalogue, and their files out of the origin store.
    Unpublish(UnpublishArgs),
    /// Starts a whole CDN on this machine: packs, publishes, plans, fills, plays.
    Demo(DemoArgs),
    /// Shows sites and appliances: state, plan, fill, load.
    Status(ControlArgs),
    /// Makes, changes and lists sites.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Makes a one-time token with which an appliance may join.
    JoinToken(JoinTokenArgs),
    /// Makes an API token for a program or a person.
    Token(TokenArgs),
    /// Takes an appliance's viewers away.
    Drain(ApplianceArgs),
    /// Gives an appliance viewers again.
    Undrain(ApplianceArgs),
    /// Lists, shows and activates plans.
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Says why a client gets the appliances that it gets.
    Explain(ExplainArgs),
    /// Reads steering's decision log: what would another policy or fleet have changed?
    #[command(subcommand)]
    Steer(SteerCommand),
    /// Compares what lies on an appliance's drives with its plan; exit status 1 if anything differs.
    Verify(VerifyArgs),
    /// Asks a server for objects as many viewers do, and measures it; exit status 1 if anything failed.
    Load(Box<LoadArgs>),
    /// Lists the hardware profiles, or shows one in full.
    Profiles {
        /// Which one.
        name: Option<String>,
    },
}

/// Where the control plane is, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub struct ControlArgs {
    /// The control plane, e.g. `http://127.0.0.1:8000`.
    #[arg(long, value_name = "URL", env = "NIGHTFILL_CONTROL")]
    pub control: String,
    /// API token; calls that change anything need one.
    #[arg(long, env = "NIGHTFILL_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// File with the API token, used before --token; what is in the command line is seen by other users of the machine.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `publish`.
#[derive(Debug, clap::Args)]
pub struct PublishArgs {
    /// Folders that `nightfill pack` made.
    #[arg(required = true, value_name = "DIR")]
    pub titles: Vec<PathBuf>,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
    /// Store that objects go to, `file:///path` or `s3://bucket/prefix`; the control plane's own if absent.
    #[arg(long, value_name = "URL")]
    pub origin: Option<String>,
}

/// Arguments of `unpublish`.
#[derive(Debug, clap::Args)]
pub struct UnpublishArgs {
    /// Ids of the titles.
    #[arg(required = true, value_name = "TITLE")]
    pub titles: Vec<TitleId>,
    /// Leaves the files in the origin store, for fills that run or to publish the title again.
    #[arg(long)]
    pub keep_objects: bool,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
    /// Store that the files are in, `file:///path` or `s3://bucket/prefix`; the control plane's own if absent.
    #[arg(long, value_name = "URL", conflicts_with = "keep_objects")]
    pub origin: Option<String>,
}

/// What to do with sites.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Makes a site, or replaces what is known of it.
    Put(PutSiteArgs),
    /// Gives sites their networks from a coverage file.
    Coverage(CoverageArgs),
    /// Lists all sites.
    List(ControlArgs),
}

/// Arguments of `site coverage`.
#[derive(Debug, clap::Args)]
pub struct CoverageArgs {
    /// Lines of `network,site`, or Traffic Router's coverage zone file (JSON), whose zones are sites.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Shows what would change, and changes nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Arguments of `site put`.
#[derive(Debug, clap::Args)]
pub struct PutSiteArgs {
    /// Its id.
    pub id: SiteId,
    /// Its region; forecasts are made per region.
    #[arg(long)]
    pub region: RegionId,
    /// A client network that it serves, e.g. `10.0.0.0/8` or `2001:db8::/32`; may be given several times.
    #[arg(long = "prefix", value_name = "NETWORK")]
    pub prefixes: Vec<IpNet>,
    /// Local hours in which its appliances fill, e.g. `02:00-06:00`; always if absent.
    #[arg(long, value_name = "FROM-TO", requires = "time_zone")]
    pub window: Option<String>,
    /// Time zone of the window, e.g. `Europe/Oslo`.
    #[arg(long, value_name = "ZONE", requires = "window")]
    pub time_zone: Option<String>,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Arguments of `join-token`.
#[derive(Debug, clap::Args)]
pub struct JoinTokenArgs {
    /// Id that the appliance will have.
    pub appliance: OcaId,
    /// Site that it will belong to.
    #[arg(long)]
    pub site: SiteId,
    /// Hours until the token is void.
    #[arg(long, default_value_t = 24, value_parser = RangedU64ValueParser::<u64>::new().range(1..=720))]
    pub valid_hours: u64,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Arguments of `token`.
#[derive(Debug, clap::Args)]
pub struct TokenArgs {
    /// What its bearer may do.
    #[arg(value_parser = role)]
    pub role: Role,
    /// Who has it, for people.
    #[arg(long)]
    pub name: String,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// An appliance of a control plane.
#[derive(Debug, clap::Args)]
pub struct ApplianceArgs {
    /// Its id.
    pub appliance: OcaId,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// What to do with plans.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Lists all plans.
    List(ControlArgs),
    /// Shows what each appliance shall hold.
    Show {
        /// Number of the plan.
        number: u64,
        /// Shows every object, not the most valuable ones only.
        #[arg(long)]
        all: bool,
        /// The control plane.
        #[command(flatten)]
        control: ControlArgs,
    },
    /// Has the appliances execute a plan.
    Activate {
        /// Number of the plan.
        number: u64,
        /// The control plane.
        #[command(flatten)]
        control: ControlArgs,
    },
}

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The steering service, e.g. `http://127.0.0.1:8001`.
    #[arg(long, value_name = "URL", env = "NIGHTFILL_STEERING")]
    pub steering: String,
    /// Address of the viewer.
    #[arg(long, value_name = "IP")]
    pub client: IpAddr,
    /// Id of the title.
    #[arg(long, value_name = "ID")]
    pub asset: TitleId,
    /// Prints the answer as it came.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Root folder of the appliance, that with `objects/` in it.
    #[arg(long, value_name = "DIR")]
    pub root: PathBuf,
    /// Whose plan to compare with.
    #[arg(long, value_name = "ID")]
    pub appliance: OcaId,
    /// The control plane.
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Arguments of `pack`.
#[derive(Debug, clap::Args)]
pub struct PackArgs {
    /// Films, or ffmpeg sources such as `lavfi:testsrc2=size=1280x720:rate=25`.
    #[arg(required = true, value_name = "FILE")]
    pub inputs: Vec<String>,
    /// Folder in which each title gets a folder of its own.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Id of the title (one FILE only); made from the file's name if absent.
    #[arg(long)]
    pub id: Option<TitleId>,
    /// Name for people (one FILE only); the file's name if absent.
    #[arg(long)]
    pub name: Option<String>,
    /// One fMP4 a rendition with byte ranges, or one file a segment.
    #[arg(long, value_enum, default_value = "single")]
    pub segments: SegmentLayout,
    /// Seconds a segment, 0.5 to 30.
    #[arg(long, default_value = "2", value_parser = segment_seconds)]
    pub segment_seconds: f64,
    /// Replaces titles that are there.
    #[arg(long)]
    pub overwrite: bool,
    /// Plays the film this many times.
    #[arg(long = "loop", value_name = "N", value_parser = RangedU64ValueParser::<u32>::new().range(1..))]
    pub times: Option<u32>,
    /// Plays the film as often as needed to last S seconds; length of a generated source.
    #[arg(long, value_name = "S", conflicts_with = "times", value_parser = positive)]
    pub min_seconds: Option<f64>,
    /// Burns TEXT into the pictures.
    #[arg(long, value_name = "TEXT")]
    pub burn: Option<String>,
    /// Gives a film without sound a silent track.
    #[arg(long)]
    pub silent_audio: bool,
    /// libx264 preset: slower ones make smaller files of the same quality.
    #[arg(long, default_value = "veryfast", value_parser = PRESETS)]
    pub preset: String,
    /// Encoder threads a rendition; with more than one, packing a film again gives other bytes.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<u32>::new().range(1..=64))]
    pub threads: u32,
}

const PRESETS: [&str; 9] = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
];

fn role(text: &str) -> Result<Role, String> {
    serde_json::from_value(text.into()).map_err(|_| "must be admin, planner, appliance or service".to_owned())
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(v) if v > 0.0 && v.is_finite() => Ok(v),
        _ => Err("must be a number of seconds above 0".to_owned()),
    }
}

fn segment_seconds(text: &str) -> Result<f64, String> {
    match positive(text) {
        Ok(v) if (0.5..=30.0).contains(&v) => Ok(v),
        _ => Err("must be 0.5 to 30 seconds".to_owned()),
    }
}

/// Runs the command to its end; prints its error.
pub fn start(cli: Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: cannot start: {e}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(cli.command));
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends `work` at Ctrl-C or SIGTERM: it is dropped then, and with it the files and programs that it had begun.
async fn until_interrupt(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        result = work => result,
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
    }
}

/// Runs one command.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Pack(args) => until_interrupt(commands::pack(args)).await?,
        Command::Publish(args) => until_interrupt(commands::publish(args)).await?,
        Command::Unpublish(args) => commands::unpublish(args).await?,
        Command::Demo(args) => demo::run(&args).await?,
        Command::Status(control) => commands::status(&control).await?,
        Command::Site(SiteCommand::Put(args)) => commands::put_site(args).await?,
        Command::Site(SiteCommand::Coverage(args)) => commands::cover_sites(&args).await?,
        Command::Site(SiteCommand::List(control)) => commands::sites(&control).await?,
        Command::JoinToken(args) => commands::join_token(args).await?,
        Command::Token(args) => commands::token(args).await?,
        Command::Drain(args) => commands::drain(&args, true).await?,
        Command::Undrain(args) => commands::drain(&args, false).await?,
        Command::Plan(command) => commands::plan(command).await?,
        Command::Explain(args) => commands::explain(&args).await?,
        Command::Steer(command) => steer::run(&command)?,
        Command::Verify(args) => return commands::verify(&args).await,
        Command::Load(args) => return load::run(&args).await,
        Command::Profiles { name } => commands::profiles(name.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// An id from a file's name: what an id cannot hold becomes `-`.
pub fn id_from(stem: &str) -> anyhow::Result<TitleId> {
    let mut id = String::new();
    for c in stem.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' || c == '.' => id.push(c),
            _ if id.is_empty() || id.ends_with('-') => {}
            _ => id.push('-'),
        }
    }
    id.truncate(cdn_types::id::MAX_ID_LEN);
    let id = id.trim_matches(['-', '.', '_']);
    TitleId::new(id).map_err(|e| anyhow::anyhow!("{e}; give the title an id with --id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_file_names() {
        assert_eq!(
            id_from("Big Buck  Bunny (2008)").unwrap().as_str(),
            "big-buck-bunny-2008"
        );
        assert_eq!(id_from("..trailer_1.v2").unwrap().as_str(), "trailer_1.v2");
        assert!(id_from("äöü").unwrap_err().to_string().contains("--id"));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
