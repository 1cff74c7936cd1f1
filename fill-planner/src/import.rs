//! `fill-planner import`: data sets that others publish, written as this planner's own files, so that `evaluate nights` can replay them.

use crate::{
    adapters::{self, Service},
    cli::{ImportArgs, Source},
    error::PlannerError,
};
use std::io;

/// Reads what is published, writes our files, and says what there is.
///
/// # Errors
/// A wrong place in the data, or a folder that cannot be written.
pub fn import(args: &ImportArgs) -> Result<(), PlannerError> {
    let service = read(&args.source)?;
    service.write(&args.out, &args.region)?;
    let hours = service.drawn.keys().map(|(hour, _)| hour.date());
    let span = hours.clone().min().zip(hours.max());
    let span = span.map_or(String::new(), |(first, last)| format!(", {first} to {last}"));
    println!(
        "{} objects, {} rows of demand{span}: {}",
        service.objects.len(),
        service.drawn.len(),
        args.out.display()
    );
    Ok(())
}

fn read(source: &Source) -> Result<Service, PlannerError> {
    Ok(match source {
        Source::OracleGeneral { file, start } if file.as_os_str() == "-" => {
            adapters::oracle_general(io::stdin().lock(), "standard input", *start)?
        }
        Source::OracleGeneral { file, start } => {
            let name = file.display().to_string();
            let open = std::fs::File::open(file).map_err(|source| adapters::TraceError::Read {
                file: name.clone(),
                source,
            })?;
            adapters::oracle_general(open, &name, *start)?
        }
        Source::Kion { watches, items, rate } => adapters::kion(watches, items.as_deref(), rate.0)?,
        Source::Kuairec { file, rate } => adapters::kuairec(file, rate.0)?,
    })
}
