//! The report as data: what the JSON file holds and the page shows.

use super::{Outcome, Setup, methods};
use fill_core::evaluate::{
    replay::Cell,
    summary::{CellRuns, Table, table},
    survival::Survival,
};
use serde::{Deserialize, Serialize};

/// Version of the JSON.
pub const FORMAT: u32 = 1;

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Whether no figure was measured on real viewers.
    pub simulated: bool,
    /// What was replayed, for people.
    pub subject: String,
    /// How.
    pub setup: Setup,
    /// Histories (a simulation's seeds).
    pub histories: Vec<u64>,
    /// By cell.
    pub tables: Vec<Table>,
    /// Mean seconds by forecaster for all nights of a history.
    pub forecast_seconds: Vec<(String, f64)>,
    /// Mean seconds of a night of a method, oracles and scoring included.
    pub night_seconds: f64,
    /// Peak memory of the process in bytes, if the system tells.
    pub peak_memory: Option<u64>,
    /// Expected and drawn bytes of the first history, see [`Outcome::calibration`].
    pub calibration: Vec<(String, Vec<[f64; 2]>)>,
    /// Filled share of storage by night of the first history.
    pub churn: Vec<(String, Vec<f64>)>,
    /// Loss of one appliance, in the first history and cell.
    pub survival: Option<Survival>,
}

/// Makes a report of all histories.
pub fn report(subject: String, simulated: bool, setup: &Setup, outcomes: Vec<(u64, Outcome)>) -> Report {
    let methods = methods(setup);
    let histories: Vec<u64> = outcomes.iter().map(|(h, _)| *h).collect();
    let mut by_cell: Vec<(Cell, Vec<CellRuns>)> = setup.cells.iter().map(|c| (*c, Vec::new())).collect();
    let mut seconds: Vec<(String, f64)> = Vec::new();
    let (mut night_seconds, mut first) = (0.0, None);
    let count = outcomes.len().max(1) as f64;
    for (_, outcome) in outcomes {
        night_seconds += outcome.plan_seconds / count;
        for (name, s) in outcome.forecast_seconds {
            match seconds.iter_mut().find(|(n, _)| *n == name) {
                Some((_, sum)) => *sum += s / count,
                None => seconds.push((name, s / count)),
            }
        }
        for ((_, runs), cell) in by_cell.iter_mut().zip(outcome.cells) {
            runs.push(cell);
        }
        first.get_or_insert((outcome.calibration, outcome.churn, outcome.survival));
    }
    let (calibration, churn, survival) = first.unwrap_or_default();
    Report {
        format: FORMAT,
        simulated,
        subject,
        setup: setup.clone(),
        histories,
        tables: by_cell
            .iter()
            .filter_map(|(_, runs)| table(&methods, runs, 1))
            .collect(),
        forecast_seconds: seconds,
        night_seconds,
        peak_memory: peak_memory(),
        calibration,
        churn,
        survival,
    }
}

/// VmHWM of this process.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// The report's tables as text.
pub fn text(report: &Report) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let label = if report.simulated { "SIMULATED: " } else { "" };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{label}{}", report.subject);
    for table in &report.tables {
        let _ = writeln!(
            out,
            "\n{label}storage {:.0} % of the catalogue, fill {:.1} TB a night; best baseline: {}; {:.1} % of demand on titles in their first day, {:.1} % in their first three",
            100.0 * table.cell.storage,
            table.cell.fill / 1e12,
            table.best_baseline,
            100.0 * table.young_demand[0],
            100.0 * table.young_demand[1]
        );
        let _ = writeln!(
            out,
            "{:<46}{:>7}{:>7}{:>8}{:>16}{:>8}{:>7}{:>16}{:>9}{:>7}{:>8}{:>7}{:>7}{:>7}{:>7}",
            "method",
            "hit",
            "peak",
            "/O1",
            "95 %",
            "gap",
            "plain",
            "95 %",
            "fill TB",
            "x best",
            "earned",
            "day 1",
            "/O1",
            "p10",
            "p95"
        );
        for r in &table.rows {
            let range = |e: &Option<fill_core::evaluate::bootstrap::Estimate>| {
                e.map_or_else(String::new, |e| format!("{:.3}..{:.3}", e.low, e.high))
            };
            let value = |e: Option<f64>| e.map_or_else(|| "-".to_owned(), |v| format!("{v:.3}"));
            let _ = writeln!(
                out,
                "{:<46}{:>7.3}{:>7.3}{:>8}{:>16}{:>8}{:>7}{:>16}{:>9.3}{:>7.2}{:>8}{:>7.3}{:>7}{:>7.3}{:>7.1}",
                r.method,
                r.byte_hit.value,
                r.peak_hit,
                value(r.of_o1.map(|e| e.value)),
                range(&r.of_o1),
                value(r.gap_closed.map(|e| e.value)),
                value(r.gap_to_plain.map(|e| e.value)),
                range(&r.gap_to_plain),
                r.fill / 1e12,
                r.fill_of_best,
                value(r.earned),
                r.cold[0],
                value(r.cold_of_o1.map(|c| c[0])),
                r.p10_region,
                r.upstream_p95
            );
        }
    }
    out
}
