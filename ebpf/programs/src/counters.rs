//! Counting: one slot per CPU, so that a plain addition is enough. A program does not migrate between CPUs while it runs;
//! an addition lost to a nested program on the same CPU costs one count and no connection.

use aya_ebpf::btf_maps::PerCpuArray;
use fairlead_ebpf_shared::Reason;

use crate::{COUNTERS, SLOT_COUNTERS};

/// Counts what the programs did.
#[inline(always)]
pub fn count(reason: Reason) {
    add(&COUNTERS, reason as u32);
}

/// Counts a connection or a datagram sent to the frontend in `slot`.
#[inline(always)]
pub fn count_slot(slot: u32) {
    add(&SLOT_COUNTERS, slot);
}

#[inline(always)]
fn add<const ENTRIES: usize>(counters: &PerCpuArray<u64, ENTRIES>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: the map returned a pointer to this CPU's eight bytes at `index`; they live as long as the map.
        unsafe { *counter = (*counter).wrapping_add(1) };
    }
}
