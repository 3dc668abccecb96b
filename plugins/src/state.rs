//! Small files that a plugin keeps for its own DEL, one an attachment: there whole or not at all, for root alone.
//!
//! What stands in them was written by another process, perhaps by another version or by the reference: reading is
//! bounded, follows no link and blocks on nothing.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use fairlead_protocol::{CniError, Code};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{AccessFlags, access};

/// The most that is read of one file, in bytes; real ones have a few kilobytes.
const LIMIT: u64 = 1 << 20;

/// The directory that a configuration names, or the default. Errors: code 7 unless it is absolute and leads nowhere else
/// than it says.
pub fn directory(key: &str, said: &str, default: &str) -> Result<PathBuf, CniError> {
    let path = Path::new(if said.is_empty() { default } else { said });
    let straight = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !straight || said.contains(char::is_control) {
        let text = format!("{key} {said:?} is no place for state: give an absolute path without `..`");
        return Err(CniError::config(text));
    }
    Ok(path.to_owned())
}

/// Writes a file, mode 0600, into a directory that is made, mode 0700, when it is not there. Errors: code 5.
pub fn save(directory: &Path, name: &str, content: &[u8]) -> Result<(), CniError> {
    let draft = directory.join(draft(name));
    let written = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .and_then(|()| write(&draft, content))
        .and_then(|()| fs::rename(&draft, directory.join(name)))
        .and_then(|()| File::open(directory)?.sync_all());
    written.map_err(|error| {
        // The name may be too long, the directory a file: then there is no draft either.
        let _ = fs::remove_file(&draft);
        failed("write", &directory.join(name), &error)
    })
}

fn write(draft: &Path, content: &[u8]) -> io::Result<()> {
    // What a killed writer left. Nobody else writes for this attachment at the same time.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A file's content; `None` when there is no such file. Errors: code 5, also for what is no plain file or too large.
pub fn load(directory: &Path, name: &str) -> Result<Option<Vec<u8>>, CniError> {
    let path = directory.join(name);
    let read = || {
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a plain file"));
        }
        let mut content = Vec::new();
        if file.take(LIMIT + 1).read_to_end(&mut content)? as u64 > LIMIT {
            return Err(io::Error::other("larger than 1 MiB"));
        }
        Ok(content)
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(failed("read", &path, &error)),
    }
}

/// Removes a file, and what a killed writer left of it. What is not there is done. Errors: code 5.
pub fn remove(directory: &Path, name: &str) -> Result<(), CniError> {
    for path in [directory.join(draft(name)), directory.join(name)] {
        match fs::remove_file(&path) {
            Err(error) if !is_absent(&error) => return Err(failed("remove", &path, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// The names of the files in a directory, drafts left out. A directory that cannot be read has none.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('.')).collect()
}

/// Whether [`save`] could write there. Errors: what is in the way, for people.
pub fn probe(directory: &Path) -> Result<(), String> {
    for place in directory.ancestors() {
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => {
                let flags = AccessFlags::W_OK | AccessFlags::X_OK;
                return access(place, flags)
                    .map_err(|errno| format!("{} cannot be written: {}", place.display(), errno.desc()));
            }
            Ok(_) => return Err(format!("{} is not a directory", place.display())),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(format!("{}: {error}", place.display())),
        }
    }
    Err(format!("{} has no directory above it", directory.display()))
}

/// Names begin with a letter or a digit, drafts do not.
fn draft(name: &str) -> String {
    format!(".{name}.new")
}

/// Where a directory or a file of the name cannot even be, there is none. A directory under the name of a file is not ours.
fn is_absent(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::EISDIR))
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> CniError {
    CniError::new(Code::Io, format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_written_read_and_removed_and_only_root_may_look() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("a/b");
        save(&place, "one", b"first").unwrap();
        save(&place, "one", b"second").unwrap();
        assert_eq!(load(&place, "one").unwrap().as_deref(), Some(&b"second"[..]));
        assert_eq!(names(&place), ["one"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(&place), mode(&place.join("one"))), (0o700, 0o600));
        fs::write(place.join(".one.new"), "of a killed writer").unwrap();
        remove(&place, "one").unwrap();
        remove(&place, "one").unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        assert_eq!(load(&place, "one").unwrap(), None);
    }

    #[test]
    fn what_cannot_be_there_is_not_there_and_what_is_no_file_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(load(&file, "x").unwrap(), None);
        remove(&file, "x").unwrap();
        assert_eq!(save(&file, "x", b"").unwrap_err().code, Code::Io);
        assert!(probe(&file.join("below")).unwrap_err().contains("not a directory"));
        probe(&root.path().join("not/yet")).unwrap();
        remove(root.path(), &"x".repeat(300)).unwrap();
        symlink("/etc/passwd", root.path().join("link")).unwrap();
        assert!(load(root.path(), "link").is_err());
        nix::unistd::mkfifo(&root.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(load(root.path(), "fifo").is_err());
    }

    #[test]
    fn a_directory_is_absolute_and_leads_where_it_says() {
        assert_eq!(directory("dataDir", "", "/run/x").unwrap(), Path::new("/run/x"));
        assert_eq!(directory("dataDir", "/var//lib/./x/", "/run/x").unwrap(), Path::new("/var/lib/x"));
        for bad in ["x", "./x", "/run/../etc", "/run/a\nb"] {
            assert!(directory("dataDir", bad, "/run/x").unwrap_err().msg.contains("dataDir"), "{bad}");
        }
    }
}
