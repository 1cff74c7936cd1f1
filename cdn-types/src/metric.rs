//! How a program declares its metrics. Each has one table in its `src/metrics.rs`; `cargo xtask metrics` writes
//! docs/metrics.md from those tables and `cargo xtask tidy` proves that it is up to date.

/// One metric as exported on `/metrics` (Prometheus text format).
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Full name, with unit suffix.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Unit of its value: `bytes`, `seconds`, `requests`, …
    pub unit: &'static str,
    /// Label names; empty if none.
    pub labels: &'static [&'static str],
    /// Whether dashboards may rely on it.
    pub stability: Stability,
    /// What it counts or shows.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows within a run.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets of a distribution.
    Histogram,
}

/// Whether a metric's name and meaning are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// Kept over releases of the same major version.
    Stable,
    /// May change; for diagnosis.
    Experimental,
}
