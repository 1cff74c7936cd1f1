//! `fill-planner history …` and `fill-planner features`: what an operator does with the history by hand.

use super::{HistoryError, HistoryStore};
use crate::{
    cli::{FeaturesArgs, HistoryCommand},
    error::PlannerError,
    load, output,
};
use arrow::{array::RecordBatch, datatypes::Schema};
use parquet::arrow::ArrowWriter;
use std::path::Path;

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
    let store = HistoryStore::new(&args.store).on(args.engine.engine()?);
    let runtime = crate::run::runtime()?;
    let batches = runtime.block_on(store.features(args.date))?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    write(&args.out, &batches)?;
    println!("{rows} rows: {}", args.out.display());
    Ok(())
}

fn write(out: &Path, batches: &[RecordBatch]) -> Result<(), PlannerError> {
    let wrong = |source: parquet::errors::ParquetError| HistoryError::Parquet {
        file: out.to_owned(),
        source: Box::new(source),
    };
    let schema = batches
        .first()
        .map_or_else(|| Schema::empty().into(), RecordBatch::schema);
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).map_err(wrong)?;
    for batch in batches {
        writer.write(batch).map_err(wrong)?;
    }
    let text = writer.into_inner().map_err(wrong)?;
    Ok(output::replace(out, &text)?)
}
