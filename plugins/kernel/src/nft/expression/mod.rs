//! The expressions of a rule: writing them, in the order in which the kernel runs them.
//!
//! A rule of an inet table that looks into an address must first ask for the family ([`Expressions::family`]), one that looks
//! at ports for the protocol: without, other packets' bytes are looked at.

mod load;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub use load::Load;

use super::attributes::{Attributes, LIST_ELEM};
use super::set::{Leads, Part, Set};
use super::table::Verdict;

/// `NFT_REG_VERDICT`.
const REG_VERDICT: u32 = 0;
/// `NFT_REG32_00`: the first of 16 registers of four bytes.
const REG32: u32 = 8;
/// `RTN_LOCAL` (include/uapi/linux/rtnetlink.h).
const LOCAL: u32 = 2;

/// The expressions of one rule, and its comment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Expressions {
    pub(super) list: Attributes,
    pub(super) comment: Option<String>,
}

impl Expressions {
    fn push(mut self, name: &str, data: &Attributes) -> Self {
        self.list = self.list.nest(LIST_ELEM, &Attributes::default().text(1, name).nest(2, data));
        self
    }

    /// `comment "…"`, cut at 128 bytes.
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(comment.to_owned());
        self
    }

    /// `meta nfproto ipv4|ipv6`, by the family of `like`.
    pub fn family(self, like: IpAddr) -> Self {
        let family = match like {
            IpAddr::V4(_) => libc::AF_INET as u8,
            IpAddr::V6(_) => libc::AF_INET6 as u8,
        };
        self.equals(Load::Family, &[family])
    }

    /// What is loaded is `part`.
    pub fn is(self, load: Load, part: &Part) -> Self {
        self.equals(load, &part.bytes())
    }

    /// What is loaded is not `part`.
    pub fn is_not(self, load: Load, part: &Part) -> Self {
        self.load(load, REG32).compare(1, &part.bytes())
    }

    /// What is loaded is these bytes.
    pub fn equals(self, load: Load, bytes: &[u8]) -> Self {
        self.load(load, REG32).compare(0, bytes)
    }

    /// What is loaded has one of these bits at least: `ct state`, `ct status`, `mark`.
    pub fn any_of(self, load: Load, bits: u32) -> Self {
        self.load(load, REG32).mask(&bits.to_ne_bytes(), &[0; 4]).compare(1, &[0; 4])
    }

    /// What is loaded has none of these bits.
    pub fn none_of(self, load: Load, bits: u32) -> Self {
        self.load(load, REG32).mask(&bits.to_ne_bytes(), &[0; 4]).compare(0, &[0; 4])
    }

    /// `ip|ip6 saddr NET`.
    pub fn source_in(self, net: IpNet) -> Self {
        self.load(Load::source(net.addr()), REG32).in_net(net)
    }

    /// `ip|ip6 daddr NET`.
    pub fn destination_in(self, net: IpNet) -> Self {
        self.load(Load::destination(net.addr()), REG32).in_net(net)
    }

    /// The bits of `mask` of what is loaded are `value`, or are not.
    pub fn masked(self, load: Load, mask: &[u8], value: &[u8], negated: bool) -> Self {
        let loaded = self.load(load, REG32);
        let masked = match mask.iter().all(|byte| *byte == 0xff) {
            true => loaded,
            false => loaded.mask(mask, &vec![0; mask.len()]),
        };
        masked.compare(u32::from(negated), value)
    }

    /// What is loaded is between these, both included, in network order; or is not.
    pub fn between(self, load: Load, from: &[u8], to: &[u8], negated: bool) -> Self {
        // NFTA_RANGE_SREG, _OP (NFT_RANGE_EQ, NFT_RANGE_NEQ), _FROM_DATA, _TO_DATA.
        let range = Attributes::default().number(1, REG32).number(2, u32::from(negated)).data(3, from).data(4, to);
        self.load(load, REG32).push("range", &range)
    }

    /// `fib daddr type local`: the node has the destination's address.
    pub fn destination_is_local(self) -> Self {
        self.equals(Load::DestinationType, &LOCAL.to_ne_bytes())
    }

    /// `fib saddr type local`: the node has the source's address.
    pub fn source_is_local(self) -> Self {
        self.equals(Load::SourceType, &LOCAL.to_ne_bytes())
    }

    /// `… . … @SET`. As many loads as the set's key has parts, here and in the next three.
    pub fn in_set(self, set: &Set, key: &[Load]) -> Self {
        self.load_all(key).push("lookup", &Attributes::default().text(1, set.name).number(2, REG32))
    }

    /// `… . … != @SET`.
    pub fn not_in_set(self, set: &Set, key: &[Load]) -> Self {
        // NFT_LOOKUP_F_INV.
        let lookup = Attributes::default().text(1, set.name).number(2, REG32).number(5, 1);
        self.load_all(key).push("lookup", &lookup)
    }

    /// `… . … vmap @SET`. No element: the next rule.
    pub fn verdict_map(self, set: &Set, key: &[Load]) -> Self {
        self.load_all(key).push("lookup", &lookup_into(set, REG_VERDICT))
    }

    /// `dnat ip|ip6 to … . … map @SET`, a map to addresses, or to addresses and ports. No element: the next rule.
    ///
    /// # Panics
    ///
    /// When the map leads to something else: a constant of this program is wrong.
    pub fn dnat_map(self, set: &Set, key: &[Load]) -> Self {
        let Leads::ToValues([address, port @ ..]) = set.leads else {
            panic!("dnat by {}, which leads to no address", set.name)
        };
        let (length, family) = (address.length(), if address.length() == 4 { libc::AF_INET } else { libc::AF_INET6 });
        let port = (!port.is_empty()).then_some(REG32 + length as u32 / 4);
        self.load_all(key).push("lookup", &lookup_into(set, REG32)).nat(family, port)
    }

    /// `dnat ip|ip6 to ADDRESS:PORT`.
    pub fn dnat(self, to: SocketAddr) -> Self {
        let address = Part::Address(to.ip()).bytes();
        let family = if to.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let port = REG32 + address.len() as u32 / 4;
        self.immediate(REG32, &address).immediate(port, &to.port().to_be_bytes()).nat(family, Some(port))
    }

    /// `masquerade`.
    pub fn masquerade(self) -> Self {
        self.push("masq", &Attributes::default())
    }

    /// `meta mark set meta mark & ~mask | bits`.
    pub fn set_mark(self, mask: u32, bits: u32) -> Self {
        // NFTA_META_KEY is NFT_META_MARK, NFTA_META_SREG.
        self.load(Load::Mark, REG32)
            .mask(&(!mask).to_ne_bytes(), &bits.to_ne_bytes())
            .push("meta", &Attributes::default().number(2, 3).number(3, REG32))
    }

    /// `counter`.
    pub fn counter(self) -> Self {
        self.push("counter", &Attributes::default())
    }

    /// A verdict: the last expression.
    pub fn verdict(self, verdict: &Verdict) -> Self {
        let data = Attributes::default().number(1, REG_VERDICT).nest(2, &verdict.data());
        self.push("immediate", &data)
    }

    /// A match of x_tables in the form in which iptables-nft writes it: `info` is its structure in the kernel's layout.
    pub fn xt_match(self, name: &str, revision: u32, info: &[u8]) -> Self {
        self.push("match", &xt(name, revision, info))
    }

    /// A target of x_tables.
    pub fn xt_target(self, name: &str, revision: u32, info: &[u8]) -> Self {
        self.push("target", &xt(name, revision, info))
    }

    /// `-m comment --comment …` as iptables-nft writes it, cut at 255 bytes.
    pub fn xt_comment(self, comment: &str) -> Self {
        // struct xt_comment_info (include/uapi/linux/netfilter/xt_comment.h).
        let mut info = comment.as_bytes().to_vec();
        info.resize(255, 0);
        info.push(0);
        self.xt_match("comment", 0, &info)
    }

    fn load(self, load: Load, register: u32) -> Self {
        let (name, data) = load.write(register);
        self.push(name, &data)
    }

    fn load_all(self, key: &[Load]) -> Self {
        let (mut all, mut register) = (self, REG32);
        for load in key {
            all = all.load(*load, register);
            register += load.registers();
        }
        all
    }

    fn compare(self, operation: u32, value: &[u8]) -> Self {
        self.push("cmp", &Attributes::default().number(1, REG32).number(2, operation).data(3, value))
    }

    fn mask(self, mask: &[u8], xor: &[u8]) -> Self {
        let data = Attributes::default().number(1, REG32).number(2, REG32).number(3, mask.len() as u32);
        self.push("bitwise", &data.data(4, mask).data(5, xor))
    }

    fn in_net(self, net: IpNet) -> Self {
        let [mask, network] = [net.netmask(), net.network()].map(|address| Part::Address(address).bytes());
        let zero = vec![0; mask.len()];
        self.mask(&mask, &zero).compare(0, &network)
    }

    fn immediate(self, register: u32, value: &[u8]) -> Self {
        self.push("immediate", &Attributes::default().number(1, register).data(2, value))
    }

    /// `NFT_NAT_DNAT` to the address in the first registers.
    fn nat(self, family: libc::c_int, port: Option<u32>) -> Self {
        let data = Attributes::default().number(1, 1).number(2, family as u32).number(3, REG32);
        let data = if let Some(port) = port { data.number(5, port) } else { data };
        self.push("nat", &data)
    }
}

fn lookup_into(set: &Set, register: u32) -> Attributes {
    Attributes::default().text(1, set.name).number(2, REG32).number(3, register)
}

fn xt(name: &str, revision: u32, info: &[u8]) -> Attributes {
    // XT_ALIGN: eight bytes.
    let mut info = info.to_vec();
    info.resize(info.len().next_multiple_of(8), 0);
    Attributes::default().text(1, name).number(2, revision).bytes(3, &info)
}
