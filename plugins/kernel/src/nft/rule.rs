//! Rules that are there, ours or others', read as far as it takes to recognise whose they are.

use std::net::IpAddr;

use ipnet::IpNet;

use super::attributes::{DATA_VALUE, DATA_VERDICT, comment_of, number_of, text_of};
use super::expression::Load;
use super::table::Verdict;
use crate::netlink::attributes_of;

/// A comparison of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// What is looked at.
    pub load: Load,
    /// The bits of it that count; empty where all do.
    pub mask: Vec<u8>,
    /// What it is compared with.
    pub value: Vec<u8>,
    /// The packet must not have it.
    pub negated: bool,
}

/// A rule of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose rule it is.
    pub chain: String,
    /// Its number in the table, for as long as it is there.
    pub handle: u64,
    /// nft's comment, or that of iptables' `-m comment`.
    pub comment: Option<String>,
    /// The comparisons, in order. What is looked up in sets, and what matches of x_tables ask, is not among them.
    pub matches: Vec<Match>,
    /// What it ends with, if that is a verdict.
    pub verdict: Option<Verdict>,
    /// Names of all its expressions in order; a match or target of x_tables has its own name (`conntrack`, `DNAT`).
    pub expressions: Vec<String>,
}

impl Rule {
    /// The chain that it leads to.
    pub fn leads_to(&self) -> Option<&str> {
        self.verdict.as_ref().and_then(Verdict::chain)
    }

    /// The source network or address that it asks for.
    pub fn source(&self) -> Option<IpNet> {
        self.net(12, 8)
    }

    /// The destination network or address that it asks for.
    pub fn destination(&self) -> Option<IpNet> {
        self.net(16, 24)
    }

    /// `iifname "NAME"`.
    pub fn input(&self) -> Option<String> {
        self.interface(Load::InputName)
    }

    /// `oifname "NAME"`.
    pub fn output(&self) -> Option<String> {
        self.interface(Load::OutputName)
    }

    fn interface(&self, wanted: Load) -> Option<String> {
        let found = self.matches.iter().find(|one| one.load == wanted && !one.negated)?;
        // Without a zero at its end it is the beginning of a name.
        found.value.contains(&0).then(|| text_of(&found.value))
    }

    /// An address in the header, at the offset that it has in IPv4 or in IPv6. A network on a byte's border is compared
    /// without a mask, in as many bytes as it has.
    fn net(&self, offset_v4: u32, offset_v6: u32) -> Option<IpNet> {
        self.matches.iter().filter(|one| !one.negated).find_map(|one| {
            let (offset, length) = match one.load {
                Load::SourceV4 => (12, 4),
                Load::DestinationV4 => (16, 4),
                Load::SourceV6 => (8, 16),
                Load::DestinationV6 => (24, 16),
                // An IPv6 address begins where IPv4 has none: at 8 and 24.
                Load::Payload { base: 1, offset, length } => (offset, length),
                _ => return None,
            };
            let prefix = match one.mask.as_slice() {
                [] => u8::try_from(length.checked_mul(8)?).ok()?,
                mask => u8::try_from(mask.iter().map(|byte| byte.count_ones()).sum::<u32>()).ok()?,
            };
            let address = if offset == offset_v4 {
                IpAddr::from(padded::<4>(&one.value)?)
            } else if offset == offset_v6 {
                IpAddr::from(padded::<16>(&one.value)?)
            } else {
                return None;
            };
            IpNet::new(address, prefix).ok()
        })
    }

    /// The rule in an `NFT_MSG_NEWRULE`, if it is the table's.
    pub(super) fn read(attributes: &[u8], table: &str) -> Option<Rule> {
        let mut rule = Rule {
            chain: String::new(),
            handle: 0,
            comment: None,
            matches: Vec::new(),
            verdict: None,
            expressions: Vec::new(),
        };
        let mut mine = false;
        for (kind, value) in attributes_of(attributes) {
            match kind {
                1 => mine = text_of(value) == table,
                2 => rule.chain = text_of(value),
                3 => rule.handle = value.try_into().ok().map(u64::from_be_bytes)?,
                4 => rule.read_expressions(value),
                7 => rule.comment = comment_of(value).or(rule.comment),
                _ => {}
            }
        }
        mine.then_some(rule)
    }

    fn read_expressions(&mut self, list: &[u8]) {
        // What each register holds: what was loaded, and the mask laid over it.
        let mut registers: Vec<(u32, Load, Vec<u8>)> = Vec::new();
        for (_, expression) in attributes_of(list) {
            let find =
                |wanted: u16| attributes_of(expression).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let (name, data) = (find(1).map(text_of).unwrap_or_default(), find(2).unwrap_or_default());
            let find = |wanted: u16| attributes_of(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let number = |wanted: u16| find(wanted).and_then(number_of).unwrap_or_default();
            let value = |wanted: u16| find(wanted).and_then(value_of).unwrap_or_default();
            match name.as_str() {
                "bitwise" => {
                    let loaded = registers.iter().rev().find(|(register, ..)| *register == number(1));
                    let masked = loaded.map(|(_, load, _)| (number(2), *load, value(4)));
                    registers.extend(masked);
                }
                "cmp" => {
                    if let Some((_, load, mask)) = registers.iter().rev().find(|(register, ..)| *register == number(1))
                    {
                        let (load, mask) = (*load, mask.clone());
                        self.matches.push(Match { load, mask, value: value(3), negated: number(2) != 0 });
                    }
                }
                "immediate" => {
                    let verdict = find(2).and_then(|data| attributes_of(data).find(|(kind, _)| *kind == DATA_VERDICT));
                    self.verdict = verdict.and_then(|(_, verdict)| Verdict::parse(verdict)).or(self.verdict.take());
                }
                "match" if find(1).map(text_of).as_deref() == Some("comment") => {
                    self.comment = find(3).map(text_of).or(self.comment.take());
                }
                _ => registers.extend(Load::read(&name, data).map(|(register, load)| (register, load, Vec::new()))),
            }
            self.expressions.push(match name.as_str() {
                "match" | "target" => find(1).map(text_of).unwrap_or_default(),
                _ => name,
            });
        }
    }
}

fn value_of(data: &[u8]) -> Option<Vec<u8>> {
    attributes_of(data).find(|(kind, _)| *kind == DATA_VALUE).map(|(_, value)| value.to_vec())
}

fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::attributes::Attributes;
    use crate::nft::expression::Expressions;

    /// As the kernel tells of a rule.
    fn message(rule: &Expressions) -> Vec<u8> {
        let named = Attributes::default().text(1, "t").text(2, "c").bytes(3, &7u64.to_be_bytes());
        named.nest(4, &rule.list).comment(7, rule.comment.as_deref().unwrap_or_default()).0
    }

    fn rule() -> Expressions {
        Expressions::default()
            .source_in("10.1.0.0/16".parse().unwrap())
            .xt_comment("xt")
            .verdict(&Verdict::Jump("there".into()))
            .comment("nft")
    }

    #[test]
    fn a_rule_of_another_table_is_none_and_nfts_comment_goes_first() {
        let bytes = message(&rule());
        assert_eq!(Rule::read(&bytes, "other"), None);
        let read = Rule::read(&bytes, "t").unwrap();
        assert_eq!((read.handle, read.comment.as_deref(), read.leads_to()), (7, Some("nft"), Some("there")));
        assert_eq!(read.source(), Some("10.1.0.0/16".parse().unwrap()));
        assert_eq!(read.expressions, ["payload", "bitwise", "cmp", "comment", "immediate"]);
    }

    #[test]
    fn whatever_is_cut_or_changed_in_it_is_read_without_a_panic() {
        let bytes = message(&rule());
        for index in 0..bytes.len() {
            let look = |bytes: &[u8]| {
                let read = Rule::read(bytes, "t");
                read.map(|read| (read.source(), read.destination(), read.input(), read.output()))
            };
            look(&bytes[..index]);
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[index] = value;
                look(&changed);
            }
        }
    }
}
