//! Names of maps and programs, default sizes, the ABI version.

/// Version of everything in this crate that is visible in the kernel. It is part of the pin path
/// (`<bpffs>/fairlead/v<ABI_VERSION>/`), so that a daemon never reads maps of another layout.
pub const ABI_VERSION: u32 = 2;

/// Default number of slots: frontends (address, port, protocol) at the most.
pub const DEFAULT_SLOTS: u32 = 65_536;
/// Default number of backend entries, two versions of each set counted.
pub const DEFAULT_BACKENDS: u32 = 262_144;
/// Default number of reply entries (UDP).
pub const DEFAULT_REPLIES: u32 = 65_536;
/// Number of address entries: cluster IPs and node addresses at the most.
pub const DEFAULT_ADDRESSES: u32 = 65_536;
/// Number of affinity entries: clients of services with session affinity.
pub const DEFAULT_AFFINITY: u32 = 65_536;
/// Number of source range entries.
pub const DEFAULT_RANGES: u32 = 65_536;
/// Number of network namespaces whose addresses are known.
pub const DEFAULT_CLIENTS: u32 = 8_192;

/// Names of the maps in the object, also their pin names.
pub mod map {
    /// Hash: `FrontendKey` → `Frontend`.
    pub const FRONTENDS: &str = "FRONTENDS";
    /// Mmapable array: slot → `SetWord`.
    pub const SETS: &str = "SETS";
    /// Array: index → `Backend`.
    pub const BACKENDS: &str = "BACKENDS";
    /// Socket storage: `Origin`.
    pub const ORIGINS: &str = "ORIGINS";
    /// LRU hash: `ReplyKey` → `Origin`.
    pub const REPLIES: &str = "REPLIES";
    /// Per-CPU array: `Reason` → u64.
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU array: slot → u64, connections and datagrams sent to the frontend.
    pub const SLOT_COUNTERS: &str = "SLOT_COUNTERS";
    /// Mmapable array: slot → `OptionsWord`.
    pub const OPTIONS: &str = "OPTIONS";
    /// Hash: address (16 bytes, IPv4 mapped) → `AddressWord`.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// LRU hash: `AffinityKey` → `Affinity`.
    pub const AFFINITY: &str = "AFFINITY";
    /// LPM trie: `RangeKey` → `RangeTag`.
    pub const RANGES: &str = "RANGES";
    /// Hash: cookie of a network namespace (u64) → `ClientAddresses`.
    pub const CLIENTS: &str = "CLIENTS";
    /// Mmapable array: `ConfigWord` → u64.
    pub const CONFIG: &str = "CONFIG";
    /// All of them.
    pub const ALL: [&str; 13] = [
        FRONTENDS,
        SETS,
        BACKENDS,
        ORIGINS,
        REPLIES,
        COUNTERS,
        SLOT_COUNTERS,
        OPTIONS,
        ADDRESSES,
        AFFINITY,
        RANGES,
        CLIENTS,
        CONFIG,
    ];
}

/// Names of the programs in the object; each is a cgroup `sock_addr` hook of the same name, and the name of its link's pin.
pub mod program {
    /// All of them.
    pub const ALL: [&str; 8] =
        ["connect4", "connect6", "sendmsg4", "sendmsg6", "recvmsg4", "recvmsg6", "getpeername4", "getpeername6"];
}
