//! What a rule can look at: each a load into a register.

use std::net::IpAddr;

use crate::netlink::attributes_of;
use crate::nft::attributes::{Attributes, number_of};

/// Something of a packet, of its connection or of its way, that a rule compares or looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// `ip saddr`.
    SourceV4,
    /// `ip6 saddr`.
    SourceV6,
    /// `ip daddr`.
    DestinationV4,
    /// `ip6 daddr`.
    DestinationV6,
    /// `th sport`, network order.
    SourcePort,
    /// `th dport`, network order.
    DestinationPort,
    /// `meta l4proto`: one byte.
    Protocol,
    /// `meta nfproto`: one byte, `AF_INET` or `AF_INET6`.
    Family,
    /// `meta protocol`: the Ethernet type, network order.
    EtherType,
    /// `ether saddr`.
    EtherSource,
    /// `iifname`: 16 bytes.
    InputName,
    /// `oifname`: 16 bytes.
    OutputName,
    /// `iif`: host order.
    InputIndex,
    /// `oif`: host order.
    OutputIndex,
    /// `meta mark`: host order.
    Mark,
    /// `ct state`: bits, host order ([`Load::ESTABLISHED`], …).
    CtState,
    /// `ct status`: bits, host order ([`Load::DNAT`], …).
    CtStatus,
    /// `ct mark`: host order.
    CtMark,
    /// `ct original ip saddr`.
    CtSourceV4,
    /// `ct original ip6 saddr`.
    CtSourceV6,
    /// `ct original ip daddr`.
    CtDestinationV4,
    /// `ct original ip6 daddr`.
    CtDestinationV6,
    /// `ct original proto-dst`, network order.
    CtDestinationPort,
    /// `fib daddr type`: `RTN_*`, host order.
    DestinationType,
    /// `fib saddr type`: `RTN_*`, host order.
    SourceType,
    /// Bytes of a header.
    Payload {
        /// `NFT_PAYLOAD_*`: 0 link layer, 1 network, 2 transport.
        base: u32,
        /// From where in it.
        offset: u32,
        /// How many.
        length: u32,
    },
}

impl Load {
    /// `NF_CT_STATE_INVALID_BIT`.
    pub const INVALID: u32 = 1;
    /// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED)`.
    pub const ESTABLISHED: u32 = 2;
    /// `NF_CT_STATE_BIT(IP_CT_RELATED)`.
    pub const RELATED: u32 = 4;
    /// `NF_CT_STATE_BIT(IP_CT_NEW)`.
    pub const NEW: u32 = 8;
    /// `IPS_SRC_NAT`.
    pub const SNAT: u32 = 16;
    /// `IPS_DST_NAT`.
    pub const DNAT: u32 = 32;

    /// The source address, of the family of `like`.
    pub fn source(like: IpAddr) -> Load {
        if like.is_ipv4() { Load::SourceV4 } else { Load::SourceV6 }
    }

    /// The destination address, of the family of `like`.
    pub fn destination(like: IpAddr) -> Load {
        if like.is_ipv4() { Load::DestinationV4 } else { Load::DestinationV6 }
    }

    /// How many registers of four bytes it fills.
    pub(super) fn registers(self) -> u32 {
        match self {
            Load::SourceV6 | Load::DestinationV6 | Load::CtSourceV6 | Load::CtDestinationV6 => 4,
            Load::InputName | Load::OutputName => 4,
            Load::EtherSource => 2,
            Load::Payload { length, .. } => length.div_ceil(4),
            _ => 1,
        }
    }

    /// The expression's name and attributes.
    pub(super) fn write(self, register: u32) -> (&'static str, Attributes) {
        let to = Attributes::default().number(1, register);
        match self.coordinates() {
            Coordinates::Payload(base, offset, length) => {
                ("payload", to.number(2, base).number(3, offset).number(4, length))
            }
            Coordinates::Meta(key) => ("meta", to.number(2, key)),
            Coordinates::Ct(key, Some(direction)) => ("ct", to.number(2, key).bytes(3, &[direction])),
            Coordinates::Ct(key, None) => ("ct", to.number(2, key)),
            Coordinates::Fib(flags) => ("fib", to.number(2, FIB_ADDRTYPE).number(3, flags)),
        }
    }

    /// Register and what is loaded into it; `None` for expressions that load nothing, or what is not listed here.
    pub(crate) fn read(name: &str, data: &[u8]) -> Option<(u32, Load)> {
        let find =
            |wanted: u16| attributes_of(data).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| number_of(value));
        let found = match name {
            "payload" => Coordinates::Payload(find(2)?, find(3)?, find(4)?),
            "meta" => Coordinates::Meta(find(2)?),
            "ct" => {
                let direction = attributes_of(data).find(|(kind, _)| *kind == 3).and_then(|(_, value)| value.first());
                Coordinates::Ct(find(2)?, direction.copied())
            }
            "fib" if find(2)? == FIB_ADDRTYPE => Coordinates::Fib(find(3)?),
            _ => return None,
        };
        let known = ALL.iter().find(|load| load.coordinates() == found).copied();
        let load = match found {
            Coordinates::Payload(base, offset, length) => Some(known.unwrap_or(Load::Payload { base, offset, length })),
            _ => known,
        };
        Some((find(1)?, load?))
    }

    fn coordinates(self) -> Coordinates {
        use Coordinates::{Ct, Fib, Meta, Payload};
        // enum nft_payload_bases, nft_meta_keys, nft_ct_keys, nft_fib_flags (include/uapi/linux/netfilter/nf_tables.h);
        // offsets: RFC 791, 3.1; RFC 8200, 3.
        match self {
            Load::SourceV4 => Payload(1, 12, 4),
            Load::SourceV6 => Payload(1, 8, 16),
            Load::DestinationV4 => Payload(1, 16, 4),
            Load::DestinationV6 => Payload(1, 24, 16),
            Load::SourcePort => Payload(2, 0, 2),
            Load::DestinationPort => Payload(2, 2, 2),
            Load::EtherSource => Payload(0, 6, 6),
            Load::Payload { base, offset, length } => Payload(base, offset, length),
            Load::EtherType => Meta(1),
            Load::Mark => Meta(3),
            Load::InputIndex => Meta(4),
            Load::OutputIndex => Meta(5),
            Load::InputName => Meta(6),
            Load::OutputName => Meta(7),
            Load::Family => Meta(15),
            Load::Protocol => Meta(16),
            Load::CtState => Ct(0, None),
            Load::CtStatus => Ct(2, None),
            Load::CtMark => Ct(3, None),
            Load::CtDestinationPort => Ct(12, ORIGINAL),
            Load::CtSourceV4 => Ct(19, ORIGINAL),
            Load::CtDestinationV4 => Ct(20, ORIGINAL),
            Load::CtSourceV6 => Ct(21, ORIGINAL),
            Load::CtDestinationV6 => Ct(22, ORIGINAL),
            Load::SourceType => Fib(1),
            Load::DestinationType => Fib(2),
        }
    }
}

/// `NFT_FIB_RESULT_ADDRTYPE`.
const FIB_ADDRTYPE: u32 = 3;
/// `IP_CT_DIR_ORIGINAL`.
const ORIGINAL: Option<u8> = Some(0);

#[derive(Debug, PartialEq, Eq)]
enum Coordinates {
    Payload(u32, u32, u32),
    Meta(u32),
    Ct(u32, Option<u8>),
    Fib(u32),
}

/// All that have a name.
const ALL: [Load; 25] = [
    Load::SourceV4,
    Load::SourceV6,
    Load::DestinationV4,
    Load::DestinationV6,
    Load::SourcePort,
    Load::DestinationPort,
    Load::Protocol,
    Load::Family,
    Load::EtherType,
    Load::EtherSource,
    Load::InputName,
    Load::OutputName,
    Load::InputIndex,
    Load::OutputIndex,
    Load::Mark,
    Load::CtState,
    Load::CtStatus,
    Load::CtMark,
    Load::CtSourceV4,
    Load::CtSourceV6,
    Load::CtDestinationV4,
    Load::CtDestinationV6,
    Load::CtDestinationPort,
    Load::DestinationType,
    Load::SourceType,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_reads_back_as_it_was_written() {
        let raw = Load::Payload { base: 1, offset: 12, length: 3 };
        for load in ALL.into_iter().chain([raw]) {
            let (name, data) = load.write(9);
            assert_eq!(Load::read(name, &data.0), Some((9, load)), "{load:?}");
        }
        assert_eq!(Load::read("meta", &[]), None);
    }
}
