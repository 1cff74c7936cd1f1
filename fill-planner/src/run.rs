//! `fill-planner run`: fetches what is known, plans, publishes; one pass, for cron. What it came to is told to monitoring however it
//! ended, but for a run that finds another one under way, which will tell itself.

use crate::{
    cli::{AccessArgs, RunArgs, next_number},
    control::{Control, ControlError},
    diff,
    error::PlannerError,
    forecast::{self, Chosen},
    history::HistoryStore,
    lock::{self, RunLock},
    output,
    spread::Threads,
    state::State,
    textfile::{self, Figures, ForecastFigures, Outcome},
};
use cdn_types::{
    Hour,
    api::v1::DemandRow,
    time::{Date, Timestamp},
};
use fill_core::{Given, History, Inputs, Rules, assemble::Planned, history::MAX_DAYS, promise::promise};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Hours of demand asked for at once: a week.
const HOURS_AT_ONCE: usize = 7 * 24;
/// Days that an appliance may be late to tell of: it keeps its counts for two days.
const LATE_DAYS: i64 = 3;
/// How an operator comes by a token.
const MAKE_TOKEN: &str = "`nightfill token planner --name cron` makes one";

/// Runs once, under the lock and the deadline.
pub fn run(args: RunArgs) -> Result<(), PlannerError> {
    let (started, textfile) = (Instant::now(), args.textfile.clone());
    let (result, plan) = match run_once(args) {
        Ok(figures) => (Ok(()), Some(figures)),
        Err(PlannerError::Locked(file)) => return Err(PlannerError::Locked(file)),
        Err(error) => (Err(error), None),
    };
    let Some(file) = textfile else { return result };
    let outcome = Outcome {
        ended: Timestamp::now().as_second(),
        took: started.elapsed(),
        code: result.as_ref().err().map_or(0, PlannerError::exit_code),
        plan,
    };
    let told = textfile::write(&file, &outcome).map_err(PlannerError::from);
    result.and(told) // what went wrong first is what is to be mended
}

fn run_once(args: RunArgs) -> Result<Figures, PlannerError> {
    let token = token(&args.access, args.dry_run)?;
    let file = args
        .lock
        .clone()
        .unwrap_or_else(|| lock::default_file(&args.access.control));
    let _lock = RunLock::take(&file)?;
    let control = Control::new(&args.access.control, token).map_err(PlannerError::Usage)?;
    let runtime = runtime()?;
    let (deadline, now) = (args.deadline, Timestamp::now());
    let outcome = runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(deadline), night(&control, args, now)).await
    });
    // A plan still being computed must not hold up the exit.
    runtime.shutdown_background();
    outcome.map_err(|_| PlannerError::Deadline(deadline))?
}

/// What calls to the control plane run on.
pub fn runtime() -> Result<tokio::runtime::Runtime, PlannerError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| PlannerError::Internal(format!("cannot start the runtime: {e}")))
}

/// The caller's token; a run that only looks needs none.
pub fn token(args: &AccessArgs, dry_run: bool) -> Result<Option<String>, PlannerError> {
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
        None if !dry_run => Err(PlannerError::Usage(format!(
            "publishing a plan needs a token: give --token-file FILE, or --dry-run. {MAKE_TOKEN}"
        ))),
        token => Ok(token),
    }
}

async fn night(control: &Control, args: RunArgs, now: Timestamp) -> Result<Figures, PlannerError> {
    let today = Hour::of(now).date();
    let date = args.date.date(today);
    let (planned, basis, from) = fetch_and_plan(control, &args, date, now).await?;
    let figures = figures(&planned, &basis, from);
    for warning in &planned.report.warnings {
        tracing::warn!("{warning}");
    }
    if args.dry_run {
        print!("{}", diff::render(&planned.report));
        return Ok(figures);
    }
    if let (Some(dir), Basis::Fresh(forecast, history)) = (&args.state, &basis) {
        State::new(dir).keep(history, forecast)?;
    }
    if let Some(dir) = &args.out {
        output::write(dir, &planned)?;
    }
    control.publish(&planned.plan).await?;
    if let Err(error) = control.note(planned.plan.number, "report", &planned.report).await {
        tracing::warn!("the plan is published, its reasons are not: {error}"); // appliances need the plan alone
    }
    if args.activate {
        control.activate(planned.plan.number).await?;
    }
    println!("{}", summary(&planned, args.activate));
    Ok(figures)
}

/// What a plan is made of.
enum Basis {
    /// Demand that came in time; the forecast made of it is worth keeping.
    Fresh(Given, History),
    /// Nothing recent: a kept forecast, or what there is.
    Stale { kept: bool, age: Option<u32> },
}

/// The forecast of the night, and what it rests on.
fn forecast(args: &RunArgs, chosen: &Chosen, history: History) -> Result<(Given, Basis), PlannerError> {
    let predictor = chosen.predictor.as_ref();
    let made = Given {
        name: predictor.name().to_owned(),
        forecast: predictor.predict(&history),
        basis: predictor.basis(),
    };
    if !history.is_stale() {
        return Ok((made.clone(), Basis::Fresh(made, history)));
    }
    let age = history.days().first().map(|_| history.age(0));
    let kept = match &args.state {
        Some(dir) => State::new(dir).last()?,
        None => None,
    };
    let basis = Basis::Stale {
        kept: kept.is_some(),
        age,
    };
    Ok((kept.unwrap_or(made), basis))
}

async fn fetch_and_plan(
    control: &Control,
    args: &RunArgs,
    date: Date,
    now: Timestamp,
) -> Result<(Planned, Basis, ForecastFigures), PlannerError> {
    // The hour that runs is not known whole yet.
    let to = Hour::start_of(date).min(Hour::of(now));
    let (catalogue, fleet, plans) = tokio::try_join!(control.catalogue(), control.fleet(), control.plans())?;
    let rows = match &args.state {
        Some(dir) => kept_demand(control, &State::new(dir).history(), date, to).await?,
        None => demand(control, Hour(to.0 - 24 * MAX_DAYS as i64), to).await?,
    };
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
    let args = args.clone();
    let work = move || {
        let history = History::before(date, &rows);
        let state = args.state.as_deref().map(State::new);
        let (policy, unheeded) = args.method.policy(date, &catalogue, &fleet)?;
        let mut chosen = forecast::choose(&args.method, state.as_ref(), &history, &catalogue, &fleet)?;
        tracing::info!("the forecast is the {}", chosen.predictor.name());
        let (forecast, basis) = forecast(&args, &chosen, history.clone())?;
        let inputs = Inputs {
            number,
            seed: args.method.seed,
            history: &history,
            catalogue: &catalogue,
            fleet: &fleet,
            previous: previous.as_ref(),
            rules: Rules::default(),
            policy: &policy,
        };
        let mut planned = fill_core::plan_spread(&inputs, &forecast, &Threads::available())?;
        planned
            .report
            .warnings
            .extend(unheeded.into_iter().chain(std::mem::take(&mut chosen.warnings)));
        if let Basis::Fresh(..) = basis {
            let expected = planned.report.hit_share();
            planned.report.promise = promise(&inputs, chosen.for_the_past(), &rows, expected)?;
        }
        if let Basis::Stale { kept: true, .. } = basis {
            let warning = format!("no fresh demand came; the forecast is {}", forecast.name);
            planned.report.warnings.push(warning);
        }
        Ok((planned, basis, chosen.figures))
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| PlannerError::Internal(format!("planning died: {e}")))?
}

fn figures(planned: &Planned, basis: &Basis, forecast: ForecastFigures) -> Figures {
    let sites = &planned.report.sites;
    let (kept_forecast, demand_age_days) = match basis {
        Basis::Fresh(_, history) => (false, Some(history.age(0))),
        Basis::Stale { kept, age } => (*kept, *age),
    };
    Figures {
        number: planned.plan.number.0,
        fill_bytes: sites.iter().flat_map(|s| &s.appliances).map(|a| a.added.0).sum(),
        expected_bytes: sites.iter().map(|s| s.expected.0).sum(),
        expected_hit_bytes: sites
            .iter()
            .map(|s| s.expected.0 as f64 * s.hit_share.unwrap_or(0.0))
            .sum(),
        warnings: planned.report.warnings.len(),
        demand_age_days,
        kept_forecast,
        forecast,
    }
}

/// Demand from the history that runs share, brought up to date: days that it lacks are asked for, and the newest ones again, because
/// appliances that were cut off tell of them late.
async fn kept_demand(
    control: &Control,
    history: &HistoryStore,
    date: Date,
    to: Hour,
) -> Result<Vec<DemandRow>, PlannerError> {
    let known = history.days()?;
    let oldest = Hour::start_of(to.date()).0 - 24 * MAX_DAYS as i64;
    let settled = |start: i64| start + 24 * LATE_DAYS < to.0 && known.contains(&Hour(start).date());
    // A day without any demand leaves no trace, and is asked for again.
    let first = (oldest..to.0)
        .step_by(24)
        .find(|start| !settled(*start) && known_before(&known, *start));
    let first = first.unwrap_or(oldest);
    let rows = demand(control, Hour(first), to).await?;
    tracing::info!(rows = rows.len(), from = %Hour(first), "demand fetched");
    history.add(&rows)?;
    Ok(history.rows(date).await?)
}

/// Whether anything before this hour is known: what lies before the first known day is asked for only once.
fn known_before(known: &BTreeSet<Date>, start: i64) -> bool {
    known
        .first()
        .is_some_and(|first| Hour::start_of(*first).0 <= start)
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
