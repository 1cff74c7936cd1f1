//! The operator's command line. See [`nightfill::cli`].

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    nightfill::cli::start(nightfill::cli::Cli::parse())
}
