//! Writing nf_tables messages: attributes, nests, expressions (include/uapi/linux/netfilter/nf_tables.h).
//!
//! Numbers in nf_tables attributes are big endian, unlike rtnetlink's.

use std::net::IpAddr;

use ipnet::IpNet;

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NFTA_LIST_ELEM`.
pub(super) const LIST_ELEM: u16 = 1;
/// `NFTA_DATA_VALUE` and `NFTA_DATA_VERDICT`.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
/// `NFT_REG_VERDICT` and `NFT_REG_1`.
const REG_VERDICT: u32 = 0;
const REG_1: u32 = 1;
/// `NFT_PAYLOAD_NETWORK_HEADER`.
const NETWORK_HEADER: u32 = 1;
/// `NFT_META_NFPROTO`.
const META_NFPROTO: u32 = 15;

/// What a rule or a map element does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// `NFT_RETURN`.
    Return,
    /// `NFT_GOTO` this chain.
    Goto(&'a str),
}

/// Attributes, one after the other.
#[derive(Debug, Default, Clone)]
pub(super) struct Attributes(pub(super) Vec<u8>);

impl Attributes {
    pub(super) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        // An attribute's length is 16 bits; all that is written here is names, addresses and rules of known size.
        let length = u16::try_from(4 + value.len()).expect("an nf_tables attribute of this module fits 64 KiB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(super) fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.bytes(kind | NESTED, &inner.0)
    }

    fn data(self, kind: u16, value: &[u8]) -> Self {
        self.nest(kind, Attributes::default().bytes(DATA_VALUE, value))
    }

    pub(super) fn verdict(self, kind: u16, verdict: &Verdict<'_>) -> Self {
        let code = |code: i32| Attributes::default().bytes(1, &code.to_be_bytes());
        let inner = match verdict {
            Verdict::Return => code(-5),
            Verdict::Goto(chain) => code(-4).text(2, chain),
        };
        self.nest(kind, Attributes::default().nest(DATA_VERDICT, inner))
    }

    /// The key of a set element.
    pub(super) fn key(self, kind: u16, address: IpAddr) -> Self {
        self.data(kind, &octets(address))
    }
}

/// The expressions of one rule, in the order in which the kernel runs them.
#[derive(Debug, Default, Clone)]
pub(super) struct Expressions(pub(super) Attributes);

impl Expressions {
    fn push(self, name: &str, data: Attributes) -> Self {
        Expressions(self.0.nest(LIST_ELEM, Attributes::default().text(1, name).nest(2, data)))
    }

    /// `meta nfproto ipv4|ipv6`, by the family of `like`.
    pub(super) fn family(self, like: IpAddr) -> Self {
        let family = match like {
            IpAddr::V4(_) => libc::AF_INET as u8,
            IpAddr::V6(_) => libc::AF_INET6 as u8,
        };
        self.push("meta", Attributes::default().number(1, REG_1).number(2, META_NFPROTO)).equals(&[family])
    }

    /// `ip|ip6 saddr vmap @map`.
    pub(super) fn source_map(self, like: IpAddr, map: &str) -> Self {
        let (source, _, length) = addresses_in_header(like);
        self.payload(source, length)
            .push("lookup", Attributes::default().text(1, map).number(2, REG_1).number(3, REG_VERDICT))
    }

    /// `ip|ip6 daddr net`.
    pub(super) fn destination_in(self, net: IpNet) -> Self {
        let (_, destination, length) = addresses_in_header(net.addr());
        let zero = vec![0; length as usize];
        self.payload(destination, length)
            .push(
                "bitwise",
                Attributes::default()
                    .number(1, REG_1)
                    .number(2, REG_1)
                    .number(3, length)
                    .data(4, &octets(net.netmask()))
                    .data(5, &zero),
            )
            .equals(&octets(net.network()))
    }

    /// `return`.
    pub(super) fn returns(self) -> Self {
        self.push("immediate", Attributes::default().number(1, REG_VERDICT).verdict(2, &Verdict::Return))
    }

    /// `masquerade`.
    pub(super) fn masquerades(self) -> Self {
        self.push("masq", Attributes::default())
    }

    fn payload(self, offset: u32, length: u32) -> Self {
        let data = Attributes::default().number(1, REG_1).number(2, NETWORK_HEADER).number(3, offset).number(4, length);
        self.push("payload", data)
    }

    fn equals(self, value: &[u8]) -> Self {
        self.push("cmp", Attributes::default().number(1, REG_1).number(2, 0).data(3, value))
    }
}

/// Offsets of source and destination in the header, and the length of an address (RFC 791, 3.1; RFC 8200, 3).
fn addresses_in_header(like: IpAddr) -> (u32, u32, u32) {
    match like {
        IpAddr::V4(_) => (12, 16, 4),
        IpAddr::V6(_) => (8, 24, 16),
    }
}

/// Network byte order.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_aligned_and_say_their_length_without_the_padding() {
        let bytes = Attributes::default().text(3, "ab").number(1, 7).0;
        assert_eq!(bytes, [7, 0, 3, 0, b'a', b'b', 0, 0, 8, 0, 1, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn a_nest_has_its_flag() {
        let bytes = Attributes::default().nest(4, Attributes::default().bytes(1, &[9])).0;
        assert_eq!(bytes, [12, 0, 4, 0x80, 5, 0, 1, 0, 9, 0, 0, 0]);
    }
}
