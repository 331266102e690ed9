#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phasegate_runtime::fuzz::http1(bytes));
