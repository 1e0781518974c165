//! `cargo fuzz run advertisement`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = lvx_fuzz::advertisement::run(data);
});
