//! docs/semantics.md promises behaviour; every paragraph names the test that proves it, and that test exists.

use super::sources::rust_files;
use anyhow::{Context, Result};
use std::{collections::BTreeSet, fs, path::Path};

/// Every paragraph without a test, and every named test that does not exist.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let path = root.join("docs/semantics.md");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut tests = BTreeSet::new();
    for file in rust_files(root)? {
        tests.extend(test_names(&fs::read_to_string(file)?));
    }
    Ok(faults(&text, &tests))
}

fn faults(text: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, paragraph) in paragraphs(text) {
        let named: Vec<_> = paragraph
            .lines()
            .filter_map(|l| l.strip_prefix("Test: "))
            .collect();
        if named.is_empty() {
            faults.push(format!(
                "docs/semantics.md:{line}: paragraph names no test (end it with `Test: name`)"
            ));
        }
        for name in named.iter().flat_map(|n| n.split(',')) {
            let name = name.split(" in ").next().unwrap_or(name).trim().trim_matches('`');
            let function = name.rsplit("::").next().unwrap_or(name);
            if !tests.contains(function) {
                faults.push(format!("docs/semantics.md:{line}: there is no test `{function}`"));
            }
        }
    }
    faults
}

/// Paragraphs with the line they start at; headings and the file's introduction (before the first `## `) do not count.
fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    let mut in_body = false;
    for (n, line) in text.lines().enumerate() {
        in_body |= line.starts_with("## ");
        let blank = line.trim().is_empty() || line.starts_with('#');
        if !blank && in_body {
            if !open {
                found.push((n + 1, String::new()));
            }
            let (_, paragraph) = found.last_mut().expect("pushed when it opened");
            paragraph.push_str(line);
            paragraph.push('\n');
        }
        open = !blank && in_body;
    }
    found
}

/// Names of functions below a test attribute (`#[test]`, `#[tokio::test]`, inside `proptest!` too).
fn test_names(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        }
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let (true, Some(rest)) = (marked, function) {
            names.push(rest.split(['(', '<']).next().unwrap_or(rest).to_owned());
            marked = false;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_without_its_test_is_found() {
        let tests = test_names("#[test]\nfn known() {}\n#[tokio::test]\nasync fn also() {}\nfn helper() {}")
            .into_iter()
            .collect();
        let text = "# S\nintro\n\n## A\n\nKept.\nTest: a::known\n\nNo test here.\n\nWrong.\nTest: helper\n\nBoth.\nTest: `known`, also in x/tests/y.rs\n";
        let found = faults(text, &tests);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("md:9:") && found[1].contains("`helper`"),
            "{found:?}"
        );
    }
}
