//! Maps: their shape, single elements, and thousands of them in one call.
//!
//! The sizes come from the kernel, never from what a program's ELF file says: the kernel reads and writes buffers of *its*
//! sizes, and a pin may hold a map of any shape.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::program::by_id;
use super::{Command, call, call_for_fd, check_kind, info_by_fd, name, obj_get};
use crate::{Cause, Error, Result};

/// The shape of a map, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Number of the map in the kernel.
    pub id: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value (of one CPU's value, in a per-CPU map).
    pub value_size: u32,
    /// Elements at the most.
    pub max_entries: u32,
    /// BPF_F_*.
    pub flags: u32,
    /// At most 15 bytes.
    pub name: String,
}

/// A map to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewMap<'a> {
    /// `enum bpf_map_type`.
    pub kind: u32,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Elements at the most.
    pub max_entries: u32,
    /// BPF_F_*.
    pub flags: u32,
    /// Letters, digits, `_` and `.`; cut after 15 bytes.
    pub name: &'a str,
    /// For a map of maps: what its maps are like.
    pub inner: Option<BorrowedFd<'a>>,
}

/// An open map.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    /// Bytes that a lookup writes and an update reads: a value, or one for each possible CPU, rounded up to 8 bytes.
    value_bytes: usize,
}

/// BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH, _PERCPU_CGROUP_STORAGE.
const PER_CPU: [u32; 4] = [5, 6, 10, 21];

impl Map {
    /// Makes a map. It lasts as long as a descriptor, a pin or a program refers to it.
    pub fn create(new: &NewMap<'_>) -> Result<Self> {
        #[repr(C)]
        struct Attr {
            kind: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            flags: u32,
            inner: u32,
            numa_node: u32,
            name: [u8; 16],
        }
        let NewMap { kind, key_size, value_size, max_entries, flags, name, inner } = *new;
        let inner = inner.map_or(0, |inner| inner.as_raw_fd() as u32);
        let mut attr = Attr { kind, key_size, value_size, max_entries, flags, inner, numa_node: 0, name: [0; 16] };
        for (place, letter) in attr.name[..15].iter_mut().zip(name.bytes()) {
            *place = letter;
        }
        // SAFETY: Attr is the command's prefix and holds no pointer.
        let fd = unsafe { call_for_fd(Command::MapCreate, &mut attr) };
        Self::from_fd(fd.map_err(|errno| Error::new("create map", name, errno))?)
    }

    /// Opens a pinned map. The pin of something else is an error; nothing there: [`Error::is_not_found`].
    pub fn from_pin(path: &Path) -> Result<Self> {
        Self::from_fd(obj_get(path)?).map_err(|error| Error::new("open as a map", path.display(), error.cause))
    }

    /// Opens the map with this number in the kernel.
    pub fn from_id(id: u32) -> Result<Self> {
        let map = by_id(Command::MapGetFdById, id);
        Self::from_fd(map.map_err(|errno| Error::new("open", format_args!("BPF map {id}"), errno))?)
    }

    /// Takes a map's descriptor.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        /// Prefix of `struct bpf_map_info`.
        #[derive(Default)]
        #[repr(C)]
        struct Raw {
            kind: u32,
            id: u32,
            key_size: u32,
            value_size: u32,
            max_entries: u32,
            flags: u32,
            name: [u8; 16],
        }
        check_kind(fd.as_fd(), "bpf-map").map_err(|cause| Error::new("read what is", "a map", cause))?;
        let mut raw = Raw::default();
        // SAFETY: Raw is a prefix of the info of a map, and holds no pointer.
        unsafe { info_by_fd(fd.as_fd(), &mut raw) }.map_err(|errno| Error::new("read what is", "a map", errno))?;
        let value_bytes = if PER_CPU.contains(&raw.kind) {
            raw.value_size.next_multiple_of(8) as usize * possible_cpus()?
        } else {
            raw.value_size as usize
        };
        let Raw { kind, id, key_size, value_size, max_entries, flags, name: raw_name } = raw;
        let info = MapInfo { kind, id, key_size, value_size, max_entries, flags, name: name(&raw_name) };
        Ok(Self { fd, info, value_bytes })
    }

    /// Its shape.
    pub fn info(&self) -> &MapInfo {
        &self.info
    }

    /// Bytes of a value buffer: see [`Map::lookup`].
    pub fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// The value of `key`, or `None`. In a per-CPU map: the values of all possible CPUs, each rounded up to 8 bytes.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check("look up in", key.len(), self.key_bytes())?;
        let mut value = vec![0; self.value_bytes];
        let mut attr = self.element(key.as_ptr(), value.as_mut_ptr());
        // SAFETY: ElementAttr is the command's prefix; `key` and `value` have the map's sizes.
        match unsafe { call(Command::MapLookupElem, &mut attr) } {
            Ok(_) => Ok(Some(value)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.error("look up in", errno)),
        }
    }

    /// Creates or replaces an element. Full: E2BIG.
    pub fn update(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.check("write to", key.len(), self.key_bytes())?;
        self.check("write to", value.len(), self.value_bytes)?;
        let mut attr = self.element(key.as_ptr(), value.as_ptr());
        // SAFETY: ElementAttr is the command's prefix; `key` and `value` have the map's sizes and are only read.
        let answer = unsafe { call(Command::MapUpdateElem, &mut attr) };
        answer.map(drop).map_err(|errno| self.error("write to", errno))
    }

    /// Removes an element; `false` if there was none.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check("delete from", key.len(), self.key_bytes())?;
        let mut attr = self.element(key.as_ptr(), std::ptr::null());
        // SAFETY: ElementAttr is the command's prefix; `key` has the map's size.
        match unsafe { call(Command::MapDeleteElem, &mut attr) } {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(self.error("delete from", errno)),
        }
    }

    /// Creates or replaces as many elements as `keys` holds, one after another; an error leaves the first ones written.
    pub fn update_batch(&self, keys: &[u8], values: &[u8]) -> Result<()> {
        let count = keys.len() / self.key_bytes();
        self.check("write to", keys.len(), count * self.key_bytes())?;
        self.check("write to", values.len(), count * self.value_bytes)?;
        let mut done = 0;
        while done < count {
            let mut attr = BatchAttr {
                keys: keys[done * self.key_bytes()..].as_ptr() as u64,
                values: values[done * self.value_bytes..].as_ptr() as u64,
                count: (count - done) as u32,
                ..self.batch()
            };
            // SAFETY: BatchAttr is the command's prefix; both buffers hold `count` elements and are only read.
            unsafe { call(Command::MapUpdateBatch, &mut attr) }.map_err(|errno| self.error("write to", errno))?;
            done += attr.count as usize;
        }
        Ok(())
    }

    /// Reads the whole map, some thousand elements a call, as pairs of key and value bytes. Of a hash map that is written
    /// meanwhile, every element that is there all the time is seen once.
    pub fn each(&self, seen: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.read(None, u32::MAX, seen)
    }

    /// Reads elements `first` to `first + count` of an array, fewer where it ends.
    pub fn each_of_array(&self, first: u32, count: u32, seen: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.check("read", size_of::<u32>(), self.key_bytes())?;
        self.read(first.checked_sub(1), count, seen)
    }

    /// `after`: the array's index before the first to read. A hash map's positions are bucket numbers, also 32 bits.
    fn read(&self, after: Option<u32>, limit: u32, mut seen: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut room = CHUNK.min(limit).max(1);
        let mut position = vec![0_u8; self.key_bytes().max(size_of::<u32>())];
        if let Some(after) = after {
            position[..size_of::<u32>()].copy_from_slice(&after.to_ne_bytes());
        }
        let mut started = after.is_some();
        let mut left = limit;
        while left > 0 {
            let mut keys = vec![0; room as usize * self.key_bytes()];
            let mut values = vec![0; room as usize * self.value_bytes];
            let mut next = position.clone();
            let mut attr = BatchAttr {
                in_batch: if started { position.as_ptr() as u64 } else { 0 },
                out_batch: next.as_mut_ptr() as u64,
                keys: keys.as_mut_ptr() as u64,
                values: values.as_mut_ptr() as u64,
                count: room.min(left),
                ..self.batch()
            };
            // SAFETY: BatchAttr is the command's prefix; the buffers hold `count` elements, the positions a key or 32 bits.
            let ended = match unsafe { call(Command::MapLookupBatch, &mut attr) } {
                Ok(_) => false,
                Err(Errno::ENOENT) => true,
                // One bucket of a hash map holds more than there is room for; nothing was passed over.
                Err(Errno::ENOSPC) => {
                    room = room.saturating_mul(2);
                    continue;
                }
                Err(errno) => return Err(self.error("read", errno)),
            };
            let keys = keys.chunks_exact(self.key_bytes());
            for (key, value) in keys.zip(values.chunks_exact(self.value_bytes)).take(attr.count as usize) {
                seen(key, value);
            }
            if ended {
                break;
            }
            left -= attr.count.min(left);
            position = next;
            started = true;
        }
        Ok(())
    }

    fn key_bytes(&self) -> usize {
        self.info.key_size as usize
    }

    fn element(&self, key: *const u8, value: *const u8) -> ElementAttr {
        ElementAttr { map: self.fd.as_raw_fd() as u32, padding: 0, key: key as u64, value: value as u64, flags: 0 }
    }

    fn batch(&self) -> BatchAttr {
        BatchAttr { map: self.fd.as_raw_fd() as u32, ..BatchAttr::default() }
    }

    /// A buffer of another size would be read or written beyond its end.
    fn check(&self, doing: &'static str, is: usize, should_be: usize) -> Result<()> {
        if is == should_be {
            return Ok(());
        }
        let what = format!("{is} bytes where the map has {should_be}");
        Err(Error::new(doing, self.object(), Cause::Unexpected(what)))
    }

    fn error(&self, doing: &'static str, errno: Errno) -> Error {
        Error::new(doing, self.object(), errno)
    }

    fn object(&self) -> String {
        format!("map {} ({} entries)", self.info.name, self.info.max_entries)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Elements read with one call.
const CHUNK: u32 = 4096;

#[repr(C)]
struct ElementAttr {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Number of CPUs that could ever be there: per-CPU values have one part for each.
pub fn possible_cpus() -> Result<usize> {
    const PATH: &str = "/sys/devices/system/cpu/possible";
    let text = fs::read_to_string(PATH).map_err(|error| Error::new("read", PATH, error))?;
    count_cpus(text.trim())
        .ok_or_else(|| Error::new("read", PATH, Cause::Unexpected(format!("{:?} is no list of CPUs", text.trim()))))
}

/// Counts a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<usize> {
    list.split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            (last.parse::<usize>().ok()? + 1).checked_sub(first.parse().ok()?)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::count_cpus;

    #[test]
    fn a_list_of_cpus_is_counted() {
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus("0-127"), Some(128));
        assert_eq!(count_cpus("0-3,8,10-11"), Some(7));
        assert_eq!(count_cpus(""), None);
        assert_eq!(count_cpus("3-1"), None);
    }
}
