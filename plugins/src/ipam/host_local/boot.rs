//! Which boot this is. A reboot ends every container, so a lease that was seen under another boot is free.
//!
//! No clock takes part: a board without a battery wakes up in 1970.

use std::fs::File;
use std::io::Read;

use nix::sys::statfs::{self, FsType, fstatfs};

use super::directory::Directory;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The one that the crate has no name for.
const ZFS: FsType = FsType(0x2fc1_2fc1);

/// One boot of one kernel: `/proc/sys/kernel/random/boot_id` (random(4)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot([u8; 16]);

impl Boot {
    /// This one. `None`: it cannot be told, and then nothing that depends on it may be done.
    pub fn current() -> Option<Boot> {
        #[cfg(test)]
        if let Some(pretended) = PRETENDED.get() {
            return Some(pretended);
        }
        // One read: the file is of 37 bytes, whatever its size says.
        let mut text = [0; 64];
        let length = File::open(BOOT_ID).ok()?.read(&mut text).ok()?;
        Boot::parse(&text[..length])
    }

    fn parse(text: &[u8]) -> Option<Boot> {
        let digits: String = std::str::from_utf8(text).ok()?.trim().split('-').collect();
        u128::from_str_radix(&digits, 16).ok().filter(|id| digits.len() == 32 && *id != 0).map(Boot::from)
    }

    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// 32 bits of it, never 0. Two boots with the same are taken for one, which keeps a lease that could go.
    pub fn tag(self) -> u32 {
        let words = self.0.chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
        words.fold(0u32, |all, word| all.rotate_left(1) ^ word).max(1)
    }
}

impl From<u128> for Boot {
    fn from(id: u128) -> Boot {
        Boot(id.to_be_bytes())
    }
}

#[cfg(test)]
thread_local! {
    static PRETENDED: std::cell::Cell<Option<Boot>> = const { std::cell::Cell::new(None) };
}

/// What this thread takes for the current boot from now on.
#[cfg(test)]
pub fn pretend(boot: Option<Boot>) {
    PRETENDED.set(boot);
}

/// Whether only one kernel can write there. Two nodes that share a directory (NFS) have two boots at the same time, and
/// neither may take the other's for a past one. What is not known to be local counts as shared.
pub fn is_of_one_kernel(directory: &Directory) -> bool {
    const LOCAL: [FsType; 8] = [
        statfs::EXT4_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::BTRFS_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
        statfs::REISERFS_SUPER_MAGIC,
        ZFS,
    ];
    fstatfs(directory.handle()).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_a_boot_and_nothing_else_is() {
        let boot = Boot::parse(b"0f6a6d3e-1d2c-4b5a-8f9e-0a1b2c3d4e5f\n").unwrap();
        assert_eq!(boot.bytes()[..4], [0x0f, 0x6a, 0x6d, 0x3e]);
        for text in ["", "none", "0f6a6d3e", "00000000-0000-0000-0000-000000000000"] {
            assert_eq!(Boot::parse(text.as_bytes()), None, "{text:?}");
        }
        assert!(Boot::current().is_some_and(|boot| boot.tag() != 0));
    }
}
