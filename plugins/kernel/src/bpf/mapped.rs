//! An mmapable array of 64-bit words as shared memory: one store is seen whole or not at all, and costs no system call.
//!
//! `BPF_MAP_UPDATE_ELEM` on the same array is a memcpy, which was seen torn; two of them in a hash map can be seen as each
//! other's.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;

use super::Map;
use crate::{Cause, Error, Result};

/// The words of a BPF array (BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE) whose values are whole words: those of element 0, then those
/// of element 1, and so on without a gap (kernel/bpf/arraymap.c).
#[derive(Debug)]
pub struct MappedArray {
    words: NonNull<AtomicU64>,
    entries: usize,
}

impl MappedArray {
    /// Maps all of `map`. A map of another kind, of other values or without BPF_F_MMAPABLE is an error.
    pub fn open(map: &Map) -> Result<Self> {
        /// BPF_MAP_TYPE_ARRAY.
        const ARRAY: u32 = 2;
        let info = map.info();
        let object = format_args!("map {}", info.name).to_string();
        let words = info.value_size as usize / size_of::<u64>();
        if info.kind != ARRAY || words * size_of::<u64>() != info.value_size as usize {
            return Err(Error::new(
                "map into memory",
                object,
                Cause::Unexpected("not an array of 64-bit words".into()),
            ));
        }
        let entries = info.max_entries as usize * words;
        let length = NonZeroUsize::new(entries * size_of::<u64>());
        let length = length.ok_or_else(|| Error::new("map into memory", &object, Errno::EINVAL))?;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory that is there.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length.get(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(Error::new("map into memory", object, Errno::last()));
        }
        let words = NonNull::new(address.cast());
        let words = words.ok_or_else(|| Error::new("map into memory", object, Errno::EFAULT))?;
        Ok(Self { words, entries })
    }

    /// Number of words.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Never: the kernel makes no array without elements.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Reads word `index`; `None` beyond the end.
    pub fn load(&self, index: u32) -> Option<u64> {
        Some(self.words().get(index as usize)?.load(Ordering::Acquire))
    }

    /// Replaces word `index`, in one store that comes after every write before it; `false` beyond the end.
    #[must_use]
    pub fn store(&self, index: u32, word: u64) -> bool {
        match self.words().get(index as usize) {
            Some(place) => {
                place.store(word, Ordering::Release);
                true
            }
            None => false,
        }
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: `words` is the page-aligned start of a mapping of `entries` words, which lives as long as self; the
        // kernel's side and other processes write it by whole words.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.entries) }
    }
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl Send for MappedArray {}
// SAFETY: shared access is through atomics alone.
unsafe impl Sync for MappedArray {}

impl Drop for MappedArray {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `open` with this address and length, and no reference into it outlives self.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.entries * size_of::<u64>()) };
    }
}
