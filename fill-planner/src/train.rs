//! `fill-planner train`: grows the nightly forecast, judges it by nights that it had not seen, and keeps it in a file.

use crate::{
    cli::TrainArgs,
    error::PlannerError,
    forecast::{KIND, past},
    model::{Earlier, FORMAT, ModelFile, TrainError, Window},
    nightly::{
        EXAMPLE_DAYS,
        walk::{self, BASELINE, BOOSTED, Storage, Trained, YARDSTICK},
    },
};
use fill_core::{
    evaluate::panel::Panel,
    nightly::{FIRST_EXAMPLE, NightlyModel},
};
use std::fmt::Write as _;

/// Trains, prints how the model did, and writes it.
///
/// # Errors
/// When an input is wrong, there is too little to learn from, or the file cannot be written.
pub fn train(args: &TrainArgs) -> Result<(), PlannerError> {
    let (history, catalogue) = past(&args.past, args.date)?;
    let service = args.past.service.service(&catalogue)?;
    let panel = service.panel(&history).ok_or(TrainError::TooShort {
        days: 0,
        least: walk::least_days(1),
    })?;
    let storage = Storage(vec![f64::from(args.storage) / 100.0; panel.regions.len()]);
    let calendar = args.past.service.launches.is_some();
    let model = grow(&panel, calendar, &storage, args.seed)?;
    print!("{}", table(&model, args.storage));
    Ok(model.write(&args.out)?)
}

/// Trains on a panel and makes the file.
///
/// # Errors
/// When there is too little to learn from, or the library refuses it.
pub fn grow(
    panel: &Panel,
    calendar: bool,
    storage: &Storage,
    seed: u64,
) -> Result<ModelFile<NightlyModel>, TrainError> {
    let Trained {
        model,
        earlier,
        earlier_to,
        nights,
    } = walk::train(panel, calendar, storage, seed)?;
    let day = panel.known.days();
    let first = day.saturating_sub(EXAMPLE_DAYS + 1).max(FIRST_EXAMPLE);
    Ok(ModelFile {
        format: FORMAT,
        kind: KIND.to_owned(),
        trained: Window {
            from: panel.date(first).to_string(),
            to: panel.past(day).known_date(1).to_string(),
        },
        seed,
        scores: walk::scores(&nights),
        nights,
        earlier: Some(Earlier {
            to: earlier_to.to_string(),
            model: earlier,
        }),
        model,
    })
}

/// What was judged, for people.
fn table(model: &ModelFile<NightlyModel>, storage: u16) -> String {
    let nights = &model.nights;
    let dates = nights.first().zip(nights.last());
    let (from, to) = dates.map_or_else(Default::default, |(a, b)| {
        (a.date.to_string(), b.date.to_string())
    });
    let mut out = format!(
        "share of the bytes of {from} to {to} that stores of {storage} % of the catalogue would have served, filled densest first by each forecast of the eve\n\n\
         | forecast | share | nights on which it was the best |\n|---|--:|--:|\n"
    );
    for name in [BOOSTED, BASELINE, YARDSTICK] {
        let share = 100.0 * model.scores.get(name).copied().unwrap_or(0.0);
        let best = |night: &&crate::model::NightScore| {
            night
                .served
                .get(name)
                .is_some_and(|own| night.served.values().all(|other| other <= own))
        };
        let best = nights.iter().filter(best).count();
        // Writing to memory does not fail.
        let _ = writeln!(out, "| {name} | {share:.2} % | {best} of {} |", nights.len());
    }
    let _ = writeln!(
        out,
        "\nthe model was then grown anew on {} to {}, {} launch calendar",
        model.trained.from,
        model.trained.to,
        if model.model.calendar {
            "with the"
        } else {
            "without"
        }
    );
    out
}
