//! Our own tables: sets, and the rules that look into them.

use std::net::IpAddr;

use super::{Admission, NAME};
use crate::error::Cause;
use crate::nft::expression::{Expressions, Load};
use crate::nft::set::{Data, Element, Leads, Part, Set, Type};
use crate::nft::socket::Nftables;
use crate::nft::table::{Base, Family, Hook, Table, Verdict};
use crate::nft::transaction::Transaction;

pub(super) const FIREWALL: Table = Table::new(Family::Inet, NAME);
pub(super) const BETWEEN_PORTS: Table = Table::new(Family::Bridge, NAME);

const PODS4: Set = Set { table: FIREWALL, name: "pods4", key: &[Type::Ipv4], leads: Leads::ToVerdicts };
const PODS6: Set = Set { table: FIREWALL, name: "pods6", key: &[Type::Ipv6], leads: Leads::ToVerdicts };
/// The maps of addresses.
pub(super) const PODS: [&Set; 2] = [&PODS4, &PODS6];
/// Bridges that are shut to each other.
pub(super) const BRIDGES: Set =
    Set { table: FIREWALL, name: "bridges", key: &[Type::Interface], leads: Leads::Nowhere };
/// What happens within a shut bridge.
pub(super) const WITHIN: Set =
    Set { table: FIREWALL, name: "within", key: &[Type::Interface, Type::Interface], leads: Leads::ToVerdicts };
/// For whom a bridge is shut: the bridge with an address; IPv4 as `::ffff:a.b.c.d`, so that one map does.
pub(super) const MEMBERS: Set =
    Set { table: FIREWALL, name: "members", key: &[Type::Interface, Type::Ipv6], leads: Leads::ToVerdicts };
/// Ports to which other ports are shut.
pub(super) const PORTS: Set =
    Set { table: BETWEEN_PORTS, name: "ports", key: &[Type::Interface], leads: Leads::Nowhere };

/// The chain that every address leads to: how many do is a number of the chain's.
pub(super) const ADMIT: &str = "admitted";

/// Which bits of the mark are ours, and what they say between the chains `before` and `after`.
pub(crate) const MASK: u32 = 0xff00_0000;
pub(crate) const ADMITTED: u32 = 0xfa00_0000;

/// Ethernet type of ARP (RFC 826).
const ARP: [u8; 2] = [0x08, 0x06];
/// What nft calls `filter` in the bridge family: `NF_BR_PRI_FILTER_BRIDGED`.
const FILTER_BRIDGED: i32 = -200;

/// A chain with its rules.
struct Chain {
    name: &'static str,
    base: Option<Base>,
    rules: Vec<Expressions>,
}

impl Nftables {
    /// What makes our tables whole; nothing, if they are.
    pub(super) fn lay_tables(&mut self, wanted: &Admission) -> Result<Transaction, Cause> {
        let mut all = Transaction::default();
        for (table, sets, chains) in tables(wanted) {
            if !self.stands(table, &chains)? {
                all = all.ensure_table(table);
                all = sets.iter().fold(all, |all, set| all.set(set));
                // Chains first: rules lead to them.
                for chain in &chains {
                    all = match chain.base {
                        Some(base) => all.base_chain(table, chain.name, base),
                        None => all.ensure_chain(table, chain.name),
                    };
                    all = all.flush_chain(table, chain.name);
                }
                for chain in &chains {
                    all = chain.rules.iter().fold(all, |all, rule| all.append_rule(table, chain.name, rule));
                }
            }
        }
        Ok(all)
    }

    /// Which of our tables that `wanted` needs are not whole.
    pub(super) fn broken_tables(&mut self, wanted: &Admission) -> Result<Vec<Table>, Cause> {
        let mut broken = Vec::new();
        for (table, _, chains) in tables(wanted) {
            if !self.stands(table, &chains)? {
                broken.push(table);
            }
        }
        Ok(broken)
    }

    /// As many rules in each chain as we write: whoever writes into a table that bears our name knows what he does.
    fn stands(&mut self, table: Table, chains: &[Chain]) -> Result<bool, Cause> {
        let there = self.rules(table, None)?;
        let count = |chain: &Chain| there.iter().filter(|rule| rule.chain == chain.name).count();
        Ok(chains.iter().all(|chain| count(chain) == chain.rules.len()))
    }
}

/// The tables that an admission needs.
fn tables(wanted: &Admission) -> Vec<(Table, Vec<Set>, Vec<Chain>)> {
    let mut all = vec![(FIREWALL, vec![PODS4, PODS6, BRIDGES, WITHIN, MEMBERS], routed())];
    if wanted.isolation.as_ref().is_some_and(|isolation| isolation.strict && isolation.port.is_some()) {
        all.push((BETWEEN_PORTS, vec![PORTS], vec![bridged()]));
    }
    all
}

fn routed() -> Vec<Chain> {
    let rule = Expressions::default;
    let [input, output] = [[Load::InputName], [Load::OutputName]];
    let mut before = Vec::new();
    for (set, like) in PODS.into_iter().zip(["0.0.0.0", "::"]) {
        let like: IpAddr = like.parse().expect("an unspecified address is an address");
        before.push(rule().family(like).verdict_map(set, &[Load::source(like)]));
        let answers = rule().family(like).any_of(Load::CtState, Load::ESTABLISHED | Load::RELATED);
        before.push(answers.verdict_map(set, &[Load::destination(like)]));
    }
    let marked = rule().masked(Load::Mark, &MASK.to_ne_bytes(), &ADMITTED.to_ne_bytes(), false);
    let forward = |priority| Some(Base::filter(Hook::Forward, priority));
    vec![
        Chain {
            name: "isolation",
            base: forward(-2),
            rules: vec![
                rule().verdict_map(&WITHIN, &[Load::InputName, Load::OutputName]),
                rule().in_set(&BRIDGES, &input).in_set(&BRIDGES, &output).verdict(&Verdict::Drop),
            ],
        },
        Chain { name: "before", base: forward(-1), rules: before },
        Chain { name: ADMIT, base: None, rules: vec![rule().none_of(Load::Mark, MASK).set_mark(MASK, ADMITTED)] },
        Chain { name: "after", base: forward(1), rules: vec![marked.set_mark(MASK, 0)] },
    ]
}

fn bridged() -> Chain {
    let shut = |side| {
        let port = Expressions::default().in_set(&PORTS, &[side]);
        port.masked(Load::EtherType, &[0xff; 2], &ARP, true).verdict(&Verdict::Drop)
    };
    let rules = vec![shut(Load::InputName), shut(Load::OutputName)];
    Chain { name: "forward", base: Some(Base::filter(Hook::Forward, FILTER_BRIDGED)), rules }
}

/// What an address leads to.
pub(super) fn admit() -> Data {
    Data::Verdict(Verdict::Goto(ADMIT.to_owned()))
}

/// The map for an address.
pub(super) fn pods_of(address: IpAddr) -> &'static Set {
    match address {
        IpAddr::V4(_) => &PODS4,
        IpAddr::V6(_) => &PODS6,
    }
}

/// What a shut bridge does within itself.
pub(super) fn verdict_of(strict: bool) -> Verdict {
    if strict { Verdict::Drop } else { Verdict::Accept }
}

pub(super) fn name(interface: &str) -> Part {
    Part::Interface(interface.to_owned())
}

/// The key of a member.
pub(super) fn member(bridge: &str, address: IpAddr) -> Vec<Part> {
    let mapped = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    vec![name(bridge), Part::Address(IpAddr::V6(mapped))]
}

/// The bridge of a member.
pub(super) fn bridge_of(member: &Element) -> Option<String> {
    match member.key.first() {
        Some(Part::Interface(bridge)) => Some(bridge.clone()),
        _ => None,
    }
}

/// An element without owner.
pub(super) fn bare(key: Vec<Part>) -> Element {
    Element { key, data: Data::Nothing, comment: String::new() }
}
