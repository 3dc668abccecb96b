//! `cleanup`: taking away what `run` made, and nothing else. Done twice, the second finds nothing to do.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use fairlead_kernel::link;
use fairlead_kernel::netlink::Socket;
use fairlead_overlay_model::device::OWNER;

use crate::cli::CleanupOptions;
use crate::instance::Instance;
use crate::state::Status;
use crate::{files, observe};

/// Removes everything and says what it was, one line each.
pub fn cleanup(options: &CleanupOptions) -> Result<()> {
    let mut socket = observe::open()?;
    // The directory may be gone while the device is still there: its alias names the path, as it was without links.
    let state_dir = fs::canonicalize(&options.state_dir)
        .or_else(|_| std::path::absolute(&options.state_dir))
        .with_context(|| format!("find {}", options.state_dir.display()))?;
    let mut instance = if state_dir.is_dir() { Some(Instance::lock(&state_dir)?) } else { None };
    let status = Status::read(&state_dir)?;
    let mut said = remove_device(&mut socket, &state_dir, status.as_ref())?;
    said.extend(remove_files(&state_dir, status.as_ref(), options.subnet_file.as_deref(), instance.as_mut())?);
    if said.is_empty() {
        println!("nothing to remove: no device or file of the agent with the state directory {}", state_dir.display());
    }
    for line in said {
        println!("{line}");
    }
    Ok(())
}

/// Removes the devices that the agent with this state directory made; routes, neighbours and FDB entries go with them.
/// One that has no alias yet, because the agent was killed right after making it, is known by name and MAC.
pub fn remove_device(socket: &mut Socket, state_dir: &Path, status: Option<&Status>) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let mut links = observe::leftovers(socket, &format!("{OWNER}{}", state_dir.display()), "")?;
    if let Some(peers) = status.map(|status| &status.peers) {
        let ours = |link: &link::Link| link.alias.is_none() && link.mac.is_some_and(|mac| mac.0 == peers.me.mac.0);
        let named = link::list(socket)?.into_iter().filter(|link| link.name == peers.device_name() && link.is("vxlan"));
        links.extend(named.filter(ours));
    }
    for link in links {
        match link::delete(socket, link.index) {
            Ok(()) => said.push(format!("removed device {} with its routes, neighbours and FDB entries", link.name)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error).with_context(|| format!("remove device {}", link.name)),
        }
    }
    Ok(said)
}

/// Removes the subnet file, the state directory's files, and the directories that we made, as far as they are empty.
pub fn remove_files(
    state_dir: &Path,
    status: Option<&Status>,
    subnet_file: Option<&Path>,
    instance: Option<&mut Instance>,
) -> Result<Vec<String>> {
    let mut said = Vec::new();
    let recorded = status.map(|status| (status.subnet_file.as_path(), status.subnet_env.as_deref()));
    let subnet_files: Vec<(&Path, Option<&str>)> = match (recorded, subnet_file) {
        (Some(recorded), None) => vec![recorded],
        (Some(recorded), Some(given)) if same_file(recorded.0, given) => vec![recorded],
        (_, Some(given)) => vec![(given, None)],
        (None, None) => Vec::new(),
    };
    for (path, text) in subnet_files {
        files::remove(&files::beside(path))?;
        match (fs::read_to_string(path), text) {
            (Err(error), _) if error.kind() == ErrorKind::NotFound => {}
            (Ok(there), Some(written)) if there != written => {
                said.push(format!("left {}: it does not say what we wrote, so it is somebody else's", path.display()));
            }
            (Ok(_), None) if recorded.is_none() => {
                said.push(format!("left {}: nothing here tells that we wrote it; remove it by hand", path.display()));
            }
            _ => {
                if files::remove(path)? {
                    said.push(format!("removed {}", path.display()));
                }
            }
        }
    }
    let mut directories = instance.map_or(Ok(Vec::new()), Instance::remembered)?;
    let status_file = Status::path(state_dir);
    for path in [files::beside(&status_file), status_file, state_dir.join("lock")] {
        if files::remove(&path)? {
            said.push(format!("removed {}", path.display()));
        }
    }
    directories.push(state_dir.to_owned());
    directories.sort_by_key(|path| (std::cmp::Reverse(path.components().count()), path.clone()));
    directories.dedup();
    for path in directories {
        match fs::remove_dir(&path) {
            Ok(()) => said.push(format!("removed {}", path.display())),
            // In use by others, as a mount point too; or gone already.
            Err(error) if is_kept(error.kind()) => {}
            Err(error) => return Err(error).with_context(|| format!("remove {}", path.display())),
        }
    }
    Ok(said)
}

fn is_kept(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty | ErrorKind::ResourceBusy)
}

fn same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole(one) == whole(other)
}
