//! `fairlead-cni install`: one inode under every name, the way back, and nothing half done whatever happens meanwhile.

mod faults;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fairlead_conformance::cni::Suite;
use fairlead_conformance::lab::{Finished, Job, Lab, Node};
use nix::sys::signal::Signal;

/// A node with a directory of other people's plugins.
struct Scene {
    _lab: Lab,
    node: Node,
    binary: PathBuf,
    bin: PathBuf,
}

/// Name → what is under it: inode and permission bits of a file, content of a small one.
type Seen = BTreeMap<String, String>;

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let lab = Lab::new(&format!("install-{name}"))?;
        let node = lab.node("a")?;
        let bin = node.write("opt/bridge", "reference bridge")?.parent().context("a directory")?.to_owned();
        for plugin in ["host-local", "dhcp"] {
            node.write(&format!("opt/{plugin}"), format!("reference {plugin}"))?;
        }
        for file in ["bridge", "host-local", "dhcp"] {
            fs::set_permissions(bin.join(file), fs::Permissions::from_mode(0o755))?;
        }
        let binary = Suite::ours()?.binary("fairlead-cni");
        Ok(Self { _lab: lab, node, binary, bin })
    }

    fn install_job(&self, arguments: &[&str]) -> Job {
        Job::new(&self.binary).args(["install", "--to"]).arg(&self.bin).args(arguments)
    }

    fn install(&self, arguments: &[&str]) -> Result<Finished> {
        self.node.output(&self.install_job(arguments))
    }

    fn look(&self) -> Result<Seen> {
        look(&self.bin)
    }

    /// Every file of the directory is one of ours, but for `dhcp`.
    fn is_all_new(&self) -> Result<bool> {
        let inode = fs::metadata(self.bin.join("fairlead-cni")).map(|found| found.ino()).ok();
        let mut names = 0;
        for entry in fs::read_dir(&self.bin)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !["dhcp", ".fairlead"].contains(&name.as_str()) {
                names += 1;
                if Some(entry.metadata()?.ino()) != inode {
                    return Ok(false);
                }
            }
        }
        Ok(names > 3)
    }
}

/// What is in a directory. A file of ours is told by its size alone: its inode is another each time.
fn look(directory: &Path) -> Result<Seen> {
    let mut seen = Seen::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry?;
        let found = entry.metadata()?;
        let content = match found.len() {
            small if small < 100 && found.is_file() => fs::read_to_string(entry.path())?,
            large => format!("{large} bytes"),
        };
        let text = format!("{:o} {content}", found.permissions().mode() & 0o7777);
        seen.insert(entry.file_name().to_string_lossy().into_owned(), text);
    }
    Ok(seen)
}

#[test]
fn every_name_is_the_binary_and_restore_is_the_way_back() -> Result<()> {
    let scene = Scene::new("all")?;
    let before = scene.look()?;
    let told = scene.install(&[])?.success()?.stdout_text();
    assert!(told.contains("not touched: dhcp") && told.contains("bridge"), "{told}");
    assert!(scene.is_all_new()?, "{:?}", scene.look()?);
    let names = scene.node.output(&Job::new(&scene.binary).arg("--help"))?.stdout_text();
    let names = names.lines().find_map(|line| line.strip_prefix("Names: ")).context("the names")?.to_owned();
    for name in names.split(", ") {
        let plugin = Job::new(scene.bin.join(name)).env("CNI_COMMAND", "VERSION");
        let finished = scene.node.output(&if name == "cnitool" { plugin.arg("--version") } else { plugin })?;
        finished.success().with_context(|| format!("{name} runs under its new name"))?;
    }
    let own = fs::metadata(scene.bin.join("bridge"))?;
    assert_eq!((own.permissions().mode() & 0o7777, own.uid(), own.gid()), (0o755, 0, 0));
    // Again, from where it is now; then back.
    let again = Job::new(scene.bin.join("fairlead-cni")).args(["install", "--to"]).arg(&scene.bin);
    scene.node.output(&again)?.success()?;
    scene.install(&["--restore"])?.success()?;
    assert_eq!(scene.look()?, before);
    Ok(())
}

#[test]
fn neither_suid_nor_attributes_of_the_source_are_carried_over() -> Result<()> {
    let mut scene = Scene::new("suid")?;
    let planted = scene.node.dir().join("fairlead-cni-x86_64");
    fs::copy(&scene.binary, &planted)?;
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o6755))?;
    scene.binary = planted;
    // A umask of the caller's has no say either.
    let job = scene.install_job(&[]).under(&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]);
    scene.node.output(&job)?.success()?;
    let own = fs::metadata(scene.bin.join("bridge"))?;
    assert_eq!((own.permissions().mode() & 0o7777, own.uid(), own.gid()), (0o755, 0, 0));
    Ok(())
}

#[test]
fn a_plugin_that_runs_is_not_in_the_way() -> Result<()> {
    let scene = Scene::new("busy")?;
    // Busy is what is being executed: `sleep` under a plugin's name.
    fs::copy("/bin/sleep", scene.bin.join("host-local"))?;
    let mut running = scene.node.start(&Job::new(scene.bin.join("host-local")).arg("60"))?;
    scene.install(&[])?.success()?;
    assert!(scene.is_all_new()? && running.is_alive()?);
    running.signal(Signal::SIGKILL)
}

#[test]
fn a_downgrade_is_refused_unless_it_is_forced() -> Result<()> {
    let scene = Scene::new("downgrade")?;
    scene.node.write("opt/fairlead-cni", "\0fairlead-cni is version 99.1.0;\0")?;
    let before = scene.look()?;
    let refused = scene.install(&[])?;
    assert_eq!(refused.status.code(), Some(1));
    let said = refused.stderr_text();
    assert!(said.contains("99.1.0") && said.contains("--force") && said.lines().count() == 1, "{said}");
    assert_eq!(scene.look()?, before);
    let told = scene.install(&["--dry-run"])?.success()?.stdout_text();
    assert!(told.contains("would be refused"), "{told}");
    assert_eq!(scene.look()?, before);
    scene.install(&["--force"])?.success()?;
    assert!(scene.is_all_new()?);
    Ok(())
}
