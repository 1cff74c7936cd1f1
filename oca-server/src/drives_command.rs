//! `oca-server drives`: what is remembered of an appliance's drives, and the way back for one that was given up.

use crate::{
    config::Config,
    store::{
        drives::{Known, Memory},
        layout::{self, Layout},
    },
};
use anyhow::{Context, anyhow, bail};
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `drives`.
#[derive(Debug, Args)]
pub struct DrivesArgs {
    /// The appliance's configuration
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Take a drive that was given up into use again, from the next start on; the appliance must not run
    #[arg(long, value_name = "PATH")]
    pub readmit: Option<PathBuf>,
}

/// Shows the drives, or takes one back.
///
/// # Errors
/// When the configuration is wrong, no such drive is out, or the appliance runs while one is to be taken back.
pub fn run(args: &DrivesArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let layout = Layout::new(&config.root);
    if config.drives.is_empty() {
        println!(
            "{}: the root is the only drive; it is never given up",
            config.root.display()
        );
        return Ok(());
    }
    let mut memory = Memory::load(&layout.drives()).with_context(|| layout.drives().display().to_string())?;
    if let Some(path) = &args.readmit {
        let _lock = layout
            .lock()
            .context("stop the appliance first: the drive is taken up at its start")?;
        readmit(&mut memory, path)?;
        memory.save(&layout.drives())?;
    }
    for path in &config.drives {
        println!("{}", describe(path, memory.get_mut(path)));
    }
    Ok(())
}

fn readmit(memory: &mut Memory, path: &Path) -> anyhow::Result<()> {
    let known: Vec<_> = memory
        .drives
        .iter()
        .map(|d| d.path.display().to_string())
        .collect();
    let drive = memory.get_mut(path);
    let drive =
        drive.ok_or_else(|| anyhow!("no drive {}: there are {}", path.display(), known.join(", ")))?;
    if drive.ejected.take().is_none() {
        bail!("{} was not given up", path.display());
    }
    drive.doubted = true;
    Ok(())
}

fn describe(path: &Path, known: Option<&mut Known>) -> String {
    let state = match known {
        None => "not seen yet".to_owned(),
        Some(known) => match &known.ejected {
            Some(end) => format!(
                "given up at {}: {}",
                end.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
                end.why
            ),
            None if known.doubted => {
                "in use from the next start on; what lies on it is verified first".to_owned()
            }
            None => "in use".to_owned(),
        },
    };
    let room = match (layout::free_space(path), layout::total_space(path)) {
        (Ok(free), Ok(total)) => format!("{free} of {total} free"),
        (Err(e), _) | (_, Err(e)) => e.to_string(),
    };
    format!("{}  {state}  {room}", path.display())
}
