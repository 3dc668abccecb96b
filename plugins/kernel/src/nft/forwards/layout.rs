//! What the table is made of: names, sets, chains, and the rules in them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Conditions, Group, Masquerade};
use crate::nft::expression::{Expressions, Load};
use crate::nft::read::Chain;
use crate::nft::set::{Leads, Set, Type};
use crate::nft::table::{Base, Family, Hook, Table, Verdict};
use crate::nft::transaction::Transaction;

/// The table of the forwards.
pub(super) const FORWARDS: Table = Table::new(Family::Inet, "fairlead_forwards");
/// Interfaces on which 127/8 was let pass for the forwards' sake.
pub(super) const LOCALNETS: Set =
    Set { table: FORWARDS, name: "localnets", key: &[Type::Interface], leads: Leads::Nowhere };

const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const LOCAL: &str = "local";
const POSTROUTING: &str = "postrouting";
const GUARD: &str = "guard";
/// One behind what nft calls `dstnat`: whoever translates at the usual place (a Service's address that the node has too)
/// goes first (CVE-2019-9946).
const AFTER_DSTNAT: i32 = -99;
/// What nft calls `srcnat`.
const SRCNAT: i32 = 100;
/// What nft calls `raw`: before the connection is looked up, and its addresses put back.
const RAW: i32 = -300;
/// `LOOPBACK_IFINDEX` (include/net/net_namespace.h).
const LO: u32 = 1;

/// Where forwards of one family and the same conditions are: a chain and its maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) v4: bool,
    /// Empty for forwards without conditions; else the chain's name ends so.
    pub(super) suffix: String,
}

/// The maps of a space. Keys are protocol and port, with the node's address before them in the first two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Maps {
    /// To whom a port of one address of the node leads.
    pub(super) hosts: Set,
    /// By which chain it is marked to be masqueraded, if it is.
    pub(super) marked_hosts: Set,
    /// To whom a port of every address of the node leads.
    pub(super) ports: Set,
    /// As `marked_hosts`.
    pub(super) marked_ports: Set,
}

impl Space {
    /// Where a group's forwards are.
    pub(super) fn of(group: &Group) -> Space {
        let suffix = match group.conditions.is_empty() {
            true => String::new(),
            false => format!("-{:016x}", fnv1a(&group.conditions.to_string())),
        };
        Space { v4: group.is_ipv4(), suffix }
    }

    /// The one for forwards without conditions.
    pub(super) fn general(v4: bool) -> Space {
        Space { v4, suffix: String::new() }
    }

    /// The space whose chain has this name.
    pub(super) fn of_chain(chain: &str) -> Option<Space> {
        let rest = chain.strip_prefix("forwards")?;
        let (v4, suffix) = match rest.strip_prefix('4') {
            Some(suffix) => (true, suffix),
            None => (false, rest.strip_prefix('6')?),
        };
        Some(Space { v4, suffix: suffix.to_owned() })
    }

    pub(super) fn chain(&self) -> String {
        format!("forwards{}{}", self.digit(), self.suffix)
    }

    /// An address of its family.
    pub(super) fn like(&self) -> IpAddr {
        if self.v4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    }

    pub(super) fn maps(&self) -> Maps {
        let (host, to): (&[Type], &[Type]) = match self.v4 {
            true => (&[Type::Ipv4, Type::Protocol, Type::Port], &[Type::Ipv4, Type::Port]),
            false => (&[Type::Ipv6, Type::Protocol, Type::Port], &[Type::Ipv6, Type::Port]),
        };
        let port: &[Type] = &[Type::Protocol, Type::Port];
        let map = |name: &str, key, leads| {
            // A set's name is as long-lived as the program; there are as many as a network has kinds of conditions.
            let name: &'static str = match (name, self.v4, self.suffix.is_empty()) {
                ("hosts", true, true) => "hosts4",
                ("hosts", false, true) => "hosts6",
                ("ports", true, true) => "ports4",
                ("ports", false, true) => "ports6",
                ("marked-hosts", true, true) => "marked-hosts4",
                ("marked-hosts", false, true) => "marked-hosts6",
                ("marked-ports", true, true) => "marked-ports4",
                ("marked-ports", false, true) => "marked-ports6",
                _ => format!("{name}{}{}", self.digit(), self.suffix).leak(),
            };
            Set { table: FORWARDS, name, key, leads }
        };
        Maps {
            hosts: map("hosts", host, Leads::ToValues(to)),
            marked_hosts: map("marked-hosts", host, Leads::ToVerdicts),
            ports: map("ports", port, Leads::ToValues(to)),
            marked_ports: map("marked-ports", port, Leads::ToVerdicts),
        }
    }

    fn digit(&self) -> char {
        if self.v4 { '4' } else { '6' }
    }

    /// The space itself, and the way into it for packets that fulfil its conditions.
    pub(super) fn make(&self, transaction: Transaction, conditions: &Conditions) -> Transaction {
        let chain = self.chain();
        let maps = self.maps();
        let (host, port) = (
            [Load::destination(self.like()), Load::Protocol, Load::DestinationPort],
            [Load::Protocol, Load::DestinationPort],
        );
        let sets = [maps.hosts, maps.marked_hosts, maps.ports, maps.marked_ports];
        let with_sets = sets.iter().fold(transaction, |all, set| all.set(set)).new_chain(FORWARDS, &chain);
        // Without, `nft` cannot tell what it is that is looked at.
        let of_family = Expressions::default().family(self.like());
        let filled = rules_of_space().into_iter().fold(with_sets, |all, what| {
            let rule = match what {
                Step::MarkHost => of_family.clone().verdict_map(&maps.marked_hosts, &host),
                Step::ToHost => of_family.clone().dnat_map(&maps.hosts, &host),
                Step::MarkPort => Expressions::default().verdict_map(&maps.marked_ports, &port),
                Step::ToPort => Expressions::default().dnat_map(&maps.ports, &port),
            };
            all.append_rule(FORWARDS, &chain, &rule)
        });
        let lead = |rule: Expressions| rule.verdict(&Verdict::Jump(chain.clone()));
        if conditions.is_empty() {
            return filled.append_rule(FORWARDS, LOCAL, &lead(of_family));
        }
        // Before the general ones: who asks for more in particular is meant more.
        conditions.0.iter().fold(filled, |all, alternative| {
            let rule = alternative.iter().fold(of_family.clone(), |rule, one| one.write(rule));
            let text: Vec<String> = alternative.iter().map(ToString::to_string).collect();
            all.insert_rule(FORWARDS, LOCAL, &lead(rule).comment(&text.join(" ")))
        })
    }
}

/// A space's rules: marking comes before the translation that ends the packet's way through the chain, and a port of one
/// address before that port of all.
enum Step {
    MarkHost,
    ToHost,
    MarkPort,
    ToPort,
}

fn rules_of_space() -> [Step; 4] {
    [Step::MarkHost, Step::ToHost, Step::MarkPort, Step::ToPort]
}

/// How many rules there are in each chain that a group's packets pass, at least.
pub(super) fn rules_for(group: &Group) -> Vec<(String, usize)> {
    let space = Space::of(group);
    let ways = 2 + group.conditions.0.len();
    let mut all = vec![(PREROUTING, 2), (OUTPUT, 2), (LOCAL, ways), (GUARD, 2)];
    if group.masquerade != Masquerade::Nothing {
        all.push((POSTROUTING, 1));
    }
    let named = all.into_iter().map(|(chain, count)| (chain.to_owned(), count));
    let marking = marking_chains(group).into_iter().map(|chain| {
        let count = if chain.contains("-from-") { RULES_FROM } else { 1 };
        (chain, count)
    });
    named.chain([(space.chain(), rules_of_space().len())]).chain(marking).collect()
}

/// The table with all that does not depend on what is forwarded.
pub(super) fn make_table() -> Transaction {
    let guard = |rule: Expressions| {
        let rule = rule.masked(Load::InputIndex, &[0xff; 4], &LO.to_ne_bytes(), true);
        rule.family(Ipv4Addr::UNSPECIFIED.into())
    };
    let loopback_v4 = loopback(true);
    let table = Transaction::default()
        .new_table(FORWARDS)
        .set(&LOCALNETS)
        .new_chain(FORWARDS, LOCAL)
        .base_chain(FORWARDS, PREROUTING, Base::nat(Hook::Prerouting, AFTER_DSTNAT))
        .base_chain(FORWARDS, OUTPUT, Base::nat(Hook::Output, AFTER_DSTNAT))
        .base_chain(FORWARDS, POSTROUTING, Base::nat(Hook::Postrouting, SRCNAT))
        .base_chain(FORWARDS, GUARD, Base::filter(Hook::Prerouting, RAW));
    let to_local = Expressions::default().destination_is_local().verdict(&Verdict::Jump(LOCAL.into()));
    let drops = [
        guard(Expressions::default()).destination_in(loopback_v4).verdict(&Verdict::Drop),
        guard(Expressions::default()).source_in(loopback_v4).verdict(&Verdict::Drop),
    ];
    let not_v6_loopback = Expressions::default().family(loopback(false).addr()).destination_in(loopback(false));
    let not_v6_loopback = not_v6_loopback.verdict(&Verdict::Return);
    let table = [PREROUTING, OUTPUT].iter().fold(table, |all, chain| {
        all.append_rule(FORWARDS, chain, &not_v6_loopback).append_rule(FORWARDS, chain, &to_local)
    });
    let table = drops.iter().fold(table, |all, rule| all.append_rule(FORWARDS, GUARD, rule));
    [true, false].iter().fold(table, |all, v4| Space::general(*v4).make(all, &Conditions::default()))
}

/// How many rules a chain has that marks the connections of one network: of that network, and of the loopback.
const RULES_FROM: usize = 2;

/// A table that needs what ours needs of the kernel, and is gone at the transaction's end.
pub(super) fn probe() -> Transaction {
    const PROBE: Table = Table::new(Family::Inet, "fairlead_forwards_probe");
    let asks = Expressions::default().destination_is_local();
    let to = std::net::SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 1);
    Transaction::default()
        .ensure_table(PROBE)
        .base_chain(PROBE, PREROUTING, Base::nat(Hook::Prerouting, AFTER_DSTNAT))
        .append_rule(PROBE, PREROUTING, &asks.family(to.ip()).dnat(to))
        .base_chain(PROBE, POSTROUTING, Base::nat(Hook::Postrouting, SRCNAT))
        .append_rule(PROBE, POSTROUTING, &Expressions::default().masquerade())
        .delete_table(PROBE)
}

/// The chains that mark a group's connections, the one that sets the bit last: those before lead to it.
pub(super) fn marking_chains(group: &Group) -> Vec<String> {
    let bit = format!("mark-{}", group.bit);
    match group.masquerade {
        Masquerade::Nothing => Vec::new(),
        Masquerade::Everything => vec![bit],
        Masquerade::From(net) => vec![format!("{bit}-from-{}", net.trunc()).replace(':', "_"), bit],
    }
}

/// How many elements lead to a chain that marks the connections of one network; `None` for other chains.
pub(super) fn elements_to(chain: &Chain) -> Option<usize> {
    let is_one = chain.name.starts_with("mark-") && chain.name.contains("-from-");
    is_one.then(|| (chain.uses as usize).saturating_sub(RULES_FROM))
}

/// Makes one of a group's marking chains.
pub(super) fn make_marking_chain(transaction: Transaction, group: &Group, chain: &str) -> Transaction {
    let bit = 1u32 << group.bit;
    let with_chain = transaction.new_chain(FORWARDS, chain);
    match group.masquerade {
        Masquerade::From(net) if chain.contains("-from-") => {
            let to_bit = Verdict::Goto(format!("mark-{}", group.bit));
            [net.trunc(), loopback(group.is_ipv4())].into_iter().fold(with_chain, |all, from| {
                let rule = Expressions::default().family(from.addr()).source_in(from).verdict(&to_bit);
                all.append_rule(FORWARDS, chain, &rule)
            })
        }
        _ => with_chain.append_rule(FORWARDS, chain, &Expressions::default().set_mark(bit, bit)).append_rule(
            FORWARDS,
            POSTROUTING,
            // The bit has said what it had to: a tunnel would take it over into its own packets.
            &Expressions::default().any_of(Load::Mark, bit).set_mark(bit, 0).masquerade(),
        ),
    }
}

fn loopback(v4: bool) -> IpNet {
    match v4 {
        true => Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(),
        false => Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into(),
    }
}

/// A hash that is the same in every build (Fowler, Noll, Vo, 64 bits).
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
