//! Networks as keys of `RANGES`.

use std::net::IpAddr;

use fairlead_ebpf_shared::{RangeData, RangeKey};
use ipnet::IpNet;

use crate::actual::ip_addr;
use crate::policy::address_bytes;

/// Bits before an IPv4 address that is mapped into IPv6.
const MAPPED_BITS: u32 = 96;
/// Bits of the slot.
const SLOT_BITS: u32 = 32;

/// The key of a network that the frontend in `slot` admits.
#[must_use]
pub fn range_key(slot: u32, net: IpNet) -> RangeKey {
    let before = match net {
        IpNet::V4(_) => SLOT_BITS + MAPPED_BITS,
        IpNet::V6(_) => SLOT_BITS,
    };
    RangeKey {
        prefix_bits: before + u32::from(net.prefix_len()),
        data: RangeData { slot: slot.to_be_bytes(), addr: address_bytes(net.network()) },
    }
}

/// The network of a key; `None`: it is not one that [`range_key`] makes.
#[must_use]
pub fn range_net(key: &RangeKey) -> Option<IpNet> {
    let addr = ip_addr(key.data.addr);
    let before = match addr {
        IpAddr::V4(_) => SLOT_BITS + MAPPED_BITS,
        IpAddr::V6(_) => SLOT_BITS,
    };
    let bits = u8::try_from(key.prefix_bits.checked_sub(before)?).ok()?;
    let net = IpNet::new(addr, bits).ok()?;
    (range_key(u32::from_be_bytes(key.data.slot), net) == *key).then_some(net)
}
