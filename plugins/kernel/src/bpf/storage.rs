//! What programs keep in sockets, of all namespaces at once. sock_diag tells it of TCP sockets only (`inet_sk_diag_fill`,
//! net/ipv4/inet_diag.c, passes it over where there is no `inet_connection_sock`), so a program of two dozen instructions
//! goes through the map (BPF iterator, Linux 5.9).

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::{Command, Map, call_for_fd};
use crate::{Cause, Error, Result};

/// Types of the running kernel, as BTF.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// What the iterator's programs are attached to.
const TARGET: &str = "bpf_iter_bpf_sk_storage_map";

/// BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER, BPF_MAP_TYPE_SK_STORAGE.
const TRACING: u32 = 26;
const TRACE_ITER: u32 = 28;
const SK_STORAGE: u32 = 24;

/// Helpers, by `enum bpf_func_id`.
const GET_SOCKET_COOKIE: i32 = 46;
const SEQ_WRITE: i32 = 127;
const SKC_TO_TCP_SOCK: i32 = 137;

/// Goes through a map of kind BPF_MAP_TYPE_SK_STORAGE.
#[derive(Debug)]
pub struct SocketStorage {
    map: Map,
    program: OwnedFd,
}

impl SocketStorage {
    /// Loads the program. Errors: a map of another kind; a kernel without BTF of its own; CAP_BPF or CAP_PERFMON is missing.
    pub fn open(map: Map) -> Result<Self> {
        let fail = |cause: Cause| Error::new("go through", format_args!("map {}", map.info().name), cause);
        if map.info().kind != SK_STORAGE {
            return Err(fail(Cause::Unexpected("it is no socket storage".into())));
        }
        let types = fs::read(BTF).map_err(|error| Error::new("read", BTF, error))?;
        let target = function(&types, TARGET)
            .ok_or_else(|| fail(Cause::Unexpected(format!("the kernel knows no {TARGET} ({BTF})"))))?;
        let program = load(&instructions(map.info().value_size), target).map_err(|errno| fail(errno.into()))?;
        Ok(Self { map, program })
    }

    /// Hands on the cookie (`bpf_get_socket_cookie`, sock_diag's too) and the value of every socket that has one and is not
    /// TCP's. Sockets that come or go meanwhile may be among them or not.
    pub fn each(&self, mut take: impl FnMut(u64, &[u8])) -> Result<()> {
        let fail = |cause: Cause| Error::new("go through", format_args!("map {}", self.map.info().name), cause);
        let link = attach(self.program.as_fd(), self.map.as_fd()).map_err(|errno| fail(errno.into()))?;
        let mut records = File::from(iterate(link.as_fd()).map_err(|errno| fail(errno.into()))?);
        let length = 8 + self.map.info().value_size as usize;
        let (mut buffer, mut have) = (vec![0; 64 << 10], 0);
        loop {
            let read = match records.read(&mut buffer[have..]) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(fail(error.into())),
            };
            have += read;
            let whole = have - have % length;
            for record in buffer[..whole].chunks_exact(length) {
                let (cookie, value) = record.split_first_chunk().expect("a record is longer than a cookie");
                take(u64::from_ne_bytes(*cookie), value);
            }
            buffer.copy_within(whole..have, 0);
            have -= whole;
            if read == 0 {
                return Ok(());
            }
        }
    }
}

/// `struct bpf_insn`: operation, registers, offset, immediate.
fn instruction(code: u8, (to, from): (u8, u8), offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = immediate.to_le_bytes();
    u64::from_ne_bytes([
        code,
        if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to },
        low,
        high,
        a,
        b,
        c,
        d,
    ])
}

/// The program: `ctx` is `{meta, map, sk, value}` (`struct bpf_iter__bpf_sk_storage_map`), eight bytes each; `meta` begins
/// with the file that is written to. At the end of the map it is called without a socket.
fn instructions(value_size: u32) -> Vec<u64> {
    const LOAD: u8 = 0x79;
    const STORE: u8 = 0x7b;
    const COPY: u8 = 0xbf;
    const SET: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const IF_ZERO: u8 = 0x15;
    const IF_NOT_ZERO: u8 = 0x55;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    let i = instruction;
    vec![
        i(COPY, (6, 1), 0, 0),                 // r6 = ctx
        i(LOAD, (8, 6), 16, 0),                // r8 = ctx->sk
        i(IF_ZERO, (8, 0), 19, 0),             // no socket: end
        i(LOAD, (7, 6), 24, 0),                // r7 = ctx->value
        i(IF_ZERO, (7, 0), 17, 0),             // no value: end
        i(COPY, (1, 8), 0, 0),                 //
        i(CALL, (0, 0), 0, SKC_TO_TCP_SOCK),   // TCP's: end
        i(IF_NOT_ZERO, (0, 0), 14, 0),         //
        i(COPY, (1, 8), 0, 0),                 //
        i(CALL, (0, 0), 0, GET_SOCKET_COOKIE), //
        i(STORE, (10, 0), -8, 0),              // on the stack
        i(LOAD, (1, 6), 0, 0),                 // r1 = ctx->meta
        i(LOAD, (1, 1), 0, 0),                 // r1 = meta->seq
        i(COPY, (2, 10), 0, 0),                //
        i(ADD, (2, 0), 0, -8),                 //
        i(SET, (3, 0), 0, 8),                  //
        i(CALL, (0, 0), 0, SEQ_WRITE),         // the cookie
        i(LOAD, (1, 6), 0, 0),                 //
        i(LOAD, (1, 1), 0, 0),                 //
        i(COPY, (2, 7), 0, 0),                 //
        i(SET, (3, 0), 0, value_size as i32),  //
        i(CALL, (0, 0), 0, SEQ_WRITE),         // the value
        i(SET, (0, 0), 0, 0),                  // end
        i(EXIT, (0, 0), 0, 0),
    ]
}

fn load(instructions: &[u64], target: u32) -> std::result::Result<OwnedFd, Errno> {
    /// Prefix of `union bpf_attr` for BPF_PROG_LOAD.
    #[derive(Default)]
    #[repr(C)]
    struct Attr {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 4],
        kernel_version: u32,
        flags: u32,
        name: [u8; 16],
        ifindex: u32,
        attach_type: u32,
        btf: [u32; 2],
        functions: [u32; 4],
        lines: u64,
        line_count: u32,
        attach_btf_id: u32,
    }
    const _: () = assert!(size_of::<Attr>() == 112);
    let mut attr = Attr {
        kind: TRACING,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        name: *b"fairlead_origin\0",
        attach_type: TRACE_ITER,
        attach_btf_id: target,
        ..Attr::default()
    };
    // SAFETY: Attr is the command's prefix; its two pointers are to `count` instructions and to a string, which outlive the call.
    unsafe { call_for_fd(Command::ProgLoad, &mut attr) }
}

fn attach(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        program: u32,
        target: u32,
        attach_type: u32,
        flags: u32,
        info: u64,
        info_length: u32,
        padding: u32,
    }
    // `union bpf_iter_link_info`.
    let info = [map.as_raw_fd() as u32, 0, 0, 0];
    let mut attr = Attr {
        program: program.as_raw_fd() as u32,
        target: 0,
        attach_type: TRACE_ITER,
        flags: 0,
        info: info.as_ptr() as u64,
        info_length: size_of_val(&info) as u32,
        padding: 0,
    };
    // SAFETY: Attr is the command's prefix; `info` has info_length bytes and outlives the call.
    unsafe { call_for_fd(Command::LinkCreate, &mut attr) }
}

fn iterate(link: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attr {
        link: u32,
        flags: u32,
    }
    let mut attr = Attr { link: link.as_raw_fd() as u32, flags: 0 };
    // SAFETY: Attr is the command's prefix and holds no pointer.
    unsafe { call_for_fd(Command::IterCreate, &mut attr) }
}

/// Number of a function in BTF (Documentation/bpf/btf.rst); `None`: it is not there, or this is no BTF.
fn function(btf: &[u8], wanted: &str) -> Option<u32> {
    const FUNCTION: u32 = 12;
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    if u16::from_ne_bytes(*btf.first_chunk()?) != 0xeb9f {
        return None;
    }
    let part = |offset: usize, length: usize| {
        let from = (word(btf, 4)? as usize).checked_add(word(btf, offset)? as usize)?;
        btf.get(from..from.checked_add(word(btf, length)? as usize)?)
    };
    let (mut types, strings) = (part(8, 12)?, part(16, 20)?);
    for id in 1.. {
        let (name, info) = (word(types, 0)?, word(types, 4)?);
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let is_named = || strings.get(name as usize..)?.strip_prefix(wanted.as_bytes())?.first().copied();
        if kind == FUNCTION && is_named() == Some(0) {
            return Some(id);
        }
        let more = match kind {
            // Integers, variables, tags of declarations.
            1 | 14 | 17 => 4,
            // Arrays.
            3 => 12,
            // Structures, unions, sections, enumerations of 64 bits.
            4 | 5 | 15 | 19 => 12 * members,
            // Enumerations, parameters.
            6 | 13 => 8 * members,
            _ => 0,
        };
        types = types.get(12 + more..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An integer `a`, a structure with one member, and a function `bc`.
    fn small() -> Vec<u8> {
        let types: [u32; 13] = [1, 1 << 24, 4, 32, 0, 4 << 24 | 1, 4, 1, 1, 0, 3, 12 << 24, 0];
        let strings = b"\0a\0bc\0";
        let mut bytes = [0x9f, 0xeb, 1, 0].to_vec();
        if cfg!(target_endian = "big") {
            bytes[..2].reverse();
        }
        let size = (types.len() * 4) as u32;
        bytes.extend([24, 0, size, size, strings.len() as u32].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn a_function_has_its_number_and_what_is_none_has_not() {
        assert_eq!(function(&small(), "bc"), Some(3));
        assert_eq!(function(&small(), "b"), None, "only the beginning of a name");
        assert_eq!(function(&small(), "a"), None, "an integer");
    }

    #[test]
    fn what_is_cut_short_is_none_and_no_panic() {
        let whole = small();
        for length in 0..whole.len() {
            assert_eq!(function(&whole[..length], "bc"), None, "{length}");
        }
    }
}
