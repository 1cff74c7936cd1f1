//! `evaluate`: sets forecasts against demand that came, beside simple methods and a forecast that knows everything.
//!
//! Each evaluation is told which periods it may learn from and which one it is judged by. It prints a table of all methods at
//! all budgets, with 95 % intervals, and writes the same as JSON.

mod halves;
mod lists;
mod scores;

pub use halves::halves;
pub use lists::lists;
pub use scores::{Scores, ScoresRow};

use crate::{cli::Evaluation, error::PlannerError, nights, output};

/// Runs an evaluation, prints its table and writes what was asked for.
pub fn evaluate(on: &Evaluation) -> Result<(), PlannerError> {
    let (args, (scores, model)) = match on {
        Evaluation::Nights(args) => return nights::files::run(args),
        Evaluation::Halves { test, args } => (args, halves(&args.data, *test, args.seed)?),
        Evaluation::Lists {
            train_to,
            until,
            args,
        } => (args, lists(&args.data, *train_to, *until, args.seed)?),
    };
    print!("{}", scores.markdown());
    if let Some(file) = &args.json {
        output::replace(file, &output::json(&scores))?;
    }
    if let Some(file) = &args.model {
        model.write(file)?;
    }
    Ok(())
}
