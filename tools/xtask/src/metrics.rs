//! docs/metrics.md, made from the `METRICS` table in each program's src/metrics.rs, read as text so that this tool
//! need not build the programs.

use anyhow::{Context, Result, bail};
use std::{fmt::Write, fs, path::Path};

/// Programs in the order of the page.
const PROGRAMS: &[&str] = &["oca-server", "steering-service", "control-plane", "fill-planner"];
const FIELDS: &[&str] = &["name", "kind", "unit", "labels", "stability", "help"];

/// Writes docs/metrics.md.
pub fn write(root: &Path) -> Result<()> {
    let path = root.join("docs/metrics.md");
    fs::write(&path, page(root)?).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote docs/metrics.md");
    Ok(())
}

/// A fault if docs/metrics.md is not what `write` would write.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let found = fs::read_to_string(root.join("docs/metrics.md")).unwrap_or_default();
    let stale = found != page(root)?;
    Ok(stale
        .then(|| "docs/metrics.md is stale: run `cargo xtask metrics`".to_owned())
        .into_iter()
        .collect())
}

fn page(root: &Path) -> Result<String> {
    let mut out = String::from(
        "# Metrics\n\nWritten by `cargo xtask metrics` from each program's `src/metrics.rs`; edit there. Served in the Prometheus text\n\
         format at `/metrics`; by `fill-planner run --textfile` in a file. *Stable* names keep their meaning over releases of one major version.\n",
    );
    for program in PROGRAMS {
        let path = root.join(program).join("src/metrics.rs");
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let rows = rows(&text).with_context(|| format!("in {program}/src/metrics.rs"))?;
        write!(
            out,
            "\n## {program}\n\n| metric | kind | unit | labels | stability | meaning |\n|---|---|---|---|---|---|\n"
        )?;
        for r in rows {
            writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} |",
                r[0], r[1], r[2], r[3], r[4], r[5]
            )?;
        }
    }
    Ok(out)
}

/// The six fields of every `Metric { … }` literal of the table.
fn rows(text: &str) -> Result<Vec<[String; 6]>> {
    let table = text.split_once("METRICS").map_or("", |(_, t)| t);
    let mut rows = Vec::new();
    for literal in table.split("Metric {").skip(1) {
        let mut row: [String; 6] = Default::default();
        let mut rest = literal;
        for (i, field) in FIELDS.iter().enumerate() {
            let at = rest
                .find(&format!("{field}:"))
                .with_context(|| format!("a Metric has no `{field}`"))?;
            rest = rest[at + field.len() + 1..].trim_start();
            let (value, after) = value(rest)?;
            row[i] = value;
            rest = after;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// One field's value: a string literal, a path's last segment, or a list of string literals.
fn value(rest: &str) -> Result<(String, &str)> {
    if let Some(text) = rest.strip_prefix('"') {
        let end = text.find('"').context("unfinished string literal")?;
        return Ok((text[..end].to_owned(), &text[end + 1..]));
    }
    if let Some(list) = rest.strip_prefix("&[") {
        let end = list.find(']').context("unfinished label list")?;
        return Ok((
            list[..end]
                .replace('"', "")
                .trim()
                .trim_end_matches(',')
                .to_owned(),
            &list[end + 1..],
        ));
    }
    let Some(end) = rest.find([',', '}', '\n']) else {
        bail!("unfinished field")
    };
    Ok((
        rest[..end]
            .trim()
            .rsplit("::")
            .next()
            .unwrap_or_default()
            .to_lowercase(),
        &rest[end..],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_table_as_rustfmt_leaves_it() {
        let text = r#"pub const METRICS: &[Metric] = &[
            Metric {
                name: "oca_requests_total",
                kind: Kind::Counter,
                unit: "requests",
                labels: &["status", "protocol"],
                stability: Stability::Stable,
                help: "Requests answered",
            },
            Metric { name: "x", kind: Kind::Gauge, unit: "bytes", labels: &[], stability: Stability::Experimental, help: "y" },
        ];"#;
        let rows = rows(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0],
            [
                "oca_requests_total",
                "counter",
                "requests",
                "status, protocol",
                "stable",
                "Requests answered"
            ]
            .map(String::from)
        );
        assert_eq!(rows[1][4], "experimental");
    }
}
