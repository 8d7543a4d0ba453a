//! Lets libFuzzer search with `mesh_gateway_core_fuzz::digest`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_gateway_core_fuzz::digest(bytes));
