//! A service's past from files: catalogue, demand, and, where they are known, titles' facts and the launch calendar. The
//! formats are described in docs/formats/planner.md.

use crate::{
    cli::NightsArgs,
    error::PlannerError,
    load::{self, LoadError},
};
use cdn_types::{Hour, ObjectDigest, RegionId, TitleId};
use fill_core::{
    evaluate::panel::{Cube, HOURS, KNOWN_UNTIL, LEAD, Panel, SERVICE_FROM, SETTLED, Spread},
    service,
};
use std::collections::{BTreeMap, BTreeSet};

/// Reads a panel.
pub fn panel(args: &NightsArgs) -> Result<Panel, PlannerError> {
    let catalogue = load::catalogue(&args.catalog)?;
    let mut demand = Vec::new();
    for file in &args.demand {
        demand.extend(load::demand(file)?);
    }
    let (Some(first), Some(last)) = (
        demand.iter().map(|r| r.hour).min(),
        demand.iter().map(|r| r.hour).max(),
    ) else {
        return Err(PlannerError::Usage(
            "--demand holds no row; give the history to replay".into(),
        ));
    };
    let regions: Vec<RegionId> = demand
        .iter()
        .map(|r| &r.region)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .cloned()
        .collect();
    let mut titles = service::titles(&catalogue);
    let index: BTreeMap<TitleId, usize> = titles
        .iter()
        .enumerate()
        .map(|(i, t)| (t.id.clone(), i))
        .collect();
    // Whole service days only.
    let day_of = |hour: Hour| (hour.0 - SERVICE_FROM as i64).div_euclid(24);
    let begin = day_of(Hour(first.0 + 23));
    let days = (day_of(Hour(last.0 + 1)) - begin).max(0) as usize;
    let region_index: BTreeMap<&RegionId, usize> = regions.iter().zip(0..).collect();
    titles
        .iter_mut()
        .for_each(|t| t.shown = vec![None; regions.len()]);
    for facts in args.service.titles()? {
        if let Some(t) = index.get(&facts.title) {
            facts.describe(&mut titles[*t]);
            titles[*t].home = facts.home.as_ref().and_then(|h| region_index.get(h)).copied();
        }
    }
    let mut of_object: BTreeMap<ObjectDigest, usize> = BTreeMap::new();
    for object in &catalogue.objects {
        if let Some(t) = index.get(&object.title) {
            of_object.insert(object.digest, *t);
        }
    }
    let size = (days, regions.len(), titles.len());
    let mut served = Cube::new(size.0, size.1, size.2);
    let mut known = Cube::new(size.0, size.1, size.2);
    let mut hours = Cube::new(size.0 * HOURS, size.1, size.2);
    let (mut bytes, mut requests) = (0.0, 0.0);
    let mut seen: BTreeMap<(usize, usize), i64> = BTreeMap::new();
    for row in &demand {
        let Some(t) = of_object.get(&row.object).copied() else {
            continue;
        };
        let region = region_index[&row.region];
        let drawn = row.bytes.0 as f32;
        let (day, hour) = (
            day_of(row.hour) - begin,
            (row.hour.0 - SERVICE_FROM as i64).rem_euclid(24),
        );
        if let Some(day) = usize::try_from(day).ok().filter(|d| *d < days) {
            served.of_mut(day, region)[t] += drawn;
            hours.of_mut(day * HOURS + hour as usize, region)[t] += drawn;
        }
        // Hours before the evening's cut are known with that evening, later ones with the next.
        let evening = day + i64::from(hour >= (KNOWN_UNTIL - SERVICE_FROM) as i64);
        if let Some(evening) = usize::try_from(evening).ok().filter(|d| *d < days) {
            known.of_mut(evening, region)[t] += drawn;
        }
        let at = seen.entry((t, region)).or_insert(day);
        *at = (*at).min(day);
        bytes += row.bytes.0 as f64;
        requests += row.requests as f64;
    }
    // What no calendar tells is as old as its first draw; what was drawn on the first day may be of any age.
    for ((t, region), day) in seen {
        titles[t].shown[region] = Some(if day <= 0 { UNKNOWN_AGE } else { day });
    }
    for launch in args.service.launches()? {
        if let (Some(t), Some(region)) = (index.get(&launch.title), region_index.get(&launch.region)) {
            titles[*t].shown[*region] = Some(day_of(launch.instant) - begin);
            titles[*t].expected = launch.expected.max(0.0);
        }
    }
    let first_day = Hour(begin * 24).date();
    let session: f64 = bytes / f64::max(requests, 1.0);
    Ok(Panel {
        first: first_day,
        neighbours: (0..regions.len())
            .map(|r| (0..regions.len()).filter(|o| *o != r).collect())
            .collect(),
        objects: titles
            .iter()
            .map(|t| ObjectDigest::of(t.id.as_str().as_bytes()))
            .collect(),
        regions,
        titles,
        served,
        known,
        rates: None,
        spread: Spread::Measured(hours),
        session: session.max(SESSION_BYTES),
        lead: LEAD,
        settled: SETTLED,
    })
}

/// Day of release of what was drawn from the first known day on.
const UNKNOWN_AGE: i64 = -365;
/// A request is a piece of a session: a session draws this much at least.
const SESSION_BYTES: f64 = 1e9;

/// Whether a demand file says of itself that it is simulated.
fn simulated(args: &NightsArgs) -> Result<bool, LoadError> {
    use std::io::{BufRead, BufReader};
    for file in &args.demand {
        let wrong = |source| LoadError::Read {
            file: file.clone(),
            source,
        };
        let mut line = String::new();
        BufReader::new(std::fs::File::open(file).map_err(wrong)?)
            .read_line(&mut line)
            .map_err(wrong)?;
        if line.starts_with("# SIMULATED") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Replays what the files hold, and writes and prints the report.
pub fn run(args: &NightsArgs) -> Result<(), PlannerError> {
    let panel = panel(args)?;
    let setup = args.setup();
    let outcome = super::evaluate(&panel, 0, &setup)?.ok_or_else(|| {
        PlannerError::Usage(format!(
            "{} whole days of demand are too few for {} nights and {} days of past; give more demand or fewer --nights",
            panel.served.days(),
            setup.nights + setup.settle,
            super::MIN_PAST
        ))
    })?;
    let subject = format!(
        "{} titles in {} regions, {} days, the last {} nights judged",
        panel.titles.len(),
        panel.regions.len(),
        panel.served.days(),
        setup.nights
    );
    let report = super::report::report(subject, simulated(args)?, &setup, vec![(0, outcome)]);
    print!("{}", super::report::text(&report));
    match &args.out {
        Some(dir) => Ok(super::write(dir, &report)?),
        None => Ok(()),
    }
}
