//! Taking a lab down, whoever made it: from its directory's name alone.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{cgroup2_mount, labs_dir};

/// Removes what runs left that no longer live. Troubles are told on stderr: they are not the caller's fault.
pub(super) fn sweep() {
    for dir in all_labs() {
        if !is_alive(&dir) {
            for trouble in remove(&dir) {
                eprintln!("sweep of {}: {trouble}", dir.display());
            }
        }
    }
}

/// Takes down every lab that [`super::Lab::keep`] left standing under this name; says how many there were.
pub fn remove_kept(name: &str) -> Result<usize> {
    let mut count = 0;
    for dir in all_labs() {
        if dir.join("kept").exists() && parts(&dir).is_some_and(|(_, _, its_name)| its_name == name) {
            let troubles = remove(&dir);
            if !troubles.is_empty() {
                bail!("take down {}: {}", dir.display(), troubles.join("; "));
            }
            count += 1;
        }
    }
    Ok(count)
}

/// Kills, deletes, unmounts and removes, in this order; never stops at the first trouble, tells them all.
pub(super) fn remove(dir: &Path) -> Vec<String> {
    let Some((pid, serial, _)) = parts(dir) else { return vec!["not a lab's directory".into()] };
    let mut troubles = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(trouble) = result {
            troubles.push(format!("{trouble:#}"));
        }
    };
    let cgroup = cgroup2_mount().map(|root| root.join(format!("fairlead-lab-{pid}-{serial}")));
    if let Ok(cgroup) = &cgroup {
        note(kill_all(cgroup));
    }
    for name in netns_names(&format!("fl{pid}-{serial}-")) {
        note(delete_netns(&name));
    }
    for point in mounts_below(dir) {
        note(umount2(&point, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", point.display())));
    }
    if let Ok(cgroup) = &cgroup {
        // A process that was on its way into the cgroup when the others were killed makes it busy: once more, then.
        note(remove_cgroups(cgroup).or_else(|_| kill_all(cgroup).and_then(|()| remove_cgroups(cgroup))));
    }
    note(fs::remove_dir_all(dir).or_else(absent_is_fine).with_context(|| format!("remove {}", dir.display())));
    // Shared with other labs: only the last one out can.
    let _ = fs::remove_dir(labs_dir());
    troubles
}

/// When a process started, in clock ticks since boot (`/proc/PID/stat`, field 22): a PID alone may be somebody else's.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses and may hold anything; count from its end.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

fn all_labs() -> Vec<PathBuf> {
    fs::read_dir(labs_dir()).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// `<pid>-<serial>-<name>`.
fn parts(dir: &Path) -> Option<(u32, u32, String)> {
    let name = dir.file_name()?.to_str()?;
    let mut words = name.splitn(3, '-');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.to_owned()))
}

fn is_alive(dir: &Path) -> bool {
    let Some((pid, ..)) = parts(dir) else { return true };
    if dir.join("kept").exists() {
        return true;
    }
    match (start_time(pid), fs::read_to_string(dir.join("owner"))) {
        (None, _) => false,
        (Some(now), Ok(then)) if !then.is_empty() => now.to_string() == then,
        // Made a moment ago, not yet signed.
        (Some(_), _) => true,
    }
}

/// `cgroup.kill` (kernel 5.14) reaches every descendant; `cgroup.events` says when the last one is gone.
fn kill_all(cgroup: &Path) -> Result<()> {
    if !cgroup.exists() {
        return Ok(());
    }
    fs::write(cgroup.join("cgroup.kill"), "1")
        .with_context(|| format!("kill the processes of {}", cgroup.display()))?;
    let path = cgroup.join("cgroup.events");
    for _ in 0..100 {
        let events = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        if std::io::read_to_string(&events)?.contains("populated 0") {
            return Ok(());
        }
        let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::from(100u8)).with_context(|| format!("wait on {}", path.display()))?;
    }
    bail!("{} still has processes 10 s after they were killed", cgroup.display())
}

fn remove_cgroups(cgroup: &Path) -> Result<()> {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroups(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup).or_else(absent_is_fine).with_context(|| format!("remove cgroup {}", cgroup.display()))
}

fn netns_names(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.starts_with(prefix)).collect()
}

fn delete_netns(name: &str) -> Result<()> {
    let output = Command::new("ip").args(["netns", "del", name]).output().context("start ip")?;
    if !output.status.success() && Path::new("/run/netns").join(name).exists() {
        bail!("ip netns del {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Mount points at and below `dir`, the innermost first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    let mut points: Vec<PathBuf> = points.filter(|point| point.starts_with(dir)).collect();
    points.reverse();
    points
}

fn absent_is_fine(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}
