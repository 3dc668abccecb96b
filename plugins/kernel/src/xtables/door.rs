//! getsockopt(2) and setsockopt(2) of a raw socket: the way in and out of a table.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

use super::entry::Family;
use super::ruleset::{HOOKS, Offsets, Ruleset, TABLE};
use crate::error::{Cause, Errno};

/// `IPT_BASE_CTL`, the same in both families (ip_tables.h, ip6_tables.h): by getsockopt the head and the entries, by setsockopt
/// a whole table and additions to the counters.
const INFO: libc::c_int = 64;
const ENTRIES: libc::c_int = 65;
const REPLACE: libc::c_int = 64;
const ADD_COUNTERS: libc::c_int = 65;

/// `XT_TABLE_MAXNAMELEN`.
const NAME: usize = 32;
/// `struct ipt_getinfo`: name, valid hooks, hook entries, underflows, number of entries, size.
const INFO_LENGTH: usize = NAME + 4 + 4 * HOOKS + 4 * HOOKS + 4 + 4;
/// `struct ipt_get_entries` before its entries: name, size, filled up to eight.
const ENTRIES_HEAD: usize = NAME + 8;
/// `struct xt_counters`: packets and bytes.
const COUNTERS: usize = 16;

/// The layouts above have a pointer of eight bytes, and 64-bit numbers at multiples of eight.
const _: () = assert!(size_of::<usize>() == 8);

/// The largest table that is believed: a million rules.
const SIZE_MAX: usize = 1 << 30;

pub(super) struct Door {
    socket: OwnedFd,
    family: Family,
    /// How many entries the table had when it was read.
    number: usize,
}

impl Door {
    pub(super) fn open(family: Family) -> Result<Door, Cause> {
        let address_family = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        let socket = socket(address_family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
        Ok(Door { socket, family, number: 0 })
    }

    pub(super) fn read(&mut self) -> Result<Ruleset, Cause> {
        let nonsense = || Cause::Unexpected("the kernel's table is not of the form that it is said to have".into());
        let mut info = named(INFO_LENGTH);
        self.get(INFO, &mut info)?;
        let number = |at: usize| info[at..at + 4].first_chunk::<4>().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
        let row = |at: usize| std::array::from_fn(|hook| number(at + 4 * hook));
        let offsets = Offsets { hooks: row(NAME + 4), policies: row(NAME + 4 + 4 * HOOKS) };
        let size = number(INFO_LENGTH - 4) as usize;
        if size > SIZE_MAX {
            return Err(nonsense());
        }
        let mut entries = named(ENTRIES_HEAD + size);
        entries[NAME..NAME + 4].copy_from_slice(&(size as u32).to_ne_bytes());
        self.get(ENTRIES, &mut entries)?;
        self.number = number(INFO_LENGTH - 8) as usize;
        let rules =
            Ruleset::parse(self.family, number(NAME), &offsets, &entries[ENTRIES_HEAD..]).ok_or_else(nonsense)?;
        if rules.entries.len() == self.number { Ok(rules) } else { Err(nonsense()) }
    }

    /// Replaces the table that was read; EAGAIN if it has another number of entries by now. Counters are kept.
    pub(super) fn write(&mut self, rules: &Ruleset) -> Result<(), Cause> {
        let (bytes, offsets) = rules.write();
        // The kernel writes the old counters here.
        let mut old = vec![0u64; 2 * self.number];
        // struct ipt_replace: name, valid hooks, number of entries, size, hook entries, underflows, number of the old
        // counters, pointer to them, entries.
        let mut replace = named(NAME);
        let head = [rules.valid_hooks, rules.entries.len() as u32, bytes.len() as u32];
        for number in head.iter().chain(&offsets.hooks).chain(&offsets.policies).chain(&[self.number as u32]) {
            replace.extend(number.to_ne_bytes());
        }
        replace.extend((old.as_mut_ptr() as usize).to_ne_bytes());
        replace.extend(bytes);
        // SAFETY: `replace` is a whole struct ipt_replace; the pointer in it is to `old`, which has room for the counters
        // of as many entries as the structure says, is not touched meanwhile, and lives until the call is over.
        unsafe { self.set(REPLACE, &replace) }?;

        // struct xt_counters_info: name, number of counters, filled up to eight, counters.
        let mut add = named(NAME);
        add.extend((rules.entries.len() as u32).to_ne_bytes());
        add.extend([0; 4]);
        for entry in &rules.entries {
            let counters = entry.origin.and_then(|number| old.get(2 * number..2 * number + 2));
            for counter in counters.unwrap_or(&[0, 0]) {
                add.extend(counter.to_ne_bytes());
            }
        }
        debug_assert_eq!(add.len(), NAME + 8 + COUNTERS * rules.entries.len());
        // The table is in place; counters that somebody's write in between kept out are no reason to fail.
        // SAFETY: `add` is a whole struct xt_counters_info without a pointer.
        let _ = unsafe { self.set(ADD_COUNTERS, &add) };
        Ok(())
    }

    fn level(&self) -> libc::c_int {
        match self.family {
            Family::V4 => libc::SOL_IP,
            Family::V6 => libc::SOL_IPV6,
        }
    }

    fn get(&self, option: libc::c_int, buffer: &mut [u8]) -> Result<(), Cause> {
        let mut length = buffer.len() as libc::socklen_t;
        // SAFETY: the descriptor is open; the kernel reads and writes no more than `length` bytes of `buffer`.
        let done = unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), self.level(), option, buffer.as_mut_ptr().cast(), &mut length)
        };
        Ok(Errno::result(done).map(drop)?)
    }

    /// # Safety
    ///
    /// A pointer in `value` must be to memory that the kernel may write as the option says, for as long as the call lasts.
    unsafe fn set(&self, option: libc::c_int, value: &[u8]) -> Result<(), Cause> {
        let length = value.len() as libc::socklen_t;
        // SAFETY: the descriptor is open, `value` is readable in its whole length; the rest is the caller's promise.
        let done =
            unsafe { libc::setsockopt(self.socket.as_raw_fd(), self.level(), option, value.as_ptr().cast(), length) };
        Ok(Errno::result(done).map(drop)?)
    }
}

/// A structure of this length that begins with the table's name.
fn named(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    bytes[..TABLE.len()].copy_from_slice(TABLE.as_bytes());
    bytes
}
