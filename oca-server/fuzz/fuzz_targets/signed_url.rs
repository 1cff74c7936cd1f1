//! libFuzzer over `oca_server::fuzzing::signed_url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::signed_url(bytes));
