//! What the directory of a network says, in a form that answers without reading the directory.
//!
//! The lease files are the truth, this file beside them is a memory of it: who holds what, and which addresses are taken.
//! Every question costs a constant number of small reads, every change a constant number of small writes in place,
//! however many leases there are.
//!
//! **When it is believed.** A name that comes or goes in a directory changes the directory's modification time. After each
//! change of ours that time is set to a value that the kernel does not give: one nanosecond past what it gave. The header
//! holds this value. So a foreign binary that writes here, and a crash of ours between two steps, both leave a time that
//! is not the header's, even when the kernel's clock ticks no finer than 10 ms; then the directory is read once and the
//! index written anew. There is no "dirty" mark: our own first change of the directory is it. A file system that rounds
//! the value (ext4 with inodes of 128 bytes: seconds) is never believed, so that each call reads the directory there, as
//! the reference does.
//!
//! **Power failure.** Nothing is ever flushed. The pages of a file reach the disk in any order, so an index of another
//! boot is not believed. Its entries are: each has a checksum, and says that *this file* (address, inode, time of change)
//! was seen under a boot. That cannot be wrong for being old. An entry that did not reach the disk means that its lease is
//! of an unknown boot, and stays.
//!
//! ```text
//! page 0: header        0 magic FLEASES1   8 layout     12 pages   16 slots in use    20 old-format leases
//!   (little-endian)    24 flags: 1 complete             32 inode of the directory     40 its ctime: s, ns
//!                      56 its mtime: s, ns              72 boot id                    88 check (FNV-1a of 0..88)
//! pages 1 to n: slots, see `slot` and `table`
//! ```

mod free;
#[cfg(any(test, feature = "fuzz"))]
pub(super) mod fuzz;
mod slot;
mod table;

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;

use super::boot::Boot;
use super::directory::{Directory, Time};
use super::lease::{Lease, Owner, Stamp, key};
use slot::{Address, fnv};
use table::{PAGE, Table};

pub use slot::Entry;

/// Its name: no address, so the reference reads it as the lease of nobody and leaves it alone.
pub const INDEX: &str = ".fairlead-index";

const MAGIC: &[u8; 8] = b"FLEASES1";
/// Changes with everything that a reader must know: what a slot is, how keys and blocks find their page.
const LAYOUT: u32 = 1;
const HEADER: usize = 92;
/// The index was made from the directory and not changed since.
const COMPLETE: u32 = 1;
/// Fewest pages: enough for every pod that a kubelet lets a node have.
const FEWEST: u32 = 8;
/// Most pages: 4 GiB.
const MOST: u32 = 1 << 20;

/// Why an index cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distrust(pub &'static str);

/// The memory of one directory.
#[derive(Debug)]
pub struct Index {
    table: Table,
    /// Slots in use.
    used: u32,
    old_format: u32,
    /// True when nothing was changed since the directory was read: then a refusal is sure.
    pub is_complete: bool,
    /// The directory or the table is not as the header says.
    pub is_changed: bool,
    /// Some lease has a name that is not the one we would give it: only the directory can tell then.
    pub has_odd_names: bool,
    /// What the directory's time was set to last.
    settled: Time,
}

impl Index {
    /// The index of a directory, if there is one that can be believed. Errors: why not.
    pub fn open(directory: &Directory, boot: Boot) -> Result<Index, Distrust> {
        let file = directory.file(INDEX, OFlag::O_RDWR).or_else(|_| directory.file(INDEX, OFlag::O_RDONLY));
        let file = file.map_err(|_| Distrust("there is no index"))?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).map_err(|_| Distrust("its header cannot be read"))?;
        let (stamp, modified) = directory.look().map_err(|_| Distrust("the directory cannot be looked at"))?;
        let four = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[..8] != *MAGIC
            || four(8) != LAYOUT
            || four(88) != fnv(&[&header[..88]])
            || !four(12).is_power_of_two()
        {
            return Err(Distrust("its header is not one of this layout"));
        }
        if header[72..88] != boot.bytes() {
            return Err(Distrust("it is of another boot"));
        }
        if header[32..72] != place_and_time(stamp, modified) {
            return Err(Distrust("the directory was changed by somebody else, or by a call that was killed"));
        }
        let table = Table::of_file(file, four(12));
        let is_complete = four(24) & COMPLETE != 0;
        Ok(Index {
            table,
            used: four(16),
            old_format: four(20),
            is_complete,
            is_changed: false,
            has_odd_names: false,
            settled: modified,
        })
    }

    /// An index in memory, of leases and the boots they were seen first under. Leases of nobody are left out.
    pub fn of<'a>(leases: impl Iterator<Item = (&'a Lease, u32)> + Clone) -> Index {
        let leases = leases.filter(|(lease, _)| !lease.is_nobodys());
        let blocks: HashSet<Address> = leases.clone().map(|(lease, _)| free::block_of(lease.ip)).collect();
        let entries = u32::try_from(leases.clone().count()).unwrap_or(u32::MAX);
        let slots = entries.saturating_add(u32::try_from(blocks.len() * 2).unwrap_or(u32::MAX));
        let mut pages = FEWEST;
        // A quarter more than there are, so that the next ones need no larger table.
        while Table::capacity(pages) < slots.saturating_add(slots / 4) && pages < MOST {
            pages *= 2;
        }
        let table = Table::empty(pages);
        let mut index = Index {
            table,
            used: 0,
            old_format: 0,
            is_complete: true,
            is_changed: true,
            has_odd_names: leases.clone().any(|(lease, _)| !lease.has_canonical_name()),
            settled: (0, 0),
        };
        for (lease, boot) in leases {
            index.insert(&entry_of(lease, boot)).expect("a table in memory takes what it was made for");
        }
        index.is_complete = true;
        index
    }

    /// The leases of an attachment, those of the old format among them.
    pub fn owned(&mut self, owner: &Owner) -> Result<Vec<Entry>, Distrust> {
        let (exact, old) = owner.keys();
        let mut found: Vec<Entry> = self.table.entries(&exact)?.into_iter().map(|(_, entry)| entry).collect();
        if self.old_format > 0 {
            found.extend(self.table.entries(&old)?.into_iter().map(|(_, entry)| entry));
        }
        Ok(found)
    }

    /// The first free address from `from` to `to`, both included.
    pub fn next_free(&mut self, from: IpAddr, to: IpAddr) -> Result<Option<IpAddr>, Distrust> {
        free::next(&mut self.table, from, to)
    }

    /// Whether an address has a lease.
    pub fn is_taken(&mut self, ip: IpAddr) -> Result<bool, Distrust> {
        Ok(self.next_free(ip, ip)?.is_none())
    }

    /// Remembers a lease.
    pub fn insert(&mut self, entry: &Entry) -> Result<(), Distrust> {
        self.table.add_entry(*entry)?;
        self.used += 1 + free::take(&mut self.table, entry.ip)?;
        self.old_format += u32::from(entry.is_old_format);
        (self.is_complete, self.is_changed) = (false, true);
        Ok(())
    }

    /// Forgets a lease.
    pub fn remove(&mut self, entry: &Entry) -> Result<(), Distrust> {
        let found = self.table.entries(&entry.key)?;
        let (place, _) =
            found.iter().find(|(_, found)| found.ip == entry.ip).ok_or(Distrust("a lease has no entry"))?;
        self.table.put(*place, &[0; slot::SIZE])?;
        let gone = 1 + free::free(&mut self.table, entry.ip)?;
        self.used = self.used.saturating_sub(gone);
        self.old_format = self.old_format.saturating_sub(u32::from(entry.is_old_format));
        (self.is_complete, self.is_changed) = (false, true);
        Ok(())
    }

    /// True when it should be made anew, with more pages, before it takes more.
    fn is_crowded(&self) -> bool {
        self.used > Table::capacity(self.table.count())
    }

    /// Writes what was changed, and makes it believable. Errors: it is as good as not there; the next call makes another.
    pub fn settle(&mut self, directory: &Directory, boot: Boot) -> io::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        if self.has_odd_names || self.is_crowded() {
            return Err(io::Error::other("the next call has to read the directory"));
        }
        if self.table.file().is_some() {
            self.table.write_changes()?;
        } else {
            let mut all = Vec::with_capacity((self.table.count() as usize + 1) * PAGE);
            // A header with the time of no directory: what is remembered can be read, and nothing believed.
            all.extend_from_slice(&self.header(Stamp::default(), boot));
            all.resize(PAGE, 0);
            self.table.bytes().for_each(|page| all.extend_from_slice(page));
            // Over the old one: a new file in its place (rename) would be flushed by ext4 before anything else. What is
            // half written is not believed, and each entry of it is true for itself.
            let file = directory.file(INDEX, OFlag::O_RDWR | OFlag::O_CREAT)?;
            file.write_all_at(&all, 0)?;
            file.set_len(all.len() as u64)?;
            self.table.was_written_to(file);
        }
        let (_, (seconds, nanoseconds)) = directory.look()?;
        let ours = one_later((seconds, nanoseconds));
        // Not the one before either: a crash between here and the header must not look like the state before.
        let ours = if ours == self.settled { one_later(ours) } else { ours };
        directory.set_modified(ours)?;
        let (stamp, modified) = directory.look()?;
        if modified != ours {
            return Err(io::Error::other("somebody else changed the directory, or its times are rounded"));
        }
        self.settled = ours;
        self.is_changed = false;
        let header = self.header(stamp, boot);
        self.table.file().map_or(Ok(()), |file| file.write_all_at(&header, 0))
    }

    fn header(&self, stamp: Stamp, boot: Boot) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        let flags = if self.is_complete { COMPLETE } else { 0 };
        for (at, value) in [(8, LAYOUT), (12, self.table.count()), (16, self.used), (20, self.old_format), (24, flags)]
        {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        header[32..72].copy_from_slice(&place_and_time(stamp, self.settled));
        header[72..88].copy_from_slice(&boot.bytes());
        let sum = fnv(&[&header[..88]]);
        header[88..].copy_from_slice(&sum.to_le_bytes());
        header
    }
}

/// Every entry of the index file of a directory, whatever became of the rest of it.
pub fn remembered(directory: &Directory) -> Vec<Entry> {
    let mut all = Vec::new();
    let read = directory.file(INDEX, OFlag::O_RDONLY).and_then(|mut file| io::Read::read_to_end(&mut file, &mut all));
    let is_ours = read.is_ok() && all.len() > PAGE && all.starts_with(MAGIC) && all[8..12] == LAYOUT.to_le_bytes();
    if is_ours { table::entries_in(&all[PAGE..]).collect() } else { Vec::new() }
}

/// What is remembered of a lease.
pub fn entry_of(lease: &Lease, boot: u32) -> Entry {
    let key = lease.text.as_deref().map(key).unwrap_or_default();
    Entry { key, ip: lease.ip, stamp: lease.stamp, boot, is_old_format: lease.is_old_format() }
}

fn one_later((seconds, nanoseconds): Time) -> Time {
    if nanoseconds == 999_999_999 { (seconds + 1, 0) } else { (seconds, nanoseconds + 1) }
}

/// Inode, ctime and mtime of a directory as a header has them.
fn place_and_time(stamp: Stamp, (seconds, nanoseconds): Time) -> [u8; 40] {
    let mut bytes = [0; 40];
    let words = [
        stamp.inode,
        stamp.seconds.cast_unsigned(),
        u64::from(stamp.nanoseconds),
        seconds.cast_unsigned(),
        nanoseconds.cast_unsigned(),
    ];
    for (eight, word) in bytes.chunks_exact_mut(8).zip(words) {
        eight.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests;
