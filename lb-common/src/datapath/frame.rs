//! Access to the bytes of a packet.

/// A type that is valid for every bit pattern and has no padding.
///
/// # Safety
///
/// Both must be true of the implementing type.
pub unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of them are valid for every bit pattern and have no padding.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A packet, from the Ethernet header on. Values are read and written as they stand in memory; offsets need no
/// alignment.
pub trait Frame {
    /// Length in bytes of what can be accessed.
    fn len(&self) -> usize;

    /// Whether nothing can be accessed.
    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a value; `None` where it does not lie within the frame. `offset` must stay below 256: the verifier needs
    /// the bound.
    fn load<V: Plain>(&self, offset: usize) -> Option<V>;

    /// Writes a value; `None`, and nothing is written, where it does not lie within the frame.
    fn store<V: Plain>(&mut self, offset: usize, value: V) -> Option<()>;

    /// Makes room for `bytes` in front of the frame; their content is undefined.
    fn grow_head(&mut self, bytes: usize) -> Option<()>;

    /// Cuts `bytes` off the front.
    fn shrink_head(&mut self, bytes: usize) -> Option<()>;

    /// Index of the interface that the frame came in by.
    fn ingress(&self) -> u32;
}
