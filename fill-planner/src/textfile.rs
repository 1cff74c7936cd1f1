//! What monitoring wants to know of a run, in the text format that node_exporter's textfile collector reads. The file is written
//! whole, also when the run failed, so that a planner that no longer succeeds is seen by its last success growing old.

use crate::output::{self, OutputError};
use std::{fmt::Write as _, path::Path, time::Duration};

/// Name of the metric that survives a failed run.
const SUCCESS: &str = "nightfill_planner_last_success_timestamp_seconds";

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When it ended, in seconds since 1970.
    pub ended: i64,
    /// How long it took.
    pub took: Duration,
    /// Its exit code.
    pub code: u8,
    /// What was planned, if anything.
    pub plan: Option<Figures>,
}

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Its number.
    pub number: u64,
    /// Bytes to fill.
    pub fill_bytes: u64,
    /// Bytes that viewers are expected to draw on the day.
    pub expected_bytes: u64,
    /// Bytes of them that their own sites can serve.
    pub expected_hit_bytes: f64,
    /// Warnings.
    pub warnings: usize,
    /// Age of the newest known demand in days; absent = none is known.
    pub demand_age_days: Option<u32>,
    /// Whether a kept forecast stood in for fresh demand.
    pub kept_forecast: bool,
}

/// Writes the file.
pub fn write(file: &Path, outcome: &Outcome) -> Result<(), OutputError> {
    let before = std::fs::read_to_string(file).unwrap_or_default();
    output::replace(file, render(outcome, &before).as_bytes())
}

/// The text; `before` is what the file held.
fn render(outcome: &Outcome, before: &str) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: f64| {
        // Writing to memory does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
    };
    gauge(
        "nightfill_planner_last_run_timestamp_seconds",
        "When the planner last ended.",
        outcome.ended as f64,
    );
    let kept = before
        .lines()
        .find_map(|l| l.strip_prefix(SUCCESS)?.trim().parse().ok());
    let success = if outcome.code == 0 {
        Some(outcome.ended as f64)
    } else {
        kept
    };
    if let Some(success) = success {
        gauge(SUCCESS, "When the planner last succeeded.", success);
    }
    gauge(
        "nightfill_planner_last_run_seconds",
        "How long its last run took.",
        outcome.took.as_secs_f64(),
    );
    gauge(
        "nightfill_planner_exit_code",
        "Exit code of its last run.",
        f64::from(outcome.code),
    );
    if let Some(plan) = &outcome.plan {
        for (name, help, value) in [
            ("plan_number", "Number of the newest plan.", plan.number as f64),
            (
                "fill_bytes",
                "Bytes that the plan has filled.",
                plan.fill_bytes as f64,
            ),
            (
                "expected_bytes",
                "Bytes that viewers are expected to draw on the plan's day.",
                plan.expected_bytes as f64,
            ),
            (
                "expected_hit_bytes",
                "Bytes of them that their own sites can serve.",
                plan.expected_hit_bytes,
            ),
            ("warnings", "Warnings of the plan.", plan.warnings as f64),
            (
                "kept_forecast",
                "1 if an older forecast stood in for fresh demand.",
                f64::from(u8::from(plan.kept_forecast)),
            ),
        ] {
            gauge(&format!("nightfill_planner_{name}"), help, value);
        }
        if let Some(age) = plan.demand_age_days {
            gauge(
                "nightfill_planner_demand_age_days",
                "Days from the newest known demand to the plan's day.",
                f64::from(age),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_run_leaves_the_last_success_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("planner.prom");
        let mut outcome = Outcome {
            ended: 1_700_000_000,
            took: Duration::from_millis(1500),
            code: 0,
            plan: Some(Figures {
                number: 7,
                fill_bytes: 10,
                expected_bytes: 100,
                expected_hit_bytes: 64.0,
                warnings: 1,
                demand_age_days: Some(1),
                kept_forecast: false,
            }),
        };
        write(&file, &outcome).unwrap();
        (outcome.ended, outcome.code, outcome.plan) = (1_700_086_400, 4, None);
        write(&file, &outcome).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        for line in [
            "nightfill_planner_last_success_timestamp_seconds 1700000000",
            "nightfill_planner_last_run_timestamp_seconds 1700086400",
            "nightfill_planner_exit_code 4",
            "nightfill_planner_last_run_seconds 1.5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(!text.contains("plan_number"));
        let wrong = write(&dir.path().join("no/file"), &outcome).unwrap_err();
        assert!(wrong.to_string().contains("no/file"));
    }
}
