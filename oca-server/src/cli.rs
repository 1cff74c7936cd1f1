//! The command line. Parsing only: each command has its own module that checks and runs it.

use crate::serve::{self, ServeArgs};
use clap::{Parser, Subcommand};

/// The Nightfill appliance: sends bytes, fills itself from its plan, reports.
#[derive(Debug, Parser)]
#[command(name = "oca-server", version)]
pub struct Cli {
    /// Log filter (stderr), e.g. `info` or `oca_server=debug`
    #[arg(
        long,
        global = true,
        env = "RUST_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a directory tree by path
    Serve(ServeArgs),
}

/// Runs the command until its end.
///
/// # Errors
/// One line for people: what is wrong and where.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(&args),
    }
}
