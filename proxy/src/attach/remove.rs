//! Taking everything away: links detached, pins removed, directories removed.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow};

use super::links::{self, Cgroup};
use super::pins::{Pins, Tree};
use super::requirements;

/// Detaches and removes what fairlead-proxy left below `<bpffs>/fairlead`, of every ABI version. When it returns, no hook
/// runs any more. One line for each thing removed; nothing there: none. A daemon that runs keeps it from starting.
///
/// Does not stop at an error: what can go goes, and the error names what could not.
pub fn cleanup(bpffs_root: &Path, cgroup_root: &Path) -> Result<Vec<String>> {
    let tree = Tree::at(bpffs_root);
    let versions = tree.versions()?;
    if versions.is_empty() && !tree.root().exists() {
        return Ok(Vec::new());
    }
    requirements::privileges()?;
    let cgroup = Cgroup::open(cgroup_root)?;
    let locks = versions.iter().map(Pins::lock).collect::<Result<Vec<_>>>()?;
    let removed = remove(&tree, &cgroup);
    drop(locks);
    removed
}

/// As [`cleanup`], for who holds the locks.
fn remove(tree: &Tree, cgroup: &Cgroup) -> Result<Vec<String>> {
    let mut done = Done::default();
    for pins in tree.versions()? {
        done.remove_version(&pins, cgroup);
    }
    done.remove_directory(tree.root());
    done.outcome()
}

/// Takes away one version, for who holds its lock; its directory goes too, and `fairlead` if it is empty then.
pub fn remove_version(tree: &Tree, pins: &Pins, cgroup: &Cgroup) -> Result<Vec<String>> {
    let mut done = Done::default();
    done.remove_version(pins, cgroup);
    if tree.versions()?.is_empty() {
        done.remove_directory(tree.root());
    }
    done.outcome()
}

#[derive(Default)]
struct Done {
    removed: Vec<String>,
    failed: Vec<Error>,
}

impl Done {
    fn remove_version(&mut self, pins: &Pins, cgroup: &Cgroup) {
        let Self { removed, failed } = self;
        each_in(&pins.links(), failed, |pin| {
            let place = links::place(pin, cgroup)?;
            links::discard(pin)?;
            removed.push(format!("detached {} {place}", name(pin)));
            Ok(())
        });
        each_in(&pins.maps(), failed, |pin| {
            fs::remove_file(pin).with_context(|| format!("remove {}", pin.display()))?;
            removed.push(format!("removed map {}", name(pin)));
            Ok(())
        });
        for directory in [pins.links(), pins.maps(), pins.root().into()] {
            self.remove_directory(&directory);
        }
    }

    fn remove_directory(&mut self, directory: &Path) {
        match fs::remove_dir(directory) {
            Ok(()) => self.removed.push(format!("removed {}", directory.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                self.failed.push(Error::new(error).context(format!("remove directory {}", directory.display())));
            }
        }
    }

    fn outcome(self) -> Result<Vec<String>> {
        if self.failed.is_empty() {
            return Ok(self.removed);
        }
        let texts: Vec<String> = self.failed.iter().map(|error| format!("{error:#}")).collect();
        Err(anyhow!("not everything could be removed: {}", texts.join("; ")))
    }
}

fn each_in(directory: &Path, failed: &mut Vec<Error>, mut deed: impl FnMut(&Path) -> Result<()>) {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            failed.push(Error::new(error).context(format!("read directory {}", directory.display())));
            return;
        }
    };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort_unstable();
    failed.extend(paths.iter().filter_map(|path| deed(path).err()));
}

fn name(pin: &Path) -> std::borrow::Cow<'_, str> {
    pin.file_name().unwrap_or_default().to_string_lossy()
}
