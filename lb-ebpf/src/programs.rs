//! Entry points.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::datapath::{Decapsulation, Verdict, decapsulate, process};

use crate::{frame::XdpFrame, maps, tables::MapTables};

/// The director.
#[xdp]
pub(crate) fn lvx_director(context: XdpContext) -> u32 {
    match process(&mut XdpFrame(&context), &MapTables(&context)) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Transmit => xdp_action::XDP_TX,
        // An interface that is not in the map gives XDP_ABORTED, which the kernel's tracepoint reports.
        Verdict::Redirect(ifindex) => maps::DEVICES.redirect(ifindex, 0).unwrap_or(xdp_action::XDP_ABORTED),
    }
}

/// A tunnel real server without an ipip device.
#[xdp]
pub(crate) fn lvx_decap(context: XdpContext) -> u32 {
    // SAFETY: only presence is asked for.
    let accepted = |address| unsafe { maps::TUNNEL_TARGETS.get(&address) }.is_some();
    match decapsulate(&mut XdpFrame(&context), accepted) {
        Decapsulation::Untouched | Decapsulation::Done => xdp_action::XDP_PASS,
        Decapsulation::Failed => xdp_action::XDP_DROP,
    }
}
