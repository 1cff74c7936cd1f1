//! Ranges against a naive model, for any file size and any header. The model shares nothing with the implementation:
//! it works on text, in 128 bits, and for small sizes by looking at every byte position.

use oca_core::range::{Selection, Slice, select};
use proptest::prelude::*;

const MAX_RANGES: usize = 8;

/// What RFC 9110 §14 and the module's stated choices make of a field: `None` = whole, empty = 416.
fn model(
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

/// By looking at every position.
fn by_position(spec: &str, size: u128) -> Result<Vec<(u128, u128)>, ()> {
    let (first, last) = positions(spec, size)?;
    let hit: Vec<u128> = (0..size).filter(|p| first <= *p && *p <= last).collect();
    Ok(hit
        .first()
        .map(|f| (*f, hit[hit.len() - 1]))
        .into_iter()
        .collect())
}

/// By comparing ends.
fn by_ends(spec: &str, size: u128) -> Result<Vec<(u128, u128)>, ()> {
    let (first, last) = positions(spec, size)?;
    Ok(if first < size {
        vec![(first, last.min(size - 1))]
    } else {
        Vec::new()
    })
}

fn as_model(selection: &Selection) -> Option<Vec<(u128, u128)>> {
    let ends = |s: &Slice| (u128::from(s.offset), u128::from(s.offset) + u128::from(s.len) - 1);
    match selection {
        Selection::Whole => None,
        Selection::Unsatisfiable => Some(Vec::new()),
        Selection::One(slice) => Some(vec![ends(slice)]),
        Selection::Many(slices) => Some(slices.iter().map(ends).collect()),
    }
}

/// Numbers near the ends of things, where mistakes live.
fn position() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u64..70).prop_map(|n| n.to_string()),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        1 => "[0-9]{1,38}",
        1 => Just(u64::MAX.to_string()),
        1 => Just(String::new()),
    ]
}

fn header() -> impl Strategy<Value = String> {
    let spec = prop_oneof![
        12 => (position(), position()).prop_map(|(a, b)| format!("{a}-{b}")),
        1 => "[ -~]{0,6}",
    ];
    let unit =
        prop_oneof![12 => Just("bytes="), 1 => Just("Bytes="), 1 => Just("bytes ="), 1 => Just("items=")];
    let separator = prop_oneof![Just(","), Just(", "), Just(" ,\t"), Just(",,")];
    (unit, prop::collection::vec((spec, separator), 0..12)).prop_map(|(unit, specs)| {
        let mut text = unit.to_owned();
        for (i, (spec, separator)) in specs.iter().enumerate() {
            if i > 0 {
                text.push_str(separator);
            }
            text.push_str(spec);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ranges_of_small_files_are_what_the_model_says(field in header(), size in 0u64..64) {
        let got = select(field.as_bytes(), size, MAX_RANGES);
        prop_assert_eq!(as_model(&got), model(&field, size.into(), by_position), "{} of {}", field, size);
    }

    #[test]
    fn ranges_of_any_file_are_what_the_model_says(field in header(), size: u64) {
        let got = select(field.as_bytes(), size, MAX_RANGES);
        prop_assert_eq!(as_model(&got), model(&field, size.into(), by_ends), "{} of {}", field, size);
    }

    #[test]
    fn any_bytes_select_only_what_exists(field: Vec<u8>, size: u64) {
        let field = [b"bytes=".as_slice(), &field].concat();
        if let Some(runs) = as_model(&select(&field, size, MAX_RANGES)) {
            prop_assert!(runs.iter().all(|(first, last)| first <= last && *last < u128::from(size)));
        }
    }
}
