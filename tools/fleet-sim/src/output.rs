//! Reading and writing of files and tables. Everything written says that it is simulated.

use crate::nights::{Night, Outcome};
use anyhow::{Context, bail};
use cdn_types::{
    Bytes,
    api::v1::{Catalogue, DemandRow},
};
use std::{
    fmt::Write as _,
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

/// Reads a catalogue.
pub fn read_catalogue(file: &Path) -> anyhow::Result<Catalogue> {
    let text = std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{}: not a catalogue", file.display()))
}

/// Writes demand as CSV or JSON, by the file's ending.
pub fn write_history(file: &Path, rows: &[DemandRow], seed: u64) -> anyhow::Result<()> {
    let ending = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if !["csv", "json"].contains(&ending) {
        bail!("--out {} must end in .csv or .json", file.display());
    }
    let cannot = || format!("cannot write {}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(cannot)?);
    match ending {
        "json" => serde_json::to_writer(&mut out, rows).with_context(cannot)?,
        _ => write_csv(&mut out, rows, seed).with_context(cannot)?,
    }
    out.flush().with_context(cannot)
}

fn write_csv(out: &mut impl Write, rows: &[DemandRow], seed: u64) -> std::io::Result<()> {
    writeln!(
        out,
        "# SIMULATED demand, nothing was measured: fleet-sim history --seed {seed}"
    )?;
    writeln!(out, "hour,region,object,requests,bytes")?;
    for row in rows {
        writeln!(
            out,
            "{},{},{},{},{}",
            row.hour, row.region, row.object, row.requests, row.bytes.0
        )?;
    }
    Ok(())
}

/// The outcome as JSON; `simulated` is always true.
pub fn nights_json(outcome: &Outcome) -> anyhow::Result<String> {
    serde_json::to_string_pretty(outcome).context("the outcome is not JSON")
}

/// The outcome as a table.
pub fn nights_table(outcome: &Outcome) -> String {
    let s = &outcome.setup;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "SIMULATED: {} titles, {} appliances, {} regions, storage {:.0} % of the catalogue a site, fill {:.1} % a night, seed {}",
        s.titles,
        s.appliances,
        s.regions,
        100.0 * s.storage,
        100.0 * s.fill,
        s.seed
    );
    let _ = writeln!(
        out,
        "Share of bytes served by the viewer's own site, and bytes filled the night before.\n"
    );
    let _ = writeln!(
        out,
        "{:<12}{:>10}{:>10}{:>9}{:>9}{:>9}{:>12}{:>9}{:>12}",
        "day", "demand", "forecast", "oracle", "LRU", "blind", "filled", "churn", "oracle fill"
    );
    for night in &outcome.nights {
        line(&mut out, &night.date.to_string(), night);
    }
    line(&mut out, "all", &outcome.all);
    out
}

fn line(out: &mut String, name: &str, n: &Night) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let _ = writeln!(
        out,
        "{name:<12}{:>10}{:>10}{:>9}{:>9}{:>9}{:>12}{:>9}{:>12}",
        Bytes(n.demand).to_string(),
        percent(n.forecast.hit_share),
        percent(n.oracle.hit_share),
        percent(n.lru_hit_share),
        percent(n.blind.hit_share),
        Bytes(n.forecast.filled).to_string(),
        percent(n.forecast.churn),
        Bytes(n.oracle.filled).to_string(),
    );
}
