//! A packet behind an XDP context.

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::datapath::{Frame, Plain};

/// Offsets are compared with this, because the verifier only follows packet pointers with a small bound.
const MAX_OFFSET: usize = 255;

/// The packet of an XDP program run.
pub(crate) struct XdpFrame<'a>(pub(crate) &'a XdpContext);

impl XdpFrame<'_> {
    #[inline(always)]
    fn pointer<V>(&self, offset: usize) -> Option<*mut V> {
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.0.data() + offset;
        if start + size_of::<V>() > self.0.data_end() {
            return None;
        }
        Some(start as *mut V)
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.0.data_end() - self.0.data()
    }

    #[inline(always)]
    fn load<V: Plain>(&self, offset: usize) -> Option<V> {
        let pointer = self.pointer::<V>(offset)?;
        // SAFETY: `pointer` checked that the value lies between data and data_end; V is valid for any bytes.
        Some(unsafe { pointer.read_unaligned() })
    }

    #[inline(always)]
    fn store<V: Plain>(&mut self, offset: usize, value: V) -> Option<()> {
        let pointer = self.pointer::<V>(offset)?;
        // SAFETY: as in `load`; the packet belongs to this program while it runs.
        unsafe { pointer.write_unaligned(value) };
        Some(())
    }

    #[inline(always)]
    fn grow_head(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the context is the one this program was called with.
        let failed = unsafe { bpf_xdp_adjust_head(self.0.ctx, -(bytes as i32)) };
        (failed == 0).then_some(())
    }

    #[inline(always)]
    fn shrink_head(&mut self, bytes: usize) -> Option<()> {
        // SAFETY: the context is the one this program was called with.
        let failed = unsafe { bpf_xdp_adjust_head(self.0.ctx, bytes as i32) };
        (failed == 0).then_some(())
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }
}
