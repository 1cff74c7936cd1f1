//! The fleet in virtual time, and seeded demand history.

use anyhow::Context;
use clap::Parser;
use fleet_sim::{
    cli::{Cli, Command},
    evaluate, history, nights, output, scale,
    world::{World, export, measure},
};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::History(args) => {
            let catalogue = output::read_catalogue(&args.catalog)?;
            let rows = history::rows(&catalogue, &args.viewers())?;
            output::write_history(&args.out, &rows, args.seed)?;
            eprintln!("SIMULATED: {} rows written to {}", rows.len(), args.out.display());
            Ok(())
        }
        Command::Nights(args) => {
            let outcome = nights::simulate(&args.setup()?)?;
            if args.json {
                println!("{}", output::nights_json(&outcome)?);
            } else {
                print!("{}", output::nights_table(&outcome));
            }
            Ok(())
        }
        Command::Evaluate(args) => {
            let report =
                evaluate::evaluate(&args.world.setups()?, &args.setup()?, usize::from(args.threads))?;
            print!("{}", fill_planner::nights::report::text(&report));
            if let Some(dir) = &args.out {
                fill_planner::nights::write(dir, &report)?;
            }
            Ok(())
        }
        Command::World(args) => {
            let setups = args.world.setups()?;
            let world = World::new(*setups.first().context("no seed")?);
            export::export(&world, &args.export()?, &args.out)?;
            eprintln!(
                "SIMULATED: {} titles written to {}",
                world.titles.len(),
                args.out.display()
            );
            Ok(())
        }
        Command::Measure(args) => {
            for setup in args.setups()? {
                let measures = measure::measure(&World::new(setup));
                println!("{}", serde_json::to_string(&measures)?);
            }
            Ok(())
        }
        Command::Scale(args) => {
            let setups = args.setups()?;
            println!("{}", scale::HEAD);
            for setup in setups {
                println!("{}", scale::line(&setup)?);
            }
            Ok(())
        }
    }
}
