//! The XDP programs of LVX: the director, and the decapsulating program for tunnel real servers.
//!
//! Nothing here that a host test could not reach: map statics, the two trait implementations, the verdict's way to an
//! XDP action. The pipeline is `lb_common::datapath`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod programs;
#[cfg(target_arch = "bpf")]
mod tables;

/// On the host the crate is only a stub, so that clippy, editors and `cargo doc` see the workspace as a whole.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing in the pipeline can panic; the verifier refuses a program in which this loop is reachable.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
