//! What a packet must be like besides asking for a forwarded port.

use std::fmt;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::nft::expression::{Expressions, Load};

/// What a condition looks at, and what it wants there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// The source address.
    Source(IpNet),
    /// The destination address, as the client knows it.
    Destination(IpNet),
    /// The source port.
    SourcePort(RangeInclusive<u16>),
    /// The destination port, as the client knows it.
    DestinationPort(RangeInclusive<u16>),
    /// The IP protocol's number.
    Protocol(u8),
    /// The interface it came by; what the node sends itself came by none.
    Input(Name),
    /// The interface it leaves by; known of what the node sends itself.
    Output(Name),
    /// What the source address is to the node: `RTN_*` (include/uapi/linux/rtnetlink.h).
    SourceType(u8),
    /// What the destination address is to the node.
    DestinationType(u8),
    /// Bits of the packet's mark.
    Mark {
        /// What they are.
        value: u32,
        /// Which of them count.
        mask: u32,
    },
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What is wanted.
    pub term: Term,
    /// It is wanted that it is otherwise.
    pub negated: bool,
}

/// Interfaces by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name, or what it begins with; at most 15 bytes.
    pub text: String,
    /// Every interface whose name begins so.
    pub prefix: bool,
}

/// `RTN_*` in nft's and iptables' words.
pub const ADDRESS_TYPES: [(&str, u8); 8] = [
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
];

impl Condition {
    /// The expressions of it, behind those of `rule`. The family of the packet is asked for before.
    pub(super) fn write(&self, rule: Expressions) -> Expressions {
        let negated = self.negated;
        let ports = |rule: Expressions, load, ports: &RangeInclusive<u16>| {
            rule.between(load, &ports.start().to_be_bytes(), &ports.end().to_be_bytes(), negated)
        };
        let net = |rule: Expressions, load, net: &IpNet| {
            let bytes = |address: std::net::IpAddr| crate::nft::set::Part::Address(address).bytes();
            rule.masked(load, &bytes(net.netmask()), &bytes(net.network()), negated)
        };
        let all = [0xff; 4];
        match &self.term {
            Term::Source(source) => net(rule, Load::source(source.addr()), source),
            Term::Destination(destination) => net(rule, Load::destination(destination.addr()), destination),
            Term::SourcePort(wanted) => ports(rule, Load::SourcePort, wanted),
            Term::DestinationPort(wanted) => ports(rule, Load::DestinationPort, wanted),
            Term::Protocol(number) => rule.masked(Load::Protocol, &[0xff], &[*number], negated),
            Term::Input(name) => name.write(rule, Load::InputName, negated),
            Term::Output(name) => name.write(rule, Load::OutputName, negated),
            Term::SourceType(kind) => rule.masked(Load::SourceType, &all, &u32::from(*kind).to_ne_bytes(), negated),
            Term::DestinationType(kind) => {
                rule.masked(Load::DestinationType, &all, &u32::from(*kind).to_ne_bytes(), negated)
            }
            Term::Mark { value, mask } => {
                rule.masked(Load::Mark, &mask.to_ne_bytes(), &(value & mask).to_ne_bytes(), negated)
            }
        }
    }
}

impl Name {
    fn write(&self, rule: Expressions, load: Load, negated: bool) -> Expressions {
        let mut wanted = self.text.as_bytes().to_vec();
        if !self.prefix {
            wanted.resize(16, 0);
        }
        rule.masked(load, &vec![0xff; wanted.len()], &wanted, negated)
    }
}

/// As `nft` writes it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.negated { "!= " } else { "" };
        let family = |net: &IpNet| if net.addr().is_ipv4() { "ip" } else { "ip6" };
        let ports = |ports: &RangeInclusive<u16>| match ports.start() == ports.end() {
            true => ports.start().to_string(),
            false => format!("{}-{}", ports.start(), ports.end()),
        };
        let kind = |number: u8| {
            let known = ADDRESS_TYPES.iter().find(|(_, other)| *other == number);
            known.map_or_else(|| number.to_string(), |(word, _)| (*word).to_owned())
        };
        match &self.term {
            Term::Source(net) => write!(f, "{} saddr {not}{net}", family(net)),
            Term::Destination(net) => write!(f, "{} daddr {not}{net}", family(net)),
            Term::SourcePort(wanted) => write!(f, "th sport {not}{}", ports(wanted)),
            Term::DestinationPort(wanted) => write!(f, "th dport {not}{}", ports(wanted)),
            Term::Protocol(number) => write!(f, "meta l4proto {not}{number}"),
            Term::Input(name) => write!(f, "iifname {not}{name}"),
            Term::Output(name) => write!(f, "oifname {not}{name}"),
            Term::SourceType(number) => write!(f, "fib saddr type {not}{}", kind(*number)),
            Term::DestinationType(number) => write!(f, "fib daddr type {not}{}", kind(*number)),
            Term::Mark { value, mask } => {
                write!(f, "meta mark & {mask:#x} {}{value:#x}", if self.negated { "!= " } else { "== " })
            }
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

/// What a packet must be like to be forwarded: all the conditions of one of these lists. No list: nothing in particular.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions(pub Vec<Vec<Condition>>);

impl Conditions {
    /// Every packet is meant.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, all) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(" or ")?;
            }
            let words: Vec<String> = all.iter().map(ToString::to_string).collect();
            f.write_str(&words.join(" "))?;
        }
        Ok(())
    }
}
