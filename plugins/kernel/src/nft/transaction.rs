//! A batch: all of it happens, or nothing.

use super::encode::{Attributes, Expressions, LIST_ELEM, Verdict};
use std::net::IpAddr;

/// `NFNL_SUBSYS_NFTABLES`.
pub(super) const SUBSYSTEM: u16 = 10;
/// `NFPROTO_INET`: one table for both families (nat in it since Linux 5.2).
pub(super) const FAMILY: u8 = 1;

/// `enum nf_tables_msg_types`.
pub(super) mod kind {
    pub(in crate::nft) const NEW_TABLE: u16 = 0;
    pub(in crate::nft) const GET_TABLE: u16 = 1;
    pub(in crate::nft) const DEL_TABLE: u16 = 2;
    pub(in crate::nft) const NEW_CHAIN: u16 = 3;
    pub(in crate::nft) const GET_CHAIN: u16 = 4;
    pub(in crate::nft) const NEW_RULE: u16 = 6;
    pub(in crate::nft) const NEW_SET: u16 = 9;
    pub(in crate::nft) const NEW_ELEMENT: u16 = 12;
    pub(in crate::nft) const GET_ELEMENT: u16 = 13;
    pub(in crate::nft) const DEL_ELEMENT: u16 = 14;
    pub(in crate::nft) const GET_GENERATION: u16 = 16;
}

const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;

/// `NFT_SET_MAP`.
const SET_MAP: u32 = 8;
/// `NFT_DATA_VERDICT`: what a verdict map maps to.
const DATA_VERDICT: u32 = 0xffff_ff00;
/// `NF_INET_POST_ROUTING`, and the priority that nft calls `srcnat`.
const POST_ROUTING: u32 = 4;
const SRCNAT: i32 = 100;
/// `NFTNL_UDATA_SET_ELEM_COMMENT` (libnftnl): what `nft` shows as the comment of an element.
const COMMENT: u8 = 0;
/// What `nft` reads of a comment at the most, without the zero at its end.
pub(super) const COMMENT_MAX: usize = 128;

/// Operations of one table, in order.
#[derive(Debug, Default, Clone)]
pub(super) struct Transaction {
    /// Type within the subsystem, flags besides `NLM_F_REQUEST`, attributes.
    pub(super) operations: Vec<(u16, u16, Vec<u8>)>,
    /// Commit only if the ruleset is still of this generation (`NFNL_BATCH_GENID`), else fail with ERESTART.
    pub(super) generation: Option<u32>,
}

impl Transaction {
    fn push(mut self, kind: u16, flags: u16, attributes: Attributes) -> Self {
        self.operations.push((kind, flags, attributes.0));
        self
    }

    pub(super) fn at(mut self, generation: u32) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Fails with EEXIST if there is one.
    pub(super) fn new_table(self, table: &str) -> Self {
        self.push(kind::NEW_TABLE, NLM_F_CREATE | NLM_F_EXCL, Attributes::default().text(1, table))
    }

    /// With all that is in it.
    pub(super) fn delete_table(self, table: &str) -> Self {
        self.push(kind::DEL_TABLE, 0, Attributes::default().text(1, table))
    }

    /// `type nat hook postrouting priority srcnat; policy accept`.
    pub(super) fn postrouting(self, table: &str, chain: &str) -> Self {
        let hook = Attributes::default().number(1, POST_ROUTING).bytes(2, &SRCNAT.to_be_bytes());
        let attributes = Attributes::default().text(1, table).text(3, chain).nest(4, hook).text(7, "nat");
        self.push(kind::NEW_CHAIN, NLM_F_CREATE, attributes)
    }

    /// A chain without a hook. Fails with EEXIST if there is one.
    pub(super) fn new_chain(self, table: &str, chain: &str) -> Self {
        let attributes = Attributes::default().text(1, table).text(3, chain);
        self.push(kind::NEW_CHAIN, NLM_F_CREATE | NLM_F_EXCL, attributes)
    }

    pub(super) fn rule(self, table: &str, chain: &str, expressions: Expressions) -> Self {
        let attributes = Attributes::default().text(1, table).text(2, chain).nest(4, expressions.0);
        self.push(kind::NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, attributes)
    }

    /// `map NAME { type ipv4_addr|ipv6_addr : verdict }`. `id` is unique in the transaction.
    pub(super) fn verdict_map(self, table: &str, map: &str, like: IpAddr, id: u32) -> Self {
        // Key types are nft's own numbers (its datatype.h): TYPE_IPADDR, TYPE_IP6ADDR.
        let (key_type, key_length) = match like {
            IpAddr::V4(_) => (7, 4),
            IpAddr::V6(_) => (8, 16),
        };
        let attributes = Attributes::default()
            .text(1, table)
            .text(2, map)
            .number(3, SET_MAP)
            .number(4, key_type)
            .number(5, key_length)
            .number(6, DATA_VERDICT)
            .number(7, 0)
            .number(10, id);
        self.push(kind::NEW_SET, NLM_F_CREATE, attributes)
    }

    /// Fails with EEXIST if the key is there, with ENOENT if table, map or chain is not.
    pub(super) fn element(self, table: &str, map: &str, key: IpAddr, verdict: &Verdict<'_>, comment: &str) -> Self {
        let mut end = comment.len().min(COMMENT_MAX);
        while !comment.is_char_boundary(end) {
            end -= 1;
        }
        let mut user = vec![COMMENT, end as u8 + 1];
        user.extend(&comment.as_bytes()[..end]);
        user.push(0);
        let element = Attributes::default().key(1, key).verdict(2, verdict).bytes(6, &user);
        self.push(kind::NEW_ELEMENT, NLM_F_CREATE | NLM_F_EXCL, elements(table, map, element))
    }

    /// Fails with ENOENT if it is not there.
    pub(super) fn delete_element(self, table: &str, map: &str, key: IpAddr) -> Self {
        self.push(kind::DEL_ELEMENT, 0, elements(table, map, Attributes::default().key(1, key)))
    }
}

/// The attributes of a message about one element.
pub(super) fn elements(table: &str, map: &str, element: Attributes) -> Attributes {
    let list = Attributes::default().nest(LIST_ELEM, element);
    Attributes::default().text(1, table).text(2, map).nest(3, list)
}

/// The comment in an element's user data, if there is one.
pub(super) fn comment_of(user: &[u8]) -> Option<String> {
    let mut rest = user;
    while let [kind, length, more @ ..] = rest {
        let value = more.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned());
        }
        rest = &more[value.len()..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_behind_other_user_data_and_a_cut_one_is_none() {
        assert_eq!(comment_of(&[3, 1, 9, COMMENT, 3, b'h', b'i', 0]), Some("hi".to_owned()));
        assert_eq!(comment_of(&[COMMENT, 9, b'h']), None);
        assert_eq!(comment_of(&[]), None);
    }
}
