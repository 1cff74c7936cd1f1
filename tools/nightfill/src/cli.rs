//! Arguments of every command, and what is called for each. To add a command: a variant of [`Command`] and an arm
//! of [`run`].

use crate::{
    pack::{self, Input, Length, PackRequest, SegmentLayout},
    progress::Progress,
};
use cdn_types::TitleId;
use clap::{Parser, Subcommand, builder::RangedU64ValueParser};
use std::{path::PathBuf, process::ExitCode};

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

fn positive(text: &str) -> Result<f64, String> {
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

/// Runs the command to its end or to Ctrl-C; prints its error.
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
    let result = runtime.block_on(async {
        tokio::select! {
            result = run(cli.command) => result,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        }
    });
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Pack(args) => run_pack(args).await,
    }
}

async fn run_pack(args: PackArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        args.inputs.len() == 1 || (args.id.is_none() && args.name.is_none()),
        "--id and --name name one title: give one FILE"
    );
    for text in &args.inputs {
        let input = Input::parse(text);
        let id = match &args.id {
            Some(id) => id.clone(),
            None => id_from(&input.stem())?,
        };
        let length = match (args.times, args.min_seconds) {
            (Some(n), _) => Length::Times(n),
            (None, Some(s)) => Length::AtLeast(s),
            (None, None) => Length::AsIs,
        };
        let request = PackRequest {
            name: args.name.clone().unwrap_or_else(|| input.stem()),
            input,
            id,
            out: args.out.clone(),
            layout: args.segments,
            segment_seconds: args.segment_seconds,
            overwrite: args.overwrite,
            length,
            burn: args.burn.clone(),
            silent_audio: args.silent_audio,
            preset: args.preset.clone(),
        };
        let progress = Progress::new(format!("packing {}", request.id));
        let title = pack::pack(&request, &progress).await?;
        progress.finish();
        for warning in &title.warnings {
            eprintln!("warning: {warning}");
        }
        let m = &title.manifest;
        let rungs: Vec<_> = m.renditions.iter().map(|r| r.id.as_str()).collect();
        println!(
            "{}: {:.1} s, {}, {} objects, {}, version {}",
            title.dir.display(),
            m.duration_ms as f64 / 1000.0,
            rungs.join(" "),
            m.objects.len(),
            m.size(),
            m.version()
        );
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
