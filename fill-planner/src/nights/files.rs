//! A service's past from files: catalogue, demand, and, where they are known, titles' facts and the launch calendar. The
//! formats are described in docs/formats/planner.md.

use crate::{
    cli::NightsArgs,
    error::PlannerError,
    load::{self, LoadError},
    rows::RowsError,
};
use cdn_types::{Hour, ObjectDigest, RegionId, TitleId, api::v1::Catalogue, time::Date};
use fill_core::evaluate::panel::{Cube, HOURS, KNOWN_UNTIL, Kind, Panel, SERVICE_FROM, Spread, TitleFacts};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// One row of the titles' facts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TitleRow {
    title: TitleId,
    kind: RowKind,
    franchise: u32,
    season: u16,
    episode: u16,
    runtime_min: u16,
    original: bool,
    global: bool,
    home: Option<RegionId>,
    #[serde(rename = "release")]
    _release: Option<Date>,
    #[serde(rename = "bytes")]
    _bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RowKind {
    Film,
    Season,
    Episode,
}

/// One row of the launch calendar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaunchRow {
    title: TitleId,
    region: RegionId,
    instant: Hour,
    expected: f64,
}

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
    let mut titles = titles(&catalogue, &regions);
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
    if let Some(file) = &args.titles {
        describe(file, &index, &region_index, &mut titles)?;
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
    if let Some(file) = &args.launches {
        for row in rows::<LaunchRow>(file)? {
            if let (Some(t), Some(region)) = (index.get(&row.title), region_index.get(&row.region)) {
                titles[*t].shown[*region] = Some(day_of(row.instant) - begin);
                titles[*t].expected = row.expected.max(0.0);
            }
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
    })
}

/// Day of release of what was drawn from the first known day on.
const UNKNOWN_AGE: i64 = -365;
/// A request is a piece of a session: a session draws this much at least.
const SESSION_BYTES: f64 = 1e9;

fn titles(catalogue: &Catalogue, regions: &[RegionId]) -> Vec<TitleFacts> {
    let mut sizes: BTreeMap<&TitleId, u64> = BTreeMap::new();
    for object in &catalogue.objects {
        *sizes.entry(&object.title).or_default() += object.size.0;
    }
    let title = |(i, (id, size)): (usize, (&TitleId, u64))| TitleFacts {
        id: id.clone(),
        size: size.max(1),
        kind: Kind::Film,
        franchise: i as u32,
        season: 0,
        episode: 0,
        runtime: 0,
        original: false,
        global: true,
        home: None,
        shown: vec![None; regions.len()],
        expected: 0.0,
    };
    sizes.into_iter().enumerate().map(title).collect()
}

fn describe(
    file: &Path,
    index: &BTreeMap<TitleId, usize>,
    regions: &BTreeMap<&RegionId, usize>,
    titles: &mut [TitleFacts],
) -> Result<(), LoadError> {
    for row in rows::<TitleRow>(file)? {
        let Some(t) = index.get(&row.title) else { continue };
        let title = &mut titles[*t];
        title.kind = match row.kind {
            RowKind::Film => Kind::Film,
            RowKind::Season => Kind::Season,
            RowKind::Episode => Kind::Episode,
        };
        title.franchise = row.franchise;
        title.season = row.season;
        title.episode = row.episode;
        title.runtime = row.runtime_min;
        title.original = row.original;
        title.global = row.global;
        title.home = row.home.as_ref().and_then(|h| regions.get(h)).copied();
    }
    Ok(())
}

/// Rows of a CSV file with a header; lines that begin with `#` are comments.
fn rows<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, LoadError> {
    let wrong = |e: &csv::Error| RowsError::Row {
        file: file.to_owned(),
        place: format!("line {}", e.position().map_or(0, csv::Position::line)),
        problem: e.to_string(),
    };
    let open = std::fs::File::open(file).map_err(|source| LoadError::Read {
        file: file.to_owned(),
        source,
    })?;
    let mut csv = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(open);
    csv.deserialize()
        .map(|row| Ok(row.map_err(|e| wrong(&e))?))
        .collect()
}

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
