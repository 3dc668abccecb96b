//! A batch: all of it happens, or nothing.

use super::attributes::Attributes;
use super::expression::Expressions;
use super::set::{Element, Leads, Part, Set, Type, key_of, number_and_length};
use super::table::{Base, Family, Table};

/// `enum nf_tables_msg_types`.
pub(super) mod kind {
    pub(in crate::nft) const NEW_TABLE: u16 = 0;
    pub(in crate::nft) const GET_TABLE: u16 = 1;
    pub(in crate::nft) const DEL_TABLE: u16 = 2;
    pub(in crate::nft) const NEW_CHAIN: u16 = 3;
    pub(in crate::nft) const GET_CHAIN: u16 = 4;
    pub(in crate::nft) const DEL_CHAIN: u16 = 5;
    pub(in crate::nft) const NEW_RULE: u16 = 6;
    pub(in crate::nft) const GET_RULE: u16 = 7;
    pub(in crate::nft) const DEL_RULE: u16 = 8;
    pub(in crate::nft) const NEW_SET: u16 = 9;
    pub(in crate::nft) const GET_SET: u16 = 10;
    pub(in crate::nft) const DEL_SET: u16 = 11;
    pub(in crate::nft) const NEW_ELEMENT: u16 = 12;
    pub(in crate::nft) const GET_ELEMENT: u16 = 13;
    pub(in crate::nft) const DEL_ELEMENT: u16 = 14;
    pub(in crate::nft) const GET_GENERATION: u16 = 16;
}

/// In a deletion: not what is in it.
const NLM_F_NONREC: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// `NFT_SET_MAP`.
const SET_MAP: u32 = 8;
/// `NFT_DATA_VERDICT`: what a verdict map maps to.
const DATA_VERDICT: u32 = 0xffff_ff00;

/// Operations, in order.
#[derive(Debug, Default, Clone)]
pub struct Transaction {
    pub(super) operations: Vec<Operation>,
    /// Commit only if the ruleset is still of this generation (`NFNL_BATCH_GENID`), else fail with ERESTART.
    pub(super) generation: Option<u32>,
    sets: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) kind: u16,
    /// Besides `NLM_F_REQUEST`.
    pub(super) flags: u16,
    pub(super) family: Family,
    pub(super) attributes: Attributes,
}

impl Transaction {
    fn push(mut self, kind: u16, flags: u16, family: Family, attributes: Attributes) -> Self {
        self.operations.push(Operation { kind, flags, family, attributes });
        self
    }

    /// Nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Fails ([`super::is_stale`]) if anybody committed anything since [`super::Nftables::generation`] said this.
    pub fn at(mut self, generation: u32) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Fails with EEXIST if there is one.
    pub fn new_table(self, table: Table) -> Self {
        self.push(kind::NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL, table.family, Attributes::default().text(1, table.name))
    }

    /// Nothing to do if there is one.
    pub fn ensure_table(self, table: Table) -> Self {
        self.push(kind::NEW_TABLE, NLM_F_CREATE, table.family, Attributes::default().text(1, table.name))
    }

    /// With all that is in it.
    pub fn delete_table(self, table: Table) -> Self {
        self.push(kind::DEL_TABLE, 0, table.family, Attributes::default().text(1, table.name))
    }

    /// A chain with a hook. One that is there gets this policy; fails with EEXIST or EBUSY if it has another hook.
    pub fn base_chain(self, table: Table, chain: &str, base: Base) -> Self {
        self.hooked(NLM_F_CREATE, table, chain, base)
    }

    /// A chain with a hook. Fails with EEXIST if there is one of this name.
    pub fn new_base_chain(self, table: Table, chain: &str, base: Base) -> Self {
        self.hooked(NLM_F_CREATE | NLM_F_EXCL, table, chain, base)
    }

    fn hooked(self, flags: u16, table: Table, chain: &str, base: Base) -> Self {
        let hook = Attributes::default().number(1, base.hook as u32).bytes(2, &base.priority.to_be_bytes());
        let attributes = named(table, 3, chain).nest(4, &hook).number(5, base.policy as u32).text(7, base.kind.name());
        self.push(kind::NEW_CHAIN, flags, table.family, attributes)
    }

    /// A chain without a hook. Fails with EEXIST if there is one.
    pub fn new_chain(self, table: Table, chain: &str) -> Self {
        self.push(kind::NEW_CHAIN, NLM_F_CREATE | NLM_F_EXCL, table.family, named(table, 3, chain))
    }

    /// A chain without a hook. Nothing to do if there is one.
    pub fn ensure_chain(self, table: Table, chain: &str) -> Self {
        self.push(kind::NEW_CHAIN, NLM_F_CREATE, table.family, named(table, 3, chain))
    }

    /// Removes every rule of the chain. Fails with ENOENT if the chain is not there.
    pub fn flush_chain(self, table: Table, chain: &str) -> Self {
        self.push(kind::DEL_RULE, 0, table.family, named(table, 2, chain))
    }

    /// Fails with ENOENT if it is not there, with EBUSY if rules or elements lead to it. Its own rules go with it.
    pub fn delete_chain(self, table: Table, chain: &str) -> Self {
        self.push(kind::DEL_CHAIN, 0, table.family, named(table, 3, chain))
    }

    /// Fails with ENOENT if it is not there, with EBUSY if it has rules, or rules or elements lead to it.
    pub fn delete_empty_chain(self, table: Table, chain: &str) -> Self {
        self.push(kind::DEL_CHAIN, NLM_F_NONREC, table.family, named(table, 3, chain))
    }

    /// A rule as the chain's last.
    pub fn append_rule(self, table: Table, chain: &str, rule: &Expressions) -> Self {
        self.rule(table, NLM_F_CREATE | NLM_F_APPEND, named(table, 2, chain), rule)
    }

    /// A rule as the chain's first.
    pub fn insert_rule(self, table: Table, chain: &str, rule: &Expressions) -> Self {
        self.rule(table, NLM_F_CREATE, named(table, 2, chain), rule)
    }

    /// A rule before the one with this handle; ENOENT if there is none.
    pub fn insert_rule_before(self, table: Table, chain: &str, handle: u64, rule: &Expressions) -> Self {
        self.rule(table, NLM_F_CREATE, named(table, 2, chain).bytes(6, &handle.to_be_bytes()), rule)
    }

    fn rule(self, table: Table, flags: u16, place: Attributes, rule: &Expressions) -> Self {
        let attributes = place.nest(4, &rule.list);
        let attributes = match &rule.comment {
            Some(comment) => attributes.comment(7, comment),
            None => attributes,
        };
        self.push(kind::NEW_RULE, flags, table.family, attributes)
    }

    /// Fails with ENOENT if there is no such rule in this chain.
    pub fn delete_rule(self, table: Table, chain: &str, handle: u64) -> Self {
        self.push(kind::DEL_RULE, 0, table.family, named(table, 2, chain).bytes(3, &handle.to_be_bytes()))
    }

    /// A set or a map. Nothing to do if there is one like it; EEXIST if there is another of the name.
    pub fn set(mut self, set: &Set) -> Self {
        self.sets += 1;
        let (key, length) = number_and_length(set.key);
        let flags = if set.leads == Leads::Nowhere { 0 } else { SET_MAP };
        let attributes = set.named().number(3, flags).number(4, key).number(5, length);
        let attributes = match set.leads {
            Leads::Nowhere => attributes,
            Leads::ToVerdicts => attributes.number(6, DATA_VERDICT).number(7, 0),
            Leads::ToValues(types) => {
                let (data, length) = number_and_length(types);
                attributes.number(6, data).number(7, length)
            }
        };
        let attributes = attributes.number(10, self.sets).bytes(13, &byte_orders(set));
        self.push(kind::NEW_SET, NLM_F_CREATE, set.table.family, attributes)
    }

    /// Fails with ENOENT if it is not there, with EBUSY if a rule looks into it.
    pub fn delete_set(self, set: &Set) -> Self {
        self.push(kind::DEL_SET, 0, set.table.family, set.named())
    }

    /// Removes every element.
    pub fn flush_set(self, set: &Set) -> Self {
        self.push(kind::DEL_ELEMENT, 0, set.table.family, set.named())
    }

    /// Fails with EEXIST if the key is there, with ENOENT if table, set or chain is not.
    pub fn new_element(self, set: &Set, element: &Element) -> Self {
        self.push(kind::NEW_ELEMENT, NLM_F_CREATE | NLM_F_EXCL, set.table.family, set.with(&[element.write()]))
    }

    /// Nothing to do if the key is there and leads to the same; EEXIST if it leads elsewhere. An old comment stays.
    pub fn ensure_element(self, set: &Set, element: &Element) -> Self {
        self.push(kind::NEW_ELEMENT, NLM_F_CREATE, set.table.family, set.with(&[element.write()]))
    }

    /// Fails with ENOENT if it is not there.
    pub fn delete_element(self, set: &Set, key: &[Part]) -> Self {
        self.push(kind::DEL_ELEMENT, 0, set.table.family, set.with(&[key_of(key)]))
    }
}

/// User data of a set, by which `nft` knows how to show numbers and names in the machine's own order
/// (`NFTNL_UDATA_SET_KEYBYTEORDER`, `NFTNL_UDATA_SET_DATABYTEORDER` of libnftnl; `enum byteorder` of nft's datatype.h).
fn byte_orders(set: &Set) -> Vec<u8> {
    let order = |kind: u8, types: &[Type]| {
        let host = matches!(types, [Type::Interface | Type::Mark]);
        let order: u32 = if host { 1 } else { 2 };
        [&[kind, 4], &order.to_ne_bytes()[..]].concat()
    };
    match set.leads {
        Leads::Nowhere | Leads::ToVerdicts => order(0, set.key),
        Leads::ToValues(types) => [order(0, set.key), order(1, types)].concat(),
    }
}

/// The attributes that name a chain, in a message about chains (`name` 3) or rules (2).
fn named(table: Table, name: u16, chain: &str) -> Attributes {
    Attributes::default().text(1, table.name).text(name, chain)
}
