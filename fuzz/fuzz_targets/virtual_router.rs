//! `cargo fuzz run virtual_router`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = lvx_fuzz::virtual_router::run(data);
});
