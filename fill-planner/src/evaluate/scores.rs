//! The table of an evaluation, for people and as JSON.

use fill_core::budget::Interval;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// All methods at all budgets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    /// What was evaluated.
    pub evaluation: &'static str,
    /// Periods that were learnt from, and those that judge.
    pub trained: [String; 2],
    /// First and last period that judges.
    pub tested: [String; 2],
    /// The seed of models and intervals.
    pub seed: u64,
    /// What the columns are.
    pub budget: &'static str,
    /// The budgets.
    pub budgets: Vec<f64>,
    /// What the oracle serves of all demand, by budget.
    pub oracle: Vec<Interval>,
    /// The methods.
    pub methods: Vec<ScoresRow>,
    /// Further figures by name.
    pub figures: BTreeMap<String, f64>,
}

/// One method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoresRow {
    /// Its name.
    pub method: &'static str,
    /// What it serves of what the oracle serves, by budget.
    pub ratio: Vec<Interval>,
}

impl Scores {
    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let [from, to] = &self.trained;
        let [first, last] = &self.tested;
        let mut text = format!(
            "{}: trained {from} to {to}, judged {first} to {last}; ",
            self.evaluation
        );
        let _ = writeln!(text, "ratio to the oracle, 95 % intervals\n");
        let _ = writeln!(
            text,
            "| {} | {} |",
            self.budget,
            join(&self.budgets, ToString::to_string)
        );
        let _ = writeln!(text, "|---|{}", "---|".repeat(self.budgets.len()));
        for row in &self.methods {
            let _ = writeln!(text, "| {} | {} |", row.method, join(&row.ratio, interval));
        }
        let _ = writeln!(
            text,
            "| oracle, share of all demand | {} |",
            join(&self.oracle, interval)
        );
        if !self.figures.is_empty() {
            text.push('\n');
        }
        for (name, value) in &self.figures {
            let _ = writeln!(text, "- {name}: {value:.3}");
        }
        text
    }
}

fn interval(of: &Interval) -> String {
    format!("{:.3} ({:.3}–{:.3})", of.value, of.low, of.high)
}

fn join<T>(cells: &[T], show: impl Fn(&T) -> String) -> String {
    cells.iter().map(show).collect::<Vec<_>>().join(" | ")
}
