//! Repository chores that need no network: `cargo xtask tidy` proves the promises of ARCHITECTURE.md, `cargo xtask
//! metrics` writes docs/metrics.md from the programs' own tables.

mod imports;
mod metrics;
mod semantics;
mod sources;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser)]
#[command(about = "Repository chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Clone, Copy, Subcommand)]
enum Chore {
    /// Prove the import rules, the source rules, docs/semantics.md and docs/metrics.md.
    Tidy,
    /// Write docs/metrics.md from every program's src/metrics.rs.
    Metrics,
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    let root = workspace_root()?;
    match chore {
        Chore::Metrics => metrics::write(&root),
        Chore::Tidy => {
            let mut faults = imports::check(&root)?;
            faults.extend(sources::check(&root)?);
            faults.extend(semantics::check(&root)?);
            faults.extend(metrics::check(&root)?);
            if faults.is_empty() {
                println!("tidy: imports, sources, semantics and metrics hold");
                return Ok(());
            }
            for fault in &faults {
                eprintln!("tidy: {fault}");
            }
            bail!("{} rule(s) broken; ARCHITECTURE.md has the reasons", faults.len())
        }
    }
}

fn workspace_root() -> Result<PathBuf> {
    // As cargo says it now: a build folder that several checkouts share may hold a program that was built in another.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.ancestors()
        .nth(2)
        .map(PathBuf::from)
        .context("xtask lies two folders below the workspace")
}
