//! Network namespaces by path: opening them without ever blocking, and going into one and back.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{FsType, fstatfs};

use crate::error::{Cause, Errno, Error, Result};

/// `NSFS_MAGIC`, include/uapi/linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;
/// `NS_GET_NSTYPE` = `_IO(0xb7, 0x3)`, include/uapi/linux/nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// include/uapi/asm-generic/socket.h.
const SO_NETNS_COOKIE: libc::c_int = 71;

/// An open network namespace. It lives as long as this value, whatever happens to the path.
#[derive(Debug)]
pub struct Netns {
    file: File,
    path: PathBuf,
}

/// Which namespace it is, on this machine and since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// `st_dev` of the namespace file.
    pub dev: u64,
    /// `st_ino` of the namespace file.
    pub ino: u64,
}

impl Netns {
    /// Opens the namespace at `path`.
    ///
    /// Errors: [`Error::is_not_found`] if there is nothing at the path; [`Error::is_not_a_namespace`] if something else is
    /// there. The path is looked at with `O_PATH` first, so that a FIFO cannot block and a device is not touched.
    pub fn open(path: impl AsRef<Path>) -> Result<Netns> {
        let path = path.as_ref();
        let fail = |cause: Cause| Error::new("open network namespace", path.display(), cause);
        let open = |flags: libc::c_int| {
            File::options().read(true).custom_flags(flags | libc::O_CLOEXEC).open(path).map_err(|error| {
                match error.raw_os_error() {
                    // A component of the path is a file: there can be nothing below it.
                    Some(libc::ENOTDIR) => fail(Errno::ENOENT.into()),
                    _ => fail(error.into()),
                }
            })
        };
        let looked_at = open(libc::O_PATH)?;
        let magic = fstatfs(&looked_at).map_err(|errno| fail(errno.into()))?.filesystem_type();
        if magic != FsType(NSFS_MAGIC as _) {
            return Err(fail(Cause::NotANamespace(format!("unknown FS magic on {:?}: {:x}", path, magic.0))));
        }
        let file = open(libc::O_NONBLOCK)?;
        // SAFETY: NS_GET_NSTYPE takes no argument and writes nothing; the descriptor is open for the whole call.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            return Err(fail(Cause::NotANamespace(format!("{path:?} is a namespace, but not a network namespace"))));
        }
        Ok(Netns { file, path: path.to_owned() })
    }

    /// The namespace the calling thread is in.
    pub fn current() -> Result<Netns> {
        Netns::open("/proc/thread-self/ns/net")
    }

    /// A new one, without a name: it goes with this value, and everything in it with it. The calling thread comes back as from
    /// [`Netns::enter`].
    pub fn anonymous() -> Result<Netns> {
        let here = Home::open()?;
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::new("create network namespace", "without a name", errno))?;
        let home = Return(here);
        let made = Netns::current();
        drop(home);
        made
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Device and inode of the namespace: equal exactly if it is the same namespace.
    pub fn identity(&self) -> Result<Identity> {
        let metadata =
            self.file.metadata().map_err(|error| Error::new("stat network namespace", self.path.display(), error))?;
        Ok(Identity { dev: metadata.dev(), ino: metadata.ino() })
    }

    /// Runs `work` with the calling thread inside this namespace, and brings the thread back, also when `work` panics.
    ///
    /// The outer error is that of going in; what `work` returns is handed through. A thread that cannot come back would
    /// go on changing the wrong namespace: that is a panic.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        let here = Home::open()?;
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| Error::new("enter network namespace", self.path.display(), errno))?;
        let home = Return(here);
        let result = work();
        drop(home);
        Ok(result)
    }
}

/// The number of the calling thread's network namespace that no other has until the next boot: the same that BPF programs
/// get from `bpf_get_netns_cookie`. (SO_NETNS_COOKIE, Linux 5.14.)
pub fn cookie() -> Result<u64> {
    let fail = |errno: Errno| Error::new("read the cookie of", "this network namespace", errno);
    // Of any socket; this kind is always there.
    let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).map_err(fail)?;
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, which `cookie` has.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &mut length,
        )
    };
    Errno::result(answer).map_err(fail)?;
    Ok(cookie)
}

/// The namespace the calling thread is in, which needs no looking at.
struct Home(File);

impl Home {
    fn open() -> Result<Home> {
        let path = "/proc/thread-self/ns/net";
        File::open(path).map(Home).map_err(|error| Error::new("open network namespace", path, error))
    }
}

/// Brings the thread back when it goes out of scope.
struct Return(Home);

impl Drop for Return {
    fn drop(&mut self) {
        if let Err(errno) = setns(&self.0.0, CloneFlags::CLONE_NEWNET) {
            panic!("the thread cannot return to its network namespace: {errno}");
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
