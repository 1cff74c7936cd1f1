//! Rules that are read off the sources: pure cores, where `unsafe` may stand, short main files, no `mod.rs`.

use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What no line of a core (outside tests and comments) may name.
const IMPURE_NAMES: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "ZonedDateTime::now",
    "std::env",
    "std::process",
    "std::thread",
];
/// Longest `main.rs`: a composition root, not a program.
const MAIN_LINES: usize = 100;

/// Every broken source rule.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for file in rust_files(root)? {
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let text = fs::read_to_string(&file)?;
        if shown.ends_with("/mod.rs") {
            faults.push(format!(
                "{shown}: name it after its folder (foo.rs + foo/), never mod.rs"
            ));
        }
        if shown.ends_with("src/main.rs") && text.lines().count() > MAIN_LINES {
            faults.push(format!("{shown}: main.rs is over {MAIN_LINES} lines"));
        }
        if is_library_code(&shown) && !text.trim_start().starts_with("//!") {
            faults.push(format!(
                "{shown}: open the file with prose (//!) on what it decides and why"
            ));
        }
        if text.contains("allow(unsafe_code)")
            && !shown.starts_with("oca-server/src/sys")
            && !shown.starts_with("tools/xtask")
        {
            faults.push(format!("{shown}: unsafe is for oca-server/src/sys* alone"));
        }
        if shown.contains("/core/src/") || shown.starts_with("cdn-types/src/") {
            faults.extend(impure_lines(&shown, &text));
        }
    }
    Ok(faults)
}

fn is_library_code(shown: &str) -> bool {
    shown.contains("src/") && !shown.contains("/tests/")
}

fn impure_lines(shown: &str, text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    let mut faults = Vec::new();
    for (n, line) in code.lines().enumerate() {
        let line = line.split("//").next().unwrap_or(line);
        for name in IMPURE_NAMES.iter().filter(|name| line.contains(*name)) {
            faults.push(format!(
                "{shown}:{}: {name} in a pure crate; take it as an argument",
                n + 1
            ));
        }
    }
    faults
}

/// Every `.rs` file that git would track, outside build output.
pub fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .map(|n| n.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_a_core_is_found_but_not_in_its_tests_or_comments() {
        let text = "fn f() { let t = Instant::now(); }\n// std::fs is not here\n#[cfg(test)]\nmod tests { use std::fs; }";
        let faults = impure_lines("x/core/src/lib.rs", text);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("lib.rs:1: Instant::now"), "{faults:?}");
    }
}
