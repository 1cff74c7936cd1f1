//! What a case came to: figures of both servers a round, the figure that is judged, and its target. Kept as JSON, one file a
//! case, so that some cases can be run again and the table and the chart still show all.

use crate::machine::Machine;
use anyhow::Context;
use nightfill::table::Table;
use serde::{Deserialize, Serialize};
use std::{fmt, fs, path::Path};

/// Version of the JSON form.
const FORMAT: u32 = 1;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// Which way is better.
    pub better: Better,
    /// What must be reached.
    pub limit: f64,
    /// What we want.
    pub wanted: Option<f64>,
}

impl Target {
    pub(crate) const fn at_most(limit: f64) -> Self {
        Self {
            better: Better::Lower,
            limit,
            wanted: None,
        }
    }
    pub(crate) const fn at_least(limit: f64) -> Self {
        Self {
            better: Better::Higher,
            limit,
            wanted: None,
        }
    }
    pub(crate) const fn wanting(mut self, wanted: f64) -> Self {
        self.wanted = Some(wanted);
        self
    }
    fn is_hit(self, figure: f64) -> bool {
        match self.better {
            Better::Lower => figure <= self.limit,
            Better::Higher => figure >= self.limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.better {
            Better::Lower => '≤',
            Better::Higher => '≥',
        };
        write!(f, "{sign} {}", self.limit)?;
        match self.wanted {
            Some(wanted) => write!(f, " (want {wanted})"),
            None => Ok(()),
        }
    }
}

/// One server's figures, one a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// Whose, or what.
    pub name: String,
    /// The figures.
    pub values: Vec<f64>,
}

/// A figure of several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Self {
        let count = values.len().max(1) as f64;
        Self {
            mean: values.iter().sum::<f64>() / count,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// One judged figure with all that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub format: u32,
    pub case: String,
    pub title: String,
    /// What the series are in.
    pub unit: String,
    /// What is judged, for people.
    pub judged_as: String,
    pub judged: Spread,
    pub target: Target,
    pub hit: bool,
    pub series: Vec<Series>,
    pub notes: Vec<String>,
    pub seconds: u64,
    pub machine: Machine,
}

impl CaseResult {
    /// A case of which `judged` is what counts.
    pub(crate) fn new(case: &str, title: &str, unit: &str, judged: &[f64], target: Target) -> Self {
        let judged = Spread::of(judged);
        Self {
            format: FORMAT,
            case: case.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            judged_as: "ours / nginx".to_owned(),
            hit: target.is_hit(judged.mean),
            judged,
            target,
            series: vec![],
            notes: vec![],
            seconds: 0,
            machine: Machine::default(),
        }
    }

    /// With another name for what is judged.
    pub(crate) fn judged_as(mut self, what: &str) -> Self {
        what.clone_into(&mut self.judged_as);
        self
    }

    /// With the figures of one more server.
    pub(crate) fn with(mut self, name: &str, values: &[f64]) -> Self {
        self.series.push(Series {
            name: name.to_owned(),
            values: values.to_vec(),
        });
        self
    }

    /// With a remark.
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Writes it into a folder.
    pub(crate) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let file = dir.join(format!("{}.json", self.case));
        let write = || {
            fs::create_dir_all(dir)?;
            fs::write(&file, serde_json::to_string_pretty(self)? + "\n")
        };
        write().with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for CaseResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: {} [{}]", self.case, self.title, self.unit)?;
        for series in &self.series {
            let values: Vec<_> = series.values.iter().map(|v| short(*v)).collect();
            writeln!(f, "  {:24} {}", series.name, values.join("  "))?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        let Spread { mean, min, max } = self.judged;
        let verdict = if self.hit { "hit" } else { "MISSED" };
        writeln!(
            f,
            "  {}: {} ({} to {}), target {}: {verdict}",
            self.judged_as,
            short(mean),
            short(min),
            short(max),
            self.target
        )
    }
}

/// Three significant digits or so.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Every result in a folder, in the order of the cases.
pub(crate) fn read_all(dir: &Path) -> anyhow::Result<Vec<CaseResult>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let text = fs::read_to_string(&path)?;
            let result: CaseResult =
                serde_json::from_str(&text).with_context(|| format!("{} is no result", path.display()))?;
            all.push(result);
        }
    }
    let order = |r: &CaseResult| crate::cases::CASES.iter().position(|c| r.case == c.name);
    all.sort_by(|a, b| (order(a), &a.case).cmp(&(order(b), &b.case)));
    Ok(all)
}

/// All of them for people.
pub(crate) fn table(all: &[CaseResult]) -> String {
    let mut table = Table::new([
        "case", "figure", ">mean", ">min", ">max", "target", "", "date", "commit",
    ]);
    for r in all {
        table.row([
            r.case.clone(),
            r.judged_as.clone(),
            short(r.judged.mean),
            short(r.judged.min),
            short(r.judged.max),
            r.target.to_string(),
            if r.hit { "hit" } else { "missed" }.to_owned(),
            r.machine.date.clone(),
            r.machine.commit.clone(),
        ]);
    }
    format!("\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_judged_by_their_mean_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let result = CaseResult::new(
            "tls-4m",
            "TLS",
            "CPU s/GB",
            &[0.4, 0.48],
            Target::at_most(0.45).wanting(0.38),
        )
        .with("ours", &[0.4, 0.48])
        .note("a note");
        assert!(result.hit && result.judged.max == 0.48);
        assert!(!CaseResult::new("x", "", "", &[1.2], Target::at_least(1.3)).hit);
        result.write(dir.path()).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), std::slice::from_ref(&result));
        let text = table(&[result]);
        assert!(text.contains("≤ 0.45 (want 0.38)"), "{text}");
    }
}
