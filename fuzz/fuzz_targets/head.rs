//! Searches for inputs that break what [`portcullis_fuzz::head`] promises.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| portcullis_fuzz::head(data));
