//! What must be true of the machine. Each answer is one line that says what to do.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::statfs::{BPF_FS_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};

/// The oldest kernel the programs are tested on.
const KERNEL_FLOOR: (u32, u32) = (6, 1);

/// CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF (include/uapi/linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;
const BPF: u64 = 1 << 39;

/// The kernel is new enough.
pub fn kernel() -> Result<()> {
    const PATH: &str = "/proc/sys/kernel/osrelease";
    check_kernel(fs::read_to_string(PATH).with_context(|| format!("read {PATH}"))?.trim())
}

fn check_kernel(release: &str) -> Result<()> {
    let (major, minor) = KERNEL_FLOOR;
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(is_major)), Some(Ok(is_minor))) = (numbers.next(), numbers.next()) else {
        bail!("the kernel calls itself {release:?}, which is no version number");
    };
    if (is_major, is_minor) < KERNEL_FLOOR {
        bail!("this is Linux {release}; fairlead-proxy needs {major}.{minor} or newer");
    }
    Ok(())
}

/// The process may load programs and attach them.
pub fn privileges() -> Result<()> {
    const PATH: &str = "/proc/self/status";
    let status = fs::read_to_string(PATH).with_context(|| format!("read {PATH}"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:")).map(str::trim);
    let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok());
    check_privileges(mask.with_context(|| format!("{PATH} has no CapEff"))?)
}

fn check_privileges(effective: u64) -> Result<()> {
    if effective & SYS_ADMIN != 0 && effective & NET_ADMIN != 0 {
        return Ok(());
    }
    let missing: Vec<&str> = [(BPF, "CAP_BPF"), (NET_ADMIN, "CAP_NET_ADMIN"), (SYS_ADMIN, "CAP_SYS_ADMIN")]
        .into_iter()
        .filter_map(|(bit, name)| (effective & bit == 0).then_some(name))
        .collect();
    bail!(
        "not allowed to load BPF programs: run as root (missing: {}; CAP_SYS_ADMIN is for reading maps by their number)",
        missing.join(", ")
    )
}

/// A bpffs is mounted at `root`.
pub fn bpffs(root: &Path) -> Result<()> {
    let place = root.display();
    if file_system(root, "--bpffs-root")? == BPF_FS_MAGIC {
        return Ok(());
    }
    let hint = match mounted("bpf") {
        Some(other) => format!("one is mounted at {other}: give --bpffs-root {other}"),
        None => format!("mount one: mount -t bpf bpf {place}"),
    };
    bail!("{place} is not a BPF file system; {hint}")
}

/// `root` is a cgroup of version 2.
pub fn cgroup2(root: &Path) -> Result<()> {
    let place = root.display();
    if file_system(root, "--cgroup-root")? == CGROUP2_SUPER_MAGIC {
        return Ok(());
    }
    let hint = match mounted("cgroup2") {
        Some(other) => format!("version 2 is mounted at {other}: give --cgroup-root {other}"),
        None => {
            "version 2 is mounted nowhere: mount -t cgroup2 cgroup2 DIRECTORY, and give --cgroup-root DIRECTORY".into()
        }
    };
    bail!("{place} is not a cgroup of version 2; {hint}")
}

fn file_system(root: &Path, option: &str) -> Result<FsType> {
    match statfs(root) {
        Ok(answer) => Ok(answer.filesystem_type()),
        Err(Errno::ENOENT) => Err(anyhow!("{} is not there: what does {option} have to be?", root.display())),
        Err(errno) => Err(anyhow!("look at {} ({option}): {}", root.display(), errno.desc())),
    }
}

/// Where a file system of this kind is mounted; of several places the shortest, which is the machine's own rather than a
/// container's.
fn mounted(kind: &str) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let places = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        (fields.next()? == kind).then_some(place)
    });
    places.min_by_key(|place| place.len()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_from_6_1_are_taken() {
        for release in ["6.1.0-56-amd64", "6.1", "6.12.117+deb13", "7.0.0-rc1", "10.2"] {
            check_kernel(release).unwrap_or_else(|error| panic!("{release}: {error}"));
        }
        for (release, words) in
            [("5.15.0-91-generic", "needs 6.1 or newer"), ("6.0.19", "needs 6.1"), ("odd", "no version")]
        {
            let error = check_kernel(release).expect_err(release).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        check_privileges(u64::MAX).expect("everything is enough");
        check_privileges(SYS_ADMIN | NET_ADMIN).expect("what root had before CAP_BPF is enough");
        let error = check_privileges(BPF).expect_err("not enough").to_string();
        assert!(error.contains("missing: CAP_NET_ADMIN, CAP_SYS_ADMIN;"), "{error}");
    }

    #[test]
    fn a_root_of_another_file_system_is_refused_with_a_hint() {
        let error = bpffs(Path::new("/proc")).expect_err("proc is no bpffs").to_string();
        assert!(error.starts_with("/proc is not a BPF file system; "), "{error}");
        let error = cgroup2(Path::new("/proc")).expect_err("proc is no cgroup2").to_string();
        assert!(error.starts_with("/proc is not a cgroup of version 2; "), "{error}");
        let error = cgroup2(Path::new("/nowhere/at/all")).expect_err("not there").to_string();
        assert_eq!(error, "/nowhere/at/all is not there: what does --cgroup-root have to be?");
    }
}
