//! Memory that a long-lived process has freed.

/// Bytes that may lie free at the end of the heap before they are given back to the kernel.
const KEPT: i32 = 64 << 10;

/// From now on memory that is freed goes back to the kernel early. glibc by itself keeps ever larger pieces, the larger the
/// pieces were that were freed before (mallopt(3), M_MMAP_THRESHOLD): a daemon that once read a large table would keep that
/// memory for ever.
#[cfg(target_env = "gnu")]
pub fn give_back_early() {
    // SAFETY: mallopt(3) sets a number of the allocator, under its own lock; what it answers is that it knows the parameter.
    unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT) };
}

/// Other allocators have nothing to be told.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_early() {}
