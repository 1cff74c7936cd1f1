//! libFuzzer over `oca_server::fuzzing::plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::plan(bytes));
