#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| phasegate_sim::fuzz::journal(bytes));
