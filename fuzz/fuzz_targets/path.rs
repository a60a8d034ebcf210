//! Searches for inputs that break what [`portcullis_fuzz::path`] promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::path(data));
