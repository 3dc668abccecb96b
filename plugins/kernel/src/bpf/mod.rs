//! Raw bpf(2): what aya lacks. Links created, read, replaced in place and detached; maps by pin, by id, in batches and
//! through shared memory; the wait for running programs.
//!
//! Every command passes its own prefix of `union bpf_attr` (include/uapi/linux/bpf.h); the kernel takes what is missing for
//! zero. Nothing here interprets a key or a value. Everything asks for CAP_BPF or more, and answers EPERM without.

mod grace;
mod link;
mod map;
mod mapped;
mod program;
mod storage;

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

use crate::{Cause, Error, Result};

pub use grace::grace_period;
pub use link::{AttachType, LinkInfo, link_create, link_detach, link_info, link_update};
pub use map::{Map, MapInfo, NewMap, possible_cpus};
pub use mapped::MappedArray;
pub use program::{ProgramInfo, program_info};
pub use storage::SocketStorage;

/// `enum bpf_cmd`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapCreate = 0,
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    ProgLoad = 5,
    ObjPin = 6,
    ObjGet = 7,
    ProgGetFdById = 13,
    MapGetFdById = 14,
    ObjGetInfoByFd = 15,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkUpdate = 29,
    IterCreate = 33,
    LinkDetach = 34,
}

/// Runs one command.
///
/// # Safety
///
/// `Attr` is the command's prefix of `union bpf_attr`, and every pointer in it is valid for what the command reads or
/// writes there.
unsafe fn call<Attr>(command: Command, attr: &mut Attr) -> std::result::Result<i32, Errno> {
    // SAFETY: the kernel reads and writes size_of::<Attr>() bytes of attr, and what the caller vouches for.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<Attr>() as libc::c_uint,
        )
    };
    Errno::result(answer).map(|answer| answer as i32)
}

/// Runs one command whose answer is a descriptor (close-on-exec, as all of bpf's).
///
/// # Safety
///
/// As for [`call`].
unsafe fn call_for_fd<Attr>(command: Command, attr: &mut Attr) -> std::result::Result<OwnedFd, Errno> {
    // SAFETY: vouched for by the caller.
    let fd = unsafe { call(command, attr)? };
    // SAFETY: the command succeeded, and its answer is a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[repr(C)]
struct ObjAttr {
    path: u64,
    fd: u32,
    file_flags: u32,
}

/// Opens a pinned map, program or link. Not a pin: EPERM or EINVAL; nothing there: [`Error::is_not_found`].
pub fn obj_get(path: &Path) -> Result<OwnedFd> {
    let name = c_path("open pin", path)?;
    let mut attr = ObjAttr { path: name.as_ptr() as u64, fd: 0, file_flags: 0 };
    // SAFETY: ObjAttr is the command's prefix, and `name` a string that outlives the call.
    unsafe { call_for_fd(Command::ObjGet, &mut attr) }.map_err(|errno| Error::new("open pin", path.display(), errno))
}

/// Pins a map, program or link to `path`, which must be new and on a bpffs. An existing one: [`Error::is_exists`].
pub fn obj_pin(object: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let name = c_path("pin to", path)?;
    let mut attr = ObjAttr { path: name.as_ptr() as u64, fd: object.as_raw_fd() as u32, file_flags: 0 };
    // SAFETY: ObjAttr is the command's prefix, and `name` a string that outlives the call.
    let answer = unsafe { call(Command::ObjPin, &mut attr) };
    answer.map(drop).map_err(|errno| Error::new("pin to", path.display(), errno))
}

fn c_path(doing: &'static str, path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(doing, path.display(), Cause::Unexpected("the path holds a NUL byte".into())))
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// Fills `info`, a prefix of the `struct bpf_*_info` that the kernel has for this kind of object. What the kernel does not
/// know stays as it is.
///
/// # Safety
///
/// `Info` is such a prefix and any bytes are a value of it; a pointer in it is valid for what its counter says.
unsafe fn info_by_fd<Info>(object: BorrowedFd<'_>, info: &mut Info) -> std::result::Result<(), Errno> {
    let info = std::ptr::from_mut(info) as u64;
    let mut attr = InfoAttr { fd: object.as_raw_fd() as u32, length: size_of::<Info>() as u32, info };
    // SAFETY: InfoAttr is the command's prefix; the kernel writes at most `length` bytes to `info`.
    unsafe { call(Command::ObjGetInfoByFd, &mut attr) }.map(drop)
}

/// The kernel answers the question for information about any object, each kind in a form of its own: so the descriptor is
/// asked first, by the name of its anonymous inode (`bpf-map`, `bpf-prog`; a link is `bpf_link` to who made it and
/// `bpf-link` to who opened it: kernel/bpf/syscall.c). Without /proc it passes, and what follows is an errno at worst.
fn check_kind(object: BorrowedFd<'_>, kind: &str) -> std::result::Result<(), Cause> {
    let Ok(inode) = std::fs::read_link(format!("/proc/self/fd/{}", object.as_raw_fd())) else { return Ok(()) };
    let inode = inode.to_string_lossy().replace('_', "-");
    if inode == format!("anon-inode:{kind}") {
        return Ok(());
    }
    Err(Cause::Unexpected(format!("it is no {kind} but {inode}")))
}

/// A name as the kernel holds it: at most 15 bytes and a NUL.
fn name(bytes: &[u8; 16]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
