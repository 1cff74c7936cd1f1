//! `nightfill explain`: why a client gets these appliances, in the steering service's own words.
//!
//! The answer is drawn from its JSON whatever its fields are, so that a newer steering service that explains more is
//! shown in full: lists of objects become tables, the rest becomes lines.

use crate::{client, table::Table};
use reqwest::Url;
use serde_json::{Map, Value};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

/// Time for the answer: a ranking takes microseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Not an address.
    #[error("`{0}` is not an address such as http://127.0.0.1:8001")]
    Address(String),
    /// Nobody answers.
    #[error("{base} does not answer: {why}. Is the steering service running there?")]
    Unreachable {
        /// The steering service's address.
        base: String,
        /// Innermost cause.
        why: String,
    },
    /// Steering refused.
    #[error("{base}: {status}: {detail}")]
    Refused {
        /// The steering service's address.
        base: String,
        /// HTTP status.
        status: u16,
        /// What steering says.
        detail: String,
    },
}

/// Asks the steering service at `base` to explain its ranking.
pub async fn ask(base: &str, client: IpAddr, asset: &str) -> Result<Value, ExplainError> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // once a process is enough
    let base = base.trim_end_matches('/').to_owned();
    let query = [
        ("client", client.to_string()),
        ("asset", asset.to_owned()),
        ("explain", "1".to_owned()),
    ];
    let address = Url::parse_with_params(&format!("{base}/v1/rank"), query)
        .map_err(|_| ExplainError::Address(base.clone()))?;
    let unreachable = |e: reqwest::Error| ExplainError::Unreachable {
        base: base.clone(),
        why: client::innermost(&e),
    };
    let http = reqwest::Client::builder()
        .timeout(TIMEOUT)
        .build()
        .map_err(unreachable)?;
    let answer = http.get(address).send().await.map_err(unreachable)?;
    let status = answer.status();
    let text = answer.text().await.map_err(unreachable)?;
    let refused = |detail: String| ExplainError::Refused {
        base: base.clone(),
        status: status.as_u16(),
        detail,
    };
    if !status.is_success() {
        return Err(refused(client::explanation(status, &text)));
    }
    serde_json::from_str(&text).map_err(|e| refused(format!("the answer is no JSON: {e}")))
}

/// Draws any JSON value for people.
pub fn draw(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(fields) => draw_object(&mut out, fields, 0),
        Value::Array(items) if is_table(items) => out += &table(items),
        other => out += &format!("{}\n", cell(other)),
    }
    out
}

fn draw_object(out: &mut String, fields: &Map<String, Value>, depth: usize) {
    let indent = "  ".repeat(depth);
    let flat = |v: &Value| !matches!(v, Value::Object(_)) && !matches!(v, Value::Array(a) if is_table(a));
    let width = fields
        .iter()
        .filter(|(_, v)| flat(v))
        .map(|(k, _)| k.len())
        .max()
        .unwrap_or(0);
    for (key, value) in fields.iter().filter(|(_, v)| flat(v)) {
        *out += &format!("{indent}{key:width$}  {}\n", cell(value));
    }
    for (key, value) in fields.iter().filter(|(_, v)| !flat(v)) {
        *out += &format!("\n{indent}{key}\n");
        match value {
            Value::Object(inner) => {
                // What the outer object says already is not said again.
                let news = inner.iter().filter(|(k, v)| fields.get(*k) != Some(*v));
                let news = news.map(|(k, v)| (k.clone(), v.clone())).collect();
                draw_object(out, &news, depth + 1);
            }
            Value::Array(items) => {
                for line in table(items).lines() {
                    *out += &format!("{indent}  {line}\n");
                }
            }
            _ => {}
        }
    }
}

fn is_table(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(Value::is_object)
}

fn table(items: &[Value]) -> String {
    let mut seen = BTreeSet::new();
    let mut columns: Vec<&str> = vec![];
    for key in items.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if seen.insert(key) {
            columns.push(key);
        }
    }
    let numeric = |c: &&str| items.iter().filter_map(|i| i.get(*c)).all(Value::is_number);
    let head: Vec<_> = columns
        .iter()
        .map(|c| {
            if numeric(c) {
                format!(">{c}")
            } else {
                (*c).to_owned()
            }
        })
        .collect();
    let mut table = Table::new([">#"].into_iter().chain(head.iter().map(String::as_str)));
    for (item, number) in items.iter().zip(1..) {
        let cells = columns
            .iter()
            .map(|c| item.get(*c).map_or_else(String::new, cell));
        table.row([format!("{number}")].into_iter().chain(cells));
    }
    table.to_string()
}

/// A value in one line: `reason=content_missing objects=3`.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(n) if n.is_f64() => format!("{:.4}", n.as_f64().unwrap_or_default()),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => fields
            .iter()
            .map(|(k, v)| format!("{k}={}", cell(v)))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rankings_become_tables_and_unknown_fields_are_shown() {
        let answer = serde_json::json!({
            "asset": "film", "site": null, "new_field": {"asset": "film", "inner": 1},
            "ranked": [
                {"appliance": "north-1", "load_permille": 12, "rendezvous": 0.25},
                {"appliance": "north-2", "load_permille": 7, "rendezvous": 0.125}],
            "dropped": [{"appliance": "south-1", "reasons": [{"reason": "content_missing", "objects": 3}]}]
        });
        let text = draw(&answer);
        for want in [
            "asset  film\n",
            "site   -\n",
            "new_field\n  inner  1\n",
            "#  appliance  load_permille  rendezvous\n",
            "1  north-1               12      0.2500\n",
            "1  south-1    objects=3 reason=content_missing\n",
        ] {
            assert!(text.contains(want), "{want}\nin\n{text}");
        }
    }
}
