//! The benchmark's programs: a harness that restores the frame before every iteration of `BPF_PROG_TEST_RUN` and
//! tail-calls the program under test, and two trivial programs whose cost is subtracted.
//!
//! With repeat > 1 the kernel prepares the frame once only: without the harness, a program that encapsulates would
//! see its own output from the second iteration on.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        bindings::xdp_action,
        helpers::bpf_xdp_adjust_head,
        macros::{map, xdp},
        maps::{Array, ProgramArray},
        programs::XdpContext,
    };

    /// Length of every frame in bytes: room for Ethernet, IPv6 and TCP, in whole words.
    const FRAME: usize = 80;
    /// Odd, so that multiplying is a permutation modulo any power of two: flows come in scattered order.
    const SCATTER: u32 = 0x9e37_79b1;
    /// Bits of the flow number that go into the port; the rest goes into the address.
    const PORT_BITS: u32 = 15;
    const FIRST_PORT: u32 = 1024;

    /// What the harness puts into the frame; the benchmark writes it before each sample.
    #[repr(C)]
    pub(crate) struct Plan {
        /// The frame.
        template: [u64; FRAME / 8],
        /// Number of flows minus one; the number is a power of two.
        flow_mask: u32,
        /// Iterations so far.
        counter: u32,
        /// Offset of the four address bytes that tell flows apart.
        address_offset: u32,
        /// Offset of the port that tells flows apart.
        port_offset: u32,
        /// First value of those address bytes, in host order.
        first_address: u32,
        reserved: u32,
    }

    #[map(name = "plan")]
    static PLAN: Array<Plan> = Array::with_max_entries(1, 0);

    #[map(name = "under_test")]
    static UNDER_TEST: ProgramArray = ProgramArray::with_max_entries(1, 0);

    /// Restores the frame, writes the next flow into it, and goes on in the program under test.
    #[xdp]
    pub(crate) fn bench_harness(context: XdpContext) -> u32 {
        prepare(&context).map_or(xdp_action::XDP_ABORTED, |()| {
            // SAFETY: the slot holds an XDP program or nothing; the call only returns when it fails.
            let _ = unsafe { UNDER_TEST.tail_call(&context, 0) };
            xdp_action::XDP_ABORTED
        })
    }

    #[inline(always)]
    fn prepare(context: &XdpContext) -> Option<()> {
        let delta = (context.data_end() - context.data()) as i32 - FRAME as i32;
        // SAFETY: the context is the one this program was called with.
        if delta != 0 && unsafe { bpf_xdp_adjust_head(context.ctx, delta) } != 0 {
            return None;
        }
        let plan = PLAN.get_ptr_mut(0)?;
        // SAFETY: the map's value is a Plan; samples run on one CPU, one at a time.
        let plan = unsafe { &mut *plan };
        let flow = plan.counter.wrapping_mul(SCATTER) & plan.flow_mask;
        plan.counter = plan.counter.wrapping_add(1);
        let (address_at, port_at) = (plan.address_offset as usize, plan.port_offset as usize);
        let start = context.data();
        if start + FRAME > context.data_end() || address_at > FRAME - 4 || port_at > FRAME - 2 {
            return None;
        }
        let address = plan.first_address.wrapping_add(flow >> PORT_BITS).to_be();
        let port = ((FIRST_PORT + (flow & ((1 << PORT_BITS) - 1))) as u16).to_be();
        // The flow goes into the template and with it into the frame: the verifier follows a variable offset into a map's
        // value, but forgets a packet's range over it.
        // SAFETY: both offsets leave room for their values in the template; FRAME bytes from `start` lie before data_end.
        unsafe {
            let template = plan.template.as_mut_ptr().cast::<u8>();
            template.add(address_at).cast::<u32>().write_unaligned(address);
            template.add(port_at).cast::<u16>().write_unaligned(port);
            (start as *mut [u64; FRAME / 8]).write_unaligned(plan.template);
        }
        Some(())
    }

    /// The floor: what an empty program costs behind the harness.
    #[xdp]
    pub(crate) fn bench_tx(_: XdpContext) -> u32 {
        xdp_action::XDP_TX
    }

    /// The floor of anything that touches the frame: the Ethernet addresses change places.
    #[xdp]
    pub(crate) fn bench_swap(context: XdpContext) -> u32 {
        let start = context.data();
        if start + 12 > context.data_end() {
            return xdp_action::XDP_ABORTED;
        }
        let addresses = start as *mut [[u8; 6]; 2];
        // SAFETY: twelve bytes from `start` lie before data_end.
        unsafe {
            let [destination, source] = addresses.read_unaligned();
            addresses.write_unaligned([source, destination]);
        }
        xdp_action::XDP_TX
    }
}

/// On the host the program is only a stub.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic; the verifier refuses a program in which this loop is reachable.
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
