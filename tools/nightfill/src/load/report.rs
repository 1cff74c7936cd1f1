//! What a run came to: a table for people, JSON for programs.

use super::{
    Http,
    tally::{Results, Times},
};
use crate::table::Table;
use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// Version of the JSON form.
const FORMAT: u32 = 1;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this form.
    pub format: u32,
    /// `1`, `2` or `3`.
    pub http: Http,
    /// Wall-clock time.
    pub seconds: f64,
    /// Processor time of this client, all threads.
    pub client_cpu_seconds: f64,
    /// Connections made.
    pub connections: u64,
    /// What was agreed on in how many handshakes.
    pub handshakes: BTreeMap<String, u64>,
    /// Requests that ended well.
    pub requests: u64,
    /// Body bytes that came, those of unfinished responses too.
    pub bytes: u64,
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Requests a second.
    pub requests_per_second: f64,
    /// Responses by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failed connections and requests by kind.
    pub errors: BTreeMap<String, u64>,
    /// What the first error of each kind said.
    pub first_errors: BTreeMap<String, String>,
    /// From the first packet to a usable connection.
    pub connect: Percentiles,
    /// From the request to the first byte of its response.
    pub first_byte: Percentiles,
    /// From the request to the last byte of its response.
    pub completion: Percentiles,
}

/// Times in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Half are below.
    pub p50: u64,
    /// 90 % are below.
    pub p90: u64,
    /// 99 % are below.
    pub p99: u64,
    /// 99.9 % are below.
    pub p99_9: u64,
    /// Longest.
    pub max: u64,
}

impl Percentiles {
    fn of(times: &Times) -> Self {
        Self {
            count: times.len(),
            mean: times.mean(),
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p99_9: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

/// Figures that no thread knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub http: Http,
    pub seconds: f64,
    pub client_cpu_seconds: f64,
    pub requests: u64,
    pub bytes: u64,
}

impl Report {
    pub(super) fn new(totals: Totals, results: Results) -> Self {
        let named = |f: fn(&super::tally::Errors) -> String| {
            let errors = results.errors.iter();
            errors.map(|(kind, e)| ((*kind).to_owned(), f(e))).collect()
        };
        let seconds = totals.seconds.max(f64::EPSILON);
        Self {
            format: FORMAT,
            http: totals.http,
            seconds: totals.seconds,
            client_cpu_seconds: totals.client_cpu_seconds,
            connections: results.connections,
            requests: totals.requests,
            bytes: totals.bytes,
            bytes_per_second: totals.bytes as f64 / seconds,
            requests_per_second: totals.requests as f64 / seconds,
            errors: results
                .errors
                .iter()
                .map(|(kind, e)| ((*kind).to_owned(), e.count))
                .collect(),
            first_errors: named(|e| e.first.clone()),
            connect: Percentiles::of(&results.connect),
            first_byte: Percentiles::of(&results.first_byte),
            completion: Percentiles::of(&results.completion),
            statuses: results.statuses,
            handshakes: results.handshakes,
        }
    }

    /// Failed connections and requests.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests, {} in {:.1} s: {:.2} GB/s, {:.0} requests/s; this client used {:.0} % of a core",
            HumanCount(self.requests),
            BinaryBytes(self.bytes),
            self.seconds,
            self.bytes_per_second / 1e9,
            self.requests_per_second,
            self.client_cpu_seconds / self.seconds.max(f64::EPSILON) * 100.0
        )?;
        let counts = |what: Vec<String>| what.join(", ");
        let agreed = self.handshakes.iter().map(|(what, n)| format!("{n} {what}"));
        writeln!(f, "connections: {}", counts(agreed.collect()))?;
        let statuses = self.statuses.iter().map(|(status, n)| format!("{n} × {status}"));
        writeln!(f, "statuses: {}", counts(statuses.collect()))?;
        let mut table = Table::new(["milliseconds", ">p50", ">p90", ">p99", ">p99.9", ">max", ">count"]);
        for (name, times) in [
            ("connect", self.connect),
            ("first byte", self.first_byte),
            ("completion", self.completion),
        ] {
            let millis = [times.p50, times.p90, times.p99, times.p99_9, times.max];
            let cells = millis.map(|micros| format!("{:.2}", micros as f64 / 1000.0));
            table.row(
                [name.to_owned()]
                    .into_iter()
                    .chain(cells)
                    .chain([times.count.to_string()]),
            );
        }
        write!(f, "{table}")?;
        for (kind, count) in &self.errors {
            writeln!(f, "errors: {count} × {kind}, first: {}", self.first_errors[kind])?;
        }
        Ok(())
    }
}
