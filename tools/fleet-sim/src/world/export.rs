//! A world as files: catalogue, titles, launch calendar, demand and fleet. Every text file begins with a comment that says that it
//! is SIMULATED; the JSON files name it in what they hold (titles are called `simulated-…`).

use super::{
    World,
    titles::{RENDITIONS, Title},
};
use crate::day_curve;
use anyhow::{Context, ensure};
use cdn_types::{
    BitsPerSecond, Bytes, FillWindow, Hour, ObjectDigest, OcaId, RegionId, SiteId, TitleId,
    api::v1::{ApplianceView, Capacity, Catalogue, CatalogueObject, FleetSnapshot, Site},
};
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Hour at which a service day begins.
const SERVICE_FROM: i64 = fill_core::evaluate::panel::SERVICE_FROM as i64;
/// Part of a title's bytes that each of [`RENDITIONS`] has; what is not there goes to the one before.
const DRAWN: [f64; RENDITIONS.len()] = [0.02, 0.08, 0.2, 0.45, 0.2, 0.05];
/// Bytes that a player asks for at once.
const REQUEST: u64 = 1 << 20;
/// A storage appliance.
const EGRESS: u64 = 100_000_000_000;

/// What is written.
#[derive(Debug, Clone, Copy)]
pub struct Export {
    /// Days of demand, the last ones.
    pub days: usize,
    /// Storage of a region's one appliance as a share of the catalogue.
    pub storage: f64,
    /// Bytes that it can fill in a night.
    pub fill: f64,
}

/// Writes catalogue.json, titles.csv, launches.csv, demand.csv and fleet.json.
pub fn export(world: &World, what: &Export, dir: &Path) -> anyhow::Result<()> {
    ensure!(what.days >= 1, "no day of demand");
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let write = |name: &str, content: &dyn Fn(&mut dyn Write) -> anyhow::Result<()>| {
        let file = dir.join(name);
        let cannot = || format!("cannot write {}", file.display());
        let mut out = BufWriter::new(File::create(&file).with_context(cannot)?);
        content(&mut out).with_context(cannot)?;
        out.flush().with_context(cannot)
    };
    let catalogue = catalogue(world)?;
    write("catalogue.json", &|out| {
        Ok(serde_json::to_writer(out, &catalogue)?)
    })?;
    write("fleet.json", &|out| {
        Ok(serde_json::to_writer(out, &fleet(world, what, &catalogue)?)?)
    })?;
    write("titles.csv", &|out| titles(world, out))?;
    write("launches.csv", &|out| launches(world, out))?;
    write("demand.csv", &|out| demand(world, what.days, out))
}

fn name(title: usize) -> String {
    format!("simulated-{title:05}")
}

fn region(region: usize) -> String {
    format!("region-{region}")
}

fn digest(title: usize, rendition: usize) -> ObjectDigest {
    ObjectDigest::of(format!("{}/{}", name(title), RENDITIONS[rendition].0).as_bytes())
}

fn catalogue(world: &World) -> anyhow::Result<Catalogue> {
    let mut objects = Vec::new();
    for (t, title) in world.titles.iter().enumerate() {
        for (r, size) in title.sizes.iter().enumerate().filter(|(_, s)| **s > 0) {
            let rendition = RENDITIONS[r].0;
            objects.push(CatalogueObject {
                digest: digest(t, r),
                size: Bytes(*size),
                title: TitleId::new(name(t))?,
                path: format!("/t/{}/v1/{rendition}.mp4", name(t)),
                media_type: if rendition == "audio" {
                    "audio/mp4"
                } else {
                    "video/mp4"
                }
                .into(),
                rendition: Some(rendition.into()),
            });
        }
    }
    Ok(Catalogue { objects })
}

fn simulated(out: &mut dyn Write, world: &World) -> std::io::Result<()> {
    writeln!(
        out,
        "# SIMULATED, nothing was measured: fleet-sim world --seed {}",
        world.setup.seed
    )
}

fn titles(world: &World, out: &mut dyn Write) -> anyhow::Result<()> {
    simulated(out, world)?;
    writeln!(
        out,
        "title,kind,franchise,season,episode,runtime_min,original,global,home,release,bytes"
    )?;
    for (t, title) in world.titles.iter().enumerate() {
        let kind = serde_json::to_value(title.kind)?;
        writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{}",
            name(t),
            kind.as_str().unwrap_or_default(),
            title.franchise,
            title.season,
            title.episode,
            title.runtime,
            title.original,
            title.global,
            region(title.home),
            world.setup.date(title.release),
            title.size()
        )?;
    }
    Ok(())
}

/// Every title's first hour in every region that may show it, from the catalogue's beginning on.
fn launches(world: &World, out: &mut dyn Write) -> anyhow::Result<()> {
    simulated(out, world)?;
    writeln!(out, "title,region,instant,expected")?;
    for (t, title) in world.titles.iter().enumerate() {
        for (r, day) in title.shown.iter().enumerate() {
            if let Some(day) = day {
                let hour = Hour(Hour::start_of(world.setup.date(*day)).0 + SERVICE_FROM);
                writeln!(out, "{},{},{hour},{:.6}", name(t), region(r), title.expected)?;
            }
        }
    }
    Ok(())
}

fn demand(world: &World, days: usize, out: &mut dyn Write) -> anyhow::Result<()> {
    simulated(out, world)?;
    writeln!(out, "hour,region,object,requests,bytes")?;
    let d = &world.demand;
    for day in d.days.saturating_sub(days)..d.days {
        let first = Hour::start_of(world.setup.date(day as i64)).0 + SERVICE_FROM;
        for r in 0..d.regions {
            for (t, bytes) in d.of(day, r).iter().enumerate().filter(|(_, b)| **b > 0.0) {
                title_rows((t, &world.titles[t]), f64::from(*bytes), first, r, out)?;
            }
        }
    }
    Ok(())
}

fn title_rows(
    (t, title): (usize, &Title),
    bytes: f64,
    first: i64,
    r: usize,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let hours = day_curve::hours(title.audience);
    let mut drawn = DRAWN;
    for rendition in (1..drawn.len()).rev().filter(|r| title.sizes[*r] == 0) {
        drawn[rendition - 1] += drawn[rendition];
        drawn[rendition] = 0.0;
    }
    for step in 0..24 {
        let hour = Hour(first + step);
        let share = hours[(SERVICE_FROM + step) as usize % 24];
        for (rendition, part) in drawn.iter().enumerate() {
            let bytes = (bytes * share * part).round() as u64;
            if bytes > 0 {
                let object = digest(t, rendition);
                writeln!(
                    out,
                    "{hour},{},{object},{},{bytes}",
                    region(r),
                    bytes.div_ceil(REQUEST)
                )?;
            }
        }
    }
    Ok(())
}

fn fleet(world: &World, what: &Export, catalogue: &Catalogue) -> anyhow::Result<FleetSnapshot> {
    let window = FillWindow::new("02:00", "14:00", "UTC")?;
    let storage = what.storage * world.titles.iter().map(|t| t.size() as f64).sum::<f64>();
    let capacity = Capacity {
        storage: Bytes(storage as u64),
        egress: BitsPerSecond(EGRESS),
        fill_rate: BitsPerSecond((what.fill * 8.0 / window.seconds() as f64) as u64),
    };
    let site = |r: usize| {
        Ok(Site {
            id: SiteId::new(format!("site-{r}"))?,
            region: RegionId::new(region(r))?,
            prefixes: vec![format!("10.{r}.0.0/16").parse()?],
            window: window.clone(),
        })
    };
    let appliance = |r: usize| {
        Ok(ApplianceView {
            profile: "storage".into(),
            ..ApplianceView::serving(
                OcaId::new(format!("oca-{r}"))?,
                SiteId::new(format!("site-{r}"))?,
                capacity,
            )
        })
    };
    let regions = 0..world.setup.regions;
    let sites: anyhow::Result<_> = regions.clone().map(site).collect();
    let appliances: anyhow::Result<_> = regions.map(appliance).collect();
    Ok(FleetSnapshot {
        objects: catalogue.objects.iter().map(|o| o.digest).collect(),
        ..FleetSnapshot::of(sites?, appliances?)
    })
}
