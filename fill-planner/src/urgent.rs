//! `fill-planner urgent`: the active plan and one title more, for a launch that nobody foresaw.

use crate::{
    cli::{UrgentArgs, next_number},
    control::Control,
    error::PlannerError,
    lock::{self, RunLock},
    output, run,
};
use fill_core::urgent::{Wanted, urgent as plan_urgently};

/// Plans, publishes and activates.
pub fn urgent(args: &UrgentArgs) -> Result<(), PlannerError> {
    let token = run::token(&args.access, args.dry_run)?;
    let _lock = RunLock::take(&lock::default_file(&args.access.control))?;
    let control = Control::new(&args.access.control, token).map_err(PlannerError::Usage)?;
    run::runtime()?.block_on(go(&control, args))
}

async fn go(control: &Control, args: &UrgentArgs) -> Result<(), PlannerError> {
    let (catalogue, fleet, plans) = tokio::try_join!(control.catalogue(), control.fleet(), control.plans())?;
    let active = plans.iter().find(|p| p.active).ok_or_else(|| {
        PlannerError::Usage("no plan is active: `fill-planner run --activate` makes the first one".into())
    })?;
    let active = control.plan(active.number).await?;
    let wanted = Wanted {
        title: args.title.clone(),
        regions: args.region.iter().cloned().collect(),
        expected: args.expected,
        number: next_number(plans.iter().map(|p| p.number)),
    };
    let urgent = plan_urgently(&active, &fleet, &catalogue, &wanted)?;
    for site in &urgent.report.sites {
        for appliance in &site.appliances {
            println!("{} (site {}):", appliance.appliance, site.site);
            for title in &appliance.titles {
                let name = title.title.as_ref().map_or("", |t| t.as_str());
                println!("  {} {name}: {}", title.action.as_str(), title.because);
            }
        }
        for out in &site.left_out {
            println!("site {}: not there: {}", site.site, out.reason.because());
        }
    }
    if args.dry_run {
        return Ok(());
    }
    control.publish(&urgent.plan).await?;
    if let Err(error) = control.note(urgent.plan.number, "report", &urgent.report).await {
        tracing::warn!("the plan is published, its reasons are not: {error}");
    }
    control.activate(urgent.plan.number).await?;
    if let Some(dir) = &args.out {
        let planned = fill_core::Planned {
            plan: urgent.plan,
            report: urgent.report,
        };
        output::write(dir, &planned)?;
    }
    Ok(())
}
