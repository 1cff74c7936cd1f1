//! `fill-planner review`: sets a plan against its day, once that is over, and leaves the outcome with the control plane.

use crate::{cli::ReviewArgs, control::Control, error::PlannerError, load, run};
use cdn_types::{
    Hour, PlanNumber,
    api::v1::DemandRow,
    time::{Date, Timestamp},
};
use fill_core::{PlanReport, promise::Review};
use std::collections::BTreeMap;

/// Reviews one plan.
pub fn review(args: &ReviewArgs) -> Result<(), PlannerError> {
    let token = run::token(&args.access, args.dry_run)?;
    let control = Control::new(&args.access.control, token).map_err(PlannerError::Usage)?;
    let runtime = run::runtime()?;
    let review = runtime.block_on(look(&control, args))?;
    println!("{}", said(&review));
    if !args.dry_run {
        runtime.block_on(control.note(review.number, "review", &review))?;
    }
    Ok(())
}

async fn look(control: &Control, args: &ReviewArgs) -> Result<Review, PlannerError> {
    let plans = control.plans().await?;
    let today = Hour::of(Timestamp::now()).date();
    let over = |date: Date| date < today || !args.demand.is_empty();
    let number = match args.plan {
        Some(number) => PlanNumber(number),
        None => {
            let done = plans.iter().filter(|p| over(p.date)).map(|p| p.number);
            done.max().ok_or_else(|| {
                PlannerError::Usage("no plan's day is over yet; name one with --plan N".into())
            })?
        }
    };
    let plan = control.plan(number).await?;
    let (catalogue, fleet) = tokio::try_join!(control.catalogue(), control.fleet())?;
    let titles: BTreeMap<_, _> = catalogue
        .objects
        .into_iter()
        .map(|o| (o.digest, o.title))
        .collect();
    let rows = demand(control, args, plan.date).await?;
    // A plan whose report never came has promised nothing.
    let report: Option<PlanReport> = control.noted(number, "report").await?;
    let promise = report.and_then(|r| r.promise);
    let review = fill_core::promise::review(&plan, &fleet, &titles, promise, &rows)?;
    Ok(Review {
        replayed: !args.demand.is_empty(),
        ..review
    })
}

async fn demand(control: &Control, args: &ReviewArgs, date: Date) -> Result<Vec<DemandRow>, PlannerError> {
    if args.demand.is_empty() {
        let start = Hour::start_of(date);
        return Ok(control.demand(start, Hour(start.0 + 24)).await?);
    }
    let mut rows = Vec::new();
    for file in &args.demand {
        rows.append(&mut load::demand(file)?);
    }
    Ok(rows)
}

/// For people, in one line.
fn said(review: &Review) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let Some(share) = review.hit_share() else {
        return format!("plan {} for {}: nobody drew anything", review.number, review.date);
    };
    let promised = review.promise.map_or("nothing was promised".to_owned(), |p| {
        let word = if review.kept == Some(true) {
            "as promised"
        } else {
            "NOT as promised"
        };
        let range = format!("{} to {}", percent(p.low), percent(p.high));
        format!("{word}: {}, {range} in nine days of ten", percent(p.hit_share))
    });
    format!(
        "plan {} for {}: {} of the bytes were at the viewers' own sites; {promised}",
        review.number,
        review.date,
        percent(share)
    )
}
