//! Waiting for running programs.
//!
//! An update of a map of maps from user space returns only when every program that was running has ended
//! (kernel/bpf/syscall.c, `maybe_wait_bpf_programs`: "Wait for any running BPF programs to complete so that userspace, when
//! we return to it, knows that all programs that could be running use the new map value"). A map of maps that no program
//! uses is thus a door to `synchronize_rcu`. `membarrier(MEMBARRIER_CMD_GLOBAL)` is another, but does nothing on one CPU,
//! where a preemptible kernel can still hold a program in the middle, and is refused under nohz_full.

use std::os::fd::{AsFd, AsRawFd};

use super::{Map, NewMap};
use crate::Result;

/// Returns when every program that ran at the time of the call has ended: some milliseconds, whatever the load.
/// (Not for sleepable programs, which have a grace period of their own.)
pub fn grace_period() -> Result<()> {
    /// BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS.
    const ARRAY: u32 = 2;
    const ARRAY_OF_MAPS: u32 = 12;
    let array = NewMap {
        kind: ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        name: "fairlead_grace",
        inner: None,
    };
    let inner = Map::create(&array)?;
    let outer = Map::create(&NewMap { kind: ARRAY_OF_MAPS, inner: Some(inner.as_fd()), ..array })?;
    outer.update(&0_u32.to_ne_bytes(), &inner.as_fd().as_raw_fd().to_ne_bytes())
}
