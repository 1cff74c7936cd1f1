//! libFuzzer over `oca_server::fuzzing::h3_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::h3_request(bytes));
