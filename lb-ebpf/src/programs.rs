//! Entry points.

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};
use lb_common::datapath::{Decapsulation, Tables, Verdict, decapsulate, process};
use lb_common::layout::DropReason;

use crate::{frame::XdpFrame, maps, tables::MapTables};

/// The director.
#[xdp]
pub(crate) fn lvx_director(context: XdpContext) -> u32 {
    let tables = MapTables(&context);
    match process(&mut XdpFrame(&context), &tables) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Redirect(ifindex) => match maps::DEVICES.redirect(ifindex, 0) {
            Ok(action) => action,
            Err(_) => {
                tables.count(DropReason::InterfaceNotAttached.into());
                xdp_action::XDP_DROP
            }
        },
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
