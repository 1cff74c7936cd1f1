//! libFuzzer over `oca_server::fuzzing::range`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::range(bytes));
