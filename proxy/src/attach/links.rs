//! Links between programs and the cgroup: one a program, pinned under its name.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fairlead_ebpf_shared::program;
use fairlead_kernel::bpf::{self, AttachType, LinkInfo};
use fairlead_kernel::error::Errno;

use super::pins::Pins;

/// The cgroup whose sockets are served, with everything below it.
#[derive(Debug)]
pub struct Cgroup {
    directory: File,
    path: PathBuf,
    /// Its number in the kernel: the directory's inode.
    id: u64,
}

impl Cgroup {
    /// Opens its directory.
    pub fn open(path: &Path) -> Result<Self> {
        let directory = File::open(path).with_context(|| format!("open cgroup {}", path.display()))?;
        let id = directory.metadata().with_context(|| format!("look at cgroup {}", path.display()))?.ino();
        Ok(Self { directory, path: path.into(), id })
    }
}

/// A link as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// The program's name.
    pub name: String,
    /// Its program runs for the sockets of the cgroup that was asked about.
    pub attached: bool,
    /// Which program it is, or why it does not run.
    pub detail: String,
}

/// What a pinned link is to us.
enum Standing {
    /// Nothing is pinned.
    Absent,
    /// On our cgroup.
    Ours,
    /// On a cgroup that is gone: it does nothing and cannot be updated.
    Dead,
    /// On another cgroup, which lives.
    Elsewhere(u64),
}

/// Attaches `program` under `name`, or puts it in the place of the one that is attached.
pub fn ensure(pins: &Pins, cgroup: &Cgroup, name: &str, program: BorrowedFd<'_>) -> Result<()> {
    let pin = pins.link(name);
    // What a crash left of a move to another cgroup.
    discard(&beside(&pin))?;
    match standing(&pin, cgroup, name)? {
        Standing::Absent => create(&pin, cgroup, name, program),
        Standing::Ours => {
            let link = bpf::obj_get(&pin)?;
            match bpf::link_update(link.as_fd(), program, None) {
                Ok(()) => Ok(()),
                // The cgroup went this moment, or the link was detached by hand and keeps its number.
                Err(error) if error.errno() == Some(Errno::ENOLINK) => replace(&pin, cgroup, name, program),
                Err(error) => Err(error).with_context(|| format!("link {}", pin.display())),
            }
        }
        Standing::Dead => replace(&pin, cgroup, name, program),
        Standing::Elsewhere(id) => {
            tracing::warn!(link = name, from = id, to = %cgroup.path.display(), "the link moves to another cgroup");
            replace(&pin, cgroup, name, program)
        }
    }
}

fn create(pin: &Path, cgroup: &Cgroup, name: &str, program: BorrowedFd<'_>) -> Result<()> {
    let link = bpf::link_create(program, cgroup.directory.as_fd(), attach_type(name)?).map_err(|error| {
        let hint = match error.errno() {
            Some(Errno::EPERM) => {
                "; a program that allows no other beside it may be attached there: see `bpftool cgroup tree`"
            }
            Some(Errno::EINVAL) => "; is the kernel built with CONFIG_CGROUP_BPF?",
            _ => "",
        };
        anyhow::anyhow!("attach {name} to cgroup {}: {error}{hint}", cgroup.path.display())
    })?;
    Ok(bpf::obj_pin(link.as_fd(), pin)?)
}

/// The new link works before the old one is gone: pinned beside it, moved over it, and only then is the old one detached.
fn replace(pin: &Path, cgroup: &Cgroup, name: &str, program: BorrowedFd<'_>) -> Result<()> {
    let old = bpf::obj_get(pin)?;
    let beside = beside(pin);
    create(&beside, cgroup, name, program)?;
    fs::rename(&beside, pin).with_context(|| format!("move {} to {}", beside.display(), pin.display()))?;
    Ok(bpf::link_detach(old.as_fd())?)
}

/// The place of the new link during [`replace`]. bpffs allows no dot in a name.
fn beside(pin: &Path) -> PathBuf {
    let mut name = pin.file_name().unwrap_or_default().to_owned();
    name.push("_new");
    pin.with_file_name(name)
}

/// Detaches and unpins a link; nothing there: `false`.
pub fn discard(pin: &Path) -> Result<bool> {
    let link = match bpf::obj_get(pin) {
        Err(error) if error.is_not_found() => return Ok(false),
        link => link?,
    };
    // Unpinning alone detaches some time later.
    bpf::link_detach(link.as_fd()).with_context(|| format!("link {}", pin.display()))?;
    fs::remove_file(pin).with_context(|| format!("remove {}", pin.display()))?;
    Ok(true)
}

/// Numbers of the programs that are linked now.
pub fn linked_programs(pins: &Pins) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for name in program::ALL {
        match bpf::obj_get(&pins.link(name)) {
            Err(error) if error.is_not_found() => {}
            link => found.push(info(link?.as_fd(), &pins.link(name), name)?.program),
        }
    }
    Ok(found)
}

/// What the link of `name` does.
pub fn state(pins: &Pins, cgroup: &Cgroup, name: &str) -> Result<LinkState> {
    let pin = pins.link(name);
    let (attached, detail) = match standing(&pin, cgroup, name)? {
        Standing::Absent => (false, "not attached: nothing is pinned".into()),
        Standing::Dead => (false, "not attached: its cgroup was removed, or it was detached by hand".into()),
        Standing::Elsewhere(id) => {
            (false, format!("attached to another cgroup (number {id}) than {}", cgroup.path.display()))
        }
        Standing::Ours => {
            let link = info(bpf::obj_get(&pin)?.as_fd(), &pin, name)?;
            let tag = bpf::program_info(link.program)?.tag;
            (true, format!("program {} (tag {tag:016x}) on {}", link.program, cgroup.path.display()))
        }
    };
    Ok(LinkState { name: name.into(), attached, detail })
}

/// Where a pinned link is attached, for `cleanup` to tell.
pub fn place(pin: &Path, cgroup: &Cgroup) -> Result<String> {
    let link = bpf::link_info(bpf::obj_get(pin)?.as_fd())?;
    Ok(match link.cgroup {
        Some(id) if id == cgroup.id => format!("from cgroup {}", cgroup.path.display()),
        Some(0) => "from a cgroup that is gone".into(),
        Some(id) => format!("from the cgroup with number {id}, which is not {}", cgroup.path.display()),
        None => "from what is no cgroup".into(),
    })
}

fn standing(pin: &Path, cgroup: &Cgroup, name: &str) -> Result<Standing> {
    let link = match bpf::obj_get(pin) {
        Err(error) if error.is_not_found() => return Ok(Standing::Absent),
        link => link?,
    };
    Ok(match info(link.as_fd(), pin, name)?.cgroup {
        Some(id) if id == cgroup.id => Standing::Ours,
        None | Some(0) => Standing::Dead,
        Some(id) => Standing::Elsewhere(id),
    })
}

/// Reads a pinned link, which must be one of a cgroup and of this hook.
fn info(link: BorrowedFd<'_>, pin: &Path, name: &str) -> Result<LinkInfo> {
    let info = bpf::link_info(link).with_context(|| format!("{}", pin.display()))?;
    if info.cgroup.is_none() || info.attach_type != attach_type(name)? as u32 {
        bail!("{} is not a link of fairlead-proxy's {name}: run `fairlead-proxy cleanup`", pin.display());
    }
    Ok(info)
}

fn attach_type(name: &str) -> Result<AttachType> {
    Ok(match name {
        "connect4" => AttachType::Inet4Connect,
        "connect6" => AttachType::Inet6Connect,
        "sendmsg4" => AttachType::Udp4Sendmsg,
        "sendmsg6" => AttachType::Udp6Sendmsg,
        "recvmsg4" => AttachType::Udp4Recvmsg,
        "recvmsg6" => AttachType::Udp6Recvmsg,
        "getpeername4" => AttachType::Inet4Getpeername,
        "getpeername6" => AttachType::Inet6Getpeername,
        other => bail!("no hook is known for program {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_hook_of_its_own() {
        let hooks: Vec<u32> = program::ALL.map(|name| attach_type(name).expect(name) as u32).into();
        for (index, hook) in hooks.iter().enumerate() {
            assert!(!hooks[..index].contains(hook), "{}", program::ALL[index]);
        }
    }
}
