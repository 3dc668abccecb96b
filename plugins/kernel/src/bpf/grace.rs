//! Waiting for running programs.
//!
//! An update of a map of maps from user space returns only when every program that was running has ended
//! (kernel/bpf/syscall.c, `maybe_wait_bpf_programs`: "Wait for any running BPF programs to complete so that userspace, when
//! we return to it, knows that all programs that could be running use the new map value"). A map of maps that no program
//! uses is thus a door to `synchronize_rcu`. `membarrier(MEMBARRIER_CMD_GLOBAL)` is another, but does nothing on one CPU,
//! where a preemptible kernel can still hold a program in the middle, and is refused under nohz_full.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::{Command, Map, call_for_fd};
use crate::{Error, Result};

/// Returns when every program that ran at the time of the call has ended: some milliseconds, whatever the load.
/// (Not for sleepable programs, which have a grace period of their own.)
pub fn grace_period() -> Result<()> {
    let failed = |errno: Errno| Error::new("create", "the maps to wait for running programs with", errno);
    let inner = create(ARRAY, None).map_err(failed)?;
    let outer = Map::from_fd(create(ARRAY_OF_MAPS, Some(inner.as_fd())).map_err(failed)?)?;
    outer.update(&0_u32.to_ne_bytes(), &inner.as_raw_fd().to_ne_bytes())
}

/// BPF_MAP_TYPE_ARRAY.
const ARRAY: u32 = 2;
/// BPF_MAP_TYPE_ARRAY_OF_MAPS.
const ARRAY_OF_MAPS: u32 = 12;

/// An array of one 32-bit value.
fn create(kind: u32, inner: Option<BorrowedFd<'_>>) -> std::result::Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner: u32,
        numa_node: u32,
        name: [u8; 16],
    }
    let mut attr = Attr {
        kind,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        inner: inner.map_or(0, |inner| inner.as_raw_fd() as u32),
        numa_node: 0,
        name: *b"fairlead_grace\0\0",
    };
    // SAFETY: Attr is the command's prefix and holds no pointer.
    unsafe { call_for_fd(Command::MapCreate, &mut attr) }
}
