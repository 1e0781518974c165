//! A BPF array in this process's memory.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A memory-mapped `BPF_MAP_TYPE_ARRAY` whose values are records of atomic words.
#[derive(Debug)]
pub struct MappedArray<V> {
    start: NonNull<V>,
    length: usize,
    _values: PhantomData<V>,
}

// SAFETY: the memory belongs to the map, outlives every thread's view of it through this value, and is only handed out
// as shared references to `V`.
unsafe impl<V: Sync> Send for MappedArray<V> {}
// SAFETY: as above.
unsafe impl<V: Sync> Sync for MappedArray<V> {}

/// A record that may be laid over the bytes of a map.
///
/// # Safety
///
/// The type consists of atomic integers only, is valid for every bit pattern, and its size is a multiple of eight.
pub unsafe trait MapRecord: Sync {}

// SAFETY: arrays of atomic words.
unsafe impl MapRecord for lb_common::layout::Bucket {}
// SAFETY: as above.
unsafe impl MapRecord for lb_common::layout::ConnectionEntry {}
// SAFETY: as above.
unsafe impl MapRecord for lb_common::layout::RealServer {}
// SAFETY: as above.
unsafe impl MapRecord for lb_common::layout::Service {}
// SAFETY: as above.
unsafe impl MapRecord for lb_common::layout::Traffic {}
// SAFETY: one atomic word.
unsafe impl MapRecord for std::sync::atomic::AtomicU64 {}

impl<V: MapRecord> MappedArray<V> {
    /// Maps an array of `length` values, which must have been created with `BPF_F_MMAPABLE`.
    ///
    /// # Errors
    ///
    /// The kernel's answer to mmap(2), such as `EINVAL` where the array is shorter.
    pub fn new(map: BorrowedFd<'_>, length: usize) -> io::Result<Self> {
        let bytes = length * size_of::<V>();
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; the result is checked.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mmap gave address 0"))?;
        Ok(Self { start, length, _values: PhantomData })
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no values.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Size of the mapping in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.length * size_of::<V>()
    }

    /// All values.
    #[must_use]
    pub fn values(&self) -> &[V] {
        // SAFETY: the mapping holds `length` values, is page-aligned, lives as long as self, and `V` is valid for any
        // bytes and only changed through its atomics.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// A value.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&V> {
        self.values().get(index as usize)
    }
}

impl<V> Drop for MappedArray<V> {
    fn drop(&mut self) {
        // SAFETY: the range was mapped in `new` and nothing borrowed from self can be alive.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length * size_of::<V>()) };
    }
}
