//! The door to the service tables: what the event loop may ask of them.
//!
//! Two implementations: `kernel` (the pinned BPF maps) and, for the tests, one in memory that can fail at random. Nobody
//! but the event loop's thread writes; the programs only read.

#[cfg(test)]
pub mod fake;

mod backends;
pub mod kernel;
pub mod namespaces;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use fairlead_ebpf_shared::{
    AddressWord, Backend, ClientAddresses, Frontend, FrontendKey, OptionsWord, RangeKey, RangeTag, Reason, SetWord,
};
use fairlead_proxy_model::{Dump, Sizes};

/// Waits until no program runs that started before the wait; to be run on a thread that may block (milliseconds).
pub type GracePeriod = Box<dyn FnOnce() -> Result<()> + Send>;

/// What the programs know of the node itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether NodePorts are served at loopback addresses, to processes in the node's own network namespace.
    pub localhost_node_ports: bool,
    /// What these processes' sockets send from: the address that source ranges are compared with.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Host {
    /// Of `addresses`, the node's in the order of their importance, the first of each family counts.
    pub fn new(localhost_node_ports: bool, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut host = Self { localhost_node_ports, ..Self::default() };
        for address in addresses.into_iter().filter(|address| !address.is_loopback()) {
            match address {
                IpAddr::V4(address) => host.v4 = host.v4.or(Some(address)),
                IpAddr::V6(address) => host.v6 = host.v6.or(Some(address)),
            }
        }
        host
    }
}

/// One set of service tables. Every error names the deed, the map, the entry and the errno.
pub trait Maps {
    /// How many entries the maps really have (an existing pinned map decides, not the command line).
    fn sizes(&self) -> Sizes;

    /// Writes `backends` to `BACKENDS[base..]`. The caller made sure that no published set refers to any of these indexes,
    /// so the order of the writes does not matter and half of them is no harm.
    fn put_backends(&mut self, base: u32, backends: &[Backend]) -> Result<()>;

    /// Nothing will be written or read for a while: memory that only that needs is given back.
    fn rest(&mut self) {}

    /// One atomic 64-bit store of `word` to `SETS[slot]`; every earlier write is visible to whoever sees it.
    fn switch_set(&mut self, slot: u32, word: SetWord) -> Result<()>;

    /// Zeroes `SETS[slot]` and `OPTIONS[slot]` (atomic stores) and `SLOT_COUNTERS[slot]` on all CPUs.
    fn clear_slot(&mut self, slot: u32) -> Result<()>;

    /// Inserts or overwrites a key of `FRONTENDS`.
    fn put_frontend(&mut self, key: &FrontendKey, value: &Frontend) -> Result<()>;

    /// Inserts or overwrites many keys of `FRONTENDS`. After an error some of them are written.
    fn put_frontends(&mut self, entries: &[(FrontendKey, Frontend)]) -> Result<()>;

    /// Deletes a key of `FRONTENDS`; a key that is not there is a success.
    fn delete_frontend(&mut self, key: &FrontendKey) -> Result<()>;

    /// Inserts or overwrites an entry of `RANGES`.
    fn put_range(&mut self, key: &RangeKey, tag: RangeTag) -> Result<()>;

    /// Deletes an entry of `RANGES`; one that is not there is a success.
    fn delete_range(&mut self, key: &RangeKey) -> Result<()>;

    /// One atomic 64-bit store of `word` to `OPTIONS[slot]`.
    fn set_options(&mut self, slot: u32, word: OptionsWord) -> Result<()>;

    /// Inserts or replaces an element of `ADDRESSES`.
    fn put_address(&mut self, addr: &[u8; 16], value: AddressWord) -> Result<()>;

    /// Inserts or replaces many elements of `ADDRESSES`. After an error some of them are written.
    fn put_addresses(&mut self, entries: &[([u8; 16], AddressWord)]) -> Result<()>;

    /// Deletes an element of `ADDRESSES`; one that is not there is a success.
    fn delete_address(&mut self, addr: &[u8; 16]) -> Result<()>;

    /// Tells the programs of the node: words by atomic stores, addresses of its network namespace, which is that of the
    /// thread that made this value.
    fn tell_host(&mut self, host: &Host) -> Result<()>;

    /// How often the programs met a client whose address they did not know.
    fn unknown_clients(&self) -> Result<u64>;

    /// Tells the programs what the sockets of a network namespace send from.
    fn put_client(&mut self, netns: u64, addresses: &ClientAddresses) -> Result<()>;

    /// Forgets a network namespace; one that is not known is a success.
    fn delete_client(&mut self, netns: u64) -> Result<()>;

    /// Takes away what an earlier version attached: the tables are filled. One line for each thing removed.
    fn retire_predecessors(&mut self) -> Result<Vec<String>>;

    /// Reads everything that is in use, in batches: all of `FRONTENDS`, the words that are not zero, and of `BACKENDS` only
    /// what these words refer to.
    fn dump(&self) -> Result<Dump>;

    /// `COUNTERS`, summed over the CPUs, in [`Reason`] order.
    fn counters(&self) -> Result<[u64; Reason::ALL.len()]>;

    /// `SLOT_COUNTERS` of each of `slots`, summed over the CPUs, in the same order.
    fn slot_counters(&self, slots: &[u32]) -> Result<Vec<u64>>;

    /// See [`GracePeriod`].
    fn grace_period(&self) -> GracePeriod;
}
