//! libFuzzer over `oca_server::fuzzing::request_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::request_head(bytes));
