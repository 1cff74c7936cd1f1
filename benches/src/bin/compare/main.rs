//! `benches/compare`: Nightfill's server and nginx, one worker each on one core, asked by one client on another, in turn in one
//! run. Prints every ratio with its spread and its target, writes `results/*.json` and one chart. METHOD.md says how to read it.

mod cases;
mod chart;
mod files;
mod load;
mod machine;
mod nginx;
mod process;
mod result;
mod server;
mod steer;

use anyhow::{Context, ensure};
use cases::{Bench, CASES};
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// Compares Nightfill's server with nginx on this machine.
#[derive(Debug, Parser)]
struct Args {
    /// Cases to run; all if absent.
    cases: Vec<String>,
    /// Lists the cases.
    #[arg(long)]
    list: bool,
    /// Seconds a measurement.
    #[arg(long, value_name = "N", default_value_t = 3)]
    seconds: u64,
    /// Measurements of each server, in turns: on a rented machine single ones differ by a third.
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: usize,
    /// Another nginx than the one that is downloaded; without HTTP/3 it fails that case.
    #[arg(long, value_name = "PROGRAM")]
    nginx: Option<PathBuf>,
    /// Folder for the results.
    #[arg(long, value_name = "DIR", default_value = "benches/results")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    if args.list {
        for case in CASES {
            println!("{:14} {}", case.name, case.title);
        }
        return Ok(());
    }
    let known = |name: &String| CASES.iter().find(|c| c.name == name);
    let chosen = args
        .cases
        .iter()
        .map(|name| known(name).with_context(|| format!("there is no case {name}; --list names them")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let chosen = if chosen.is_empty() {
        CASES.iter().collect()
    } else {
        chosen
    };
    ensure!(
        args.rounds > 0 && args.seconds > 0,
        "--rounds and --seconds must be above 0"
    );
    let bench = Bench::new(args.seconds, args.rounds, args.nginx.as_deref())?;
    println!("{}", bench.machine);
    let mut failed = 0;
    for case in &chosen {
        match bench.run(case) {
            Ok(result) => {
                print!("{result}");
                result.write(&args.out)?;
            }
            Err(e) => {
                eprintln!("{}: not measured: {e:#}", case.name);
                failed += 1;
            }
        }
    }
    let all = result::read_all(&args.out)?;
    chart::write(&all, &args.out.join("compare.svg"))?;
    print!("{}", result::table(&all));
    ensure!(
        failed == 0,
        "{failed} of {} cases could not be measured",
        chosen.len()
    );
    Ok(())
}
