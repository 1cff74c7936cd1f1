//! When an appliance that fails viewers is taken out, and how it comes back: the numbers behind [`crate::circuit`].

use super::raw::{PolicyError, wrong};
use serde::Deserialize;

/// The numbers, checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CircuitPolicy {
    /// Whether appliances are taken out at all.
    pub enabled: bool,
    /// Share of failures that is ordinary, in thousandths.
    pub noise_permille: u32,
    /// Share of failures of an appliance that is not well; above the noise.
    pub failing_permille: u32,
    /// How much better the second share must explain what was seen than the first: the natural logarithm of the ratio.
    pub evidence: f64,
    /// Failures that one network of viewers (/24, /48) may tell of an appliance; half of what it has told is given back
    /// in a minute.
    pub network_failures: f64,
    /// Seconds out after the first time; doubles from time to time.
    pub back_off: f64,
    /// Most seconds out, and seconds of good conduct that halve the next time.
    pub longest_back_off: f64,
    /// Share of sessions that try it first after that, in thousandths.
    pub trial_permille: u32,
    /// Seconds that a trial takes before more try it, or all.
    pub trial: f64,
    /// If more than this share of a site's appliances looks bad at once, in thousandths, it is our view that is bad.
    pub distrust_permille: u32,
    /// An appliance whose report was older than this, in seconds, needs half the evidence.
    pub late_report: f64,
    /// Seconds between two probes of an appliance.
    pub probe: f64,
}

impl Default for CircuitPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            noise_permille: 50,
            failing_permille: 500,
            evidence: 20.0,
            network_failures: 4.0,
            back_off: 10.0,
            longest_back_off: 300.0,
            trial_permille: 50,
            trial: 10.0,
            distrust_permille: 500,
            late_report: 30.0,
            probe: 1.0,
        }
    }
}

/// `[circuit]`, as TOML has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "docs/formats/policy.md describes every key")]
pub struct RawCircuit {
    pub enabled: Option<bool>,
    pub noise_permille: Option<u32>,
    pub failing_permille: Option<u32>,
    pub evidence: Option<f64>,
    pub network_failures: Option<f64>,
    pub back_off_seconds: Option<f64>,
    pub longest_back_off_seconds: Option<f64>,
    pub trial_permille: Option<u32>,
    pub trial_seconds: Option<f64>,
    pub distrust_permille: Option<u32>,
    pub late_report_seconds: Option<f64>,
    pub probe_seconds: Option<f64>,
}

impl TryFrom<&RawCircuit> for CircuitPolicy {
    type Error = PolicyError;

    fn try_from(raw: &RawCircuit) -> Result<Self, PolicyError> {
        let shipped = Self::default();
        let made = Self {
            enabled: raw.enabled.unwrap_or(shipped.enabled),
            noise_permille: raw.noise_permille.unwrap_or(shipped.noise_permille),
            failing_permille: raw.failing_permille.unwrap_or(shipped.failing_permille),
            evidence: raw.evidence.unwrap_or(shipped.evidence),
            network_failures: raw.network_failures.unwrap_or(shipped.network_failures),
            back_off: raw.back_off_seconds.unwrap_or(shipped.back_off),
            longest_back_off: raw.longest_back_off_seconds.unwrap_or(shipped.longest_back_off),
            trial_permille: raw.trial_permille.unwrap_or(shipped.trial_permille),
            trial: raw.trial_seconds.unwrap_or(shipped.trial),
            distrust_permille: raw.distrust_permille.unwrap_or(shipped.distrust_permille),
            late_report: raw.late_report_seconds.unwrap_or(shipped.late_report),
            probe: raw.probe_seconds.unwrap_or(shipped.probe),
        };
        let seconds = "give seconds, 1 to 3600";
        let checks = [
            ("evidence", made.evidence, 3.0, 100.0, "give 3 to 100"),
            (
                "network_failures",
                made.network_failures,
                0.1,
                1000.0,
                "give 0.1 to 1000",
            ),
            ("back_off_seconds", made.back_off, 1.0, 3600.0, seconds),
            (
                "longest_back_off_seconds",
                made.longest_back_off,
                1.0,
                3600.0,
                seconds,
            ),
            ("trial_seconds", made.trial, 1.0, 3600.0, seconds),
            ("late_report_seconds", made.late_report, 1.0, 3600.0, seconds),
            ("probe_seconds", made.probe, 0.5, 60.0, "give seconds, 0.5 to 60"),
            (
                "noise_permille",
                made.noise_permille.into(),
                1.0,
                998.0,
                "give 1 to 998",
            ),
            (
                "failing_permille",
                made.failing_permille.into(),
                2.0,
                999.0,
                "give 2 to 999",
            ),
            (
                "trial_permille",
                made.trial_permille.into(),
                1.0,
                1000.0,
                "give 1 to 1000",
            ),
            (
                "distrust_permille",
                made.distrust_permille.into(),
                1.0,
                1000.0,
                "give 1 to 1000",
            ),
        ];
        for (name, value, least, most, mend) in checks {
            if !(least..=most).contains(&value) {
                return wrong(format!("circuit.{name}"), format!("is {value}"), mend);
            }
        }
        if made.noise_permille >= made.failing_permille {
            let problem = format!(
                "has noise {} and failing {}",
                made.noise_permille, made.failing_permille
            );
            return wrong(
                "circuit",
                problem,
                "noise_permille must be less than failing_permille",
            );
        }
        if made.back_off > made.longest_back_off {
            let problem = format!("is {}", made.longest_back_off);
            let mend = "give at least back_off_seconds";
            return wrong("circuit.longest_back_off_seconds", problem, mend);
        }
        Ok(made)
    }
}
