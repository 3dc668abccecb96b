//! The proxy's hold on the kernel: the programs loaded, their maps and links pinned below `<bpffs>/fairlead/v<ABI>`.
//!
//! Decides no service. Invariants others may rely on: a link that exists is replaced in place and never detached first; no
//! map is used whose shape was not compared with what this build expects; who writes holds the lock on the pin directory;
//! what a build of another ABI version attached goes on until [`Predecessors::retire`].
//!
//! Maps are made and pinned before anything is attached, links after every program has passed the verifier: whatever fails,
//! the connections of the node go on as they did. What a crash left half made, the next start completes.

mod links;
mod pins;
mod remove;
pub mod requirements;
mod shapes;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aya::EbpfLoader;
use aya::programs::{CgroupSockAddr, ProgramError};
use fairlead_ebpf_shared::{map, program};
use fairlead_kernel::bpf::{self, Map};
use fairlead_kernel::error::Errno;
use fairlead_proxy_model::Sizes;

pub use links::LinkState;
pub use pins::{Lock, Pins};
pub use remove::cleanup;
pub use shapes::open as open_map;

use crate::maps::kernel::KernelMaps;
use links::Cgroup;
use pins::Tree;

/// Loads, pins and attaches what is missing, and replaces in place the programs that are attached.
///
/// Leaves things as they were when it fails: what it pinned is removed again, unless there was something before.
/// Errors: not allowed, not a bpffs or a cgroup2, a kernel before 6.1, another daemon on these pins or on those of another ABI
/// version, a pinned map of another shape, a program that the verifier refuses. Each says what to do.
pub fn ensure(bpffs_root: &Path, cgroup_root: &Path, sizes: Sizes) -> Result<KernelMaps> {
    requirements::kernel()?;
    requirements::privileges()?;
    requirements::bpffs(bpffs_root)?;
    requirements::cgroup2(cgroup_root)?;
    shapes::check_sizes(sizes)?;
    let cgroup = Cgroup::open(cgroup_root)?;
    let tree = Tree::at(bpffs_root);
    let others = tree.others()?;
    let locks = others.iter().map(Pins::lock).collect::<Result<Vec<_>>>()?;
    let fresh = !tree.is_there();
    match attach(&tree, &cgroup, sizes) {
        Ok((pins, lock)) => {
            let pinned = others.into_iter().zip(locks).collect();
            KernelMaps::open(&pins, lock, Predecessors { tree, cgroup, pinned })
        }
        Err(error) => {
            if fresh {
                // The first error is the one to report; this one would say the same about the same place.
                let _ = remove::remove_version(&tree, &tree.pins(), &cgroup);
            }
            Err(error)
        }
    }
}

fn attach(tree: &Tree, cgroup: &Cgroup, sizes: Sizes) -> Result<(Pins, Lock)> {
    let pins = tree.create()?;
    let lock = pins.lock()?;
    recover_maps(&pins)?;
    shapes::check_pinned(&pins, sizes)?;
    let programs = load(&pins, sizes)?;
    for (name, program) in &programs {
        links::ensure(&pins, cgroup, name, program.as_fd())?;
    }
    Ok((pins, lock))
}

/// What connected sockets keep: the pinned map `ORIGINS` of this build.
pub fn origins(bpffs_root: &Path) -> Result<Map> {
    open_map(&Tree::at(bpffs_root).pins(), map::ORIGINS)
}

/// What builds of another ABI version attached, with the locks on it. Their programs were attached before ours and run before
/// them: what they translate is no service to ours, what they do not know is left to ours. So services go on by the tables
/// of the last one while ours are filled.
#[derive(Debug)]
pub struct Predecessors {
    tree: Tree,
    cgroup: Cgroup,
    pinned: Vec<(Pins, Lock)>,
}

impl Predecessors {
    /// Detaches them and removes their pins, now that our tables are filled. One line for each thing removed. What could not
    /// be removed is tried again with the next call.
    ///
    /// Sockets that they connected stay connected; `getpeername` of these names the backend from now on.
    pub fn retire(&mut self) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        while let Some((pins, _lock)) = self.pinned.last() {
            removed.extend(remove::remove_version(&self.tree, pins, &self.cgroup)?);
            self.pinned.pop();
        }
        Ok(removed)
    }
}

/// Pins again the maps whose pins are gone while linked programs still use them: a new map beside an old program would be
/// written to and never read.
fn recover_maps(pins: &Pins) -> Result<()> {
    let missing: Vec<&str> = map::ALL.into_iter().filter(|name| !pins.map(name).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut used = BTreeMap::new();
    for id in links::linked_programs(pins)? {
        for id in bpf::program_info(id)?.maps {
            let found = Map::from_id(id)?;
            used.insert(found.info().name.clone(), found);
        }
    }
    for name in missing {
        // The kernel keeps 15 bytes of a name; all of ours are shorter.
        if let Some(found) = used.get(name) {
            bpf::obj_pin(found.as_fd(), &pins.map(name))?;
            tracing::warn!(map = name, "the map's pin was gone; taken back from the attached programs");
        }
    }
    Ok(())
}

/// Loads all programs before any is attached. What aya holds is dropped: descriptors of programs are all that is needed.
fn load(pins: &Pins, sizes: Sizes) -> Result<Vec<(&'static str, OwnedFd)>> {
    let mut loader = EbpfLoader::new();
    for shape in shapes::expected(sizes) {
        loader.map_pin_path(shape.name, pins.map(shape.name));
        if shape.max_entries > 0 {
            loader.map_max_entries(shape.name, shape.max_entries);
        }
    }
    let mut ebpf = loader.load(fairlead_ebpf_object::OBJECT).map_err(explain_maps)?;
    program::ALL.into_iter().map(|name| Ok((name, load_program(&mut ebpf, name)?))).collect()
}

/// Has the kernel judge every program, with maps that nobody pins, and lets go of all of it: for `doctor`. How many they are.
pub fn rehearse() -> Result<usize> {
    let mut ebpf = EbpfLoader::new().load(fairlead_ebpf_object::OBJECT).map_err(explain_maps)?;
    for name in program::ALL {
        load_program(&mut ebpf, name)?;
    }
    Ok(program::ALL.len())
}

fn load_program(ebpf: &mut aya::Ebpf, name: &'static str) -> Result<OwnedFd> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
    let program: &mut CgroupSockAddr = program.try_into()?;
    program.load().map_err(|error| explain_program(name, &error))?;
    Ok(program.fd()?.as_fd().try_clone_to_owned()?)
}

/// aya prints the call and leaves the errno to the error's source.
fn explain_maps(error: aya::EbpfError) -> anyhow::Error {
    anyhow!(error).context("create and pin the BPF maps")
}

/// One line of the verifier's log, the last, which is its verdict; the whole of it is for `RUST_LOG=debug`.
fn explain_program(name: &str, error: &ProgramError) -> anyhow::Error {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return anyhow!("load program {name}: {error}");
    };
    let log = verifier_log.to_string();
    tracing::debug!(program = name, log, "the verifier's log");
    let hint = match io_error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM) => "; CAP_BPF and CAP_NET_ADMIN are needed in the first user namespace",
        Some(Errno::EINVAL) if log.is_empty() => "; is the kernel built with CONFIG_CGROUP_BPF?",
        _ => "",
    };
    let verdict = log.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("processed "));
    let verdict = verdict.map(|line| format!(", the verifier says: {}", line.trim())).unwrap_or_default();
    anyhow!("load program {name}: {io_error}{verdict}{hint}")
}

/// What is pinned, to be looked at.
#[derive(Debug)]
pub struct Inspection {
    /// The maps.
    pub maps: KernelMaps,
    /// The links, in the order of [`program::ALL`].
    pub links: Vec<LinkState>,
}

/// Opens what is pinned and changes nothing; `None`: nothing is. Works beside a running daemon.
pub fn inspect(bpffs_root: &Path, cgroup_root: &Path) -> Result<Option<Inspection>> {
    let tree = Tree::at(bpffs_root);
    if !tree.is_there() {
        return Ok(None);
    }
    requirements::privileges()?;
    let pins = tree.pins();
    let maps = KernelMaps::look(&pins)?;
    let cgroup = Cgroup::open(cgroup_root)?;
    let links = program::ALL.into_iter().map(|name| links::state(&pins, &cgroup, name)).collect::<Result<_>>()?;
    Ok(Some(Inspection { maps, links }))
}
