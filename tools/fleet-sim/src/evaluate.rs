//! Replays of synthetic services, one a seed, some at a time.

use crate::{
    panel::panel,
    world::{World, WorldSetup},
};
use anyhow::{Context, anyhow};
use fill_planner::nights::{
    self, Outcome, Setup,
    report::{Report, report},
};
use std::sync::Mutex;

/// Replays every set-up's world; `threads` at a time.
pub fn evaluate(worlds: &[WorldSetup], setup: &Setup, threads: usize) -> anyhow::Result<Report> {
    let (todo, done) = (Mutex::new(worlds.iter()), Mutex::new(Vec::new()));
    let work = || -> anyhow::Result<()> {
        loop {
            let next = todo.lock().map_err(|_| anyhow!("a replay died"))?.next();
            let Some(world) = next else { return Ok(()) };
            let outcome = one(world, setup)?;
            done.lock()
                .map_err(|_| anyhow!("a replay died"))?
                .push((world.seed, outcome));
            eprintln!("SIMULATED: seed {} is replayed", world.seed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| anyhow!("a replay died"))?)
    })?;
    let mut outcomes: Vec<(u64, Outcome)> = done.into_inner().map_err(|_| anyhow!("a replay died"))?;
    outcomes.sort_by_key(|(seed, _)| *seed);
    let first = worlds.first().context("no seed")?;
    let subject = format!(
        "{} seeds, {} regions, {} weeks of which the last {} nights are judged, {} sessions a day in a region of middle size",
        worlds.len(),
        first.regions,
        first.weeks,
        setup.nights,
        first.sessions
    );
    Ok(report(subject, true, setup, outcomes))
}

fn one(world: &WorldSetup, setup: &Setup) -> anyhow::Result<Outcome> {
    let panel = panel(&World::new(*world))?;
    nights::evaluate(&panel, world.seed, setup)?.with_context(|| {
        format!(
            "{} weeks are too few for {} nights and two weeks of past; give more --weeks or fewer --nights",
            world.weeks, setup.nights
        )
    })
}
