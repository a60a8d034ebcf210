//! Searches for inputs that break what [`portcullis_fuzz::address`] promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::address(data));
