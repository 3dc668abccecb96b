//! Leases on disk, in the reference's format byte for byte, so that a node can go back and forth:
//!
//! ```text
//! <dataDir>/<network>/lock                 flock(2), exclusive
//! <dataDir>/<network>/<ip>                 0600: <container id> CR LF <ifname>, nothing after it
//! <dataDir>/<network>/last_reserved_ip.N   0600: the address that set N gave out last, nothing after it
//! ```
//!
//! The reference creates a lease and then fills it, so a crash leaves an empty file that is never freed. Here a lease
//! gets its name when it is complete. An empty one that somebody else left is nobody's: whoever holds the lock knows
//! that no writer is alive.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fairlead_protocol::{CniError, Code};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::allocate::Allocation;

/// Where a file is written before it gets its name. The reference ignores it: it is no address.
const TEMPORARY: &str = ".fairlead-new";
const LAST_RESERVED: &str = "last_reserved_ip.";

/// Whose a lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub container_id: String,
    pub ifname: String,
}

/// One address that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub ip: IpAddr,
    /// Name of the file, which need not be the canonical text of the address.
    name: String,
    /// Text of the file, without white space at its ends. `None`: something that cannot be read stands there. Its
    /// address is taken, by whom nobody knows, and it is never removed.
    text: Option<String>,
}

impl Lease {
    /// The lease that a file of this name and content is. `None`: the name is no address.
    pub fn new(name: &str, content: Option<&[u8]>) -> Option<Lease> {
        let ip = name.parse::<IpAddr>().ok()?.to_canonical();
        let text = content.map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        Some(Lease { ip, name: name.to_owned(), text })
    }

    /// True for a lease of this attachment; a lease of the old format says only the container.
    pub fn belongs_to(&self, owner: &Owner) -> bool {
        self.names(owner) || self.names_only_the_container(owner)
    }

    /// True when nobody's name is in the file.
    pub fn is_nobodys(&self) -> bool {
        self.text.as_deref() == Some("")
    }

    fn names(&self, owner: &Owner) -> bool {
        let said = self.text.as_deref().and_then(|text| text.split_once("\r\n"));
        said.is_some_and(|(id, ifname)| id == owner.container_id && ifname == owner.ifname)
    }

    fn names_only_the_container(&self, owner: &Owner) -> bool {
        self.text.as_ref() == Some(&owner.container_id)
    }
}

/// The leases of one network, locked for as long as this lives.
pub struct Store {
    directory: PathBuf,
    _lock: Flock<File>,
}

impl Store {
    /// Opens and locks; makes the directory when it is not there. Waits for whoever holds the lock, as the reference
    /// does. Errors: code 5, and 11 when the lock cannot be had.
    pub fn open(directory: &Path) -> Result<Store, CniError> {
        DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(|e| failed("create", directory, &e))?;
        Store::lock(directory)
    }

    /// As [`Store::open`], but `None` when there is no directory: then there is no lease either.
    pub fn open_existing(directory: &Path) -> Result<Option<Store>, CniError> {
        match fs::metadata(directory) {
            Ok(found) if found.is_dir() => Store::lock(directory).map(Some),
            Ok(_) => Err(failed("open", directory, &io::Error::from(ErrorKind::NotADirectory))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("open", directory, &error)),
        }
    }

    fn lock(directory: &Path) -> Result<Store, CniError> {
        let path = directory.join("lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o750).open(&path);
        let mut file = open.map_err(|error| failed("open", &path, &error))?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => return Ok(Store { directory: directory.to_owned(), _lock: lock }),
                Err((unlocked, Errno::EINTR)) => file = unlocked,
                Err((_, errno)) => {
                    let text = format!("lock {}: {}", path.display(), io::Error::from(errno));
                    return Err(CniError::new(Code::TryAgainLater, text));
                }
            }
        }
    }

    /// Every lease. Files whose name is no address are not leases. Errors: code 5.
    pub fn leases(&self) -> Result<Vec<Lease>, CniError> {
        let entries = fs::read_dir(&self.directory).map_err(|error| failed("list", &self.directory, &error))?;
        let mut leases = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| failed("list", &self.directory, &error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if name == TEMPORARY {
                // Of a writer that was killed: no other can be alive. To fail here would serve nobody.
                let _ = fs::remove_file(entry.path());
            } else if name.parse::<IpAddr>().is_ok() {
                let content = match fs::read(entry.path()) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    read => read.ok(),
                };
                leases.extend(Lease::new(&name, content.as_deref()));
            }
        }
        Ok(leases)
    }

    /// The address a set gave out last. What cannot be read as one is not there: round-robin begins anew.
    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        let text = fs::read_to_string(self.directory.join(format!("{LAST_RESERVED}{set}"))).ok()?;
        text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
    }

    /// Writes all of the allocations down, or none. Errors: code 5.
    pub fn reserve(&self, allocations: &[Allocation], owner: &Owner) -> Result<(), CniError> {
        let text = format!("{}\r\n{}", owner.container_id, owner.ifname);
        let mut written: Vec<PathBuf> = Vec::with_capacity(allocations.len());
        let result = allocations.iter().try_for_each(|allocation| {
            let ip = allocation.ip.to_string();
            self.put(&ip, &text)?;
            written.push(self.directory.join(&ip));
            self.put(&format!("{LAST_RESERVED}{}", allocation.set), &ip)
        });
        result.map_err(|error| {
            let left: Vec<String> =
                written.iter().filter_map(|path| remove(path).err().map(|error| error.to_string())).collect();
            if left.is_empty() { error } else { error.with_details(format!("and undoing it: {}", left.join("; "))) }
        })
    }

    /// Removes the leases of an attachment; when it has none, those of the old format. Removes as many as it can.
    /// Errors: code 5, all of them in one.
    pub fn release(&self, owner: &Owner) -> Result<(), CniError> {
        let leases = self.leases()?;
        let has_new = leases.iter().any(|lease| lease.names(owner));
        self.remove_all(
            leases
                .iter()
                .filter(|lease| if has_new { lease.names(owner) } else { lease.names_only_the_container(owner) }),
        )
    }

    /// Removes every lease that belongs to none of the attachments. Errors as [`Store::release`].
    pub fn retain(&self, valid: &[Owner]) -> Result<(), CniError> {
        let leases = self.leases()?;
        let dead = |lease: &&Lease| lease.text.is_some() && !valid.iter().any(|owner| lease.belongs_to(owner));
        self.remove_all(leases.iter().filter(dead))
    }

    fn remove_all<'a>(&self, leases: impl Iterator<Item = &'a Lease>) -> Result<(), CniError> {
        let failures: Vec<String> =
            leases.filter_map(|lease| remove(&self.directory.join(&lease.name)).err().map(|error| error.msg)).collect();
        if failures.is_empty() { Ok(()) } else { Err(CniError::new(Code::Io, failures.join("; "))) }
    }

    /// A file that is there whole or not at all.
    fn put(&self, name: &str, text: &str) -> Result<(), CniError> {
        let (temporary, path) = (self.directory.join(TEMPORARY), self.directory.join(name));
        write_new(&temporary, text).and_then(|()| fs::rename(&temporary, &path)).map_err(|error| {
            let _ = fs::remove_file(&temporary);
            failed("write", &path, &error)
        })
    }
}

/// What is left of a killed writer is in the way of nobody: the lock is ours.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)?
        }
        opened => opened?,
    };
    file.write_all(text.as_bytes())
}

fn remove(path: &Path) -> Result<(), CniError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> CniError {
    CniError::new(Code::Io, format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
