//! libFuzzer over `oca_server::fuzzing::bgp_update`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oca_server::fuzzing::bgp_update(bytes));
