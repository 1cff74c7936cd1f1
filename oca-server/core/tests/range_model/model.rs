//! What a `Range` field selects, found the naive way: it works on text, in 128 bits, and for small sizes by looking at
//! every byte position. It shares nothing with the implementation, which its property tests and the fuzz target hold
//! against it.

use oca_core::range::{Selection, Slice};

/// Most ranges of a field that is not ignored.
pub const MAX_RANGES: usize = 8;

/// Most digits of a number that the model can read.
pub const MAX_DIGITS: usize = 38;

/// What RFC 9110 §14 and the module's stated choices make of a field: `None` = whole, empty = 416.
pub fn model(
    field: &str,
    size: u128,
    wanted: impl Fn(&str, u128) -> Result<Vec<(u128, u128)>, ()>,
) -> Option<Vec<(u128, u128)>> {
    let trimmed = field.trim_matches(|c: char| c.is_ascii_whitespace());
    let lower = trimmed.to_ascii_lowercase();
    if !lower.starts_with("bytes=") || size == 0 {
        return None;
    }
    let specs: Vec<&str> = lower["bytes=".len()..]
        .split(',')
        .map(|s| s.trim_matches(|c: char| c.is_ascii_whitespace()))
        .filter(|s| !s.is_empty())
        .collect();
    let mut found = Vec::new();
    for spec in &specs {
        match wanted(spec, size) {
            Ok(runs) => found.extend(runs),
            Err(()) => return Some(Vec::new()),
        }
    }
    let total: u128 = found.iter().map(|(first, last)| last - first + 1).sum();
    if !found.is_empty() && (specs.len() > MAX_RANGES || total > size) {
        return None;
    }
    Some(found)
}

fn number(text: &str) -> Result<Option<u128>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if !text.chars().all(|c| c.is_ascii_digit()) {
        return Err(());
    }
    Ok(Some(text.parse().expect("at most 38 digits fit")))
}

/// First and last position as written; `Err` = breaks the grammar.
fn positions(spec: &str, size: u128) -> Result<(u128, u128), ()> {
    let (left, right) = spec.split_once('-').ok_or(())?;
    match (number(left)?, number(right)?) {
        (None, None) => Err(()),
        (None, Some(suffix)) => Ok((size - suffix.min(size), size - 1)),
        (Some(first), None) => Ok((first, size.max(first))),
        (Some(first), Some(last)) if first > last => Err(()),
        (Some(first), Some(last)) => Ok((first, last)),
    }
}

/// The positions of one range, by looking at each.
pub fn by_position(spec: &str, size: u128) -> Result<Vec<(u128, u128)>, ()> {
    let (first, last) = positions(spec, size)?;
    let hit: Vec<u128> = (0..size).filter(|p| first <= *p && *p <= last).collect();
    Ok(hit
        .first()
        .map(|f| (*f, hit[hit.len() - 1]))
        .into_iter()
        .collect())
}

/// The positions of one range, by comparing ends.
pub fn by_ends(spec: &str, size: u128) -> Result<Vec<(u128, u128)>, ()> {
    let (first, last) = positions(spec, size)?;
    Ok(if first < size {
        vec![(first, last.min(size - 1))]
    } else {
        Vec::new()
    })
}

/// A selection as the model would say it.
pub fn as_model(selection: &Selection) -> Option<Vec<(u128, u128)>> {
    let ends = |s: &Slice| (u128::from(s.offset), u128::from(s.offset) + u128::from(s.len) - 1);
    match selection {
        Selection::Whole => None,
        Selection::Unsatisfiable => Some(Vec::new()),
        Selection::One(slice) => Some(vec![ends(slice)]),
        Selection::Many(slices) => Some(slices.iter().map(ends).collect()),
    }
}
