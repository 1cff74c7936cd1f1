//! `fill-planner plan`: files in, files out.

use crate::{
    cli::{PlanArgs, next_number},
    diff,
    error::PlannerError,
    forecast,
    history::{HistoryStore, engine::Engine},
    load, output,
    spread::Threads,
};
use cdn_types::{PlanNumber, plan::Plan};
use fill_core::{History, Inputs, Rules};

/// Plans from files, and writes or prints the outcome.
pub fn plan(args: &PlanArgs) -> Result<(), PlannerError> {
    let catalogue = load::catalogue(&args.catalog)?;
    let fleet = load::fleet(&args.fleet)?;
    let previous: Option<Plan> = match &args.previous {
        Some(file) => Some(load::json(file, "a plan as fill-planner writes it")?),
        None => None,
    };
    let history = match (&args.history, args.engine.engine()?) {
        (Some(dir), engine) => {
            let store = HistoryStore::new(dir).on(engine);
            crate::run::runtime()?.block_on(store.before(args.date))?
        }
        (None, Engine::Ballista(_)) => {
            return Err(PlannerError::Usage(
                "--engine ballista asks a history: give --history DIR instead of --demand".into(),
            ));
        }
        (None, Engine::Local) => {
            let mut rows = Vec::new();
            for file in &args.demand {
                rows.append(&mut load::demand(file)?);
            }
            History::before(args.date, &rows)
        }
    };
    let (policy, unheeded) = args.method.policy(args.date, &catalogue, &fleet)?;
    let chosen = forecast::choose(&args.method, None, &history, &catalogue, &fleet)?;
    let mut planned = fill_core::plan_spread(
        &Inputs {
            number: number(args, previous.as_ref()),
            seed: args.method.seed,
            history: &history,
            catalogue: &catalogue,
            fleet: &fleet,
            previous: previous.as_ref(),
            rules: Rules::default(),
            policy: &policy,
        },
        chosen.predictor.as_ref(),
        &Threads::available(),
    )?;
    planned
        .report
        .warnings
        .extend(unheeded.into_iter().chain(chosen.warnings));
    for warning in &planned.report.warnings {
        tracing::warn!("{warning}");
    }
    match &args.out {
        Some(dir) if !args.dry_run => println!("{}", output::write(dir, &planned)?.display()),
        _ => print!("{}", diff::render(&planned.report)),
    }
    Ok(())
}

fn number(args: &PlanArgs, previous: Option<&Plan>) -> PlanNumber {
    args.number.map_or_else(
        || {
            let written = args.out.as_deref().map(output::numbers).unwrap_or_default();
            next_number(written.into_iter().chain(previous.map(|p| p.number)))
        },
        PlanNumber,
    )
}
