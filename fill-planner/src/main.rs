//! Plans what each appliance shall hold tomorrow.

use clap::Parser;
use fill_planner::{
    cli::{Cli, Command},
    evaluate,
    history::command,
    import, plan, predict, review, run, train, urgent,
};
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_new(&cli.log).unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let outcome = match cli.command {
        Command::Plan(args) => plan::plan(&args),
        Command::Run(args) => run::run(args),
        Command::Urgent(args) => urgent::urgent(&args),
        Command::Review(args) => review::review(&args),
        Command::History(command) => command::history(&command),
        Command::Import(args) => import::import(&args),
        Command::Features(args) => command::features(&args),
        Command::Train(args) => train::train(&args),
        Command::Predict(args) => predict::predict(&args),
        Command::Explain(args) => predict::explain(&args),
        Command::Evaluate(on) => evaluate::evaluate(&on),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
