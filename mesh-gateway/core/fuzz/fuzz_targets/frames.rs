//! Lets libFuzzer search with `mesh_gateway_core_fuzz::frames`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| mesh_gateway_core_fuzz::frames(bytes));
