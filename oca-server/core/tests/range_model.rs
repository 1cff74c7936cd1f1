//! Ranges against a naive model, for any file size and any header.

#[path = "range_model/model.rs"]
mod model;

use model::{MAX_DIGITS, MAX_RANGES, as_model, by_ends, by_position, model};
use oca_core::range::select;
use proptest::prelude::*;

/// Numbers near the ends of things, where mistakes live.
fn position() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0u64..70).prop_map(|n| n.to_string()),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        1 => prop::collection::vec(prop::char::range('0', '9'), 1..=MAX_DIGITS).prop_map(String::from_iter),
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
