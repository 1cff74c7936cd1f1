//! `fill-planner history …` and `fill-planner features`: what an operator does with the history by hand.

use super::{HistoryError, HistoryStore, at};
use crate::{
    cli::{FeaturesArgs, HistoryCommand},
    error::PlannerError,
    load,
};
use parquet::arrow::ArrowWriter;
use std::{fs, path::Path};

/// Adds to a history, or shows what it holds.
pub fn history(command: &HistoryCommand) -> Result<(), PlannerError> {
    match command {
        HistoryCommand::Add { store, demand } => {
            let mut rows = Vec::new();
            for file in demand {
                rows.append(&mut load::demand(file)?);
            }
            let days = HistoryStore::new(store).add(&rows)?;
            let span = days.first().zip(days.last());
            let span = span.map_or(String::new(), |(first, last)| format!(", {first} to {last}"));
            println!("{} rows of {} days{span}", rows.len(), days.len());
        }
        HistoryCommand::Show { store } => {
            for day in HistoryStore::new(store).days()? {
                println!("{day}");
            }
        }
    }
    Ok(())
}

/// Writes the features of a day to plan as Parquet.
pub fn features(args: &FeaturesArgs) -> Result<(), PlannerError> {
    let store = HistoryStore::new(&args.store);
    let runtime = crate::run::runtime()?;
    let batches = runtime.block_on(store.features(args.date))?;
    let rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
    write(&args.out, &batches)?;
    println!("{rows} rows: {}", args.out.display());
    Ok(())
}

fn write(out: &Path, batches: &[arrow::array::RecordBatch]) -> Result<(), HistoryError> {
    let mut part = out.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    let wrong = |source: parquet::errors::ParquetError| HistoryError::Parquet {
        file: part.to_owned(),
        source: Box::new(source),
    };
    let file = fs::File::create(part).map_err(at(part))?;
    if let Some(first) = batches.first() {
        let mut writer = ArrowWriter::try_new(file, first.schema(), None).map_err(wrong)?;
        for batch in batches {
            writer.write(batch).map_err(wrong)?;
        }
        writer.close().map_err(wrong)?;
    }
    fs::rename(part, out).map_err(at(out))
}
