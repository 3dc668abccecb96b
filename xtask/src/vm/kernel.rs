//! Kernels of other versions: Debian's packages, unpacked into the cache with an initrd of their own.

use crate::{place, steps};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian packages that booting needs.
pub const PACKAGES: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
];

/// Changes when what is in the cache must be made anew.
const LAYOUT: &str = "2";
/// What the initrd must load before it can see this machine's files.
const BOOT_MODULES: [&str; 4] = ["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// A kernel the tests know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Linux 6.1: the floor.
    V6_1,
    /// Linux 6.12.
    V6_12,
}

impl Kernel {
    /// All of them, oldest first.
    pub const ALL: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_12];

    /// The Debian releases that package it.
    pub fn packaged_by_debian(self, release: u32) -> bool {
        match self {
            Kernel::V6_1 => release == 12,
            Kernel::V6_12 => release == 12 || release == 13,
        }
    }

    /// The package with the newest image of this version: which of the meta packages leads to it differs by release.
    fn package(self) -> Result<Option<String>> {
        for meta in ["linux-image-amd64", "linux-image-6.12-amd64"] {
            let depends = place::command("apt-cache").args(["depends", meta]).output().context("run apt-cache")?;
            let text = String::from_utf8_lossy(&depends.stdout).into_owned();
            let mut names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
            if let Some(name) = names.find(|name| name.starts_with(&format!("linux-image-{self}."))) {
                return Ok(Some(name.to_owned()));
            }
        }
        Ok(None)
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kernel::V6_1 => "6.1",
            Kernel::V6_12 => "6.12",
        })
    }
}

impl std::str::FromStr for Kernel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Kernel::ALL.into_iter().find(|kernel| kernel.to_string() == text).ok_or_else(|| {
            format!("no kernel {text}: there are {}", Kernel::ALL.map(|kernel| kernel.to_string()).join(" and "))
        })
    }
}

/// A kernel that is ready to boot.
pub struct Prepared {
    /// The compressed image.
    pub image: PathBuf,
    /// The initrd that mounts this machine's files.
    pub initrd: PathBuf,
    /// `…/lib/modules` with the version's directory in it.
    pub modules: PathBuf,
}

fn home(kernel: Kernel) -> Result<PathBuf> {
    Ok(place::cache()?.join("kernels").join(format!("{kernel}-{LAYOUT}")))
}

/// Is the kernel unpacked and its initrd built?
pub fn is_prepared(kernel: Kernel) -> bool {
    home(kernel).is_ok_and(|home| home.join("ready").exists())
}

/// The kernel from the cache; downloads, unpacks and builds its initrd when it is not there.
///
/// Needs [`PACKAGES`] and an apt that has Debian's kernel packages. Made beside its place and renamed: an interrupted
/// run leaves nothing that looks ready.
pub fn prepare(kernel: Kernel) -> Result<Prepared> {
    let home = home(kernel)?;
    if !home.join("ready").exists() {
        let fresh = place::cache()?.join("kernels").join(format!("{kernel}-half"));
        if fresh.exists() {
            fs::remove_dir_all(&fresh).with_context(|| format!("remove the unfinished {}", fresh.display()))?;
        }
        fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
        // apt drops its rights to download: it must be able to enter the directory.
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).context("open the kernel's directory to apt")?;
        unpack(kernel, &fresh)?;
        build_initrd(kernel, &fresh)?;
        fs::write(fresh.join("ready"), LAYOUT).context("mark a kernel ready")?;
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("remove the unfinished {}", home.display()))?;
        }
        fs::rename(&fresh, &home).with_context(|| format!("rename {} to {}", fresh.display(), home.display()))?;
    }
    let image = only(&home.join("root/boot"), "vmlinuz-")?;
    Ok(Prepared { image, initrd: home.join("initrd"), modules: home.join("root/lib/modules") })
}

fn unpack(kernel: Kernel, fresh: &Path) -> Result<()> {
    let package = kernel.package()?.with_context(|| {
        format!("apt knows no package of kernel {kernel}: run `apt-get update` (Debian 12 has it, see setup --check)")
    })?;
    steps::run(
        &format!("download {package}"),
        place::command("apt-get").args(["download", "-qq", &package]).current_dir(fresh),
    )?;
    let deb = only(fresh, "linux-image-")?;
    steps::run(&format!("unpack {package}"), place::command("dpkg").arg("-x").arg(&deb).arg(fresh.join("root")))?;
    fs::remove_file(&deb).with_context(|| format!("remove {}", deb.display()))?;
    let release = release(fresh)?;
    quiet(place::command("depmod").arg("-b").arg(fresh.join("root")).arg(&release))
}

fn release(home: &Path) -> Result<String> {
    let dir = only(&home.join("root/lib/modules"), "")?;
    Ok(dir.file_name().context("a modules directory without a name")?.to_string_lossy().into_owned())
}

/// busybox, the modules that 9p and the overlay need, and `/init`.
fn build_initrd(kernel: Kernel, home: &Path) -> Result<()> {
    let tree = home.join("init");
    for dir in ["bin", "modules", "proc", "sys", "dev", "host", "up", "root"] {
        fs::create_dir_all(tree.join(dir)).context("lay out the initrd")?;
    }
    let busybox = place::find("busybox").context("busybox is not on PATH: run `cargo xtask setup`")?;
    fs::copy(&busybox, tree.join("bin/busybox")).with_context(|| format!("copy {}", busybox.display()))?;
    let release = release(home)?;
    let mut order: Vec<PathBuf> = Vec::new();
    for module in BOOT_MODULES {
        let shown = place::command("modprobe")
            .arg("-d")
            .arg(home.join("root"))
            .args(["-S", &release, "--show-depends", module])
            .output()
            .context("run modprobe")?;
        for line in String::from_utf8_lossy(&shown.stdout).lines() {
            if let Some(file) = line.strip_prefix("insmod ").map(|rest| PathBuf::from(rest.trim()))
                && !order.contains(&file)
            {
                order.push(file);
            }
        }
    }
    if order.is_empty() {
        bail!("Linux {kernel}'s package has none of the modules {}", BOOT_MODULES.join(", "));
    }
    for (number, file) in order.iter().enumerate() {
        let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
        let packed = name.strip_suffix(".xz");
        let to = tree.join(format!("modules/{number:02}-{}", packed.unwrap_or(&name)));
        fs::copy(file, &to).with_context(|| format!("copy {}", file.display()))?;
        if packed.is_some() {
            let compressed = to.with_extension("ko.xz");
            fs::rename(&to, &compressed).context("name a compressed module")?;
            quiet(place::command("xz").arg("-d").arg(&compressed))?;
        }
    }
    let init = tree.join("init");
    fs::write(&init, include_str!("init.sh")).context("write /init")?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("make /init executable")?;
    let pack = "find . | cpio -o -H newc --quiet | gzip -1 > ../initrd";
    quiet(place::command("sh").args(["-c", pack]).current_dir(&tree))
}

/// Run a short command whose output only matters when it fails.
fn quiet(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// The one entry of `dir` whose name begins with `prefix`.
fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("list {}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
        .collect();
    match (found.pop(), found.len()) {
        (Some(path), 0) => Ok(path),
        (None, _) => bail!("nothing in {} begins with {prefix:?}", dir.display()),
        (Some(_), more) => bail!("{} entries of {} begin with {prefix:?}, one is expected", more + 1, dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_named_as_its_version() {
        assert_eq!("6.12".parse(), Ok(Kernel::V6_12));
        assert_eq!("6.6".parse::<Kernel>(), Err("no kernel 6.6: there are 6.1 and 6.12".to_owned()));
    }
}
