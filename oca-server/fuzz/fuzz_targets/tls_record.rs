//! libFuzzer over `oca_server::fuzzing::tls_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::tls_record(bytes));
