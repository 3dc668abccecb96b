//! cgroup links: an attachment with a life of its own, which a pin keeps when its maker dies.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::{Command, call, call_for_fd, check_kind, info_by_fd};
use crate::{Error, Result};

/// The `sock_addr` members of `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[expect(missing_docs, reason = "the kernel's names, without BPF_CGROUP_")]
pub enum AttachType {
    Inet4Connect = 10,
    Inet6Connect = 11,
    Udp4Sendmsg = 14,
    Udp6Sendmsg = 15,
    Udp4Recvmsg = 19,
    Udp6Recvmsg = 20,
    Inet4Getpeername = 29,
    Inet6Getpeername = 30,
}

/// Attaches a program to a cgroup and everything below it, beside whatever others have attached. The link lasts as long as
/// its descriptor or a pin of it, at most as long as the cgroup.
///
/// Flags stay 0: BPF_F_ALLOW_MULTI is for the older BPF_PROG_ATTACH, and a link with it is refused with EINVAL.
pub fn link_create(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach: AttachType) -> Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        program: program.as_raw_fd() as u32,
        target: cgroup.as_raw_fd() as u32,
        attach_type: attach as u32,
        flags: 0,
    };
    // SAFETY: Attr is the command's prefix and holds no pointer.
    let link = unsafe { call_for_fd(Command::LinkCreate, &mut attr) };
    link.map_err(|errno| Error::new("attach to a cgroup the program for", format_args!("{attach:?}"), errno))
}

/// Replaces the program of a link, in one step: each call of the hook runs the old one or the new one. With `expected` only
/// if that is the program now (EPERM otherwise). ENOLINK: the link's cgroup is gone, or it was detached.
pub fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>, expected: Option<BorrowedFd<'_>>) -> Result<()> {
    /// BPF_F_REPLACE: `old` must be the link's program.
    const REPLACE: u32 = 4;
    #[repr(C)]
    struct Attr {
        link: u32,
        program: u32,
        flags: u32,
        old: u32,
    }
    let mut attr = Attr {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: if expected.is_some() { REPLACE } else { 0 },
        old: expected.map_or(0, |old| old.as_raw_fd() as u32),
    };
    // SAFETY: Attr is the command's prefix and holds no pointer.
    let answer = unsafe { call(Command::LinkUpdate, &mut attr) };
    answer.map(drop).map_err(|errno| Error::new("replace the program of", "a cgroup link", errno))
}

/// Detaches a link, now: the hook runs no more when this returns. (Removing its last pin instead detaches some time later.)
/// A link that was detached already: success.
pub fn link_detach(link: BorrowedFd<'_>) -> Result<()> {
    #[repr(C)]
    struct Attr {
        link: u32,
    }
    let mut attr = Attr { link: link.as_raw_fd() as u32 };
    // SAFETY: Attr is the command's prefix and holds no pointer.
    let answer = unsafe { call(Command::LinkDetach, &mut attr) };
    answer.map(drop).map_err(|errno| Error::new("detach", "a cgroup link", errno))
}

/// What a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Number of the link in the kernel.
    pub id: u32,
    /// Number of the attached program.
    pub program: u32,
    /// For a cgroup link: the cgroup, which is its directory's inode number; 0 when it is gone or the link was detached.
    /// `None` for any other kind of link.
    pub cgroup: Option<u64>,
    /// The raw `enum bpf_attach_type` of a cgroup link; 0 for any other.
    pub attach_type: u32,
}

/// Reads what a link is; anything else is an error.
pub fn link_info(link: BorrowedFd<'_>) -> Result<LinkInfo> {
    /// BPF_LINK_TYPE_CGROUP.
    const CGROUP: u32 = 3;
    /// Prefix of `struct bpf_link_info`, its union as it is for a cgroup link.
    #[derive(Default)]
    #[repr(C, align(8))]
    struct Raw {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        cgroup_id: u64,
        attach_type: u32,
        end: u32,
    }
    check_kind(link, "bpf-link").map_err(|cause| Error::new("read what is", "a link", cause))?;
    let mut raw = Raw::default();
    // SAFETY: Raw is a prefix of the info of a link, and holds no pointer for a cgroup link; for kinds whose union begins
    // with a pointer the kernel finds it zero and writes nothing there.
    let answer = unsafe { info_by_fd(link, &mut raw) };
    answer.map_err(|errno| Error::new("read what is", "a link", errno))?;
    let cgroup = (raw.kind == CGROUP).then_some(raw.cgroup_id);
    let attach_type = if cgroup.is_some() { raw.attach_type } else { 0 };
    Ok(LinkInfo { id: raw.id, program: raw.program, cgroup, attach_type })
}
