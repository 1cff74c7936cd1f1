//! The command line of the control plane: `serve` and `token`.

use clap::Parser;
use control_plane::{
    app,
    config::{Cli, Command, Config},
};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|e| anyhow::anyhow!("--log `{}`: {e}", cli.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // Presigning may talk HTTPS to the bucket's credential service; an error means that a provider is set already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    match cli.command {
        Command::Serve(args) => runtime.block_on(app::serve(Config::try_from(args)?)),
        Command::Token(args) => {
            let token = runtime.block_on(app::make_token(&args))?;
            println!("{token}");
            Ok(())
        }
    }
}
