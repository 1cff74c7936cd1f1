//! `fill-planner run`: fetches what is known, plans, publishes; one pass, for cron.

use crate::{
    cli::{RunArgs, next_number},
    control::{Control, ControlError},
    diff,
    error::PlannerError,
    lock::{self, RunLock},
    output,
    spread::Threads,
};
use cdn_types::{
    Hour,
    api::v1::DemandRow,
    time::{Date, Timestamp},
};
use fill_core::{History, Inputs, Rules, assemble::Planned, history::MAX_DAYS};
use std::time::Duration;

/// Hours of demand asked for at once: a week.
const HOURS_AT_ONCE: usize = 7 * 24;
/// How an operator comes by a token.
const MAKE_TOKEN: &str = "`nightfill token planner --name cron` makes one";

/// Runs once, under the lock and the deadline.
pub fn run(args: RunArgs) -> Result<(), PlannerError> {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let token = token(&args)?;
    let file = args
        .lock
        .clone()
        .unwrap_or_else(|| lock::default_file(&args.control));
    let _lock = RunLock::take(&file)?;
    let control = Control::new(&args.control, token).map_err(PlannerError::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| PlannerError::Internal(format!("cannot start the runtime: {e}")))?;
    let (deadline, now) = (args.deadline, Timestamp::now());
    let outcome = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(deadline), night(&control, args, now)).await
    });
    // A plan still being computed must not hold up the exit.
    runtime.shutdown_background();
    outcome.map_err(|_| PlannerError::Deadline(deadline))?
}

fn token(args: &RunArgs) -> Result<Option<String>, PlannerError> {
    let (token, from) = match &args.token_file {
        None => (args.token.clone(), "--token or NIGHTFILL_TOKEN".to_owned()),
        Some(file) => {
            let from = format!("--token-file {}", file.display());
            let text = std::fs::read_to_string(file)
                .map_err(|e| PlannerError::Usage(format!("cannot read {from}: {e}. {MAKE_TOKEN}")))?;
            (Some(text), from)
        }
    };
    match token.map(|t| t.trim().to_owned()) {
        Some(token) if token.is_empty() => Err(PlannerError::Usage(format!("{from} is empty. {MAKE_TOKEN}"))),
        None if !args.dry_run => Err(PlannerError::Usage(format!(
            "publishing a plan needs a token: give --token-file FILE, or --dry-run. {MAKE_TOKEN}"
        ))),
        token => Ok(token),
    }
}

async fn night(control: &Control, args: RunArgs, now: Timestamp) -> Result<(), PlannerError> {
    let today = Hour::of(now).date();
    let date = args.date.date(today);
    let planned = fetch_and_plan(control, &args, date, now).await?;
    for warning in &planned.report.warnings {
        tracing::warn!("{warning}");
    }
    if args.dry_run {
        print!("{}", diff::render(&planned.report));
        return Ok(());
    }
    if let Some(dir) = &args.out {
        output::write(dir, &planned)?;
    }
    control.publish(&planned.plan).await?;
    if args.activate {
        control.activate(planned.plan.number).await?;
    }
    println!("{}", summary(&planned, args.activate));
    Ok(())
}

async fn fetch_and_plan(
    control: &Control,
    args: &RunArgs,
    date: Date,
    now: Timestamp,
) -> Result<Planned, PlannerError> {
    let policy = args.method.policy()?;
    // The hour that runs is not known whole yet.
    let to = Hour::start_of(date).min(Hour::of(now));
    let from = Hour(to.0 - 24 * MAX_DAYS as i64);
    let (catalogue, fleet, rows, plans) = tokio::try_join!(
        control.catalogue(),
        control.fleet(),
        demand(control, from, to),
        control.plans()
    )?;
    tracing::info!(
        objects = catalogue.objects.len(),
        appliances = fleet.appliances.len(),
        demand_rows = rows.len(),
        "planning {date}"
    );
    let previous = match plans.iter().map(|p| p.number).max() {
        Some(number) => Some(control.plan(number).await?),
        None => None,
    };
    let number = next_number(plans.iter().map(|p| p.number));
    let method = args.method.clone();
    let work = move || {
        fill_core::plan_spread(
            &Inputs {
                number,
                seed: method.seed,
                history: &History::before(date, &rows),
                catalogue: &catalogue,
                fleet: &fleet,
                previous: previous.as_ref(),
                rules: Rules::default(),
                policy: &policy,
            },
            method.method.predictor().as_ref(),
            &Threads::available(),
        )
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| PlannerError::Internal(format!("planning died: {e}")))?
        .map_err(PlannerError::from)
}

/// Demand of a span, asked for in pieces: an answer has a limit of rows.
async fn demand(control: &Control, from: Hour, to: Hour) -> Result<Vec<DemandRow>, ControlError> {
    let mut rows = Vec::new();
    for start in (from.0..to.0).step_by(HOURS_AT_ONCE) {
        let end = Hour((start + HOURS_AT_ONCE as i64).min(to.0));
        rows.append(&mut control.demand(Hour(start), end).await?);
    }
    Ok(rows)
}

/// The line that a run prints when it is done.
fn summary(planned: &Planned, activated: bool) -> serde_json::Value {
    let parts = &planned.plan.appliances;
    let reports = planned.report.sites.iter().flat_map(|s| &s.appliances);
    serde_json::json!({
        "plan": planned.plan.number,
        "date": planned.plan.date,
        "activated": activated,
        "appliances": parts.len(),
        "items": parts.iter().map(|p| p.items.len()).sum::<usize>(),
        "fill_bytes": reports.map(|a| a.added.0).sum::<u64>(),
        "gap": planned.report.optimum.gap,
        "warnings": planned.report.warnings,
    })
}
