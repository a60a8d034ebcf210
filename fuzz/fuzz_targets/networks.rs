//! Searches for inputs that break what [`portcullis_fuzz::networks`] promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::networks(data));
