//! The command line. Parsing only: each command has its own module that checks and runs it.

use crate::{
    appliance::{self, ConfigArgs, RunArgs},
    doctor::{self, DoctorArgs},
    drives_command::{self, DrivesArgs},
    routes_command::{self, RoutesArgs},
    serve::{self, ServeArgs},
    upgrade::{self, UpgradeArgs},
};
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
    Serve(Box<ServeArgs>),
    /// Run an appliance: fill by plan, serve, report
    Run(RunArgs),
    /// Say what is wrong with an appliance's configuration, or what it comes to
    Check(ConfigArgs),
    /// Show an appliance's drives, or take one back that was given up
    Drives(DrivesArgs),
    /// Print what appliances would hear from the routers of a table dump (MRT), as the control plane tells it
    Routes(RoutesArgs),
    /// Say what this machine offers the send path, measured, and what to mend
    Doctor(DoctorArgs),
    /// Have a running serve or run start its program anew and hand over, so that no request is lost
    Upgrade(UpgradeArgs),
}

/// Runs the command until its end.
///
/// # Errors
/// One line for people: what is wrong and where.
pub fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Run(args) => appliance::run(&args),
        Command::Check(args) => appliance::check(&args),
        Command::Drives(args) => drives_command::run(&args),
        Command::Routes(args) => routes_command::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Upgrade(args) => upgrade::run(&args),
    }
}
