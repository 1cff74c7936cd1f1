//! Reads a TOML table key by key and gathers every problem instead of stopping at the first.

use super::Problem;
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    str::FromStr,
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Longest edit distance at which an unknown key is taken for a slip of a known one.
const SLIP: usize = 3;

pub(crate) struct Reader<'a> {
    text: &'a str,
    /// What stands before the keys of a table within the table, e.g. `bgp.`.
    path: String,
    values: BTreeMap<String, Spanned<DeValue<'a>>>,
    lines: BTreeMap<String, usize>,
    known: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let problem = |e: toml::de::Error| Problem {
                line: e.span().map(|s| line_of(text, s.start)),
                key: "not TOML".to_owned(),
                what: e.message().to_owned(),
            };
            return Err(errors.into_iter().map(problem).collect());
        }
        Ok(Self::of(text, String::new(), table.into_inner()))
    }

    fn of(text: &'a str, path: String, table: DeTable<'a>) -> Self {
        let (mut values, mut lines) = (BTreeMap::new(), BTreeMap::new());
        for (key, value) in table {
            let name = key.get_ref().to_string();
            lines.insert(name.clone(), line_of(text, key.span().start));
            values.insert(name, value);
        }
        Self {
            text,
            path,
            values,
            lines,
            known: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// A table within this one; [`end`](Self::end) it when it is read.
    pub(crate) fn table(&mut self, key: &'static str) -> Option<Self> {
        let value = self.take(key)?;
        let path = format!("{}{key}.", self.path);
        match value.into_inner() {
            DeValue::Table(table) => Some(Self::of(self.text, path, table)),
            other => {
                let what = format!("{} is not a table", other.type_str());
                self.problem(key, what);
                None
            }
        }
    }

    /// A list of tables within this one; each is to be [ended](Self::end).
    pub(crate) fn tables(&mut self, key: &'static str) -> Option<Vec<Self>> {
        let value = self.take(key)?;
        let path = format!("{}{key}.", self.path);
        let tables: Option<Vec<Self>> = match value.into_inner() {
            DeValue::Array(items) => items
                .into_iter()
                .map(|item| match item.into_inner() {
                    DeValue::Table(table) => Some(Self::of(self.text, path.clone(), table)),
                    _ => None,
                })
                .collect(),
            _ => None,
        };
        if tables.is_none() {
            self.problem(key, "is not a list of tables".to_owned());
        }
        tables
    }

    /// Ends reading a table within this one, whose problems are this one's.
    pub(crate) fn end(&mut self, table: Self) {
        self.problems.extend(table.finish().err().unwrap_or_default());
    }

    /// Notes a problem with a key.
    pub(crate) fn problem(&mut self, key: &str, what: String) {
        self.problems.push(Problem {
            line: self.lines.get(key).copied(),
            key: format!("{}{key}", self.path),
            what,
        });
    }

    /// Notes that a key is missing, unless it is there and was found wrong.
    pub(crate) fn missing(&mut self, key: &'static str, mend: &str) {
        let path = format!("{}{key}", self.path);
        if !self.problems.iter().any(|p| p.key == path) {
            self.problem(key, mend.to_owned());
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.values.remove(key)
    }

    /// A text.
    pub(crate) fn string(&mut self, key: &'static str) -> Option<String> {
        let value = self.take(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            other => {
                let what = format!("{} is not a text in quotes", other.type_str());
                self.problem(key, what);
                None
            }
        }
    }

    /// A text, or a list of texts.
    pub(crate) fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let texts = match value.get_ref() {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        if texts.as_ref().is_none_or(Vec::is_empty) {
            self.problem(key, "is not a text in quotes or a list of such".to_owned());
            return None;
        }
        texts
    }

    /// A text that is parsed.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let text = self.string(key)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(e) => {
                let e = e.to_string();
                let what = if e.contains(&text) {
                    e
                } else {
                    format!("`{text}`: {e}")
                };
                self.problem(key, what);
                None
            }
        }
    }

    /// A text that is parsed and must be there.
    pub(crate) fn required<T: FromStr<Err: Display>>(&mut self, key: &'static str, mend: &str) -> Option<T> {
        let value = self.parsed(key);
        if value.is_none() {
            self.missing(key, mend);
        }
        value
    }

    /// An `http` or `https` URL that must be there.
    pub(crate) fn required_url(&mut self, key: &'static str, mend: &str) -> Option<String> {
        let text = self.string(key);
        let url = text.and_then(|t| self.url(key, &t));
        if url.is_none() {
            self.missing(key, mend);
        }
        url
    }

    /// Checks an `http` or `https` URL without path; a trailing slash is taken off.
    pub(crate) fn url(&mut self, key: &'static str, text: &str) -> Option<String> {
        let url = text.trim_end_matches('/');
        let parsed = url.parse::<http::Uri>().ok();
        let fit = parsed.is_some_and(|u| {
            matches!(u.scheme_str(), Some("http" | "https"))
                && u.host().is_some_and(|h| !h.is_empty())
                && u.query().is_none()
        });
        if !fit {
            self.problem(
                key,
                format!("`{text}` is not an address such as http://host:port"),
            );
        }
        fit.then(|| url.to_owned())
    }

    /// A whole number.
    pub(crate) fn number(&mut self, key: &'static str, least: u64, most: u64) -> Option<u64> {
        let value = self.take(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|n| (least..=most).contains(n));
        if number.is_none() {
            let found = &self.text[value.span()];
            self.problem(key, format!("{found} is not from {least} to {most}"));
        }
        number
    }

    /// True or false.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        let value = self.take(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.problem(key, "is not true or false".to_owned());
        }
        flag
    }

    /// A number with or without unit, as [`cdn_types::units`] reads them.
    pub(crate) fn amount<T: FromStr<Err: Display> + DeserializeOwned>(
        &mut self,
        key: &'static str,
    ) -> Option<T> {
        let value = self.take(key)?;
        let result = match value.get_ref() {
            DeValue::String(text) => text.parse().map_err(|e: T::Err| e.to_string()),
            DeValue::Integer(i) => i.to_string().parse().map_err(|e: T::Err| e.to_string()),
            other => Err(format!(
                "{} is not a size or rate such as \"20 GB\" or \"300 Mbps\"",
                other.type_str()
            )),
        };
        result.map_err(|what| self.problem(key, what)).ok()
    }

    /// Ends reading: what was not asked for is unknown. Answers the lines of all keys.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<String, usize>, Vec<Problem>> {
        let unknown: Vec<String> = std::mem::take(&mut self.values).into_keys().collect();
        for key in unknown {
            let near = self.known.iter().min_by_key(|k| distance(k, &key));
            let hint = match near.filter(|k| distance(k, &key) <= SLIP) {
                Some(near) => format!("did you mean {near}?"),
                None => format!(
                    "known keys: {}",
                    self.known.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            self.problem(&key, format!("there is no such key; {hint}"));
        }
        if self.problems.is_empty() {
            return Ok(self.lines);
        }
        self.problems
            .sort_by_key(|p| (p.line.unwrap_or(usize::MAX), p.key.clone()));
        Err(self.problems)
    }
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
