//! The BPF programs of the service proxy: the maps, the entry points, and nothing else, so that one screen shows what the
//! kernel sees.
//!
//! Knows no policy: which backends a frontend has was decided in user space. Invariant others may rely on: a program never
//! sends a connection to a backend whose tag is not bound to the frontend the application asked for (`lookup.rs`).
#![no_std]
#![no_main]

mod address;
mod affinity;
mod client;
mod connect;
mod counters;
mod getpeername;
mod ip;
mod lookup;
mod place;
mod recvmsg;
mod sendmsg;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, SkStorage};
use aya_ebpf::macros::{btf_map, cgroup_sock_addr};
use aya_ebpf::programs::SockAddrContext;
use fairlead_ebpf_shared::{
    AddressWord, Affinity, AffinityKey, Backend, ClientAddresses, ConfigWord, DEFAULT_ADDRESSES, DEFAULT_AFFINITY,
    DEFAULT_BACKENDS, DEFAULT_CLIENTS, DEFAULT_RANGES, DEFAULT_REPLIES, DEFAULT_SLOTS, Frontend, FrontendKey,
    OptionsWord, Origin, RangeData, RangeTag, Reason, ReplyKey, SetWord,
};

/// Preallocated: a service must not fail to be written because the kernel is short of memory at that moment.
#[btf_map]
static FRONTENDS: HashMap<FrontendKey, Frontend, { DEFAULT_SLOTS as usize }> = HashMap::new();

#[btf_map]
static SETS: Array<SetWord, { DEFAULT_SLOTS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static OPTIONS: Array<OptionsWord, { DEFAULT_SLOTS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static BACKENDS: Array<Backend, { DEFAULT_BACKENDS as usize }, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Preallocated, as `FRONTENDS`.
#[btf_map]
static ADDRESSES: HashMap<[u8; 16], AddressWord, { DEFAULT_ADDRESSES as usize }> = HashMap::new();

#[btf_map]
static AFFINITY: LruHashMap<AffinityKey, Affinity, { DEFAULT_AFFINITY as usize }> = LruHashMap::new();

/// The key is a `RangeKey`. The kernel has no preallocated tries.
#[btf_map]
static RANGES: LpmTrie<RangeData, RangeTag, { DEFAULT_RANGES as usize }> = LpmTrie::new();

#[btf_map]
static CLIENTS: HashMap<u64, ClientAddresses, { DEFAULT_CLIENTS as usize }> = HashMap::new();

#[btf_map]
static CONFIG: Array<u64, { ConfigWord::ALL.len() }, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
static ORIGINS: SkStorage<Origin> = SkStorage::new();

#[btf_map]
static REPLIES: LruHashMap<ReplyKey, Origin, { DEFAULT_REPLIES as usize }> = LruHashMap::new();

#[btf_map]
static COUNTERS: PerCpuArray<u64, { Reason::ALL.len() }> = PerCpuArray::new();

#[btf_map]
static SLOT_COUNTERS: PerCpuArray<u64, { DEFAULT_SLOTS as usize }> = PerCpuArray::new();

#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect::v4(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect::v6(&ctx)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    sendmsg::v4(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    sendmsg::v6(&ctx)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    recvmsg::v4(&ctx)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    recvmsg::v6(&ctx)
}

#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    getpeername::v4(&ctx)
}

#[cgroup_sock_addr(getpeername6)]
pub fn getpeername6(ctx: SockAddrContext) -> i32 {
    getpeername::v6(&ctx)
}

/// `bpf_sk_storage_get` and `bpf_set_retval` are for programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
