//! What a ruleset is made of: tables, chains with and without a hook, verdicts.

use super::attributes::{Attributes, DATA_VERDICT, text_of};
use crate::netlink::attributes_of;

/// The family of a table (`NFPROTO_*`, include/uapi/linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Both IPv4 and IPv6 (nat in it since Linux 5.2).
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames that cross a bridge.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

/// A table, there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Table {
    /// Which packets see it.
    pub family: Family,
    /// Its name.
    pub name: &'static str,
}

impl Table {
    /// The table of this family and name.
    pub const fn new(family: Family, name: &'static str) -> Table {
        Table { family, name }
    }
}

/// Where a base chain is called (`NF_INET_*`; the bridge family's hooks have the same numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// `prerouting`.
    Prerouting = 0,
    /// `input`.
    Input = 1,
    /// `forward`.
    Forward = 2,
    /// `output`.
    Output = 3,
    /// `postrouting`.
    Postrouting = 4,
}

/// What a base chain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    /// `type filter`.
    Filter,
    /// `type nat`: sees the first packet of a connection only.
    Nat,
    /// `type route`: output only; the route is looked up again when the mark changed.
    Route,
}

impl ChainType {
    pub(super) fn name(self) -> &'static str {
        match self {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
            ChainType::Route => "route",
        }
    }
}

/// What happens to a packet that no rule of a base chain decides about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// `policy drop`.
    Drop = 0,
    /// `policy accept`.
    Accept = 1,
}

/// The hook of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// `type …`.
    pub kind: ChainType,
    /// `hook …`.
    pub hook: Hook,
    /// `priority …`: lower is earlier (`dstnat` -100, `filter` 0, `srcnat` 100; in the bridge family -300, -200, 300).
    pub priority: i32,
    /// `policy …`.
    pub policy: Policy,
}

impl Base {
    /// `type nat hook … priority …; policy accept`.
    pub const fn nat(hook: Hook, priority: i32) -> Base {
        Base { kind: ChainType::Nat, hook, priority, policy: Policy::Accept }
    }

    /// `type filter hook … priority …; policy accept`.
    pub const fn filter(hook: Hook, priority: i32) -> Base {
        Base { kind: ChainType::Filter, hook, priority, policy: Policy::Accept }
    }
}

/// What a rule or a map element does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// `accept`: the end for this base chain.
    Accept,
    /// `drop`: the end.
    Drop,
    /// `return`.
    Return,
    /// `jump CHAIN`.
    Jump(String),
    /// `goto CHAIN`.
    Goto(String),
}

impl Verdict {
    /// The chain that it leads to.
    pub fn chain(&self) -> Option<&str> {
        match self {
            Verdict::Jump(chain) | Verdict::Goto(chain) => Some(chain),
            Verdict::Accept | Verdict::Drop | Verdict::Return => None,
        }
    }

    /// As `NFTA_DATA_VERDICT`: `NFTA_VERDICT_CODE` (`enum nft_verdicts`, or `NF_DROP`, `NF_ACCEPT`), `NFTA_VERDICT_CHAIN`.
    pub(super) fn data(&self) -> Attributes {
        let code = |code: i32| Attributes::default().bytes(1, &code.to_be_bytes());
        let inner = match self {
            Verdict::Drop => code(0),
            Verdict::Accept => code(1),
            Verdict::Jump(chain) => code(-3).text(2, chain),
            Verdict::Goto(chain) => code(-4).text(2, chain),
            Verdict::Return => code(-5),
        };
        Attributes::default().nest(DATA_VERDICT, &inner)
    }

    /// What the kernel wrote inside `NFTA_DATA_VERDICT`; `None` for a verdict that is none of these (`continue`, `queue`).
    pub(super) fn parse(verdict: &[u8]) -> Option<Verdict> {
        let (mut code, mut chain) = (None, String::new());
        for (kind, value) in attributes_of(verdict) {
            match kind {
                1 => code = value.try_into().ok().map(i32::from_be_bytes),
                2 => chain = text_of(value),
                _ => {}
            }
        }
        match code? {
            0 => Some(Verdict::Drop),
            1 => Some(Verdict::Accept),
            -3 => Some(Verdict::Jump(chain)),
            -4 => Some(Verdict::Goto(chain)),
            -5 => Some(Verdict::Return),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_reads_back_as_it_was_written() {
        let all = [
            Verdict::Accept,
            Verdict::Drop,
            Verdict::Return,
            Verdict::Jump("there".into()),
            Verdict::Goto("elsewhere".into()),
        ];
        for verdict in all {
            let data = verdict.data().0;
            let (kind, inner) = attributes_of(&data).next().unwrap();
            assert_eq!((kind, Verdict::parse(inner)), (DATA_VERDICT, Some(verdict)));
        }
        assert_eq!(Verdict::parse(&[]), None);
    }
}
