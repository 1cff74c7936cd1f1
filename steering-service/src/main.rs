//! `steering-service`: reads the command line, sets logging up, serves until told to stop.

use clap::Parser;
use std::{io::IsTerminal, process::ExitCode};
use steering_service::{
    app::App,
    config::{Cli, Command, Config},
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let Command::Serve(args) = Cli::parse().command;
    let filter = match &args.log {
        Some(filter) => EnvFilter::try_new(filter).map_err(|e| anyhow::anyhow!("--log {filter}: {e}")),
        None => Ok(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"))),
    };
    match filter.and_then(|filter| run(args, filter)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: steering_service::config::ServeArgs, filter: EnvFilter) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Config::try_from(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async { App::build(config)?.serve().await })?;
    Ok(())
}
