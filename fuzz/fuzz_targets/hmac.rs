//! `cargo fuzz run hmac`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = lvx_fuzz::hmac::run(data);
});
