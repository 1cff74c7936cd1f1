//! What monitoring wants to know of a run, in the text format that node_exporter's textfile collector reads. The file is written
//! whole, also when the run failed, so that a planner that no longer succeeds is seen by its last success growing old.

use crate::{
    metrics::{METRICS, SUCCESS},
    output::{self, OutputError},
};
use std::{fmt::Write as _, path::Path, time::Duration};

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
    /// Which forecast was used, and why.
    pub forecast: ForecastFigures,
}

/// Where the forecast comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ForecastFigures {
    /// Whether it is the learnt one.
    pub boosted: bool,
    /// Part of the last two weeks' bytes that stores would have served by the learnt forecast, and by the baseline.
    pub scores: Option<[f64; 2]>,
    /// Days since the newest demand that the model has learnt from.
    pub model_age_days: Option<i64>,
}

/// Writes the file.
pub fn write(file: &Path, outcome: &Outcome) -> Result<(), OutputError> {
    let before = std::fs::read_to_string(file).unwrap_or_default();
    output::replace(file, render(outcome, &before).as_bytes())
}

/// The text; `before` is what the file held.
fn render(outcome: &Outcome, before: &str) -> String {
    let kept = before
        .lines()
        .find_map(|l| l.strip_prefix(SUCCESS)?.trim().parse().ok());
    let success = if outcome.code == 0 {
        Some(outcome.ended as f64)
    } else {
        kept
    };
    let value = |name: &str| -> Option<f64> {
        match name {
            SUCCESS => success,
            "nightfill_planner_last_run_timestamp_seconds" => Some(outcome.ended as f64),
            "nightfill_planner_last_run_seconds" => Some(outcome.took.as_secs_f64()),
            "nightfill_planner_exit_code" => Some(f64::from(outcome.code)),
            _ => outcome
                .plan
                .as_ref()?
                .value(name.strip_prefix("nightfill_planner_")?),
        }
    };
    let mut out = String::new();
    for metric in METRICS {
        if let Some(value) = value(metric.name) {
            let (name, help) = (metric.name, metric.help);
            // Writing to memory does not fail.
            let _ = writeln!(out, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}");
        }
    }
    out
}

impl Figures {
    /// The value of a metric, by the end of its name.
    fn value(&self, name: &str) -> Option<f64> {
        let yes = |is: bool| f64::from(u8::from(is));
        let forecast = &self.forecast;
        match name {
            "plan_number" => Some(self.number as f64),
            "fill_bytes" => Some(self.fill_bytes as f64),
            "expected_bytes" => Some(self.expected_bytes as f64),
            "expected_hit_bytes" => Some(self.expected_hit_bytes),
            "warnings" => Some(self.warnings as f64),
            "kept_forecast" => Some(yes(self.kept_forecast)),
            "demand_age_days" => self.demand_age_days.map(f64::from),
            "forecast_boosted" => Some(yes(forecast.boosted)),
            "boosted_score" => forecast.scores.map(|s| s[0]),
            "baseline_score" => forecast.scores.map(|s| s[1]),
            "model_age_days" => forecast.model_age_days.map(|d| d as f64),
            _ => None,
        }
    }
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
                forecast: ForecastFigures {
                    boosted: true,
                    scores: Some([0.8, 0.75]),
                    model_age_days: Some(3),
                },
            }),
        };
        write(&file, &outcome).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        for metric in METRICS {
            assert!(
                text.contains(&format!("\n{} ", metric.name)),
                "{} in\n{text}",
                metric.name
            );
        }
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
