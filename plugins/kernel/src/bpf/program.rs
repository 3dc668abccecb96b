//! What a loaded program is, and which maps it uses.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::{Command, call_for_fd, info_by_fd, name};
use crate::{Error, Result};

/// What a loaded program is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Number of the program in the kernel.
    pub id: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Hash of its instructions: the same for the same code.
    pub tag: u64,
    /// Numbers of the maps it uses.
    pub maps: Vec<u32>,
}

/// Prefix of `struct bpf_prog_info`.
#[derive(Default)]
#[repr(C)]
struct Raw {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_length: u32,
    xlated_length: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    uid: u32,
    map_count: u32,
    maps: u64,
    name: [u8; 16],
}
const _: () = assert!(size_of::<Raw>() == 80);

/// Reads what the program with this number is. Not there: [`Error::is_not_found`].
pub fn program_info(id: u32) -> Result<ProgramInfo> {
    let failed = |errno: Errno| Error::new("read what is", format_args!("BPF program {id}"), errno);
    let program = by_id(Command::ProgGetFdById, id).map_err(failed)?;
    let mut maps = vec![0_u32; 64];
    let mut raw = Raw { map_count: maps.len() as u32, maps: maps.as_mut_ptr() as u64, ..Raw::default() };
    // SAFETY: Raw is a prefix of the info of a program; the kernel writes at most map_count numbers to `maps`, and nothing
    // to the pointers whose length is 0.
    unsafe { info_by_fd(program.as_fd(), &mut raw) }.map_err(failed)?;
    maps.truncate(raw.map_count as usize);
    Ok(ProgramInfo { id: raw.id, name: name(&raw.name), tag: u64::from_be_bytes(raw.tag), maps })
}

/// Opens the map or program with this number.
pub(super) fn by_id(command: Command, id: u32) -> std::result::Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let mut attr = Attr { id, next_id: 0, open_flags: 0 };
    // SAFETY: Attr is the commands' prefix and holds no pointer.
    unsafe { call_for_fd(command, &mut attr) }
}
